"""JSON Web Signatures in compact form (RFC 7515): ES256, ES384 and EdDSA, and nothing else.

The key decides the algorithm; the header must agree. So a token cannot choose ``none``, nor have a public key taken for
a shared secret (RFC 8725 sections 2.1 and 3.1).
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable
from typing import Any

from fastness.errors import Malformed, NotGenuine
from fastness.pki import keys, signer
from fastness.pki.signer import Signer
from fastness.wire import x509

ALGORITHMS = {"p-256": "ES256", "p-384": "ES384", "ed25519": "EdDSA"}
"""``alg`` by the kind of key (RFC 7518 section 3.1, RFC 8037 section 3.1)."""

HEADER = frozenset({"alg", "typ", "kid", "cty"})
MAX_TOKEN = 4 << 20


def encode(data: bytes) -> str:
    """base64url without padding."""
    return binascii.b2a_base64(data, newline=False).decode().replace("+", "-").replace("/", "_").rstrip("=")


def decode(text: str, field: str) -> bytes:
    """The bytes of base64url without padding.

    Raises:
        Malformed: another alphabet, padding, or bits that no encoder sets.
    """
    try:
        if "=" in text or "+" in text or "/" in text:
            raise ValueError
        padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        data = binascii.a2b_base64(padded, strict_mode=True)
        if encode(data) != text:
            raise ValueError
    except (ValueError, UnicodeEncodeError):
        raise Malformed(f"{field} is not base64url", where=field) from None
    return data


def sign(payload: dict[str, Any], key: Signer, kind: str) -> str:
    """``payload`` signed by ``key``; ``kind`` is the media type without ``application/``."""
    header = {"alg": ALGORITHMS[key.kind], "typ": kind, "kid": key.keyid}
    body = f"{encode(_json(header))}.{encode(_json(payload))}"
    return f"{body}.{encode(key.sign_fixed(body.encode()))}"


def verify(token: str, trusted: Iterable[x509.PublicKey], where: str) -> tuple[dict[str, Any], str]:
    """(payload, fingerprint of the key that signed it) of a token signed by one of ``trusted``.

    Raises:
        Malformed: not a token in compact form of JSON objects.
        NotGenuine: ``ear.signature``: no trusted key signed it with its own algorithm.
    """
    if len(token) > MAX_TOKEN:
        raise Malformed(f"a token has at most {MAX_TOKEN} characters", where=where)
    parts = token.strip().split(".")
    if len(parts) != 3:
        raise Malformed("not a token in compact form: header.payload.signature", where=where)
    header = _object(decode(parts[0], "header"), "header")
    signature, body = decode(parts[2], "signature"), f"{parts[0]}.{parts[1]}".encode()
    if (
        unknown := header.keys() - HEADER
    ):  # crit, jwk, x5u …: a token brings no keys, and nothing critical is understood
        raise Malformed(f"the token's header has {', '.join(sorted(unknown))}", where=where)
    for public in trusted:
        loaded = keys.load(public)
        if header.get("alg") != ALGORITHMS.get(signer.kind(loaded), ""):
            continue
        if signer.verifies_fixed(loaded, signature, body):
            return _object(decode(parts[1], "payload"), "payload"), keys.fingerprint(public)
    raise NotGenuine(
        "ear.signature",
        "the result is signed by none of the keys that were named",
        where=where,
        hint="name the public key of who made it; it was altered, or made by somebody else",
    )


def public_jwk(key: Signer) -> dict[str, str]:
    """The public key as a JSON web key (RFC 7517), with its use and algorithm."""
    public = x509.parse_public_key(key.public)
    common = {"kid": key.keyid, "use": "sig", "alg": ALGORITHMS[key.kind]}
    if key.kind == "ed25519":
        return {"kty": "OKP", "crv": "Ed25519", "x": encode(public.bits), **common}
    half = (len(public.bits) - 1) // 2
    point = public.bits[1:]
    return {"kty": "EC", "crv": key.kind.upper(), "x": encode(point[:half]), "y": encode(point[half:]), **common}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _object(data: bytes, field: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError
        return found

    try:
        value = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Malformed(f"the {field} is not one JSON object with each name once", where=field)
    return value
