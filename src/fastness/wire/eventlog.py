"""TCG event logs as values: what a measured boot wrote down, and the registers it leads to.

Source: TCG PC Client Platform Firmware Profile 1.06, section 10 (all integers little endian). Two forms are read:

* crypto-agile: a TCG_PCR_EVENT header that holds TCG_EfiSpecIdEvent ("Spec ID Event03"), then TCG_PCR_EVENT2 entries
  with one digest for each algorithm the header names. ACPI CCEL areas (TDX) are of this form;
* the older one: TCG_PCR_EVENT entries with a single SHA-1 digest each (TPM 1.2 and BIOS logs).

Firmware hands over a whole memory area: what follows the last entry may be all 0xFF (CCEL) or all zero. Such padding is
kept in ``raw``, counted, and refused when it is anything else. Nothing in a log is trusted until :func:`replay` of it
reaches a signed register.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fastness.errors import MalformedEvidence
from fastness.wire.cursor import Cursor

MAX_LOG = 4 * 1024 * 1024
"""Largest log accepted, in bytes. Real ones are 20 to 300 KiB."""

MAX_EVENTS = 16_384
"""Most entries accepted."""

MAX_REGISTER = 31
NO_REGISTER = 0xFFFFFFFF
"""PCR index of informative entries that belong to no register (PFP section 10.4.5.3)."""

SIGNATURE = b"Spec ID Event03\0"
_HEADS = (b"\0\0\0\0\x03\0\0\0", b"\x01\0\0\0\x03\0\0\0")
STARTUP_LOCALITY = b"StartupLocality\0"
LOCALITIES = (0, 3, 4)
"""Localities TPM2_Startup may be sent from, 4 standing for an H-CRTM (PFP section 10.4.5.4)."""

ALGORITHMS: dict[int, tuple[str, int]] = {
    0x0004: ("sha1", 20),
    0x000B: ("sha256", 32),
    0x000C: ("sha384", 48),
    0x000D: ("sha512", 64),
    0x0012: ("sm3_256", 32),
    0x0027: ("sha3_256", 32),
    0x0028: ("sha3_384", 48),
    0x0029: ("sha3_512", 64),
}
"""TPM_ALG_ID → name and digest size in bytes (TCG Algorithm Registry 1.34, table 3)."""

EV_NO_ACTION, EV_SEPARATOR, EV_ACTION, EV_EVENT_TAG, EV_IPL = 0x03, 0x04, 0x05, 0x06, 0x0D
EV_S_CRTM_VERSION = 0x08
EV_EFI_VARIABLE_DRIVER_CONFIG, EV_EFI_VARIABLE_BOOT = 0x80000001, 0x80000002
EV_EFI_BOOT_SERVICES_APPLICATION, EV_EFI_GPT_EVENT, EV_EFI_ACTION = 0x80000003, 0x80000006, 0x80000007
EV_EFI_VARIABLE_BOOT2, EV_EFI_GPT_EVENT2, EV_EFI_VARIABLE_AUTHORITY = 0x8000000C, 0x8000000D, 0x800000E0

TYPES: dict[int, str] = {
    0x00: "EV_PREBOOT_CERT", 0x01: "EV_POST_CODE", 0x02: "EV_UNUSED", EV_NO_ACTION: "EV_NO_ACTION",
    EV_SEPARATOR: "EV_SEPARATOR", EV_ACTION: "EV_ACTION", EV_EVENT_TAG: "EV_EVENT_TAG", 0x07: "EV_S_CRTM_CONTENTS",
    EV_S_CRTM_VERSION: "EV_S_CRTM_VERSION", 0x09: "EV_CPU_MICROCODE", 0x0A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0B: "EV_TABLE_OF_DEVICES", 0x0C: "EV_COMPACT_HASH", EV_IPL: "EV_IPL", 0x0E: "EV_IPL_PARTITION_DATA",
    0x0F: "EV_NONHOST_CODE", 0x10: "EV_NONHOST_CONFIG", 0x11: "EV_NONHOST_INFO", 0x12: "EV_OMIT_BOOT_DEVICE_EVENTS",
    0x13: "EV_POST_CODE2", EV_EFI_VARIABLE_DRIVER_CONFIG: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    EV_EFI_VARIABLE_BOOT: "EV_EFI_VARIABLE_BOOT",
    EV_EFI_BOOT_SERVICES_APPLICATION: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER", 0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    EV_EFI_GPT_EVENT: "EV_EFI_GPT_EVENT", EV_EFI_ACTION: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB", 0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2", 0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    EV_EFI_VARIABLE_BOOT2: "EV_EFI_VARIABLE_BOOT2", EV_EFI_GPT_EVENT2: "EV_EFI_GPT_EVENT2",
    0x80000010: "EV_EFI_HCRTM_EVENT", EV_EFI_VARIABLE_AUTHORITY: "EV_EFI_VARIABLE_AUTHORITY",
    0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB", 0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
    0x800000E3: "EV_EFI_SPDM_DEVICE_POLICY", 0x800000E4: "EV_EFI_SPDM_DEVICE_AUTHORITY",
}  # fmt: skip
"""Names of event types (PFP 1.06, table 27)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry, at byte ``offset`` of the log.

    ``index`` is the register as written: a PCR, or in a CCEL the measurement register (0 MRTD, 1 to 4 RTMR 0 to 3).
    ``digests`` maps algorithm names (``"sha256"``) to digests; ``data`` starts at byte ``data_offset``.
    """

    index: int
    type: int
    digests: Mapping[str, bytes]
    data: bytes
    offset: int
    data_offset: int

    @property
    def name(self) -> str:
        """The type's name, or its number for a type the profile does not know."""
        return TYPES.get(self.type, f"0x{self.type:08x}")


