"""What the builder asks of an ELF file: which libraries it needs, its own name, and a kernel module's dependencies.

ELF-64, little-endian (System V gABI, chapters 4 and 5; kernel: ``.modinfo``). Numbers are offsets and bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fastness.errors import Malformed

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
DYNAMIC = struct.Struct("<QQ")
IDENT = b"\x7fELF\x02\x01"
LOAD, DYNAMIC_SEGMENT, INTERPRETER = 1, 2, 3
END, NEEDED, STRINGS, SONAME = 0, 1, 5, 14
SYMBOLS = 2
"""SHT_SYMTAB."""


@dataclass(frozen=True, slots=True)
class Linked:
    """What the dynamic loader reads: names of needed libraries in order, own name and loader (or empty)."""

    needed: tuple[str, ...]
    soname: str
    interpreter: str


def is_elf(data: bytes) -> bool:
    """Whether it is an ELF-64 file of little-endian order."""
    return data[:6] == IDENT


def linked(data: bytes) -> Linked:
    """What ``data`` needs at run time.

    Raises:
        Malformed: it is no such file, or an offset leaves it.
    """
    try:
        return _linked(data)
    except (struct.error, OverflowError, ValueError, StopIteration) as error:
        raise Malformed(f"not an ELF file that can be read: {error}") from None


def modinfo(data: bytes) -> tuple[tuple[str, str], ...]:
    """The ``key=value`` strings of a kernel module, in order; some keys come several times.

    Raises:
        Malformed: it is no kernel module.
    """
    try:
        text = _section(data, b".modinfo")
    except (struct.error, OverflowError, ValueError, StopIteration) as error:
        raise Malformed(f"not a kernel module that can be read: {error}") from None
    rows = [row.decode("utf-8", "replace") for row in text.split(b"\0") if b"=" in row]
    return tuple((key, value) for key, _, value in (row.partition("=") for row in rows))


def loaded(data: bytes) -> bytes:
    """``data`` as far as its segments reach, when a symbol table lies behind them; otherwise ``data`` as it is.

    No loader reads sections: symbol tables are for debuggers and linkers, are not mapped, and are a fifth of a large
    library. The header says that there are no sections any more, and nothing else changes.

    Raises:
        Malformed: it is no ELF file, or an offset leaves it.
    """
    try:
        header = HEADER.unpack_from(data)
        if not is_elf(data) or not any(kind == SYMBOLS for kind in _sections(data, 1)):
            return data
        end = max(offset + size for offset, size in _reach(data))
        if end > len(data) or header[6] < end:
            raise ValueError("a segment leaves the file, or sections lie within one")
    except (struct.error, OverflowError, ValueError) as error:
        raise Malformed(f"not an ELF file that can be read: {error}") from None
    bare = HEADER.pack(*header[:6], 0, *header[7:12], 0, 0)
    return bare + data[HEADER.size : end]


def _reach(data: bytes) -> list[tuple[int, int]]:
    """(offset, size in the file) of the header, the table of segments, and every segment."""
    header = HEADER.unpack_from(data)
    start, each, count = header[5], header[9], header[10]
    segments = [SEGMENT.unpack_from(data, start + each * index) for index in range(count)]
    return [(0, HEADER.size), (start, each * count), *((item[2], item[5]) for item in segments)]


def _sections(data: bytes, field: int) -> list[int]:
    """One field of every row of the table of sections."""
    header = HEADER.unpack_from(data)
    start, each, count = header[6], header[11], header[12]
    return [SECTION.unpack_from(data, start + each * index)[field] for index in range(count)]


def _linked(data: bytes) -> Linked:
    if not is_elf(data):
        raise ValueError("wrong magic")
    header = HEADER.unpack_from(data)
    start, each, count = header[5], header[9], header[10]
    segments = [SEGMENT.unpack_from(data, start + each * index) for index in range(count)]
    loads = [(s[3], s[2], s[5]) for s in segments if s[0] == LOAD]
    interpreter = next((_text(data, s[2]) for s in segments if s[0] == INTERPRETER), "")
    dynamic = next((s for s in segments if s[0] == DYNAMIC_SEGMENT), None)
    if dynamic is None:
        return Linked((), "", interpreter)
    rows = []
    for offset in range(dynamic[2], dynamic[2] + dynamic[5], DYNAMIC.size):
        tag, value = DYNAMIC.unpack_from(data, offset)
        if tag == END:
            break
        rows.append((tag, value))
    strings = next(value for tag, value in rows if tag == STRINGS)
    base = next(strings - address + offset for address, offset, size in loads if address <= strings < address + size)
    needed = tuple(_text(data, base + value) for tag, value in rows if tag == NEEDED)
    soname = next((_text(data, base + value) for tag, value in rows if tag == SONAME), "")
    return Linked(needed, soname, interpreter)


def _section(data: bytes, name: bytes) -> bytes:
    if not is_elf(data):
        raise ValueError("wrong magic")
    header = HEADER.unpack_from(data)
    start, each, count, names = header[6], header[11], header[12], header[13]
    sections = [SECTION.unpack_from(data, start + each * index) for index in range(count)]
    table = sections[names][4] if names < count else len(data)
    for section in sections:
        if data.startswith(name + b"\0", table + section[0]):
            return data[section[4] : section[4] + section[5]]
    raise ValueError(f"no section {name.decode()}")


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
