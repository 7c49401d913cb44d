"""Annotated hexadecimal, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """A named run of bytes: ``offset`` and ``size`` in bytes from the start of the input."""

    field: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.field} [0x{self.offset:03x}:0x{self.offset + self.size:03x}]"


def dump(data: bytes, offset: int = 0, width: int = 16) -> Iterator[str]:
    """Lines of ``offset  hex  |text|``, ``width`` bytes a line."""
    for start in range(0, len(data), width):
        row = data[start : start + width]
        text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)
        yield f"{offset + start:06x}  {row.hex(' '):<{3 * width - 1}}  |{text}|"
