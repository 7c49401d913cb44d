"""What would turn a refusal: the fewest things in the way, and for each what the host or the policy could change.

A verdict is turned when nothing speaks against it any more: refusing rules, unanswered checks and the strict answers
all count, and of the accepting rules the one with the fewest unmet conditions. What cannot be changed on a machine (its
processor's generation) is said to want another machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastness.appraise.answers import CANNOT_TELL, LIFTED
from fastness.appraise.conditions import FOREIGN, date
from fastness.claims.finding import Finding, Outcome
from fastness.language import ENGLISH, Language

RULE = "policy.rule."
FIXED = ("cpu.", "tee", "hardware_id", "cloud", "sgx.fmspc", "tdx.fmspc", "sgx.platform_instance_id",
         "tdx.platform_instance_id")  # fmt: skip
"""Claims of the machine itself: no update changes them."""

TYPE, UNREADABLE = "policy.evidence-type", "policy.unreadable"
"""What was refused before there were claims to judge: no waiver helps."""

_BOUND = re.compile(r"(\S+) (>=|<=|>|<) ?(\S+)(?: \((\S+)\))?")
_DAYS = re.compile(r"\S+ at most \d+ days old.*")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing in the way: the check, what the host could do, what the policy could say instead."""

    check: str
    host: str
    policy: str

    def to_json(self) -> dict[str, str]:
        """Words for machines."""
        return {"check": self.check, "host": self.host, "policy": self.policy}


def smallest(against: Iterable[Finding], at: datetime) -> tuple[Change, ...]:
    """The fewest changes that would turn a refusal at ``at`` into an acceptance, from the findings ``against`` it."""
    always: list[Finding] = []
    by_rule: dict[str, list[Finding]] = {}
    for finding in against:
        if _required(finding):
            by_rule.setdefault(finding.check, []).append(finding)
        else:
            always.append(finding)
    fewest = min(by_rule.values(), key=len, default=[])
    return tuple(dict.fromkeys(_change(finding, at) for finding in (*always, *fewest)))


def words(against: Iterable[Finding], at: datetime, language: Language = ENGLISH) -> str:
    """The changes as one sentence; empty where there are none."""
    changes = smallest(against, at)
    return sentence([(item.host, item.policy) for item in changes], language) if changes else ""


def sentence(changes: Iterable[tuple[str, str]], language: Language = ENGLISH) -> str:
    """``would be accepted …``, from what host or policy could change, for each thing in the way."""
    return language.fill("would be accepted {0}", language.fill("; and ").join(ways(changes, language)))


def ways(changes: Iterable[tuple[str, str]], language: Language = ENGLISH) -> list[str]:
    """For each thing in the way what host or policy could change."""
    return [language.fill(" or ").join(language.say(item) for item in change if item) for change in changes]


def _rule(finding: Finding) -> str:
    return finding.check.removeprefix(RULE) if finding.check.startswith(RULE) else ""


def _required(finding: Finding) -> bool:
    """Whether it is an unmet condition of an accepting rule (its place names the claim, a refusing rule's the rule)."""
    return bool(_rule(finding)) and bool(finding.where) and finding.where[-1].field != _rule(finding)


def _change(finding: Finding, now: datetime) -> Change:
    place = finding.where[-1] if finding.where else None
    at = f"{place.file}:{place.line}" if place is not None and place.file and place.line else ""
    if _required(finding) and place is not None and place.field in FOREIGN:
        return Change(finding.check, f"where {place.field} {finding.expected.partition(' ')[2]}", f"with {at} changed")
    if _required(finding) and place is not None:
        return Change(finding.check, _host(finding, place.field), _relaxed(finding, at, now))
    if _rule(finding):
        return _unrefused(finding, at)
    if finding.check == "policy.default-deny":
        return Change(finding.check, "", f"with a rule whose 'when' holds for it, beside {place.file if place else ''}")
    if finding.check == TYPE:
        host = "" if finding.expected == "evidence of nothing" else f"on a host with {finding.expected}"
        return Change(finding.check, host, f"with a rule that accepts {finding.actual}")
    waive = "" if finding.check == UNREADABLE else f'with a [[waive]] of "{finding.check}" and a reason'
    return Change(finding.check, f"after this: {finding.hint}", waive)


def _unrefused(finding: Finding, at: str) -> Change:
    """What would keep a refusing rule from holding."""
    rule, absent = f"rule {_rule(finding)!r} ({at})", finding.actual.removeprefix(CANNOT_TELL)
    if finding.hint.startswith(LIFTED):
        return Change(finding.check, f"where {finding.hint.removeprefix(LIFTED)}", f"without {rule}")
    if absent != finding.actual:
        claim = absent.partition(" (")[0].partition(",")[0]
        return Change(finding.check, f"with evidence that says {claim}", f"with {rule} for TEEs that say it alone")
    return Change(finding.check, "on a machine that it does not name", f"without {rule}")


def _host(finding: Finding, path: str) -> str:
    if path.startswith(FIXED):
        return f"on another machine, whose {finding.expected}"
    if path.startswith("measurements"):
        return f"if what runs there had {finding.expected}"
    if path.startswith("collateral."):
        return f"with collateral whose {finding.expected}"
    return f"if {finding.expected} on the host"


def _relaxed(finding: Finding, at: str, now: datetime) -> str:
    """The policy's line with what is there: a bound moves to it, any other condition admits it."""
    actual = finding.actual.split(" (")[0]
    if actual == "cannot tell" and finding.where[-1].field == "debug":  # the strict answer would take the line's place
        return f'without {at}, with a [[waive]] of "policy.debug" and a reason'
    if actual == "cannot tell":
        return f"without {at}"
    bound = _BOUND.fullmatch(finding.expected)
    if bound is not None:
        sign = {">": ">=", "<": "<="}.get(bound[2], bound[2])
        return f"with {at} at {sign}{actual}" + (f" for {bound[4]}" if bound[4] else "")
    if _DAYS.fullmatch(finding.expected) and finding.outcome is Outcome.FAILED:
        return f"with {at} at {{ days = {-((date(actual) - now) // timedelta(days=1))} }}"
    return f"with {at} admitting {actual}"
