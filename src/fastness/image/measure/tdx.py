"""MRTD and RTMRs of a TD that QEMU and OVMF (TDVF) start with the image.

========= =====================================================================================================
register  told
========= =====================================================================================================
mrtd      from the firmware file, in both orders in which hosts add its pages
rtmr0     by event-log policy: memory map, ACPI tables and boot order, which change with QEMU, memory and devices
rtmr1     the kernel, or the UKI and the kernel in it; handed over as PCR 2 to 6 are in a TPM
rtmr2     command line and initrd, as the kernel's own stub measures them
rtmr3     at run time, by the keep
========= =====================================================================================================

Sources: Intel TDX Module ABI specification 1.5, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND; TDX Virtual Firmware Design Guide,
section 11 (metadata); UEFI 2.10 section 38.4.1 (registers by PCR); OvmfPkg/Tcg/TdTcg2Dxe of edk2 (order of the events).
All integers little endian.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fastness.errors import Malformed, MalformedEvidence, UsageError
from fastness.image.measure import Machine, Parts, Row
from fastness.image.measure.boot import EXIT, EXITED, Boot, direct, replay, unified
from fastness.image.measure.ovmf import PAGE, read
from fastness.wire.cursor import Cursor

ALGORITHM = "sha384"
CHUNK = 256
MAX_ADDED = 256 << 20
"""Most memory that sections may add, in bytes: OVMF adds 2 MiB."""

EXTEND, AUGMENTED = 1, 2
"""Attributes of a section: measured by content (MR.EXTEND); added at run time, so not measured (PAGE.AUG)."""

TDX_METADATA = "e47a6535-984a-4798-865e-4685a7bf8ec2"
"""Entry of the firmware's table: how far from the end of the file the metadata begins, 4 bytes."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the firmware: ``content`` from the file, ``size`` bytes of memory at ``address``."""

    content: bytes
    address: int
    size: int
    attributes: int


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """One row for each way of booting.

    Raises:
        UsageError: no firmware was named, or the parts do not belong together.
        Malformed: firmware without TDX metadata, or a kernel or UKI that does not follow its format.
    """
    if not machine.firmware:
        raise UsageError("the MRTD is the firmware's", hint="--firmware FILE (Debian: /usr/share/ovmf/OVMF.fd)")
    name = f"firmware sha256:{hashlib.sha256(machine.firmware).hexdigest()}"
    sections = metadata(machine.firmware)
    values = tuple(mrtd(sections, two_passes=two).hex() for two in (False, True))
    boots = direct(parts, machine, ALGORITHM)
    if parts.uki:
        boots += unified(parts, ALGORITHM)
    return tuple(
        Row("tdx", f"{name}; {boot.note}; rtmr0 by event log", {"mrtd": values} | _rtmrs(boot)) for boot in boots
    )


def _rtmrs(boot: Boot) -> dict[str, tuple[str, ...]]:
    left = tuple(hashlib.sha384(text).digest() for text in (EXIT, EXITED))
    return {
        "rtmr1": (replay((*boot.loader, *left), ALGORITHM).hex(),),
        "rtmr2": (replay(boot.kernel, ALGORITHM).hex(),),
    }


def mrtd(sections: tuple[Section, ...], *, two_passes: bool) -> bytes:
    """SHA-384 over a record of 128 bytes for each page added and each chunk measured, followed by that chunk.

    Hosts either measure each page as they add it, or add a section whole and then measure it (``two_passes``).
    """
    digest = hashlib.sha384()
    for section in sections:
        if section.attributes & AUGMENTED:
            continue
        pages = range(0, section.size, PAGE)
        for offset in pages:
            digest.update(_record(b"MEM.PAGE.ADD", section.address + offset))
            if section.attributes & EXTEND and not two_passes:
                _measure(digest, section, offset)
        if section.attributes & EXTEND and two_passes:
            for offset in pages:
                _measure(digest, section, offset)
    return digest.digest()


def _measure(digest: hashlib._Hash, section: Section, page: int) -> None:
    for offset in range(page, page + PAGE, CHUNK):
        digest.update(_record(b"MR.EXTEND", section.address + offset))
        digest.update(section.content[offset : offset + CHUNK].ljust(CHUNK, b"\0"))


def _record(name: bytes, address: int) -> bytes:
    return (name.ljust(16, b"\0") + address.to_bytes(8, "little")).ljust(128, b"\0")


def metadata(firmware: bytes) -> tuple[Section, ...]:
    """The sections that the firmware's TDX metadata names.

    Raises:
        Malformed: no metadata, or metadata that names bytes outside the file, unaligned or too much memory.
    """
    try:
        return _metadata(firmware)
    except MalformedEvidence as error:
        raise Malformed(
            f"firmware: {error.what}",
            where=error.where,
            hint="name a whole OVMF.fd (variables and code in one file) with TDX support",
        ) from None


def _metadata(firmware: bytes) -> tuple[Section, ...]:
    entry = read(firmware).table.get(TDX_METADATA)
    if entry is None or len(entry) != 4:
        raise MalformedEvidence("table", len(firmware) - 48, "an entry of TDX metadata", "none")
    start = len(firmware) - int.from_bytes(entry, "little")
    cursor = Cursor(firmware[max(start, 0) :], start)
    if cursor.take(4, "TDVF.signature") != b"TDVF":
        raise MalformedEvidence("TDVF.signature", start, "TDVF", "something else")
    cursor.take(4, "TDVF.length")
    version, count = cursor.little(4, "TDVF.version"), cursor.little(4, "TDVF.sections")
    if version != 1 or not 1 <= count <= 64:
        raise MalformedEvidence("TDVF.version", start + 8, "1, with 1 to 64 sections", f"{version}, {count}")
    sections = tuple(_section(cursor, firmware) for _ in range(count))
    if sum(item.size for item in sections if not item.attributes & AUGMENTED) > MAX_ADDED:
        raise MalformedEvidence("TDVF.sections", start, f"at most {MAX_ADDED} bytes added", "more")
    return sections


def _section(cursor: Cursor, firmware: bytes) -> Section:
    at = cursor.offset
    offset, raw = cursor.little(4, "section.offset"), cursor.little(4, "section.raw")
    address, size = cursor.little(8, "section.address"), cursor.little(8, "section.size")
    cursor.take(4, "section.type")
    attributes = cursor.little(4, "section.attributes")
    if offset + raw > len(firmware) or raw > size:
        raise MalformedEvidence("section.offset", at, "bytes of the file, as many as its memory", f"{offset} + {raw}")
    if address % PAGE or size % PAGE or attributes & ~(EXTEND | AUGMENTED):
        raise MalformedEvidence("section.address", at + 8, "whole pages, known attributes", f"0x{address:x}, {size}")
    return Section(firmware[offset : offset + raw], address, size, attributes)