@dataclass(frozen=True, slots=True)
class EventLog:
    """A log: ``raw`` as received, its entries without the header, the algorithms each entry has digests of.

    ``used`` bytes hold entries, ``padding`` more follow. ``crypto_agile`` tells the newer form; ``header`` is the
    TCG_EfiSpecIdEvent, empty for the older form.
    """

    raw: bytes
    events: tuple[Event, ...]
    algorithms: tuple[str, ...]
    crypto_agile: bool
    header: bytes
    used: int
    padding: int


def recognise(data: bytes) -> bool:
    """Whether ``data`` starts like a crypto-agile log, cheaply. The header names PCR 0; in a CCEL, register 1."""
    return data[:8] in _HEADS and data[32:48] == SIGNATURE


def parse(data: bytes) -> EventLog:
    """A log that fills ``data`` (at most 4 MiB), but for padding of all 0xFF or all zero.

    Raises:
        MalformedEvidence: truncated, over-long, an unknown or repeated algorithm, a register above 31, or bytes after
            the last entry that are neither an entry nor padding.
    """
    if len(data) > MAX_LOG:
        raise MalformedEvidence("event log", 0, f"at most {MAX_LOG} bytes", len(data))
    cursor = Cursor(data)
    if not recognise(data):
        events = _entries(cursor, None)
        return EventLog(data, events, ("sha1",), False, b"", cursor.position, cursor.remaining)
    cursor.take(8, "header.eventType")
    cursor.zeros(20, "header.digest")
    at = cursor.offset + 4
    header = cursor.sized(4, "header.event", limit=1024)
    sizes = _specification(Cursor(header, at))
    events = _entries(cursor, sizes)
    names = tuple(ALGORITHMS[number][0] for number in sizes)
    return EventLog(data, events, names, True, header, cursor.position, cursor.remaining)


def _specification(cursor: Cursor) -> dict[int, int]:
    """TCG_EfiSpecIdEvent: TPM_ALG_ID → digest size, in the header's order."""
    cursor.take(len(SIGNATURE), "header.signature")
    cursor.take(8, "header.platformClass")  # platform class, version, errata and uintn size decide nothing here
    at = cursor.offset
    count = cursor.little(4, "header.numberOfAlgorithms")
    if not 1 <= count <= len(ALGORITHMS):
        raise MalformedEvidence("header.numberOfAlgorithms", at, f"1 to {len(ALGORITHMS)}", count)
    sizes: dict[int, int] = {}
    for _ in range(count):
        at = cursor.offset
        number, size = cursor.little(2, "header.algorithmId"), cursor.little(2, "header.digestSize")
        known = ALGORITHMS.get(number)
        if known is None or number in sizes:
            raise MalformedEvidence("header.algorithmId", at, "known and distinct algorithms", f"0x{number:04x}")
        if size != known[1]:
            raise MalformedEvidence("header.digestSize", at + 2, known[1], size)
        sizes[number] = size
    cursor.sized(1, "header.vendorInfo", limit=255)
    cursor.done("header.event")
    return sizes


