"""Protocol buffers without their schema: numbers and bytes, as Google's attestation libraries write them."""

from __future__ import annotations

from fastness.errors import MalformedEvidence
from fastness.wire.cursor import Cursor

MAX_FIELDS = 256


def fields(data: bytes) -> list[tuple[int, bytes]]:
    """(number, value) of a protocol buffer's fields; numbers as big-endian bytes, fixed-size fields refused."""
    cursor, found = Cursor(data), []
    while cursor.remaining:
        head, at = _varint(cursor), cursor.offset
        if head & 7 == 0:
            value = _varint(cursor).to_bytes(8, "big")
        elif head & 7 == 2:
            value = cursor.take(_varint(cursor), "field")
        else:
            raise MalformedEvidence("field", at, "a number or bytes", head & 7)
        found.append((head >> 3, value))
        if len(found) > MAX_FIELDS:
            raise MalformedEvidence("field", at, f"at most {MAX_FIELDS}", "more")
    return found


def _varint(cursor: Cursor) -> int:
    value = 0
    for index in range(10):
        byte = cursor.take(1, "number")[0]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80 and value < 1 << 64:
            return value
    raise MalformedEvidence("number", cursor.offset, "at most 64 bits", "more")
