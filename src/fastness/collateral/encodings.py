"""How bytes are written in text: hexadecimal, hex dumps, base64, URL encoding, arrays of source code, numbers."""

from __future__ import annotations

import binascii
import re
from contextlib import suppress
from typing import Any

_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n\f"
# compiled when first met: few inputs are of more than one form
_DUMP = rb"(?i)([0-9a-f]{4,16}):?(?: +((?:[0-9a-f]{2}){1,4}(?: {1,2}(?:[0-9a-f]{2}){1,4})*)(?:  .*)?)?"
MAX_DUMP, MAX_LINE = 1 << 22, 512
"""Largest dump that is read, in bytes of what it shows, and its longest line."""

_ARRAY = rb"[\[{(]([0-9A-Fa-fXx,\s]{128,}+)[\]})]"
_BASE64 = rb"[A-Za-z0-9+/_-]+={0,2}"
MAX_ARRAYS = 1024
"""Most arrays of one file that are asked what they are."""

MAX_NONCE = 64
"""Bytes: what is no longer may be a nonce, filled up with zeros."""

LONG = 400
"""Characters: no prose in hexadecimal digits is as long."""


def is_text(data: bytes) -> bool:
    """Whether ``data`` is text: printable ASCII and white space, UTF-8 that starts like JSON or XML, PEM among words of
    any encoding."""
    head = data[:512]
    if head.translate(None, _PRINTABLE):
        known = head[:3] == b"\xef\xbb\xbf" or (head.lstrip()[:1] in (b"{", b"[", b"<") and b"\0" not in head)
    else:
        known = not data.translate(None, _PRINTABLE) or head.lstrip()[:1] in (b"{", b"[", b"<")
    return known or (b"\0" not in data and b"-----BEGIN " in data)


def narrowed(data: bytes) -> bytes:
    """Text of PowerShell's redirections, UTF-16 with a byte order mark, in UTF-8; strings of C, as DCAP libraries give
    chains and documents, without the zero byte at their end; anything else as it is."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and 0 in data[2:4]:
        with suppress(UnicodeDecodeError):
            return data.decode("utf-16").encode()
    if data[-1:] == b"\0" and len(data) > MAX_NONCE and data.find(b"\0") == len(data) - 1 and is_text(data[:-1]):
        return data[:-1]
    return data


def decoded(data: bytes) -> bytes | None:
    """The bytes that hexadecimal, a hex dump or base64 (either alphabet, padded or not) stands for, or None."""
    body = data.strip()
    plain = _hexadecimal(body) or _percent(body)
    if plain:
        return plain
    dumped = _dump(body)
    if dumped:
        return dumped
    joined = b"".join(line.strip() for line in body.splitlines())  # words with spaces between them are prose
    return base64(joined) if len(joined) >= 16 else None


def _hexadecimal(body: bytes) -> bytes | None:
    """``0xab01``, ``ab 01``, ``ab:01``, ``0xab, 0x01``; white space within a byte only where no prose is as long."""
    plain = body.lower().replace(b"0x", b" ").translate(bytes.maketrans(b":,", b"  "))
    with suppress(ValueError):
        return bytes.fromhex(plain.decode("ascii"))
    joined = plain.translate(None, b" \t\r\n")
    if len(joined) >= LONG:
        with suppress(ValueError):
            return bytes.fromhex(joined.decode("ascii"))
    return None


def _dump(body: bytes) -> bytes | None:
    """``xxd`` or ``hexdump -C``: an offset, up to 16 bytes, what they spell; ``*`` for rows like the one before, and at
    the end perhaps an offset alone."""
    found, row, again, base = bytearray(), b"", False, -1
    for line in body.splitlines():
        if line == b"*" and row:
            again = True
            continue
        match = re.fullmatch(_DUMP, line.rstrip()) if len(line) <= MAX_LINE else None
        if match is None:
            return None
        base = int(match[1], 16) if base < 0 else base
        lacking = int(match[1], 16) - base - len(found)
        if lacking and (not again or not 0 < lacking <= MAX_DUMP - len(found)):
            return None
        found += (row * (lacking // max(len(row), 1) + 1))[:lacking]
        row, again = bytes.fromhex((match[2] or b"").decode().replace(" ", "")), False
        found += row
    return bytes(found)


def arrays(data: bytes) -> list[bytes]:
    """What arrays of bytes in source code hold, and Go's prints of them: ``{0xab, 0x01, …}`` (so ``xxd -i``),
    ``[171 1 …]``; longer than a nonce. Of several, those that say themselves what they are: most are a program's own.
    """
    found = []
    for match in re.finditer(_ARRAY, data):
        items = match[1].lower().replace(b",", b" ").split()
        with suppress(ValueError):
            if len(items) > MAX_NONCE:
                found.append(bytes(int(item, 16 if item.startswith(b"0x") else 10) for item in items))
    return found if len(found) == 1 else list(filter(_marked, found[:MAX_ARRAYS]))


def _marked(data: bytes) -> bool:
    from fastness.collateral import sniff

    plain = sniff.answered(data)
    said = sniff.likely(data) == ("tpm",) or data.lstrip()[:11] == b"-----BEGIN "
    return said or sniff.endorsement(data) or sniff.evidence_of(plain) is not None


def _percent(body: bytes) -> bytes | None:
    """PEM as response headers carry it: URL-encoded (RFC 3986 section 2.1), so that nothing stands for itself twice."""
    if b"-----BEGIN%20" not in body and b"-----BEGIN+" not in body:
        return None
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(body.replace(b"+", b"%20") if b"-----BEGIN+" in body else body)


def base64(joined: bytes) -> bytes | None:
    """The bytes that base64 in either alphabet, padded or not, stands for, or None."""
    if not re.fullmatch(_BASE64, joined):
        return None
    standard = joined.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    try:
        return binascii.a2b_base64(standard + b"=" * (-len(standard) % 4), strict_mode=True)
    except binascii.Error:
        return None


def octets(value: Any) -> bytes:
    """Bytes written as hexadecimal, base64 or a list of numbers; empty for anything else."""
    if isinstance(value, str):
        return decoded(value.encode("ascii", "replace")) or b""
    return bytes(value) if isinstance(value, list) and is_bytes(value) else b""


def is_bytes(value: list[Any]) -> bool:
    """Whether these are numbers of 0 to 255."""
    return all(type(item) is int and 0 <= item < 256 for item in value)
