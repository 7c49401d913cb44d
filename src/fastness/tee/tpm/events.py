"""What a measured boot says: rules that tie the text of events to their digests, and what may be claimed from it.

Which texts a digest speaks for: :mod:`fastness.tee.eventtext`. No claim is made from any other text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from fastness.errors import MalformedEvidence, NotGenuine
from fastness.tee.eventtext import altered, variable
from fastness.wire import eventlog as tcg
from fastness.wire.eventlog import Event, EventLog

GLOBAL_VARIABLE = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
"""EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c as it lies in memory."""

MAX_CLAIMED = 4096

BOOT_PHASES = (b"enter-initrd", b"leave-initrd", b"sysinit", b"ready")
SYSTEMD = {11: (BOOT_PHASES, BOOT_PHASES[2:])} | dict.fromkeys((*range(8), 9, 12, 13, 14), ((b"os-separator",),))
"""Words that systemd extends registers by once the firmware's log has ended, in their order, with an initrd and without
(systemd-pcrphase.service(8); they stand in a log of its own). Each is measured as it is, without a zero byte."""


def afterwards(index: int, value: bytes, quoted: bytes, bank: str) -> bool:
    """Whether register ``index``, at ``value`` when the log ended, comes to ``quoted`` by systemd's words alone."""
    for words in SYSTEMD.get(index, ()):
        reached = value
        for word in words:
            reached = tcg.extend(reached, hashlib.new(bank, word).digest(), bank)
            if reached == quoted:
                return True
    return False


def check(log: EventLog) -> None:
    """Step 5 of :mod:`fastness.tee.tpm.verify`: every text that a digest speaks for is the text that was measured.

    Raises:
        NotGenuine: ``tpm.event-content``.
    """
    found = altered(log)
    if found is not None:
        event, bank = found
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
