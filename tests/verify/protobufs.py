"""Protocol buffers, written by hand."""

from __future__ import annotations


def varint(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80,)) + varint(value >> 7)


def field(number: int, value: int | bytes) -> bytes:
    body = varint(value) if isinstance(value, int) else varint(len(value)) + value
    return varint(number << 3 | (0 if isinstance(value, int) else 2)) + body


def message(*values: int | bytes) -> bytes:
    """Fields from number 1; zeros are left out, as in proto3."""
    return b"".join(field(number, value) for number, value in enumerate(values, 1) if value != 0)
