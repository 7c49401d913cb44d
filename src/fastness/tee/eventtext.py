"""The text of events against their digests: which texts of a measured boot a register vouches for.

A register vouches for digests only. The text beside a digest is free for a liar to choose, unless the event's type says
that the digest is the hash of the text (TCG PFP 1.06 section 10.4). Those are checked in every bank the log has: a text
that fits its digest in one bank and not in another was altered.
"""

from __future__ import annotations

import hashlib

from fastness.errors import MalformedEvidence
from fastness.wire import eventlog as tcg
from fastness.wire.cursor import Cursor
from fastness.wire.eventlog import Event, EventLog

PREFIXES = (b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: ")
"""GRUB 2.04 and later: EV_IPL text after the prefix, without its final zero, is what was measured."""

SEPARATORS = (bytes(4), b"\xff" * 4)
ERROR = b"\x01\0\0\0"

_WHOLE = {
    tcg.EV_S_CRTM_VERSION, tcg.EV_ACTION, tcg.EV_EFI_ACTION, tcg.EV_EFI_VARIABLE_DRIVER_CONFIG,
    tcg.EV_EFI_VARIABLE_BOOT2, tcg.EV_EFI_GPT_EVENT,
}  # fmt: skip


def variable(data: bytes, offset: int = 0) -> tuple[bytes, str, bytes]:
    """UEFI_VARIABLE_DATA: (vendor GUID, name, value). PFP section 10.2.6, little endian."""
    cursor = Cursor(data, offset)
    guid = cursor.take(16, "variable.guid")
    length, size = cursor.little(8, "variable.nameLength"), cursor.little(8, "variable.dataLength")
    if length > 1024:
        raise MalformedEvidence("variable.nameLength", offset + 16, "at most 1024", length)
    name = cursor.take(2 * length, "variable.name").decode("utf-16-le", "replace")
    return guid, name, cursor.take(size, "variable.data")


def _measured(event: Event) -> tuple[bytes, ...] | None:
    """What the event's digest may be the hash of; None where its type does not say."""
    data = event.data
    if event.type in _WHOLE:
        return (data,)
    if event.type == tcg.EV_SEPARATOR:
        return (data,) if data in SEPARATORS else (data, ERROR)
    if event.type == tcg.EV_EFI_VARIABLE_AUTHORITY:
        return (data, data[:-1])  # shim before 15 logs one byte more than it measures
    if event.type == tcg.EV_EFI_VARIABLE_BOOT:
        try:
            return (data, variable(data, event.data_offset)[2])
        except MalformedEvidence:
            return (data,)
    if event.type == tcg.EV_IPL:
        return next(((data[len(p) :].rstrip(b"\0"), data[len(p) :]) for p in PREFIXES if data.startswith(p)), None)
    return None


def altered(log: EventLog) -> tuple[Event, str] | None:
    """The first event whose text is not what was measured, and the bank whose digest says so."""
    for event in log.events:
        measured = _measured(event) if event.type != tcg.EV_NO_ACTION else None
        if measured is None:
            continue
        for bank, digest in event.digests.items():
            if bank not in hashlib.algorithms_available:
                continue
            if all(hashlib.new(bank, text).digest() != digest for text in measured):
                return event, bank
    return None
