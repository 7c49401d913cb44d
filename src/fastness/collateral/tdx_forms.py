"""TDX quotes that go-tdx-guest keeps in fields, put together again: ``tdx.QuoteV4``; go-tpm-tools has one in its own.

Whether that was done rightly, the signatures tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fastness.collateral.protobuf import fields
from fastness.errors import MalformedEvidence

_Layout = tuple[tuple[int, int], ...]

_HEADER: _Layout = ((1, 2), (2, 2), (3, 4), (5, 2), (4, 2), (6, 16), (7, 20))
_BODY: _Layout = (
    (1, 16), (2, 48), (3, 48), (4, 8), (5, 8), (6, 8), (7, 48), (8, 48), (9, 48), (10, 48), (11, 192), (12, 64)
)  # fmt: skip
_QE_REPORT: _Layout = (
    (1, 16), (2, 4), (3, 28), (4, 16), (5, 32), (6, 32), (7, 32), (8, 96), (9, 2), (10, 2), (11, 60), (12, 64)
)  # fmt: skip
"""Number and size of each field, in the order of the quote. Field 11 of the body is there for each of the registers."""
_SIGNED: _Layout = ((1, 64), (2, 64))
_NUMBERS = {_HEADER: (1, 2, 3), _BODY: (), _QE_REPORT: (2, 9, 10), _SIGNED: ()}
"""Which of them are numbers; a number that is absent is zero (proto3)."""


def of_quote(data: bytes) -> Iterator[bytes]:
    """The quote of a ``tdx.QuoteV4``; nothing of anything else."""
    try:
        quote = _quote(data)
    except (MalformedEvidence, KeyError, struct.error):
        return
    yield quote


def _quote(data: bytes) -> bytes:
    outer = dict(fields(data))
    signed = _within(outer[4])
    report = _within(_within(signed[3])[3])
    chain, authentication = _within(report[4]), _within(report[3]).get(2, b"")
    certification = b"".join((
        _packed(report[1], _QE_REPORT), _sized(report[2], 64), struct.pack("<H", len(authentication)), authentication,
        struct.pack("<HI", int.from_bytes(chain[1], "big"), len(chain[3])), chain[3],
    ))  # fmt: skip
    kind = int.from_bytes(_within(signed[3])[1], "big")
    tail = _packed(outer[4], _SIGNED) + struct.pack("<HI", kind, len(certification)) + certification
    return _packed(outer[1], _HEADER) + _packed(outer[2], _BODY) + struct.pack("<I", len(tail)) + tail


def _within(data: bytes) -> dict[int, bytes]:
    return dict(fields(data))


def _packed(data: bytes, layout: _Layout) -> bytes:
    found: dict[int, bytes] = {}
    for number, value in fields(data):
        found[number] = found.get(number, b"") + value
    packed = []
    for number, size in layout:
        value = found.get(number, b"")
        if number in _NUMBERS[layout]:
            value = int.from_bytes(value, "big").to_bytes(8, "little")
            packed.append(_sized(value.rstrip(b"\0").ljust(size, b"\0"), size))
        else:
            packed.append(_sized(value, size))
    return b"".join(packed)


def _sized(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise MalformedEvidence("field", 0, f"{size} bytes", len(value))
    return value
