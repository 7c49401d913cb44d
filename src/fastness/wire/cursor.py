"""Reading bytes that somebody else sent: every read is bounded, named, and says its offset when it fails."""

from __future__ import annotations

from struct import Struct
from typing import Any

from fastness.errors import MalformedEvidence


class Cursor:
    """A forward reader over ``data`` that raises :class:`MalformedEvidence` and nothing else.

    Args:
        data: the bytes to read.
        base: offset of ``data[0]`` in the whole input, so that errors name absolute offsets.
    """

    __slots__ = ("base", "data", "position")

    def __init__(self, data: bytes, base: int = 0) -> None:
        self.data = data
        self.base = base
        self.position = 0

    @property
    def offset(self) -> int:
        """Absolute offset of the next byte."""
        return self.base + self.position

    @property
    def remaining(self) -> int:
        """Number of bytes not yet read."""
        return len(self.data) - self.position

    def take(self, size: int, field: str) -> bytes:
        """The next ``size`` bytes."""
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise MalformedEvidence(field, self.offset, f"{size} bytes", f"{self.remaining} bytes")
        value = self.data[self.position : end]
        self.position = end
        return value

    def unpack(self, layout: Struct, field: str) -> tuple[Any, ...]:
        """The next values, as ``layout`` has them."""
        position, end = self.position, self.position + layout.size
        if end > len(self.data):
            raise MalformedEvidence(field, self.offset, f"{layout.size} bytes", f"{self.remaining} bytes")
        self.position = end
        return layout.unpack_from(self.data, position)

    def little(self, size: int, field: str) -> int:
        """An unsigned little-endian integer of ``size`` bytes."""
        return int.from_bytes(self.take(size, field), "little")

    def big(self, size: int, field: str) -> int:
        """An unsigned big-endian integer of ``size`` bytes."""
        return int.from_bytes(self.take(size, field), "big")

    def sized(self, width: int, field: str, *, limit: int, order: str = "little") -> bytes:
        """Bytes preceded by their length, an unsigned integer of ``width`` bytes that must not exceed ``limit``."""
        at = self.offset
        size = self.little(width, field) if order == "little" else self.big(width, field)
        if size > limit:
            raise MalformedEvidence(field, at, f"a length of at most {limit}", size)
        return self.take(size, field)

    def zeros(self, size: int, field: str) -> None:
        """Reserved bytes: must be there and must be zero."""
        at = self.offset
        value = self.take(size, field)
        if value.count(0) != size:
            first = next(i for i, byte in enumerate(value) if byte)
            raise MalformedEvidence(field, at + first, "reserved bytes of zero", f"0x{value[first]:02x}")

    def rest(self) -> bytes:
        """Everything that has not been read."""
        return self.take(self.remaining, "rest")

    def done(self, field: str) -> None:
        """Refuses leftovers."""
        if self.remaining:
            raise MalformedEvidence(field, self.offset, "end of input", f"{self.remaining} more bytes")
