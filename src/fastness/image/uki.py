"""The unified kernel image: systemd's EFI stub with kernel, initramfs and command line as sections of one PE file.

Format: UAPI Group, "Unified Kernel Image"; Microsoft PE/COFF, sections 2 to 4 (numbers little-endian). The stub
measures each section into PCR 11 in an order of its own, boots ``.linux`` with ``.initrd`` and takes no other command
line than ``.cmdline`` where Secure Boot is on. One file, so one Authenticode hash (PCR 4) covers everything.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fastness.errors import Malformed

COFF = struct.Struct("<HHIIIHH")
SECTION = struct.Struct("<8sIIIIIIHHI")
READABLE_DATA = 0x40000040
"""IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ."""

PE32_PLUS = 0x20B
IMAGE_SIZE, HEADERS_SIZE, CHECKSUM = 56, 60, 64
SECTION_ALIGNMENT, FILE_ALIGNMENT = 32, 36
"""Offsets in the optional header of PE32+."""

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a PE file: its name and the bytes it holds in the file."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _Header:
    """Where things are: the COFF header, the optional header, the section table, and the counts that rule it."""

    coff: int
    optional: int
    table: int
    count: int
    align: int
    file_align: int
    headers: int


def build(stub: bytes, sections: tuple[Section, ...]) -> bytes:
    """``stub`` with ``sections`` appended in that order, each on a page of its own.

    Raises:
        Malformed: the stub is not an EFI program of x86-64, has no room for more sections, or has one of them already.
    """
    try:
        header = _header(stub)
        present = [_row(stub, header, index) for index in range(header.count)]
    except struct.error as error:
        raise Malformed(f"the EFI stub cannot be read: {error}") from None
    if header.table + SECTION.size * (header.count + len(sections)) > header.headers:
        raise Malformed(f"the EFI stub has no room for {len(sections)} more sections")
    clash = {row[0].rstrip(b"\0").decode("ascii", "replace") for row in present} & {item.name for item in sections}
    if clash:
        raise Malformed(f"the EFI stub has a section {min(clash)} already")
    align = max(header.align, PAGE)  # systemd 252 states 512 and expects pages
    address = _up(max(row[2] + row[1] for row in present), align)
    out = bytearray(stub) + bytes(-len(stub) % header.file_align)
    for index, section in enumerate(sections, header.count):
        size = _up(len(section.data), header.file_align)
        row = (section.name.encode(), len(section.data), address, size, len(out), 0, 0, 0, 0, READABLE_DATA)
        SECTION.pack_into(out, header.table + SECTION.size * index, *row)
        out += section.data + bytes(size - len(section.data))
        address = _up(address + len(section.data), align)
    struct.pack_into("<H", out, header.coff + 2, header.count + len(sections))
    struct.pack_into("<I", out, header.optional + IMAGE_SIZE, address)
    struct.pack_into("<I", out, header.optional + CHECKSUM, 0)  # no firmware reads it, and it would be stale
    return bytes(out)


def _header(data: bytes) -> _Header:
    if data[:2] != b"MZ":
        raise Malformed("not an EFI program: no MZ")
    (start,) = struct.unpack_from("<I", data, 0x3C)
    if data[start : start + 4] != b"PE\0\0":
        raise Malformed("not an EFI program: no PE header", where=f"byte {start}")
    machine, count, _, _, _, size, _ = COFF.unpack_from(data, start + 4)
    optional = start + 4 + COFF.size
    (magic,) = struct.unpack_from("<H", data, optional)
    if machine != 0x8664 or magic != PE32_PLUS:
        raise Malformed("not an EFI program of x86-64", where=f"machine {machine:#x}, magic {magic:#x}")
    align, file_align = struct.unpack_from("<II", data, optional + SECTION_ALIGNMENT)
    (headers,) = struct.unpack_from("<I", data, optional + HEADERS_SIZE)
    if not 0 < file_align <= align or align & (align - 1) or file_align & (file_align - 1):
        raise Malformed(f"alignments of the EFI program: {align}, {file_align}")
    return _Header(start + 4, optional, optional + size, count, align, file_align, headers)


def _row(data: bytes, header: _Header, index: int) -> tuple[bytes, int, int, int, int, int, int, int, int, int]:
    row: tuple[bytes, int, int, int, int, int, int, int, int, int]
    row = SECTION.unpack_from(data, header.table + SECTION.size * index)
    return row


def _up(value: int, align: int) -> int:
    return (value + align - 1) & -align
