"""What a measured boot says: rules that tie the text of events to their digests, and what may be claimed from it.

A register vouches for digests only. The text beside a digest is free for a liar to choose, unless the event's type says
that the digest is the hash of the text (TCG PFP 1.06 section 10.4). Those are checked in every bank the log has: a text
that fits its digest in one bank and not in another was altered. No claim is made from any other text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from fastness.errors import MalformedEvidence, NotGenuine
from fastness.wire import eventlog as tcg
from fastness.wire.cursor import Cursor
from fastness.wire.eventlog import Event, EventLog

GLOBAL_VARIABLE = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
"""EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c as it lies in memory."""

PREFIXES = (b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: ")
"""GRUB 2.04 and later: EV_IPL text after the prefix, without its final zero, is what was measured."""

SEPARATORS = (bytes(4), b"\xff" * 4)
ERROR = b"\x01\0\0\0"
MAX_CLAIMED = 4096

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


def check(log: EventLog) -> None:
    """Step 5 of :mod:`fastness.tee.tpm.verify`: every text that a digest speaks for is the text that was measured.

    Raises:
        NotGenuine: ``tpm.event-content``.
    """
    for event in log.events:
        measured = _measured(event) if event.type != tcg.EV_NO_ACTION else None
        if measured is None:
            continue
        for bank, digest in event.digests.items():
            if bank not in hashlib.algorithms_available:
                continue
            if all(hashlib.new(bank, text).digest() != digest for text in measured):
                raise NotGenuine(
                    "tpm.event-content",
                    f"{event.name} in PCR {event.index}: the {bank} digest is not the hash of the event",
                    where=f"event log at byte {event.offset}",
                    hint="the event log was altered on the way; get it again from the guest",
                )


def facts(log: EventLog, bank: str, trusted: Iterable[int]) -> dict[str, Any]:
    """What the log says about the boot, from the registers in ``trusted`` only (those that replay to quoted values).

    ``secure_boot`` (PCR 7), ``command_lines`` (PCR 8, 9 or 12: what GRUB or the stub passed to the kernel). Absent
    when the log does not say.
    """
    wanted = set(trusted)
    events = [event for event in log.events if event.index in wanted and event.type != tcg.EV_NO_ACTION]
    found: dict[str, Any] = {}
    states = set(_secure_boot(event for event in events if event.index == 7))
    if len(states) == 1:
        found["secure_boot"] = states.pop()
    lines = [line for event in events if (line := _command_line(event, bank)) is not None]
    if lines:
        found["command_lines"] = lines
    return found


def _secure_boot(events: Iterator[Event]) -> Iterator[bool]:
    """States that PCR 7 records before its separator: what is measured after it is not the firmware's word."""
    for event in events:
        if event.type == tcg.EV_SEPARATOR:
            return
        if event.type != tcg.EV_EFI_VARIABLE_DRIVER_CONFIG:
            continue
        try:
            guid, name, value = variable(event.data, event.data_offset)
        except MalformedEvidence:
            continue
        if guid == GLOBAL_VARIABLE and name == "SecureBoot":
            yield value == b"\x01"


def _command_line(event: Event, bank: str) -> str | None:
    if event.type == tcg.EV_IPL and event.index == 8 and event.data.startswith(b"kernel_cmdline: "):
        text = event.data.removeprefix(b"kernel_cmdline: ").rstrip(b"\0")
        return text[:MAX_CLAIMED].decode("utf-8", "replace")
    if event.type in (tcg.EV_IPL, tcg.EV_EVENT_TAG) and event.index in (9, 12):
        return _utf16(event, bank)
    return None


def _utf16(event: Event, bank: str) -> str | None:
    """UTF-16 load options (systemd-stub in PCR 12, the kernel's EFI stub in PCR 9) where the digest speaks for them."""
    for text in (event.data, event.data[8:]):
        if hashlib.new(bank, text).digest() == event.digests.get(bank) and len(text) % 2 == 0 and text[1:2] == b"\0":
            return text[:MAX_CLAIMED].decode("utf-16-le", "replace").rstrip("\0")
    return None
