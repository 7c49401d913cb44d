"""Strict DER (X.690): the tag-length-value reader that certificates, CRLs and vendor extensions share.

Ours because evidence needs it: AMD's VCEK certificates carry serial number 0, which certificate libraries are about to
refuse, vendor extensions are read field by field, and errors here name offsets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from fastness.errors import MalformedEvidence

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
ENUMERATED, UTF8, SEQUENCE, SET = 0x0A, 0x0C, 0x30, 0x31
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18

MAX_OID = 128
"""Longest object identifier accepted, in bytes: bounds the arithmetic and what is remembered."""


class Node(NamedTuple):
    """One element: ``tag`` (one byte), ``value``, ``raw`` (with head), ``offset`` of the head in the input."""

    tag: int
    value: bytes
    raw: bytes
    offset: int

    @property
    def inner(self) -> int:
        """Offset of the value in the whole input."""
        return self.offset + len(self.raw) - len(self.value)


made = tuple.__new__
"""What ``Node(…)``, or any named tuple's class, does with its values, without a call in between."""


def head(data: bytes, position: int, limit: int, field: str, base: int = 0) -> tuple[int, int]:
    """Where the value of the element at ``position`` begins and ends; it must end by ``limit``.

    Raises:
        MalformedEvidence: truncated, indefinite or non-minimal length, or a tag of more than one byte.
    """
    start = position + 2
    if limit < start:
        raise MalformedEvidence(field, base + position, "a tag and a length", f"{limit - position} bytes")
    tag, size = data[position], data[position + 1]
    if tag & 0x1F == 0x1F:
        raise MalformedEvidence(field, base + position, "a one-byte tag", f"0x{tag:02x}")
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or start + count > limit:
            raise MalformedEvidence(
                field, base + position, "a definite length of at most 4 bytes", f"0x{data[position + 1]:02x}"
            )
        size = int.from_bytes(data[start : start + count], "big")
        if size < 0x80 or size >> (8 * (count - 1)) == 0:
            raise MalformedEvidence(field, base + position, "the shortest length", f"{size} in {count} bytes")
        start += count
    if start + size > limit:
        raise MalformedEvidence(field, base + position, f"{size} bytes", f"{limit - start} bytes")
    return start, start + size


def span(data: bytes, position: int, limit: int, tag: int, field: str, base: int = 0) -> tuple[int, int]:
    """:func:`head` of an element that must carry ``tag``: structures are read by positions, without a :class:`Node`."""
    start = position + 2
    if start <= limit and data[position] == tag:
        size = data[position + 1]
        if size < 0x80:
            if start + size <= limit:
                return start, start + size
        elif size == 0x82 and start + 2 <= limit:  # what has a length of one or two bytes more is read in place as well
            start, size = start + 2, data[start] << 8 | data[start + 1]
            if size > 0xFF and start + size <= limit:
                return start, start + size
        elif size == 0x81 and start < limit:
            start, size = start + 1, data[start]
            if size > 0x7F and start + size <= limit:
                return start, start + size
    found = head(data, position, limit, field, base)
    if data[position] != tag:
        raise MalformedEvidence(field, base + position, f"tag 0x{tag:02x}", f"tag 0x{data[position]:02x}")
    return found


def fills(data: bytes, tag: int, field: str, base: int = 0) -> int:
    """Where the value of the element begins that fills ``data`` and must carry ``tag``."""
    start, stop = span(data, 0, len(data), tag, field, base)
    if stop != len(data):
        raise MalformedEvidence(field, base + stop, "end of input", f"{len(data) - stop} more bytes")
    return start


def read(data: bytes, position: int = 0, base: int = 0, field: str = "der") -> tuple[Node, int]:
    """The element at ``position`` and the position after it. Raises like :func:`head`."""
    start, end = head(data, position, len(data), field, base)
    return made(Node, (data[position], data[start:end], data[position:end], base + position)), end


def one(data: bytes, tag: int, field: str, base: int = 0) -> Node:
    """The element that fills ``data``, which must carry ``tag``."""
    node, end = read(data, 0, base, field)
    if end != len(data):
        raise MalformedEvidence(field, base + end, "end of input", f"{len(data) - end} more bytes")
    return expect(node, tag, field)


def expect(node: Node, tag: int, field: str) -> Node:
    """``node`` itself, if it carries ``tag``."""
    if node.tag != tag:
        raise MalformedEvidence(field, node.offset, f"tag 0x{tag:02x}", f"tag 0x{node.tag:02x}")
    return node


def children(node: Node, field: str) -> list[Node]:
    """The elements inside a constructed one; they must fill it."""
    _, data, raw, offset = node
    end = len(data)
    base, position, found = offset + len(raw) - end, 0, []
    while position < end:
        start = position + 2
        # nearly every element has a one-byte length: read in place, it takes half the time
        if start <= end and (stop := start + data[position + 1]) <= end and stop - start < 0x80:
            tag = data[position]
            if tag & 0x1F != 0x1F:
                found.append(made(Node, (tag, data[start:stop], data[position:stop], base + position)))
                position = stop
                continue
        child, position = read(data, position, base, field)
        found.append(child)
    return found


