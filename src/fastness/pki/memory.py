"""What was judged lately, so that the evidence of one machine shares the judgement of its certificates.

A key names everything that decides the answer, time apart: an entry speaks for no other root, certificate or list.
Time is judged on every call: an entry holds strictly between two neighbouring dates of all that was supplied, because
nothing changes in between; on or outside them everything is judged again.
"""

from __future__ import annotations

from _thread import allocate_lock  # threading's Lock, without the millisecond of its import
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from fastness.wire import x509

V = TypeVar("V")
Window = tuple[datetime, datetime]
"""Between these two times, both excluded, nothing that was supplied begins or ends."""


class Memory(Generic[V]):
    """At most ``limit`` values; the one not asked for the longest goes first."""

    def __init__(self, limit: int) -> None:
        self._held: OrderedDict[Hashable, tuple[V, Window]] = OrderedDict()
        self._limit = limit
        self._lock = allocate_lock()

    def get(self, key: Hashable, at: datetime) -> V | None:
        """The value of ``key``, if it holds at ``at``."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            value, (after, before) = found
            if not after < at < before:
                return None
            self._held.move_to_end(key)
            return value

    def put(self, key: Hashable, value: V, window: Window) -> None:
        """Remembers ``value`` for times within ``window``."""
        with self._lock:
            self._held[key] = value, window
            while len(self._held) > self._limit:
                self._held.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._held.clear()

    def __len__(self) -> int:
        return len(self._held)


def window(
    at: datetime, certificates: Iterable[x509.Certificate], lists: Iterable[x509.Crl], more: Iterable[datetime] = ()
) -> Window:
    """The neighbours of ``at`` among the dates of ``certificates``, ``lists`` and ``more``.

    ``at`` itself, which holds at no time, where a list is from later: the dates of its revocations count too, and it
    may have thousands.
    """
    lists = tuple(lists)
    if any(entry.this_update > at for entry in lists):
        return at, at
    dates = [*more]
    for item in certificates:
        dates += (item.not_before, item.not_after)
    for entry in lists:
        dates += (entry.this_update, entry.next_update or entry.this_update)
    before, after = [date for date in dates if date <= at], [date for date in dates if date >= at]
    return max(before, default=_EVER), min(after, default=_FOREVER)


_EVER, _FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
