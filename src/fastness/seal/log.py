"""The measurement log: append-only, replayed into a runtime register, so that evidence speaks for the workload.

Register: zero at start; ``r' = H(r ‖ H(kind length ‖ kind ‖ digest))`` for each event, where H is SHA-384 (48 bytes:
``nil``, RTMR 3) or SHA-256 (32 bytes: PCR 15). Where a platform has no such register, the keep's signature stands for
the log.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence

MAX_EVENTS = 256
DEBUG, WORKLOAD, CONFIGURATION, POISON = "debug", "workload", "configuration", "poison"
KINDS = (DEBUG, WORKLOAD, CONFIGURATION, POISON)


class Event(NamedTuple):
    """One measured thing: ``kind`` of :data:`KINDS`, SHA-256 ``digest`` (32 bytes)."""

    kind: str
    digest: bytes


def measured(event: Event) -> bytes:
    """The bytes of ``event`` whose hash extends a register."""
    kind = event.kind.encode()
    return bytes((len(kind),)) + kind + event.digest


def parse_measured(data: bytes) -> Event:
    """The event of which ``data`` is :func:`measured`.

    Raises:
        MalformedEvidence: it is none.
    """
    size = data[0] if data else 0
    return from_value([[data[1 : 1 + size].decode("ascii", "replace"), data[1 + size :]]])[0]


def to_value(events: tuple[Event, ...]) -> list[list[Any]]:
    """The log as a CBOR value: an array of [kind, digest]."""
    return [[event.kind, event.digest] for event in events]


def from_value(value: Any) -> tuple[Event, ...]:
    """The log from its CBOR value."""
    if not isinstance(value, list) or len(value) > MAX_EVENTS:
        raise MalformedEvidence("log", 0, f"an array of at most {MAX_EVENTS} events", type(value).__name__)
    events = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2 or item[0] not in KINDS:
            raise MalformedEvidence("log event", 0, "[kind, digest] of a known kind", repr(item)[:60])
        if not isinstance(item[1], bytes) or len(item[1]) != 32:
            raise MalformedEvidence("log event digest", 0, "32 bytes", repr(item[1])[:40])
        events.append(Event(item[0], item[1]))
    return tuple(events)
