"""JSON Web Keys (RFC 7517, RFC 7518 section 6) as public keys: how many platform owners publish their anchors."""

from __future__ import annotations

import binascii
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.wire import der, x509

_CURVES = {
    "P-256": ("06082a8648ce3d030107", 32),
    "P-384": ("06052b81040022", 48),
    "P-521": ("06052b81040023", 66),
}
"""DER of the named curve's object identifier (RFC 5480 section 2.1.1.1), and the size of a coordinate in bytes."""

_EC = bytes.fromhex("06072a8648ce3d0201")
_RSA = bytes.fromhex("06092a864886f70d0101010500")
_ED25519 = bytes.fromhex("06032b6570")
MAX_KEYS = 256


def parse(data: bytes) -> list[tuple[str, x509.PublicKey]]:
    """The keys of a JWK or JWK set as (key id, key). Private members are not looked at.

    Raises:
        MalformedEvidence: not JSON, no key in it, or one of an unknown kind.
    """
    import json

    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedEvidence("jwk", 0, "JSON", "something else") from None
    keys = value.get("keys", [value]) if isinstance(value, dict) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS or not all(isinstance(key, dict) for key in keys):
        raise MalformedEvidence("jwk", 0, "a key or a set of keys", type(value).__name__)
    return [(str(key.get("kid", ""))[:80], _key(key)) for key in keys]


def _key(key: dict[str, Any]) -> x509.PublicKey:
    kind, curve = key.get("kty"), key.get("crv")
    if kind == "EC" and curve in _CURVES:
        name, size = _CURVES[str(curve)]
        point = b"\x04" + b"".join(_number(key, part).rjust(size, b"\0") for part in ("x", "y"))
        if len(point) != 1 + 2 * size:
            raise MalformedEvidence("jwk.x", 0, f"coordinates of {size} bytes", len(point) // 2)
        return _public(_EC + bytes.fromhex(name), point)
    if kind == "RSA":
        numbers = b"".join(_tlv(der.INTEGER, b"\0" + _number(key, part).lstrip(b"\0")) for part in ("n", "e"))
        return _public(_RSA, _tlv(der.SEQUENCE, _shortest(numbers)))
    if kind == "OKP" and curve == "Ed25519":
        return _public(_ED25519, _number(key, "x"))
    raise MalformedEvidence("jwk.kty", 0, "EC (P-256, P-384, P-521), RSA or OKP (Ed25519)", f"{kind} {curve}"[:40])


def _shortest(numbers: bytes) -> bytes:
    """Two INTEGERs with the leading zero only where the top bit would make them negative."""
    out, position = b"", 0
    while position < len(numbers):
        node, position = der.read(numbers, position)
        body = node.value[1:] if len(node.value) > 1 and node.value[1] < 0x80 else node.value
        out += _tlv(der.INTEGER, body)
    return out


def _number(key: dict[str, Any], name: str) -> bytes:
    text = key.get(name)
    try:
        if not isinstance(text, str) or not 1 <= len(text) <= 2048:
            raise ValueError
        return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise MalformedEvidence(f"jwk.{name}", 0, "base64url", type(text).__name__) from None


def _public(algorithm: bytes, bits: bytes) -> x509.PublicKey:
    body = _tlv(der.SEQUENCE, algorithm) + _tlv(der.BIT_STRING, b"\0" + bits)
    return x509.parse_public_key(_tlv(der.SEQUENCE, body))


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value
