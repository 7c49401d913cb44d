"""What a firmware file says of itself: the GUIDed table at its end, and the pages SEV firmware must prepare for it.

The table lies before the last 32 bytes and is read backwards: each entry is data, then size (2 bytes, of data, size
and GUID together), then GUID (16 bytes, mixed endian); the last entry names the table itself and holds the size of
the whole. Sources: edk2 ``OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`` and ``X64/OvmfSevMetadata.asm``. All integers
little endian. The file ends at 4 GiB of guest memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from fastness.errors import Malformed

PAGE = 4096
TOP = 1 << 32
MAX_SIZE = 64 << 20
MAX_SECTIONS = 64
MAX_PAGES = 4096
"""Most pages that the sections of one firmware may name: real ones name about 30."""

FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"
HASH_TABLE = "7255371f-3a3b-4b04-927b-1da6efa8d454"
RESET_BLOCK = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
SEV_METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"
_HEAD = 18
"""Bytes of size and GUID behind an entry's data."""

_TAIL = 32
"""Bytes between the table and the end of the file: the reset vector."""


class Kind(IntEnum):
    """What a section of guest memory is for."""

    MEMORY = 1
    SECRETS = 2
    CPUID = 3
    SVSM_CAA = 4
    KERNEL_HASHES = 0x10


@dataclass(frozen=True, slots=True)
class Section:
    """Guest memory that is prepared before the firmware runs: address and size in bytes, multiples of 4096."""

    gpa: int
    size: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware file: its bytes, its table by GUID (lower case, with hyphens), its SEV sections."""

    data: bytes
    table: Mapping[str, bytes]
    sections: tuple[Section, ...]

    @property
    def gpa(self) -> int:
        """Where it begins in guest memory."""
        return TOP - len(self.data)

    @property
    def hash_table(self) -> int:
        """Address of the page for the hashes of kernel, initrd and command line; 0 where the firmware has none."""
        return int.from_bytes(self.table.get(HASH_TABLE, b"")[:4], "little")

    @property
    def reset(self) -> int | None:
        """Where further processors begin (the SEV-ES reset block), or None."""
        entry = self.table.get(RESET_BLOCK)
        return None if entry is None else int.from_bytes(entry[:4], "little")


def read(data: bytes) -> Firmware:
    """A firmware file of 4 KiB to 64 MiB.

    Raises:
        Malformed: not a firmware file, a table or sections that lie outside it or overlap its end.
    """
    if not PAGE <= len(data) <= MAX_SIZE or len(data) % PAGE:
        raise _bad("size", 0, f"a multiple of {PAGE}, {PAGE} to {MAX_SIZE} bytes", len(data))
    table = _table(data)
    return Firmware(data, table, _sections(data, table))


def _bad(field: str, offset: int, need: object, have: object) -> Malformed:
    return Malformed(
        f"firmware {field}: need {need}, have {have}",
        where=f"firmware at byte {offset}",
        hint="name an OVMF file for one flash device (OVMF.fd, OVMF.amdsev.fd), whole and unaltered",
    )


def _table(data: bytes) -> dict[str, bytes]:
    end = len(data) - _TAIL
    if UUID(bytes_le=data[end - 16 : end]) != UUID(FOOTER):
        return {}
    size = int.from_bytes(data[end - _HEAD : end - 16], "little")
    start = end - size
    if size < _HEAD or start < 0:
        raise _bad("table", end - _HEAD, f"a size of {_HEAD} to {end}", size)
    found: dict[str, bytes] = {}
    end -= _HEAD
    while end > start:
        if end - start < _HEAD:
            raise _bad("table", start, "whole entries", f"{end - start} bytes left")
        size = int.from_bytes(data[end - _HEAD : end - 16], "little")
        if not _HEAD <= size <= end - start:
            raise _bad("table", end - _HEAD, f"an entry of {_HEAD} to {end - start} bytes", size)
        guid = str(UUID(bytes_le=data[end - 16 : end]))
        if guid in found:
            raise _bad("table", end - _HEAD, "distinct entries", f"{guid} twice")
        found[guid] = data[end - size : end - _HEAD]
        end -= size
    return found


def _sections(data: bytes, table: Mapping[str, bytes]) -> tuple[Section, ...]:
    """The ``ASEV`` descriptor: signature, size, version 1, count; then address, size and kind, 4 bytes each."""
    entry = table.get(SEV_METADATA)
    if entry is None:
        return ()
    start = len(data) - int.from_bytes(entry[:4], "little")
    if len(entry) < 4 or not 0 <= start <= len(data) - 16:
        raise _bad("SEV metadata", 0, "an offset inside the file", start)
    head = data[start : start + 16]
    size, version, count = (int.from_bytes(head[at : at + 4], "little") for at in (4, 8, 12))
    if head[:4] != b"ASEV" or version != 1:
        raise _bad("SEV metadata", start, "ASEV, version 1", f"{head[:4]!r}, version {version}")
    if count > MAX_SECTIONS or size < 16 + 12 * count or start + size > len(data):
        raise _bad("SEV metadata", start, f"at most {MAX_SECTIONS} sections in its size", f"{count} in {size} bytes")
    rows = (data[at : at + 12] for at in range(start + 16, start + 16 + 12 * count, 12))
    found = tuple(_section(row, start) for row in rows)
    if sum(item.size for item in found) > MAX_PAGES * PAGE:
        raise _bad("SEV metadata", start, f"sections of at most {MAX_PAGES} pages", "more")
    return found


def _section(row: bytes, where: int) -> Section:
    gpa, size, kind = (int.from_bytes(row[at : at + 4], "little") for at in (0, 4, 8))
    if kind not in Kind.__members__.values():
        raise _bad("SEV section", where, "a known kind", kind)
    if gpa % PAGE or size % PAGE or not size:
        raise _bad("SEV section", where, "whole pages", f"0x{gpa:x}, {size} bytes")
    return Section(gpa, size, Kind(kind))
