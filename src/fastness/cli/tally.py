"""What became of records that were judged again, and how far the judging is."""

from __future__ import annotations

import sys
from typing import Any

from fastness.appraise.records import UNREADABLE

BAR = 30
"""Characters of a progress bar."""

EVERY = 500
"""Records between two looks at it."""


class Tally:
    """What became of the records, by verdict and rule; a progress bar where somebody watches.

    The bar goes by bytes read of what the files hold; of a stream, whose end nobody knows, only the count is told.
    """

    def __init__(self) -> None:
        self.total = 0
        self.moves = dict.fromkeys(("still-accepted", "still-refused", "now-accepted", "now-refused", "unreadable"), 0)
        self.by: dict[str, int] = {}
        self.size = self.read = 0
        self._watched = sys.stderr.isatty()

    def __call__(self, before: bool | None, after: bool, by: str) -> None:
        """One record that was ``before`` and is ``after``, as ``by`` decided."""
        self.total += 1
        move = f"{'still' if before is after else 'now'}-{'accepted' if after else 'refused'}"
        self.moves["unreadable" if by == UNREADABLE else move] += 1
        self.by[by] = self.by.get(by, 0) + 1
        if self._watched and self.total % EVERY == 0:
            self._show()

    @property
    def refused(self) -> bool:
        """Whether a record that was not refused before is now, or cannot be told."""
        return bool(self.moves["now-refused"] or self.moves["unreadable"])

    def _show(self) -> None:
        bar = ""
        if self.size:
            done = min(self.read / self.size, 1.0)
            bar = f"[{'#' * round(done * BAR):{BAR}}] {done:4.0%}  "
        sys.stderr.write(f"\r{bar}{self.total} records, {self.moves['now-refused']} would now be refused ")
        sys.stderr.flush()

    def summary(self) -> dict[str, Any]:
        """The end of it, in words for machines."""
        self.end()
        return {"records": self.total, **self.moves, "decided_by": self.by}

    def end(self) -> None:
        """There are no more."""
        if self._watched and self.total >= EVERY:
            self.read = self.size
            self._show()
            sys.stderr.write("\n")