def _entries(cursor: Cursor, sizes: dict[int, int] | None) -> tuple[Event, ...]:
    found: list[Event] = []
    end = min(len(cursor.data.rstrip(b"\xff")), len(cursor.data.rstrip(b"\0")))
    # an entry may itself end in what padding is made of: those bytes belong to it, and reading it passes ``end``
    while cursor.position < end:
        if len(found) >= MAX_EVENTS:
            raise MalformedEvidence("event log", cursor.offset, f"at most {MAX_EVENTS} entries", "more")
        found.append(_entry(cursor, sizes))
    return tuple(found)


def _entry(cursor: Cursor, sizes: dict[int, int] | None) -> Event:
    offset = cursor.offset
    index, kind = cursor.little(4, "event.pcrIndex"), cursor.little(4, "event.eventType")
    if index > MAX_REGISTER and not (index == NO_REGISTER and kind == EV_NO_ACTION):
        raise MalformedEvidence("event.pcrIndex", offset, f"a register of at most {MAX_REGISTER}", index)
    digests = {"sha1": cursor.take(20, "event.digest")} if sizes is None else _digests(cursor, sizes)
    data = cursor.sized(4, "event.event", limit=MAX_LOG)
    return Event(index, kind, digests, data, offset, cursor.offset - len(data))


def _digests(cursor: Cursor, sizes: dict[int, int]) -> dict[str, bytes]:
    at = cursor.offset
    count = cursor.little(4, "event.digests.count")
    if not 1 <= count <= len(sizes):
        raise MalformedEvidence("event.digests.count", at, f"1 to {len(sizes)}", count)
    found: dict[str, bytes] = {}
    for _ in range(count):
        at = cursor.offset
        number = cursor.little(2, "event.digests.hashAlg")
        if number not in sizes or ALGORITHMS[number][0] in found:
            raise MalformedEvidence("event.digests.hashAlg", at, "an algorithm of the header, once", f"0x{number:04x}")
        found[ALGORITHMS[number][0]] = cursor.take(sizes[number], "event.digest")
    return found


def extend(value: bytes, digest: bytes, algorithm: str) -> bytes:
    """The register after extending: ``H(value ‖ digest)`` (TPM 2.0 Part 1 section 17.4)."""
    return hashlib.new(algorithm, value + digest).digest()


def replay(log: EventLog, algorithm: str) -> dict[int, bytes]:
    """What the registers that ``log`` extends hold afterwards, in the bank of ``algorithm`` (``"sha256"`` …).

    Registers start at zero; PCR 0 ends in the locality that an EV_NO_ACTION "StartupLocality" entry names. EV_NO_ACTION
    entries extend nothing. Registers that no entry extends are absent.

    Raises:
        MalformedEvidence: an entry without a digest of that algorithm, or a locality there is not.
    """
    if algorithm not in log.algorithms or algorithm not in hashlib.algorithms_available:
        raise MalformedEvidence("event log algorithms", 0, algorithm, ", ".join(log.algorithms))
    values: dict[int, bytes] = {}
    for event in log.events:
        if event.type == EV_NO_ACTION:
            if event.index == 0 and event.data.startswith(STARTUP_LOCALITY):
                values[0] = _startup(event, algorithm, fresh=0 not in values)
            continue
        digest = event.digests.get(algorithm)
        if digest is None:
            raise MalformedEvidence("event.digests", event.offset, f"a digest of {algorithm}", ", ".join(event.digests))
        values[event.index] = extend(values.get(event.index, bytes(len(digest))), digest, algorithm)
    return values


def _startup(event: Event, algorithm: str, *, fresh: bool) -> bytes:
    locality = event.data[len(STARTUP_LOCALITY) :]
    if len(locality) != 1 or locality[0] not in LOCALITIES:
        raise MalformedEvidence("StartupLocality", event.data_offset, "locality 0, 3 or 4", locality[:8].hex())
    if not fresh:
        raise MalformedEvidence("StartupLocality", event.offset, "one, before PCR 0 is extended", "a later one")
    size = next(size for name, size in ALGORITHMS.values() if name == algorithm)
    return locality.rjust(size, b"\0")
