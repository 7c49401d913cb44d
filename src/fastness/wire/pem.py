"""PEM (RFC 7468): armour off, labels kept, bounded."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from fastness.errors import MalformedEvidence

MAX_PEM = 1 << 22
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*+)-----END \1-----")


def unarmour(data: bytes, label: str | None = None) -> list[tuple[str, bytes]]:
    """Every block of ``data`` as (label, DER); only those labelled ``label`` when it is given."""
    if len(data) > MAX_PEM:
        raise MalformedEvidence("PEM", 0, f"at most {MAX_PEM} bytes", len(data))
    found = []
    for match in _BLOCK.finditer(data):
        name = match[1].decode()
        if label is not None and name != label:
            continue
        try:
            found.append((name, base64.b64decode(b"".join(match[2].split()), validate=True)))
        except binascii.Error:
            raise MalformedEvidence(f"PEM {name}", match.start(), "base64", "something else") from None
    return found


def armour(label: str, blocks: Iterable[bytes]) -> bytes:
    """DER blocks as PEM, 64 characters a line."""
    out = []
    for der in blocks:
        text = base64.b64encode(der)
        lines = [text[i : i + 64] for i in range(0, len(text), 64)]
        out.append(b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), b"\n".join(lines), label.encode()))
    return b"".join(out)
