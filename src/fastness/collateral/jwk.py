"""Public keys as platform owners publish them: JSON web keys, trust anchor stores of ccatoken, COSE_Keys.

Sources: RFC 7517, RFC 7518 section 6; veraison/rust-ccatoken ``store/data-model.cddl`` (Trustee reads it too); RFC 9052
section 7, RFC 9053 section 7.
"""

from __future__ import annotations

import binascii
from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence
from fastness.wire import cbor, der, x509

_CURVES = {
    "P-256": ("06082a8648ce3d030107", 32),
    "P-384": ("06052b81040022", 48),
    "P-521": ("06052b81040023", 66),
}
"""DER of the named curve's object identifier (RFC 5480 section 2.1.1.1), and the size of a coordinate in bytes.

In the order of COSE's numbers, from 1 (RFC 9053 section 7.1).
"""

_EC = bytes.fromhex("06072a8648ce3d0201")
_RSA = bytes.fromhex("06092a864886f70d0101010500")
_ED25519 = bytes.fromhex("06032b6570")
MAX_KEYS = 256


class Named(NamedTuple):
    """One key, its id (or empty), and whom it may vouch for: ``implementation`` or ``implementation/instance``."""

    name: str
    key: x509.PublicKey
    line: str = ""


def parse(data: bytes) -> list[Named]:
    """The keys of a JWK, JWK set, list of JWKs or trust anchor store. Private members are not looked at.

    Raises:
        MalformedEvidence: not JSON, no key in it, or one of an unknown kind.
    """
    import json

    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedEvidence("jwk", 0, "JSON", "something else") from None
    keys = value.get("keys", [value]) if isinstance(value, dict) else value
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS or not all(isinstance(key, dict) for key in keys):
        raise MalformedEvidence("jwk", 0, "a key or a set of keys", type(value).__name__)
    return [_stored(key) if "pkey" in key else Named(str(key.get("kid", ""))[:80], _key(key)) for key in keys]


def _stored(row: dict[str, Any]) -> Named:
    """A row of a trust anchor store: the key of one instance of an implementation."""
    if not isinstance(row["pkey"], dict):
        raise MalformedEvidence("pkey", 0, "a JSON web key", type(row["pkey"]).__name__)
    parts = []
    for name, size in (("implementation-id", 32), ("instance-id", 33)):
        text = row.get(name)
        if not isinstance(text, str) or len(text) != 2 * size or not set(text.lower()) <= set("0123456789abcdef"):
            raise MalformedEvidence(name, 0, f"{size} bytes in hexadecimal", repr(text)[:40])
        parts.append(text.lower())
    return Named(parts[1], _key(row["pkey"]), "/".join(parts))


def of_cose(data: bytes) -> list[Named]:
    """The keys of an encoded COSE_Key or COSE_KeySet.

    Raises:
        MalformedEvidence: not CBOR, no key in it, or one of an unknown kind.
    """
    value = cbor.decode(data)
    keys = value if isinstance(value, list) else [value]
    if not 1 <= len(keys) <= MAX_KEYS or not all(isinstance(key, dict) for key in keys):
        raise MalformedEvidence("COSE_Key", 0, "a map, or an array of maps", type(value).__name__)
    return [Named("", _cose(key)) for key in keys]


def _cose(key: dict[Any, Any]) -> x509.PublicKey:
    kind, curve, x, y = (key.get(label) for label in (1, -1, -2, -3))
    if kind == 2 and type(curve) is int and 1 <= curve <= len(_CURVES):
        name, size = tuple(_CURVES.values())[curve - 1]
        if not isinstance(x, bytes) or not isinstance(y, bytes) or not len(x) == len(y) == size:
            raise MalformedEvidence("COSE_Key.x", 0, f"two coordinates of {size} bytes", type(y).__name__)
        return _public(_EC + bytes.fromhex(name), b"\x04" + x + y)
    if kind == 1 and curve == 6 and isinstance(x, bytes):
        return _public(_ED25519, x)
    raise MalformedEvidence("COSE_Key", 0, "EC2 (P-256, P-384, P-521) or OKP (Ed25519)", f"{kind!r} {curve!r}"[:40])


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
