"""Findings: what each check saw. A finding says id, outcome, expected, actual, where, because, hint."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from fastness.wire.hexdump import Span


class Outcome(Enum):
    """How a check ended. Only ``HELD`` and ``NOTE`` let evidence pass; ``UNKNOWN`` refuses unless waived by name."""

    HELD = "held"
    NOTE = "note"
    WAIVED = "waived"
    UNKNOWN = "not-checked"
    FAILED = "failed"


class Where(NamedTuple):
    """A place: a span of bytes in the evidence, or a line of a policy or manifest file."""

    field: str = ""
    offset: int | None = None
    size: int | None = None
    file: str = ""
    line: int | None = None
    column: int | None = None

    @classmethod
    def of(cls, span: Span) -> Where:
        """The place of a named span of evidence."""
        return cls(span.field, span.offset, span.size)

    def __str__(self) -> str:
        if self.file:
            place = self.file + (f":{self.line}" if self.line else "") + (f":{self.column}" if self.column else "")
            return f"{place} {self.field}".strip()
        if self.offset is None:
            return self.field
        return f"{self.field} at byte 0x{self.offset:x}" + (f", {self.size} bytes" if self.size else "")

    def to_json(self) -> dict[str, Any]:
        """Only what is known."""
        names = ("field", "offset", "size", "file", "line", "column")
        return {name: value for name in names if (value := getattr(self, name)) not in ("", None)}


class Finding(NamedTuple):
    """What one check saw.

    Attributes:
        check: id in ``checks.toml``, ``<tee>.<check>`` or ``policy.<check>``.
        expected, actual: what was wanted and what was there, for people; short.
        where: places in evidence and policy.
        because: why it matters, or the reason a rule gives.
        hint: the smallest change that would turn it.
    """

    check: str
    outcome: Outcome
    expected: str = ""
    actual: str = ""
    where: tuple[Where, ...] = ()
    because: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """For ``fastness/verdict/v1``."""
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "expected": self.expected,
            "actual": self.actual,
            "where": [place.to_json() for place in self.where],
            "because": self.because,
            "hint": self.hint,
        }


class Check(NamedTuple):
    """One row of ``checks.toml``: ``short`` (a few words), ``long`` (what a pass means), ``hint``, ``spec``.

    ``waivable``: it can stay unanswered, and then a policy may waive it. What cryptography or format decides never is.
    """

    id: str
    short: str
    long: str
    hint: str
    spec: str
    waivable: bool = False


@cache
def table() -> dict[str, Check]:
    """Every check there is, from ``checks.toml`` at the root of the package and the tables beside each TEE."""
    import tomllib
    from importlib.resources import files

    root = files("fastness").joinpath("checks")
    found: dict[str, Check] = {}
    for part in sorted(item.name for item in root.iterdir() if item.name.endswith(".toml")):
        rows: dict[str, dict[str, Any]] = tomllib.loads(root.joinpath(part).read_text("utf-8"))
        prefix = part.removesuffix(".toml")
        for name, row in rows.items():
            check = f"{prefix}.{name}"
            found[check] = Check(check, row["short"], row["long"], row["hint"], row["spec"], row.get("waivable", False))
    return found


def describe(check: str) -> Check:
    """The row of ``check``; an id that has none is a bug of ours."""
    return table()[check]
