"""Named sets: text a policy lists itself, and rows of reference values that enough auditors signed.

A row of reference values counts at a time when at least ``threshold`` distinct auditors state it then: each by a
statement of their own, or by a signature under a common one. One auditor counts once, whatever they sign; a statement
counts from ``issued`` until it expires, its auditor's key expires, or either is withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastness.appraise import vocabulary
from fastness.appraise.answers import Answer, Tell, Wrong

if TYPE_CHECKING:
    from fastness.appraise.reference import Row

FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Vote:
    """One auditor's word for a row. ``auditor`` is empty where nobody's signature was asked for."""

    auditor: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """Rows and the votes for each, under one rule of who must sign. ``auditors`` are all that could."""

    threshold: int
    auditors: tuple[str, ...]
    rows: tuple[tuple[Row, tuple[Vote, ...]], ...]
    _index: dict[tuple[str, str, str], list[int]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for number, (row, _) in enumerate(self.rows):
            for name, values in row.measurements.items():
                for value in values:
                    self._index.setdefault((row.tee, name, value), []).append(number)

    def signers(self, number: int, at: datetime) -> frozenset[str]:
        """Who vouches for a row at ``at``."""
        return frozenset(item.auditor for item in self.rows[number][1] if item.since <= at < item.until)

    def counts(self, number: int, at: datetime) -> bool:
        """Whether enough do."""
        return len(self.signers(number, at)) >= max(self.threshold, 1)

    def stating(self, tee: Any, name: str, value: str) -> list[int]:
        """The rows that have ``value`` for the measurement ``name``."""
        return self._index.get((tee, name, value), [])

    def whole(self, tee: Any, found: Mapping[str, Any]) -> Iterator[tuple[int, bool]]:
        """(row, whether every name of it is there) for the rows that nothing found speaks against."""
        for number, (row, _) in enumerate(self.rows):
            if row.tee != tee:
                continue
            present = [(found[name], values) for name, values in row.measurements.items() if name in found]
            if present and all(isinstance(value, str) and value.lower() in values for value, values in present):
                yield number, len(present) == len(row.measurements)

    def story(self, number: int, at: datetime) -> str:
        """Who signed a row, who did not, and whose word is out of date."""
        held = self.signers(number, at)
        if not self.threshold:
            return "stated" if held else "its statement is not valid at this time"
        late = {vote.auditor for vote in self.rows[number][1]} - held
        parts = [f"signed by {', '.join(sorted(held)) or 'nobody'}, {self.threshold} needed"]
        missing = sorted(set(self.auditors) - held - late)
        parts += [f"missing {', '.join(missing)}"] if missing and len(held) < self.threshold else []
        parts += [f"no longer valid: {', '.join(sorted(late))}"] if late else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class NamedSet:
    """What ``"@name"`` stands for: ``members`` (lower case), and groups of rows of reference values."""

    name: str
    members: frozenset[str] = frozenset()
    groups: tuple[Group, ...] = ()

    def answer(self, path: str) -> Answer:
        """The matcher for a claim at ``path``.

        Raises:
            Wrong: the set has rows only, and the path is no measurement; or members only, and it is all of them.
        """
        if path == "measurements":
            if not self.groups:
                raise Wrong(f'"@{self.name}" lists text; measurements as a whole need reference values')
            return self._whole
        top, _, name = path.partition(".")
        if self.groups and not self.members and top != "measurements":
            raise Wrong(f'"@{self.name}" are reference values; they say nothing of {path}')

        for member in sorted(self.members):
            if fault := vocabulary.fault(path, member):
                raise Wrong(f'"@{self.name}": {fault}')

        def holds(value: Any, at: datetime, claims: Mapping[str, Any]) -> bool:
            if not isinstance(value, str):
                raise TypeError("not text")
            value = value.lower()
            return value in self.members or (top == "measurements" and self._stated(name, value, at, claims))

        return holds

    def _stated(self, name: str, value: str, at: datetime, claims: Mapping[str, Any]) -> bool:
        tee = claims.get("tee")
        return any(group.counts(row, at) for group in self.groups for row in group.stating(tee, name, value))

    def _whole(self, value: Any, at: datetime, claims: Mapping[str, Any]) -> bool:
        if not isinstance(value, Mapping):
            raise TypeError("not measurements")
        unknown = False
        for group in self.groups:
            for row, complete in group.whole(claims.get("tee"), value):
                if group.counts(row, at):
                    if complete:
                        return True
                    unknown = True
        if unknown:
            raise TypeError("a row names a measurement that the evidence lacks")
        return False

    def tell(self, path: str) -> Tell | None:
        """Says who stands behind the rows that a claim at ``path`` is among; None for sets without any."""
        if not self.groups:
            return None
        name = path.partition(".")[2]

        def tell(value: Any, at: datetime, claims: Mapping[str, Any]) -> str:
            tee, stories = claims.get("tee"), []
            for group in self.groups:
                if isinstance(value, str):
                    rows = group.stating(tee, name, value.lower())
                else:
                    rows = [row for row, complete in group.whole(tee, value) if complete]
                stories += [group.story(row, at) for row in rows]
            return "; or ".join(dict.fromkeys(stories)) or f"no row of @{self.name} for {tee} has it"

        return tell