def first(node: Node, count: int, field: str) -> list[Node]:
    """The first ``count`` elements inside a constructed one, or fewer if it holds no more: what nobody has vouched for
    yet may hold millions."""
    found: list[Node] = []
    data, position, base = node.value, 0, node.inner
    while position < len(data) and len(found) < count:
        child, position = read(data, position, base, field)
        found.append(child)
    return found


def oid(node: Node, field: str = "object identifier") -> str:
    """Dotted decimal form."""
    return dotted(expect(node, OID, field).value, field, node.offset)


def dotted(body: bytes, field: str, offset: int) -> str:
    """Dotted decimal form of an object identifier's value, which stands at ``offset``."""
    text = _dotted(body) if len(body) <= MAX_OID else None
    if text is None:
        raise MalformedEvidence(field, offset, "an object identifier in minimal arcs", body[:16].hex() or "nothing")
    return text


@lru_cache(maxsize=1024)
def _dotted(body: bytes) -> str | None:
    """The same few identifiers come again and again, and arcs are slow to read."""
    if not body or body[-1] & 0x80:
        return None
    arcs, value = [], 0
    for index, byte in enumerate(body):
        if value == 0 and byte == 0x80 and (index == 0 or not body[index - 1] & 0x80):
            return None
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    top = min(arcs[0] // 40, 2)
    return ".".join(map(str, [top, arcs[0] - 40 * top, *arcs[1:]]))


def integer(node: Node, field: str = "integer") -> int:
    """A signed integer in its shortest form."""
    return signed(expect(node, INTEGER, field).value, field, node.offset)


def signed(body: bytes, field: str, offset: int) -> int:
    """The integer whose value, in its shortest form, is ``body``; the element stands at ``offset``."""
    if not body:
        raise MalformedEvidence(field, offset, "at least one byte", "none")
    if len(body) > 1 and ((body[0] == 0 and body[1] < 0x80) or (body[0] == 0xFF and body[1] >= 0x80)):
        raise MalformedEvidence(field, offset, "the shortest form", body[:4].hex())
    return int.from_bytes(body, "big", signed=True)


def unsigned(node: Node, field: str, limit: int) -> int:
    """An integer in 0 … ``limit``."""
    value = integer(node, field)
    if not 0 <= value <= limit:
        raise MalformedEvidence(field, node.offset, f"0 to {limit}", value)
    return value


def boolean(node: Node, field: str = "boolean") -> bool:
    """FALSE is 0x00, TRUE is 0xFF, nothing else (X.690 section 11.1)."""
    return truth(expect(node, BOOLEAN, field).value, field, node.offset)


def truth(body: bytes, field: str, offset: int) -> bool:
    """The boolean whose value is ``body``, under the restriction of :func:`boolean`."""
    if body not in (b"\x00", b"\xff"):
        raise MalformedEvidence(field, offset, "00 or ff", body.hex())
    return body == b"\xff"


def bits(node: Node, field: str = "bit string") -> bytes:
    """The bytes of a bit string whose number of bits is a multiple of eight."""
    return whole(expect(node, BIT_STRING, field).value, field, node.offset)


def whole(body: bytes, field: str, offset: int) -> bytes:
    """The bytes of a bit string whose value is ``body``, no bit of the last one unused."""
    if not body or body[0] != 0:
        raise MalformedEvidence(field, offset, "whole bytes", body[:1].hex() or "nothing")
    return body[1:]


def time(node: Node, field: str = "time") -> datetime:
    """UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 restricts them: Zulu, with seconds."""
    return instant(node.tag, node.value, field, node.offset)


def instant(tag: int, text: bytes, field: str, offset: int) -> datetime:
    """The time that an element of ``tag`` at ``offset`` says in ``text``, under the restrictions of :func:`time`."""
    found = _time(tag, text) if len(text) <= 15 else None
    if found is None:
        raise MalformedEvidence(field, offset, "a time in Zulu with seconds that exists", text[:20])
    return found


def zulu(at: datetime) -> str:
    """A time to the second as vendors and RFC 3339 write it, in UTC; ``strftime`` leaves years before 1000 short."""
    return at.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z"


_TIMES = {UTC_TIME: 13, GENERALIZED_TIME: 15}


@lru_cache(maxsize=1024)
def _time(tag: int, text: bytes) -> datetime | None:
    """The entries of a revocation list share a few times."""
    if len(text) != _TIMES.get(tag) or text[-1] != 0x5A or not text[:-1].isdigit():
        return None
    said = text.decode()
    if tag == UTC_TIME:
        said = ("20" if said < "50" else "19") + said
    try:
        found = datetime.fromisoformat(f"{said[:8]}T{said[8:]}")
    except ValueError:
        return None
    return found if said[8:10] < "24" else None  # ISO 8601 knows 24:00, X.509 does not
