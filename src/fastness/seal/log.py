"""The measurement log: append-only, replayed into a runtime register, so that evidence speaks for the workload.

Register: 48 bytes, zero at start; ``r' = SHA-384(r ‖ SHA-384(kind length ‖ kind ‖ digest))`` for each event. On
hardware the same events go to RTMR 3 or PCR 15.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from fastness.errors import MalformedEvidence

REGISTER_SIZE = 48
MAX_EVENTS = 256
WORKLOAD, CONFIGURATION, POISON = "workload", "configuration", "poison"
KINDS = (WORKLOAD, CONFIGURATION, POISON)


@dataclass(frozen=True, slots=True)
class Event:
    """One measured thing: ``kind`` of :data:`KINDS`, SHA-256 ``digest`` (32 bytes)."""

    kind: str
    digest: bytes


def replay(events: tuple[Event, ...]) -> bytes:
    """The register after ``events``."""
    register = bytes(REGISTER_SIZE)
    for event in events:
        kind = event.kind.encode()
        measured = hashlib.sha384(bytes((len(kind),)) + kind + event.digest).digest()
        register = hashlib.sha384(register + measured).digest()
    return register


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


def only(events: tuple[Event, ...], kind: str) -> bytes | None:
    """The digest of the one event of ``kind``; None if there is none.

    Raises:
        MalformedEvidence: more than one (a keep takes one workload in its life).
    """
    found = [event.digest for event in events if event.kind == kind]
    if len(found) > 1:
        raise MalformedEvidence("log", 0, f"at most one {kind}", len(found))
    return found[0] if found else None
