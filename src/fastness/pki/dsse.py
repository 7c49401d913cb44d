"""DSSE envelopes (Dead Simple Signing Envelope, protocol and JSON envelope of version 1.0.2), as values.

The signature is over PAE(type, body) = ``"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body``, lengths in decimal and
in bytes, so that no two pairs of type and body give the same bytes.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from fastness.errors import Malformed

MAX_ENVELOPE = 48 << 20
"""Largest envelope read, in bytes."""
MAX_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class Signature:
    """``keyid`` is a hint of who signed, and nothing more: it is not signed itself."""

    keyid: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload of a named type, and signatures over both."""

    kind: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def signed(self) -> bytes:
        """What the signatures are over."""
        return pae(self.kind, self.payload)

    def unparse(self) -> bytes:
        """The JSON envelope."""
        import json

        rows = [{"keyid": item.keyid, "sig": _encode(item.value)} for item in self.signatures]
        document = {"payloadType": self.kind, "payload": _encode(self.payload), "signatures": rows}
        return json.dumps(document, indent=1).encode() + b"\n"


def pae(kind: str, body: bytes) -> bytes:
    """The pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def looks_like(data: bytes) -> bool:
    """Whether ``data`` is a JSON object, which none of the other forms in its place can be."""
    return data.lstrip(b" \t\r\n")[:1] == b"{"


def parse(data: bytes, where: str) -> Envelope:
    """The envelope in ``data``.

    Raises:
        Malformed: not JSON, a field missing, no signature or more than 64, or not base64.
    """
    import json

    if len(data) > MAX_ENVELOPE:
        hint = "what is signed is a policy or a statement: name its file"
        raise Malformed(f"an envelope has at most {MAX_ENVELOPE} bytes", where=where, hint=hint)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        hint = "the file was cut or altered: get it again from who signed it"
        raise Malformed("an envelope that is not JSON", where=where, hint=hint) from None
    fields = value if isinstance(value, dict) else {}
    kind, rows = fields.get("payloadType"), fields.get("signatures")
    if not isinstance(kind, str) or not isinstance(rows, list) or not 0 < len(rows) <= MAX_SIGNATURES:
        hint = f"payloadType, payload, and 1 to {MAX_SIGNATURES} signatures"
        raise Malformed("a JSON document that is no DSSE envelope", where=where, hint=hint)
    return Envelope(kind, _decode(fields.get("payload"), where), tuple(_signature(row, where) for row in rows))


def _signature(row: Any, where: str) -> Signature:
    fields = row if isinstance(row, dict) else {}
    keyid = fields.get("keyid", "")
    return Signature(keyid if isinstance(keyid, str) else "", _decode(fields.get("sig"), where))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: Any, where: str) -> bytes:
    """Standard or URL-safe base64: a reader accepts either."""
    if not isinstance(text, str):
        raise Malformed("a field of the envelope is missing", where=where, hint="payload and sig are base64")
    try:
        return base64.b64decode(text.translate({0x2D: "+", 0x5F: "/"}), validate=True)
    except (binascii.Error, ValueError):
        hint = "payload and sig are base64"
        raise Malformed("a field of the envelope is not base64", where=where, hint=hint) from None
