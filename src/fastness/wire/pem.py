"""PEM (RFC 7468): armour off, labels kept, bounded. Read by searching for dashes, in one pass."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastness.errors import MalformedEvidence

MAX_PEM = 1 << 22
_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_LABEL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "
_SPACE = b" \t\n\r\f\v"
_TEXT = _LABEL + b"abcdefghijklmnopqrstuvwxyz+/=" + _SPACE


class Block(NamedTuple):
    """One armoured block: bytes ``start`` to ``end`` of the input, and its base64 ``text`` with white space."""

    label: str
    start: int
    end: int
    text: bytes

    def der(self) -> bytes:
        """The bytes it stands for."""
        # lines end in newlines in nearly every file, and taking those out is ten times faster than all white space
        for text in (self.text.replace(b"\n", b""), self.text.translate(None, _SPACE)):
            try:
                return binascii.a2b_base64(text, strict_mode=True)
            except binascii.Error:
                continue
        raise MalformedEvidence(f"PEM {self.label}", self.start, "base64", "something else")


def blocks(data: bytes) -> Iterator[Block]:
    """Every block of ``data``; what does not read as one (encrypted keys with headers, lone lines) is passed over."""
    if len(data) > MAX_PEM:
        raise MalformedEvidence("PEM", 0, f"at most {MAX_PEM} bytes", len(data))
    start = data.find(_BEGIN)
    while start >= 0:
        name = start + len(_BEGIN)
        close = data.find(_DASHES, name)
        stop = data.find(_DASHES, close + len(_DASHES)) if close >= 0 else -1
        if stop < 0:
            return
        label, text = data[name:close], data[close + len(_DASHES) : stop]
        mark = _END + label + _DASHES
        if 1 <= len(label) <= 40 and data.startswith(mark, stop) and _only(label, _LABEL) and _only(text, _TEXT):
            yield Block(label.decode(), start, stop + len(mark), text)
            start = data.find(_BEGIN, stop + len(mark))
        else:
            start = data.find(_BEGIN, name)


def _only(data: bytes, known: bytes) -> bool:
    return not data.translate(None, known)


def unarmour(data: bytes, label: str | None = None) -> list[tuple[str, bytes]]:
    """Every block of ``data`` as (label, DER); only those labelled ``label`` when it is given."""
    return [(block.label, block.der()) for block in blocks(data) if label is None or block.label == label]


def armour(label: str, blocks: Iterable[bytes]) -> bytes:
    """DER blocks as PEM, 64 characters a line."""
    out = []
    for der in blocks:
        text = binascii.b2a_base64(der, newline=False)
        lines = [text[i : i + 64] for i in range(0, len(text), 64)]
        out.append(b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), b"\n".join(lines), label.encode()))
    return b"".join(out)
