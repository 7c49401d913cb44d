"""The verdict: every rule is evaluated, every finding told; the answer is never better than the worst of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastness import tee as tees
from fastness.appraise.answers import CANNOT_TELL, LIFTED, Told
from fastness.appraise.conditions import NO_DEBUG, Condition
from fastness.appraise.rules import Policy, Rule
from fastness.appraise.turn import Change, smallest
from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.model import Claims
from fastness.wire.der import zulu

SCHEMA = "fastness/verdict/v1"
NO_CLAIMS = "policy.no-claims"
MAX_SHOWN = 136
"""Longest value in a finding, in characters: 64 bytes in hexadecimal can be copied from it into a policy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of claims. A refusal has at least one failed or unanswered finding, with a hint."""

    accepted: bool
    decided_by: str
    findings: tuple[Finding, ...]
    policy: str
    policy_digest: str
    at: datetime
    claims: tuple[Claims, ...] = ()

    @property
    def against(self) -> tuple[Finding, ...]:
        """The findings that speak against acceptance."""
        return tuple(_against(self.findings))

    @property
    def would_turn(self) -> tuple[Change, ...]:
        """The fewest changes of host or policy that would turn a refusal into an acceptance."""
        return smallest(self.against, self.at)

    def to_json(self) -> dict[str, Any]:
        """``fastness/verdict/v1``, for evidence that is genuine."""
        first = self.claims[0] if self.claims else None
        return {
            "schema": SCHEMA,
            "tee": first.tee if first else None,
            "genuine": True if first else None,
            "claims": first.tree() if first else None,
            "not_checked": list(first.not_checked) if first else [],
            "findings": [item.to_json() for item in self.findings],
            "verdict": "accept" if self.accepted else "refuse",
            "decided_by": self.decided_by,
            "policy": {"name": self.policy, "sha256": self.policy_digest},
            "would_turn": [item.to_json() for item in self.would_turn],
            "at": zulu(self.at),
            "error": None,
        }


def refusal(decided_by: str, findings: tuple[Finding, ...], policy: str, digest: str, at: datetime) -> Verdict:
    """A refusal before there are claims."""
    return Verdict(False, decided_by, findings, policy, digest, at)


def refuse_evidence(policy: Policy, has: tuple[str, ...], *, at: datetime) -> Verdict:
    """The refusal of a keep that has only evidence ``policy`` never accepts."""
    types = ", ".join(sorted(policy.evidence_types())) or "nothing"
    shown = ", ".join(name if name in tees.NAMES else "unknown" for name in has)
    hint = f"deploy to a host with one of {types}, or add a rule that names {shown}"
    if "nil" in has:
        hint = f"nil protects nothing: deploy to a host with one of {types}; to try things out, --policy development"
    finding = Finding(
        "policy.evidence-type",
        Outcome.FAILED,
        expected=f"evidence of {types}",
        actual=f"{shown}{' (SIMULATED)' if 'nil' in has else ''}",
        where=(Where(file=policy.file),),
        because="no accepting rule of the policy can ever hold for it",
        hint=hint,
    )
    return refusal("policy.evidence-type", (finding,), policy.name, policy.digest, at)


def appraise(
    claims: Iterable[Claims],
    observed: Iterable[Finding],
    policy: Policy,
    *,
    at: datetime,
    measured: bool = False,
) -> Verdict:
    """The verdict of ``policy`` on ``claims`` at the time ``at``.

    Args:
        claims: of each piece of genuine evidence; all must be accepted.
        observed: what the verifiers saw besides (revocation not checked …); unanswered ones refuse unless waived.
        policy: the tenant's.
        at: the time to judge by.
        measured: whether something will be given to what runs there, so that a rule must say what may run.
    """
    every = tuple(claims)
    findings: list[Finding] = [_waived(item, policy) for item in observed]
    decisions = []
    for item in every:
        decided, told = _one(item, policy, at, measured=measured)
        decisions.append(decided)
        findings += told
    if not every:
        findings.append(_none(policy))
    against = _against(findings)
    accepted = bool(every) and not against
    by = decisions[0] if accepted else against[0].check
    return Verdict(accepted, by, tuple(findings), policy.name, policy.digest, at, every)


RATED = frozenset({"sgx", "tdx"})
"""TEEs whose vendor gives a word on the TCB: without it, it cannot be told."""
DATED = RATED | {"nitro"}
"""TEEs whose collateral has an end."""
WAIVABLE = frozenset({"policy.debug", "policy.tcb-status", "policy.freshness", "policy.measurement"})
"""Failed findings a policy may waive by name: its own silence is what makes them fail."""


def _waived(finding: Finding, policy: Policy) -> Finding:
    open_ = finding.outcome is Outcome.UNKNOWN or (finding.outcome is Outcome.FAILED and finding.check in WAIVABLE)
    waiver = policy.waiver(finding.check) if open_ else None
    if waiver is None:
        return finding
    place = Where(field=waiver.check, file=waiver.file or policy.file, line=waiver.line)
    return finding._replace(outcome=Outcome.WAIVED, because=waiver.why, where=(*finding.where, place))


def _none(policy: Policy) -> Finding:
    return Finding(
        NO_CLAIMS,
        Outcome.FAILED,
        expected="claims of genuine evidence",
        actual="none",
        where=(Where(file=policy.file),),
        hint="give evidence",
    )


def _one(claims: Claims, policy: Policy, at: datetime, *, measured: bool) -> tuple[str, list[Finding]]:
    """(what decided, findings) for one piece of evidence."""
    tree = claims.tree()
    findings: list[Finding] = []
    for rule in policy.rules:
        if rule.effect == "refuse":
            findings += _refused(rule, claims, tree, policy, at)
    matching = [rule for rule in policy.rules if rule.effect == "accept" and _matches(rule, tree, at)]
    offers: list[tuple[Rule, list[Finding]]] = []
    missed: list[Finding] = []
    for rule in matching:
        told = [_required(rule, item, claims, policy, tree, at) for item in rule.require]
        if all(item.outcome is Outcome.HELD for item in told):
            offers.append((rule, told + _implied(claims, policy, rule, at, measured=measured)))
        else:
            missed += [item for item in told if item.outcome is not Outcome.HELD]
    if not offers:
        return "policy.default-deny", findings + (missed or [_no_rule(claims, policy)])
    # any rule that holds whole will do, so that the order of rules never matters
    rule, told = next((offer for offer in offers if not _against(offer[1])), offers[0])
    return f"rule {rule.id!r} ({rule.file or policy.file}:{rule.line})", findings + told


def _against(findings: Iterable[Finding]) -> list[Finding]:
    """What speaks against acceptance: what is known to be wrong, what cannot be told, and last that nothing is left."""
    against = [item for item in findings if item.outcome in (Outcome.FAILED, Outcome.UNKNOWN)]
    return sorted(against, key=lambda item: 2 if item.check == NO_CLAIMS else item.outcome is Outcome.UNKNOWN)


def _matches(rule: Rule, tree: dict[str, Any], at: datetime) -> bool:
    return all(item.ask(tree, at)[0] is Told.YES for item in rule.when)


def _refused(rule: Rule, claims: Claims, tree: dict[str, Any], policy: Policy, at: datetime) -> Sequence[Finding]:
    """A refusing rule holds unless one of its conditions is known not to: what cannot be told refuses."""
    answers: list[tuple[Condition, Told, Any]] = []
    for item in rule.when:
        told, value = item.ask(tree, at)
        if told is Told.NO:
            return ()
        answers.append((item, told, value))
    kept = [item for item in rule.unless if item.ask(tree, at)[0] is not Told.YES]
    if rule.unless and not kept:
        return ()
    unknown = [item.path for item, told, _ in answers if told is Told.UNKNOWN]
    shown = ", ".join(f"{item.path} = {_shown(value)}" for item, told, value in answers if told is Told.YES)
    if unknown:
        actual = f"{CANNOT_TELL}{', '.join(unknown)}" + (f" ({shown})" if shown else "")
        hint = f"the evidence does not say {unknown[0]}; use a TEE that does, or let the rule name those alone (tee)"
    else:
        actual, hint = (
            shown,
            f"use a machine that rule {rule.id!r} does not name, or change line {rule.line} of the policy",
        )
    if kept:
        lifted = [_lift(item, tree, at) for item in kept]
        actual = ", ".join([actual, *(what for what, _ in lifted)])
        hint = LIFTED + " and ".join(how for _, how in lifted)
    places = tuple(_place(claims, item) for item, *_ in answers if item.path in claims.spans)
    return [
        Finding(
            f"policy.rule.{rule.id}",
            Outcome.FAILED,
            expected="not " + ", ".join(f"{item.path} {item.text}" for item in rule.when),
            actual=actual,
            where=(*places, Where(field=rule.id, file=rule.file or policy.file, line=rule.line)),
            because=rule.why,
            hint=hint,
        )
    ]


def _lift(item: Condition, tree: dict[str, Any], at: datetime) -> tuple[str, str]:
    """(what is there, what would lift the refusal) for an ``unless`` that does not hold."""
    value = item.ask(tree, at)[1]
    what = f"{item.path} = {_shown(value)}" if value is not None else f"cannot tell {item.path}"
    return what, f"{item.path} is {item.said(tree)} ({item.file}:{item.line})"


def _required(
    rule: Rule, item: Condition, claims: Claims, policy: Policy, tree: dict[str, Any], at: datetime
) -> Finding:
    told, value = item.ask(tree, at)
    wanted = item.said(tree)
    said = _more(item, value, claims, at)
    outcome = {Told.YES: Outcome.HELD, Told.NO: Outcome.FAILED, Told.UNKNOWN: Outcome.UNKNOWN}[told]
    hint = "" if told is Told.YES else item.hint(told, wanted)
    places = (_place(claims, item),) if item.path in claims.spans else ()
    return Finding(
        f"policy.rule.{rule.id}",
        outcome,
        expected=f"{item.path} {wanted}",
        actual=(_shown(value) if value is not None else "cannot tell") + (f" ({said})" if said else ""),
        where=(*places, Where(field=item.path, file=item.file or policy.file, line=item.line)),
        because=rule.why,
        hint=hint,
    )


def _more(item: Condition, value: Any, claims: Claims, at: datetime) -> str:
    """What the condition has to add: who signed the reference value, how long the grace lasts."""
    if item.tell is None or value is None:
        return ""
    try:
        return item.tell(value, at, {"tee": claims.tee})
    except (TypeError, ValueError, OverflowError):
        return ""


def _no_rule(claims: Claims, policy: Policy) -> Finding:
    kinds = sorted(policy.evidence_types())
    return Finding(
        "policy.default-deny",
        Outcome.FAILED,
        expected="a rule that accepts",
        actual=f"no accepting rule holds for tee {claims.tee}" + (" (SIMULATED)" if claims.simulated else ""),
        where=(Where(file=policy.file),),
        because="nothing is accepted by default",
        hint=f"this policy can accept {', '.join(kinds) or 'nothing'}; add a rule whose 'when' holds for this evidence",
    )


def _implied(claims: Claims, policy: Policy, rule: Rule, at: datetime, *, measured: bool) -> list[Finding]:
    """The strict answers to what the accepting rule does not speak about (design, section 4)."""
    rows: list[Finding] = []

    def add(check: str, outcome: Outcome, expected: str, actual: str, hint: str) -> None:
        span = claims.spans.get(check.replace("-", "_"))
        place = Where(field=rule.id, file=rule.file or policy.file, line=rule.line)
        because = f"rule {rule.id!r} does not speak about it, so the strict answer holds"
        row = Finding(
            f"policy.{check}", outcome, expected, actual, (*((Where.of(span),) if span else ()), place), because, hint
        )
        rows.append(_waived(row, policy))

    if claims.simulated and not (rule.names_nil or rule.names("simulated")):
        hint = 'a rule must name tee = "nil" (or simulated = true) to accept what protects nothing'
        add("simulated", Outcome.FAILED, "evidence of hardware", "SIMULATED", hint)
    if claims.debug is not False and not rule.names("debug"):
        hint = "the host can look inside: use a build without debug" if claims.debug else NO_DEBUG
        outcome, actual = (Outcome.FAILED, "debug") if claims.debug else (Outcome.UNKNOWN, "cannot tell")
        add("debug", outcome, "no debug", actual, hint)
    status = claims.tcb_status
    if status != "UpToDate" and (status or claims.tee in RATED) and not rule.names("tcb_status"):
        hint = "update firmware and microcode of the host, or say which statuses you accept (tcb_status)"
        outcome = Outcome.FAILED if status else Outcome.UNKNOWN
        add("tcb-status", outcome, "UpToDate", str(status or "cannot tell"), hint)
    until = claims.collateral.get("valid_until")
    fresh = isinstance(until, str) and until >= zulu(at)
    if not fresh and (until or claims.tee in DATED) and not rule.names("collateral.valid_until"):
        hint = "fetch current collateral, or judge at its time with --at"
        told = (Outcome.FAILED, f"valid until {until}") if until else (Outcome.UNKNOWN, "cannot tell")
        add("freshness", told[0], "collateral within its signed validity", told[1], hint)
    if measured and not claims.simulated and not rule.says_what_runs:
        hint = 'require a measurement, for example "measurements.launch" = "@keep-images"'
        add("measurement", Outcome.UNKNOWN, "a rule that says what may run", "any code at all", hint)
    return rows


def _place(claims: Claims, item: Condition) -> Where:
    return Where.of(claims.spans[item.path])


def _shown(value: Any) -> str:
    text = "true" if value is True else "false" if value is False else str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
