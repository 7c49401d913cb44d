"""What is said of evidence: ``fastness/verdict/v1``, complete, as a value and as JSON.

==================== ===========================================================================================
key                  value
==================== ===========================================================================================
``schema``           ``fastness/verdict/v1``
``tee``              folder name of the TEE, null when no evidence was recognised
``genuine``          true; false when cryptography or format says no; null when collateral is missing
``claims``           normalised claims, null unless genuine; those of the evidence it rests on are merged in
``findings``         what each check saw: check, outcome, expected, actual, where, because, hint
``verdict``          ``accept``, ``refuse``, or null without a policy
``decided_by``       id of the rule or check that decided, null without a policy
``at``               the time judged at, ISO 8601 in Zulu
``error``            null, or kind, check, message, where, hint
``within``           TEEs whose evidence this one rests on
``anchors``          the roots that vouch: tee, name, spki, simulated
``not_checked``      what this evidence cannot show, in sentences
``source``           where the evidence came from
``ignored``          inputs left aside: source, why
``policy``           digest and name of the policy, null without one
``would_turn``       the fewest changes that would turn a refusal: check, host (what it could do), policy (what to say)
==================== ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from fastness.claims.finding import Finding
from fastness.claims.model import Claims
from fastness.collateral.heap import Ignored
from fastness.errors import FastnessError
from fastness.pki.anchors import Anchor
from fastness.wire.der import zulu

if TYPE_CHECKING:
    from fastness.appraise.verdict import Verdict

SCHEMA = "fastness/verdict/v1"
SCHEMA_MANY = "fastness/verdicts/v1"
ERROR = "fastness/error/v1"
"""Where there is nothing to judge (wrong use, a file that cannot be read): ``error`` and ``exit_code``."""
REFUSED = 1
_WORST_FIRST = (70, 4, 3, 5, 1, 0)


class Result(NamedTuple):
    """The result on one piece of evidence; attributes are named as the JSON keys."""

    tee: str | None
    genuine: bool | None
    at: datetime
    claims: Mapping[str, Any] | None = None
    findings: tuple[Finding, ...] = ()
    verdict: str | None = None
    decided_by: str | None = None
    error: FastnessError | None = None
    within: tuple[str, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    not_checked: tuple[str, ...] = ()
    source: str = ""
    ignored: tuple[Ignored, ...] = ()
    policy: Mapping[str, Any] | None = None
    would_turn: tuple[Mapping[str, str], ...] = ()
    layers: tuple[Claims, ...] = ()
    """Claims of each attester apart, outermost first; not in the JSON, where they are merged."""

    @property
    def exit_code(self) -> int:
        """0 genuine (and accepted, if a policy was given), 1 refused, 3 malformed, 4 not genuine, 5 missing."""
        if self.error is not None:
            return self.error.exit_code
        return REFUSED if self.verdict == "refuse" else 0

    def with_verdict(self, verdict: Verdict) -> Result:
        """This result, decided by a policy."""
        document = verdict.to_json()
        return self._replace(
            verdict=document["verdict"],
            decided_by=document.get("decided_by"),
            findings=verdict.findings,
            policy=document.get("policy"),
            would_turn=tuple(document["would_turn"]),
        )

    def to_json(self) -> dict[str, Any]:
        """The whole as a JSON object."""
        return {
            "schema": SCHEMA,
            "tee": self.tee,
            "genuine": self.genuine,
            "claims": self.claims,
            "findings": [finding.to_json() for finding in self.findings],
            "verdict": self.verdict,
            "decided_by": self.decided_by,
            "at": zulu(self.at),
            "error": None if self.error is None else error_json(self.error),
            "within": list(self.within),
            "anchors": [
                {"tee": item.tee, "name": item.name, "spki": item.spki, "simulated": item.simulated}
                for item in self.anchors
            ],
            "not_checked": list(self.not_checked),
            "source": self.source,
            "ignored": [{"source": item.source, "why": item.why} for item in self.ignored],
            "policy": self.policy,
            "would_turn": list(self.would_turn),
        }


def error_json(error: FastnessError) -> dict[str, str]:
    """An error as the verdict carries it."""
    check = getattr(error, "check", "")
    return {"kind": error.kind, "check": check, "message": error.what, "where": error.where, "hint": error.hint}


def document(results: Sequence[Result]) -> dict[str, Any]:
    """One JSON document: the verdict, or ``fastness/verdicts/v1`` around several."""
    if len(results) == 1:
        return results[0].to_json()
    return {"schema": SCHEMA_MANY, "results": [item.to_json() for item in results]}


def exit_code(results: Sequence[Result]) -> int:
    """The worst of several: not genuine, malformed, missing, refused, accepted."""
    codes = {item.exit_code for item in results}
    return next((code for code in _WORST_FIRST if code in codes), max(codes, default=0))


def merged(claims: Sequence[Claims]) -> dict[str, Any]:
    """Claims of evidence and of what it rests on as one tree, outermost first; the outer's word counts.

    Debug and simulated are true if any layer says so: a guest is as open as its most open layer. The processor and
    the chip are those of the layer that knows them.
    """
    whole = claims[0].tree()
    for inner in claims[1:]:
        tree = inner.tree()
        for flag in ("debug", "simulated"):
            whole[flag] = bool(whole.get(flag)) or bool(tree.get(flag))
        if "vendor" not in whole.get("cpu", {}):
            whole["cpu"] = tree.get("cpu", {})
        for name, value in tree.items():
            if name not in whole:
                whole[name] = value
            elif name in ("measurements", "tcb", "collateral") and isinstance(value, dict):
                whole[name] = {**value, **whole[name]}
    return whole
