"""The event log of dstack's guests: a JSON list of what extended the runtime registers (dstack, cc-eventlog).

An entry has ``imr``, 0 to 3 for RTMR 0 to 3; ``event_type`` (TCG PFP 1.06 table 27, or :data:`OWN`); ``digest``, in
hexadecimal, of SHA-384; ``event`` and ``event_payload``, of dstack's own events a name and a value in hexadecimal. The
digest of an own event need not stand there; its ``version``, 1 where none is stated, says what it is the SHA-384 of:

1. type as u32, little endian ‖ ":" ‖ name ‖ ":" ‖ value;
2. ``{"name":…,"payload":…,"type":…}`` in canonical JSON (RFC 8785), the value in hexadecimal.

The texts of firmware's events are left out: nothing is said of them.
"""

from __future__ import annotations

import json
from hashlib import sha384
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.wire.eventlog import MAX_EVENTS, MAX_LOG, Event, EventLog

OWN = 0x08000001
REGISTERS = range(4)
_SIZE = 48


def parse(data: bytes) -> EventLog:
    """The log in ``data``, at most 4 MiB. Registers are numbered as in a CCEL: 1 to 4; an offset counts entries.

    Raises:
        MalformedEvidence: no list of such entries, an own event whose digest is another, or none at all.
    """
    if len(data) > MAX_LOG:
        raise MalformedEvidence("event log", 0, f"at most {MAX_LOG} bytes", len(data))
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedEvidence("event log", 0, "JSON", "something else") from None
    if not isinstance(rows, list) or len(rows) > MAX_EVENTS:
        raise MalformedEvidence("event log", 0, f"a list of at most {MAX_EVENTS} entries", type(rows).__name__)
    events = tuple([_event(row, index) for index, row in enumerate(rows)])
    return EventLog(data, events, ("sha384",), True, b"", len(data), 0)


def _event(row: Any, index: int) -> Event:
    register, kind, name = (_member(row, index, key, known) for key, known in _MEMBERS)
    if register not in REGISTERS:
        raise MalformedEvidence(f"event {index}: imr", index, "0 to 3", register)
    digest, payload = _octets(row, index, "digest"), _octets(row, index, "event_payload")
    if kind == OWN:
        measured = sha384(_said(row.get("version", 1), name, payload, index)).digest()
        if digest not in (b"", measured):
            need = "the digest of type, name and value"
            raise MalformedEvidence(f"event {index}: digest", index, need, digest.hex())
        digest = measured
    if len(digest) != _SIZE:
        raise MalformedEvidence(f"event {index}: digest", index, f"{_SIZE} bytes", len(digest))
    return Event(register + 1, kind, {"sha384": digest}, payload, index, index)


def _said(version: Any, name: str, payload: bytes, index: int) -> bytes:
    if type(version) is not int or version not in (1, 2):
        # an unknown version cannot be left unchecked: anybody could state one, and then any name and value
        raise MalformedEvidence(f"event {index}: version", index, "1 or 2", repr(version)[:60])
    if version == 1:
        return OWN.to_bytes(4, "little") + b":" + name.encode(errors="replace") + b":" + payload
    text = json.dumps(name, ensure_ascii=False)
    return f'{{"name":{text},"payload":"{payload.hex()}","type":{OWN}}}'.encode(errors="replace")


_MEMBERS: tuple[tuple[str, type], ...] = (("imr", int), ("event_type", int), ("event", str))


def _member(row: Any, index: int, key: str, known: type) -> Any:
    value = row.get(key) if isinstance(row, dict) else None
    if type(value) is not known:
        raise MalformedEvidence(f"event {index}: {key}", index, known.__name__, repr(value)[:60])
    return value


def _octets(row: dict[str, Any], index: int, key: str) -> bytes:
    value = row.get(key, "")
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError):
        raise MalformedEvidence(f"event {index}: {key}", index, "hexadecimal", repr(value)[:60]) from None
