"""A verdict in words: what speaks against it, what was waived, what decided, and what would turn it."""

from __future__ import annotations

from fastness.appraise.turn import words
from fastness.appraise.verdict import Verdict
from fastness.claims.finding import Finding, Outcome

_MARKS = {
    Outcome.FAILED: "✗",
    Outcome.UNKNOWN: "?",
    Outcome.WAIVED: "~",
    Outcome.NOTE: "·",
    Outcome.HELD: "✓",
}
_ORDER = [Outcome.FAILED, Outcome.UNKNOWN, Outcome.WAIVED, Outcome.NOTE, Outcome.HELD]


def text(verdict: Verdict) -> str:
    """The explanation, worst first; the last line is the decision."""
    lines = []
    for finding in sorted(verdict.findings, key=lambda item: _ORDER.index(item.outcome)):
        lines += _finding(finding)
    word = "accepted" if verdict.accepted else "refused"
    at = verdict.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    lines.append(
        f"{word} by {verdict.decided_by}, policy {verdict.policy} (sha-256 {verdict.policy_digest[:16]}…), at {at}"
    )
    turn = words(verdict)
    return "\n".join([*lines, turn] if turn else lines)


def _finding(finding: Finding) -> list[str]:
    lines = [f"{_MARKS[finding.outcome]} {finding.check}: {_middle(finding)}"]
    lines += [f"    where    {place}" for place in finding.where if str(place)]
    lines += [f"    because  {finding.because}"] if finding.because else []
    lines += [f"    hint     {finding.hint}"] if finding.hint and finding.outcome is not Outcome.HELD else []
    return lines


def _middle(finding: Finding) -> str:
    if finding.expected and finding.actual:
        return f"{finding.outcome.value}: expected {finding.expected}, found {finding.actual}"
    return finding.actual or finding.expected or finding.outcome.value
