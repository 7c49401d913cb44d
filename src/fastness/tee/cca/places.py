"""Where the claims of a token stand, for showing them: what they are, :mod:`fastness.wire.cbor` has decided before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastness.wire import cbor

MAX_MEMBERS = 1024
"""Most members of one array or map that are shown."""

_ARRAY, _MAP, _INDEFINITE, _BREAK = 4, 5, 31, b"\xff"


def members(data: bytes, position: int = 0) -> Iterator[tuple[Any, Any, int, int]]:
    """The members of the well-formed array or map at ``position``: key (or index), value, its start and its end.

    One level deep, at most :data:`MAX_MEMBERS`; nothing when another item is there.

    Raises:
        MalformedEvidence: a member that :func:`fastness.wire.cbor.decode` would not read.
    """
    head = int.from_bytes(data[position : position + 1], "big")
    major, info = head >> 5, head & 0x1F
    if major not in (_ARRAY, _MAP):
        return
    size = 1 << (info - 24) if 24 <= info < 28 else 0
    count = int.from_bytes(data[position + 1 : position + 1 + size], "big") if size else info
    at = position + 1 + size
    for index in range(MAX_MEMBERS if info == _INDEFINITE else min(count, MAX_MEMBERS)):
        if data[at : at + 1] == _BREAK:
            return
        key: Any = index
        if major == _MAP:
            key, used = cbor.decode_prefix(data[at:])
            at += used
        value, used = cbor.decode_prefix(data[at:])
        yield key, value, at, at + used
        at += used
