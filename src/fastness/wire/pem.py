"""PEM (RFC 7468): armour off, labels kept, bounded. Read in one pass."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastness.errors import MalformedEvidence

MAX_PEM = 1 << 22
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")
_SPACE = b" \t\n\r\f\v"
_TEXT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=" + _SPACE


class Block(NamedTuple):
    """One armoured block: bytes ``start`` to ``end`` of the input, and its base64 ``text`` with white space."""

    label: str
    start: int
    end: int
    text: bytes

    def der(self) -> bytes:
        """The bytes it stands for."""
        text = self.text.replace(b"\n", b"")  # ten times faster than all white space, and nearly always enough
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            return self._spaced()

    def _spaced(self) -> bytes:
        try:
            return binascii.a2b_base64(self.text.translate(None, _SPACE), strict_mode=True)
        except binascii.Error:
            raise MalformedEvidence(f"PEM {self.label}", self.start, "base64", "something else") from None


def blocks(data: bytes) -> Iterator[Block]:
    """Every block of ``data``; what does not read as one (encrypted keys with headers, lone lines) is passed over."""
    if len(data) > MAX_PEM:
        raise MalformedEvidence("PEM", 0, f"at most {MAX_PEM} bytes", len(data))
    for found in _BLOCK.finditer(data):
        label, text = found.groups()
        if not text.translate(None, _TEXT):
            yield Block(label.decode(), *found.span(), text)


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
