"""The question asked from above: is this evidence genuine, what does it claim, and does a policy accept it?

1. Gather: sources are told apart by content into evidence and collateral.
2. For each piece of evidence: parse it; verify what is embedded in it first and give it as ``within``; verify it.
3. Bindings: the nonce or report_data asked for, and the key of the request or certificate that carried it.
4. Claims, merged over what the evidence rests on (a vTPM's over its SNP or TDX report), with the count of GPUs bound.
5. The policy, if there is one.

Nothing is raised for bad evidence: the :class:`Result` says what was wrong. Wrong use raises
:class:`~fastness.errors.UsageError`. ``from fastness import verify`` is :func:`verify`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fastness import bindings, composite
from fastness import tee as tees
from fastness.claims.finding import Finding, Outcome, table
from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.collateral.gather import Gathered, Source, absent, gather
from fastness.collateral.heap import Found
from fastness.errors import FastnessError, MalformedEvidence, MissingCollateral, NotGenuine, UsageError
from fastness.pki import anchors as roots
from fastness.pki.anchors import Anchors
from fastness.result import Result, merged
from fastness.tee import Collateral

if TYPE_CHECKING:
    from fastness.appraise.policy import Policy
    from fastness.collateral.supply import Supply

Named: TypeAlias = str | os.PathLike[str]
RESTS_ON = {"tpm": ("snp", "tdx"), "nvgpu": ("snp", "tdx")}
"""Evidence that may rest on other evidence lying beside it, and on which."""


class Question(NamedTuple):
    """What is asked of every piece of evidence."""

    at: datetime
    nonce: bytes | None = None
    report_data: bytes | None = None
    policy: Policy | None = None
    anchors: Anchors = Anchors()
    supply: Supply | None = None


def verify(
    *sources: Source,
    at: datetime | None = None,
    nonce: bytes | None = None,
    report_data: bytes | None = None,
    policy: Policy | Named | None = None,
    anchors: Anchors | Named | Iterable[Named] | None = None,
    offline: bool = True,
) -> Result:
    """The result on the one piece of evidence in ``sources``.

    Args:
        sources: paths of files and folders, ``"-"`` for standard input, or bytes; evidence and collateral in any mix.
        at: the time to judge at, with a time zone; now when absent.
        nonce: what the evidence must be fresh over: its nonce field, or its report_data padded with zeros.
        report_data: what its report_data must be, padded with zeros.
        policy: a policy, or the name or file of one; without it the question is only whether it is genuine.
        anchors: further roots: :class:`~fastness.pki.anchors.Anchors`, or names as ``--anchors`` takes them.
        offline: whether missing collateral may not be fetched.

    Raises:
        UsageError: unreadable sources, no evidence at all, more than one independent piece (see :func:`verify_all`).
    """
    results = verify_all(
        *sources, at=at, nonce=nonce, report_data=report_data, policy=policy, anchors=anchors, offline=offline
    )
    if len(results) > 1:
        raise UsageError(
            f"{len(results)} pieces of evidence that do not rest on one another: "
            + ", ".join(f"{item.tee} in {item.source}" for item in results),
            hint="verify_all() answers for each",
        )
    return results[0]


def verify_all(
    *sources: Source,
    at: datetime | None = None,
    nonce: bytes | None = None,
    report_data: bytes | None = None,
    policy: Policy | Named | None = None,
    anchors: Anchors | Named | Iterable[Named] | None = None,
    offline: bool = True,
) -> tuple[Result, ...]:
    """Like :func:`verify`, one result for each piece of evidence that does not merely support another."""
    return answer(gather(sources), question(at, nonce, report_data, policy, anchors, offline=offline))


class Examined(NamedTuple):
    """Genuine evidence: its claims, then those of what it rests on, and what was seen besides."""

    layers: tuple[Claims, ...]
    findings: tuple[Finding, ...]


def examine(sources: Iterable[Source], tee: str, asked: Question, ours: Collateral | None = None) -> Examined:
    """The one piece of ``tee`` evidence in ``sources``, found genuine; what a policy says of it is the caller's to ask.

    Args:
        sources: what somebody brought.
        tee: the TEE it is said to be of.
        asked: the question.
        ours: what the challenger remembers of the conversation; never found among ``sources``, who might make it up.

    Raises:
        NotGenuine, MissingCollateral, MalformedEvidence: it is not; or not one piece of it is there.
    """
    gathered = gather(sources)
    if gathered.problem is not None:
        raise gathered.problem
    if ours is not None:
        gathered = gathered._replace(collateral=gathered.collateral + ours)
    session = _Session(gathered, asked)
    found = [(item, session._genuine(item.tee, item.data)) for item in session.order() if item.tee == tee]
    alone = [genuine for item, genuine in found if (item.tee, item.data) not in session.supporting]
    if len(alone) != 1:
        raise MalformedEvidence("evidence", 0, f"one piece of {tee} evidence", len(alone))
    layers = _layers(tee, alone[0])
    seen = _seen(layers)
    return Examined(tuple(item for _, item in layers), (*seen, *_remembered(layers, asked)))


def question(
    at: datetime | None,
    nonce: bytes | None,
    report_data: bytes | None,
    policy: Policy | Named | None,
    anchors: Anchors | Named | Iterable[Named] | None,
    *,
    offline: bool,
) -> Question:
    """The arguments of :func:`verify` as one value, files read and names resolved."""
    if at is not None and not isinstance(at, datetime):
        raise UsageError(f"at is no datetime but {type(at).__name__}", where="at", hint="datetime(…, tzinfo=UTC)")
    for name, value in (("nonce", nonce), ("report_data", report_data)):
        if value is not None and not isinstance(value, bytes):
            raise UsageError(f"{name} is no bytes but {type(value).__name__}", where=name, hint="bytes.fromhex(…)")
        if value == b"":  # padded, it would be zeros: what evidence holds when nobody asked for anything
            raise UsageError(f"{name} is empty", where=name, hint="None to ask for none")
    if nonce is not None and report_data is not None:
        hint = "report_data is the whole field, a nonce its start"
        raise UsageError("a nonce and report_data together", where="nonce", hint=hint)
    from fastness.collateral.supply import Supply

    supply = Supply(offline=offline)
    return Question(_moment(at), nonce, report_data, _judge(policy), roots.vendor() + _further(anchors), supply)


def _moment(at: datetime | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    if at.tzinfo is None:
        raise UsageError("a time without a zone", where="at", hint="datetime(…, tzinfo=UTC)")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise UsageError("a time out of range", where="at", hint="datetime(…, tzinfo=UTC)") from None


def _judge(named: Any) -> Policy | None:
    if named is None:
        return None
    from fastness.appraise.policy import Policy, load

    if isinstance(named, Policy):
        return named
    if not isinstance(named, str | os.PathLike):
        what = f"policy is no policy and no name of one but {type(named).__name__}"
        raise UsageError(what, where="policy", hint='"strict", "default", or a file')
    return load(os.fspath(named))


def _further(named: Any) -> Anchors:
    if isinstance(named, Anchors):
        return named
    if not named:
        return Anchors()
    from fastness.collateral import anchors_file

    several = (named,) if isinstance(named, str | os.PathLike) else named
    try:
        names = [str(os.fspath(name)) for name in several]
    except TypeError as error:
        raise UsageError(f"anchors are no names of files: {error}", where="anchors", hint='["cca:cpak.pem"]') from None
    return anchors_file.load(names)


def answer(gathered: Gathered, asked: Question) -> tuple[Result, ...]:
    """One result for each independent piece of evidence that was gathered."""
    if gathered.problem is not None and not gathered.evidence:
        return (_problem(gathered, asked, gathered.problem),)
    if not gathered.evidence:
        error = absent(gathered)
        if isinstance(error, UsageError):
            raise error
        return (Result(tee=None, genuine=False, at=asked.at, error=error, ignored=gathered.ignored),)
    session = _Session(gathered, asked)
    results = [(found, session.result(found)) for found in session.order()]
    supporting = session.supporting
    alone = [result for found, result in results if (found.tee, found.data) not in supporting]
    if gathered.problem is not None:
        alone.append(_problem(gathered, asked, gathered.problem))
    return tuple(alone)


def _problem(gathered: Gathered, asked: Question, error: MissingCollateral | MalformedEvidence | NotGenuine) -> Result:
    genuine = None if isinstance(error, MissingCollateral) else False
    tee = getattr(error, "check", "").partition(".")[0] or gathered.owner or "tpm"
    return Result(tee, genuine, asked.at, error=_advised(error), ignored=gathered.ignored)


class _Session:
    """The evidence of one call; what rests on something else comes last in :meth:`order`."""

    def __init__(self, gathered: Gathered, asked: Question) -> None:
        self.gathered, self.asked = gathered, asked
        self.known: dict[tuple[str, bytes], Genuine[Any] | FastnessError] = {}
        self.supporting: set[tuple[str, bytes]] = set()
        self.carried: set[tuple[str, bytes]] = set()

    def order(self) -> list[Found]:
        return sorted(self.gathered.evidence, key=lambda found: found.tee in RESTS_ON)

    def result(self, found: Found) -> Result:
        blank = Result(found.tee, None, self.asked.at, source=found.source, ignored=self.gathered.ignored)
        try:
            genuine = self._genuine(found.tee, found.data)
            return self._conclude(found, genuine, blank)
        except MissingCollateral as error:
            return blank._replace(error=error)
        except (NotGenuine, MalformedEvidence) as error:
            return blank._replace(genuine=False, error=_advised(error))

    def _genuine(self, tee: str, data: bytes) -> Genuine[Any]:
        key = (tee, data)
        if key not in self.known:
            try:
                self.known[key] = self._verify(tee, data)
            except (NotGenuine, MissingCollateral, MalformedEvidence) as error:
                error.hint = _addressed(error.hint)
                self.known[key] = error
        outcome = self.known[key]
        if isinstance(outcome, FastnessError):
            raise outcome
        return outcome

    def _verify(self, tee: str, data: bytes) -> Genuine[Any]:
        module = tees.load(tee)
        evidence = module.parse(data)
        carried = module.embedded(evidence)
        self.supporting.update(carried)
        self.carried.update(carried)
        inner = [self._genuine(name, raw) for name, raw in carried]
        beside, failures = self._beside(tee)
        within = (*inner, *beside)
        collateral = self.gathered.collateral + module.enclosed(evidence)
        try:
            genuine = self._supplied(tee, evidence, collateral, within)
        except NotGenuine as error:
            raise _because(error, failures) from None
        self._absorb(genuine.within)
        return genuine

    def _supplied(
        self, tee: str, evidence: Any, collateral: Collateral, within: tuple[Genuine[Any], ...]
    ) -> Genuine[Any]:
        """Verifies with what was given; where that does not do, once more with what the cache and the vendors have."""
        module, asked = tees.load(tee), self.asked
        first: Genuine[Any] | MissingCollateral
        try:
            first = module.verify(evidence, collateral, asked.anchors, at=asked.at, within=within)
            if asked.policy is None or not _unanswered(first):
                return first
        except MissingCollateral as error:
            first = error
        more = asked.supply.of(tee, evidence, collateral, at=asked.at) if asked.supply is not None else None
        if more is not None:
            return module.verify(evidence, collateral + more, asked.anchors, at=asked.at, within=within)
        if isinstance(first, MissingCollateral):
            raise first
        return first

    def _beside(self, tee: str) -> tuple[list[Genuine[Any]], list[FastnessError]]:
        """Genuine evidence of other TEEs among the inputs that ``tee`` may rest on, and what failed of it."""
        good, bad = [], []
        for found in self.gathered.evidence:
            if found.tee in RESTS_ON.get(tee, ()) and (found.tee, found.data) not in self.carried:
                try:
                    good.append(self._genuine(found.tee, found.data))
                except FastnessError as error:
                    bad.append(error)
        return good, bad

    def _devices(self) -> Iterator[tuple[Genuine[Any], Claims]]:
        """The genuine devices among the inputs; what is wrong with the others is told where it is their turn."""
        for found in self.gathered.evidence:
            if found.tee == "nvgpu":
                with suppress(FastnessError):
                    genuine = self._genuine(found.tee, found.data)
                    yield genuine, tees.load(found.tee).claims(genuine)

    def _absorb(self, within: Sequence[Genuine[Any]]) -> None:
        for key, outcome in self.known.items():
            if any(outcome is item for item in within):
                self.supporting.add(key)

    def _conclude(self, found: Found, genuine: Genuine[Any], blank: Result) -> Result:
        layers = _layers(found.tee, genuine)
        claims = composite.of(layers, self._devices())
        findings = _seen(layers)
        findings += bindings.of(
            found, claims[0], self.gathered, nonce=self.asked.nonce, report_data=self.asked.report_data
        )
        findings += _remembered(layers, self.asked)
        result = blank._replace(
            genuine=True,
            claims=merged(claims),
            layers=claims,
            findings=tuple(findings),
            anchors=tuple(anchor for layer, _ in layers for anchor in layer.anchors),
            within=tuple(item.tee for item in claims[1:]),
            not_checked=tuple(dict.fromkeys(text for item in claims for text in item.not_checked)),
        )
        return result if self.asked.policy is None else _appraised(result, claims, self.asked)


def _unanswered(genuine: Genuine[Any]) -> bool:
    """Whether a list of revoked certificates, or a manifest, would answer what is open."""
    open_ = (item.check for item in genuine.findings if item.outcome is Outcome.UNKNOWN)
    return any(check.endswith((".revocation", ".rim")) for check in open_)


def _advised(error: FastnessError) -> FastnessError:
    """``error`` with the hint of its check, where the place that raised it knew of nothing better."""
    check = table().get(getattr(error, "check", "")) if not error.hint else None
    error.hint = error.hint if check is None else check.hint
    return error


def _seen(layers: Sequence[tuple[Genuine[Any], Claims]]) -> list[Finding]:
    """What the verifiers saw of each layer."""
    found = [finding for layer, _ in layers for finding in layer.findings]
    return [finding._replace(hint=_addressed(finding.hint)) for finding in found]


def _addressed(hint: str) -> str:
    """``hint`` with the mirror's address where somebody named one: verifiers know the vendors' only."""
    if "https://" not in hint:
        return hint
    from fastness.collateral.wanted import addressed

    return addressed(hint)


def _because(error: NotGenuine, failures: list[FastnessError]) -> FastnessError:
    """Why evidence that found no support is refused: because what it could rest on lacks collateral, if so."""
    lacking = [item for item in failures if isinstance(item, MissingCollateral)]
    return lacking[0] if lacking and error.check.endswith((".ak", ".ak-trust", ".anchor", ".within")) else error


def _layers(tee: str, genuine: Genuine[Any]) -> list[tuple[Genuine[Any], Claims]]:
    """The evidence and what it rests on, outermost first, each with its claims."""
    found = [(genuine, tees.load(tee).claims(genuine))]
    for inner in genuine.within:
        found += _layers(type(inner.evidence).__module__.split(".")[2], inner)
    return found


def _remembered(layers: Sequence[tuple[Genuine[Any], Claims]], asked: Question) -> list[Finding]:
    """Whether Intel's collateral is older than what was seen before (a roll-back); kept by the store."""
    if asked.supply is None:
        return []
    found: list[Finding] = []
    for genuine, item in layers:
        if "evaluation_number" in item.collateral and item.tee in ("sgx", "tdx"):
            root = next((anchor.spki for anchor in genuine.anchors), "")
            found += asked.supply.evaluation(item, root, at=asked.at)
    return found


def _appraised(result: Result, claims: tuple[Claims, ...], asked: Question) -> Result:
    from fastness.appraise.verdict import appraise

    if asked.policy is None:
        return result
    verdict = appraise(claims, result.findings, asked.policy, at=asked.at)
    return result.with_verdict(verdict)
