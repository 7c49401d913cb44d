"""A verdict in words: what speaks against it, what was waived, what decided, and what would turn it."""

from __future__ import annotations

from collections.abc import Iterable

from fastness.appraise.turn import words
from fastness.appraise.verdict import Verdict
from fastness.claims.finding import Finding, Outcome
from fastness.language import ENGLISH, Language
from fastness.wire.der import zulu

_MARKS = {
    Outcome.FAILED: "✗",
    Outcome.UNKNOWN: "?",
    Outcome.WAIVED: "~",
    Outcome.NOTE: "·",
    Outcome.HELD: "✓",
}
_ORDER = [Outcome.FAILED, Outcome.UNKNOWN, Outcome.WAIVED, Outcome.NOTE, Outcome.HELD]


def text(verdict: Verdict, language: Language = ENGLISH) -> str:
    """The explanation, worst first; the last line is the decision."""
    lines = told(verdict.findings, language)
    word = "accepted" if verdict.accepted else "refused"
    template = word + " by {0}, policy {1} (sha-256 {2}…), at {3}"
    at = zulu(verdict.at)
    lines.append(language.fill(template, verdict.decided_by, verdict.policy, verdict.policy_digest[:16], at))
    turn = words(verdict.against, verdict.at, language)
    return "\n".join([*lines, turn] if turn else lines)


def told(findings: Iterable[Finding], language: Language = ENGLISH) -> list[str]:
    """Each finding with what was expected and found, where, because, hint; worst first."""
    ordered = sorted(findings, key=lambda item: _ORDER.index(item.outcome))
    return [line for finding in ordered for line in _finding(finding, language)]


def _finding(finding: Finding, language: Language) -> list[str]:
    lines = [f"{_MARKS[finding.outcome]} {language.named(finding.check)}: {_middle(finding, language)}"]

    def row(label: str, said: str) -> None:
        lines.append(f"    {language.column(language.label(label), 9)}{said}")

    for place in finding.where:
        if str(place):
            row("where", str(place))
    if finding.because:
        row("because", language.say(finding.because))
    if finding.hint and finding.outcome is not Outcome.HELD:
        row("hint", language.advice(finding.check, finding.hint))
    return lines


def _middle(finding: Finding, language: Language) -> str:
    outcome = language.outcome(finding.outcome.value)
    if finding.expected and finding.actual:
        return language.fill("{0}: expected {1}, found {2}", outcome, finding.expected, finding.actual)
    return language.say(finding.actual or finding.expected) or outcome
