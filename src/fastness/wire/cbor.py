"""Strict CBOR (RFC 8949): what evidence and the keep protocol use, and no more.

Ours rather than a library's because a general decoder accepts what a verifier must not: duplicate keys, leftovers,
unbounded nesting; and because errors here name offsets. `cbor2` is the oracle in the tests.

Understood: unsigned and negative integers of 64 bits, byte and text strings, arrays, maps, tags, false, true, null and
undefined (as None), floats of 16, 32 and 64 bits. Indefinite lengths are understood when decoding foreign evidence
(some producers use them) and refused in canonical input.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence

MAX_DEPTH = 16
"""Deepest nesting accepted. The deepest real evidence (CCA collections) nests six levels."""

MAX_ITEMS = 65_536
"""Most data items in one input: bounds time and memory whatever the lengths claim."""

Value = Any


class Tag(NamedTuple):
    """A tagged value (major type 6)."""

    number: int
    value: Value


UNDEFINED = 23
"""Read as None from foreign evidence; our own formats write null."""

_FLOATS = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}
_SIMPLE: dict[int, bool | None] = {20: False, 21: True, 22: None, 23: None}
_BREAK = object()
_KEYS = frozenset((int, str, bytes))


class _Decoder:
    __slots__ = ("canonical", "data", "items", "position")

    def __init__(self, data: bytes, canonical: bool) -> None:
        self.data = data
        self.position = 0
        self.items = 1
        self.canonical = canonical

    def take(self, size: int, field: str) -> bytes:
        end = self.position + size
        if end > len(self.data):
            have = f"{len(self.data) - self.position} bytes"
            raise MalformedEvidence(field, self.position, f"{size} bytes", have)
        value = self.data[self.position : end]
        self.position = end
        return value

    def argument(self, info: int, at: int) -> int:
        if info > 27:
            raise MalformedEvidence("cbor head", at, "a length of 0 to 8 bytes", f"additional information {info}")
        start = self.position
        end = start + (1 << (info - 24))
        if end > len(self.data):
            self.take(end - start, "cbor head")
        value = self.data[start] if info == 24 else int.from_bytes(self.data[start:end], "big")
        self.position = end
        if self.canonical and value < (24, 1 << 8, 1 << 16, 1 << 32)[info - 24]:
            raise MalformedEvidence("cbor head", at, "the shortest form", f"{value} in {1 << (info - 24)} bytes")
        return value

    def item(self, depth: int, stop: bool = False) -> Value:
        data, at = self.data, self.position
        try:
            head = data[at]
        except IndexError:
            raise MalformedEvidence("cbor head", at, "1 bytes", "0 bytes") from None
        self.position = at + 1
        major, info = head >> 5, head & 0x1F
        if major == 7:
            return self.simple(info, at, stop)
        if info == 31:
            return self.indefinite(major, depth, at)
        # integers, bytes and texts are most of any evidence: they end here, on the shortest way
        if info < 24:
            value, start = info, at + 1
        elif info == 24 and at + 1 < len(data) and (data[at + 1] >= 24 or not self.canonical):
            value, start = data[at + 1], at + 2
        else:
            value = self.argument(info, at)
            start = self.position
        if 2 <= major <= 3 and (end := start + value) <= len(data):
            self.position = end
            return data[start:end] if major == 2 else self.text(data[start:end], at)
        self.position = start
        return value if major == 0 else self.definite(major, value, depth, at)

    def nest(self, count: int, depth: int, at: int) -> None:
        """Counts ``count`` items that stand one level below ``depth``."""
        if depth >= MAX_DEPTH and count:
            raise MalformedEvidence("cbor item", at, f"nesting of at most {MAX_DEPTH}", "deeper")
        self.items += count
        if self.items > MAX_ITEMS:
            raise MalformedEvidence("cbor item", at, f"at most {MAX_ITEMS} items", "more")

    def definite(self, major: int, value: int, depth: int, at: int) -> Value:
        if major == 1:
            return -1 - value
        if major == 2:
            return self.take(value, "cbor byte string")
        if major == 3:
            return self.text(self.take(value, "cbor text string"), at)
        if major == 6:
            self.nest(1, depth, at)
            return Tag(value, self.item(depth + 1))
        if value > len(self.data) - self.position:
            raise MalformedEvidence("cbor length", at, "no more items than bytes left", value)
        if major == 4:
            self.nest(value, depth, at)
            return [self.item(depth + 1) for _ in range(value)]
        self.nest(2 * value, depth, at)
        return self.map(value, depth + 1)

    def map(self, count: int, depth: int) -> dict[Any, Value]:
        """The ``count`` pairs of a map."""
        result: dict[Any, Value] = {}
        key: Any
        data, end, canonical, previous = self.data, len(self.data), self.canonical, b""
        for _ in range(count):
            at = self.position
            head = data[at] if at < end else 24
            stop = at + head - 0x5F
            # small numbers, and texts of up to 23 bytes, are nearly all keys there are: they are read in place
            if head < 24 and head not in result:
                key, self.position = head, at + 1
            elif 0x60 <= head < 0x78 and stop <= end and (key := self.text(data[at + 1 : stop], at)) not in result:
                self.position = stop
            else:
                key = self.key(result, depth)
            if canonical:
                previous = self.ordered(at, previous)
            start = self.position + 2
            # registers are most of some evidence: byte strings with a length of one byte are read in place
            if start <= end and data[start - 2] == 0x58 and 24 <= (size := data[start - 1]) <= end - start:
                result[key] = data[start : start + size]
                self.position = start + size
            else:
                result[key] = self.item(depth)
        return result

    def key(self, known: dict[Any, Value], depth: int, stop: bool = False) -> Any:
        at = self.position
        key = self.item(depth, stop)
        if key is not _BREAK and type(key) not in _KEYS:
            raise MalformedEvidence("cbor map key", at, "an integer, text or bytes", type(key).__name__)
        if key in known:
            raise MalformedEvidence("cbor map key", at, "distinct keys", f"{key!r} twice")
        return key

    def ordered(self, at: int, previous: bytes) -> bytes:
        """The key that was read from ``at``, which must come after the one before it."""
        raw = self.data[at : self.position]
        if raw <= previous:
            raise MalformedEvidence("cbor map key", at, "keys in bytewise order", f"{raw[:60].hex()} out of order")
        return raw

    def indefinite(self, major: int, depth: int, at: int) -> Value:
        if self.canonical or major in (0, 1, 6):
            raise MalformedEvidence("cbor head", at, "a definite length", "an indefinite one")
        self.nest(1, depth, at)
        if major == 5:
            result: dict[Any, Value] = {}
            while (key := self.key(result, depth + 1, stop=True)) is not _BREAK:
                result[key] = self.item(depth + 1)
                self.nest(2, depth, at)
            return result
        parts = []
        while (part := self.item(depth + 1, stop=True)) is not _BREAK:
            self.nest(1, depth, at)
            if (major == 2 and not isinstance(part, bytes)) or (major == 3 and not isinstance(part, str)):
                raise MalformedEvidence("cbor string chunk", at, "chunks of the same kind", type(part).__name__)
            parts.append(part)
        if major == 2:
            return b"".join(parts)
        return "".join(parts) if major == 3 else parts

    def simple(self, info: int, at: int, stop: bool) -> Value:
        if info in _SIMPLE and not (self.canonical and info == UNDEFINED):
            return _SIMPLE[info]
        if info in _FLOATS:
            size, form = _FLOATS[info]
            raw = self.take(size, "cbor float")
            value: float = struct.unpack(form, raw)[0]
            if self.canonical and _float(value)[1:] != raw:
                raise MalformedEvidence("cbor float", at, "the shortest form", raw.hex())
            return value
        if info == 31 and stop:
            return _BREAK
        raise MalformedEvidence("cbor simple value", at, "false, true, null, undefined or a float", info)

    @staticmethod
    def text(raw: bytes, at: int) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise MalformedEvidence("cbor text string", at, "UTF-8", raw[:16].hex()) from None


def decode(data: bytes, *, canonical: bool = False, base: int = 0) -> Value:
    """One data item that fills ``data`` exactly.

    Args:
        data: at most a few MiB; the caller bounds it.
        canonical: demand the deterministic encoding of RFC 8949 section 4.2.1, as our own formats do.
        base: offset of ``data[0]`` in the whole input, so that errors name absolute offsets.

    Raises:
        MalformedEvidence: truncated, over-long, nested too deep, duplicate keys, leftovers, or not canonical.
    """
    try:
        value, size = decode_prefix(data, canonical=canonical)
    except MalformedEvidence as error:
        if not base:
            raise
        raise MalformedEvidence(error.field, base + error.offset, error.need, error.have) from None
    if size != len(data):
        raise MalformedEvidence("cbor item", base + size, "end of input", f"{len(data) - size} more bytes")
    return value


def decode_prefix(data: bytes, *, canonical: bool = False) -> tuple[Value, int]:
    """The first data item of ``data`` and the number of bytes it took."""
    decoder = _Decoder(data, canonical)
    value = decoder.item(0)
    return value, decoder.position


def _head(major: int, value: int) -> bytes:
    kind = major << 5
    if value < 24:
        return bytes((kind | value,))
    if value < 1 << 8:
        return bytes((kind | 24, value))
    if value < 1 << 16:
        return bytes((kind | 25, value >> 8, value & 0xFF))
    for info, size in ((26, 4), (27, 8)):
        if value < 1 << (8 * size):
            return bytes((kind | info,)) + value.to_bytes(size, "big")
    raise ValueError("integer does not fit 64 bits")


def bytes_head(size: int) -> bytes:
    """What stands before a byte string of ``size`` bytes in deterministic encoding."""
    return _head(2, size)


def encode(value: Value) -> bytes:
    """The deterministic encoding of ``value`` (RFC 8949 section 4.2.1): shortest heads, keys in bytewise order."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _head(2, len(value)) + bytes(value)
    if isinstance(value, str):
        raw = value.encode()
        return _head(3, len(raw)) + raw
    if isinstance(value, Tag):  # which is a tuple too
        return _head(6, value.number) + encode(value.value)
    if isinstance(value, list | tuple):
        return _head(4, len(value)) + b"".join(encode(item) for item in value)
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(item)) for key, item in value.items())
        return _head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    if isinstance(value, float):
        return _float(value)
    raise TypeError(f"cbor has no form for {type(value).__name__}")


def _float(value: float) -> bytes:
    if math.isnan(value):
        return b"\xf9\x7e\x00"
    for head, form in ((0xF9, ">e"), (0xFA, ">f")):
        try:
            raw = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, raw)[0] == value:
            return bytes((head,)) + raw
    return b"\xfb" + struct.pack(">d", value)
