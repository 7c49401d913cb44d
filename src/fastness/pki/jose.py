"""JSON Web Signatures, compact form (RFC 7515), by ES256, ES384 and EdDSA over Ed25519 (RFC 7518, RFC 8037): no other.

The algorithm is that of the key one trusts; the header may only agree. Keys in the header (``jwk``, ``jku``, ``x5c``,
``x5u``) are never looked at, ``crit`` is refused, and ``kid`` where it is there must be the key's (RFC 7638).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from fastness.errors import Malformed, MalformedEvidence, NotGenuine, UsageError
from fastness.pki import keys, signer
from fastness.wire import pem, x509

MAX_TOKEN = 1 << 16
"""Longest token read, in bytes."""
_P384 = "1.3.132.0.34"
# JWK curve → (algorithm, curve, bytes of a coordinate, hash)
_EC: dict[str, tuple[str, type[ec.EllipticCurve], int, type[SHA256] | type[SHA384]]] = {
    "P-256": ("ES256", ec.SECP256R1, 32, SHA256),
    "P-384": ("ES384", ec.SECP384R1, 48, SHA384),
}
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}


@dataclass(frozen=True, slots=True)
class Public:
    """A key to verify with. ``kid`` is the name a JWK gives itself, or the thumbprint."""

    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    kid: str

    @property
    def algorithm(self) -> str:
        """The one algorithm this key is for."""
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            return "EdDSA"
        return _EC[_CURVES[self.key.curve.name]][0]

    def jwk(self) -> dict[str, str]:
        """As a JSON Web Key (RFC 7517), with ``alg``, ``use`` and ``kid``."""
        return {**_members(self.key), "alg": self.algorithm, "use": "sig", "kid": self.kid}

    def holds(self, signature: bytes, data: bytes) -> bool:
        """Whether ``signature`` (r ‖ s, or 64 bytes of Ed25519) is this key's over ``data``."""
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, data)
            else:
                _, _, size, hashing = _EC[_CURVES[self.key.curve.name]]
                if len(signature) != 2 * size:
                    return False
                r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
                self.key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashing()))
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Private:
    """A key to sign with."""

    public: Public
    key: signer.Signer = field(repr=False)

    def sign(self, payload: bytes) -> str:
        """``payload`` as a token."""
        header = {"alg": self.public.algorithm, "kid": self.public.kid, "typ": "JWT"}
        signed = f"{encode(json.dumps(header, separators=(',', ':')).encode())}.{encode(payload)}"
        return f"{signed}.{encode(self.key.sign_fixed(signed.encode()))}"


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str, name: str, offset: int = 0) -> bytes:
    """The reverse; one text for each value: no padding, no other alphabet, no stray bits."""
    try:
        value = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = None
    if value is None or encode(value) != text:
        raise MalformedEvidence(name, offset, "base64url without padding", "something else")
    return value


def objects(data: bytes, name: str, offset: int = 0) -> dict[str, Any]:
    """A JSON object: UTF-8, no member twice, no number JSON does not know."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a member twice")
        return found

    def never(text: str) -> Any:
        raise ValueError(text)

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=never)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")  # 1e999, half a surrogate pair
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise MalformedEvidence(name, offset, "a JSON object, each member once", "something else")
    return value


def verify(token: bytes, trusted: Public, family: str) -> dict[str, Any]:
    """The payload of a token that ``trusted`` signed.

    Args:
        token: compact form; white space around it is taken off.
        trusted: the key.
        family: of the checks: ``<family>.algorithm``, ``<family>.kid``, ``<family>.signature``.

    Raises:
        MalformedEvidence: no such token.
        NotGenuine: another algorithm, another key, or the signature does not hold.
    """
    if len(token) > MAX_TOKEN:
        raise MalformedEvidence("token", 0, f"at most {MAX_TOKEN} bytes", len(token))
    try:
        parts = token.decode("ascii").strip().split(".")
    except UnicodeDecodeError:
        parts = []
    if len(parts) != 3:
        raise MalformedEvidence("token", 0, "three parts in base64url", len(parts))
    second, third = len(parts[0]) + 1, len(parts[0]) + len(parts[1]) + 2
    header = objects(decode(parts[0], "header"), "header")
    payload = decode(parts[1], "payload", second)
    signature = decode(parts[2], "signature", third)
    _agrees(header, trusted, family)
    if not trusted.holds(signature, f"{parts[0]}.{parts[1]}".encode()):
        raise NotGenuine(f"{family}.signature", "the signature is not the trusted key's", hint="ask the issuer again")
    return objects(payload, "payload", second)


def _agrees(header: dict[str, Any], trusted: Public, family: str) -> None:
    if "crit" in header:
        raise MalformedEvidence("header.crit", 0, "no extensions", "crit")
    if header.get("alg") != trusted.algorithm:
        raise NotGenuine(
            f"{family}.algorithm",
            f"signed by {str(header.get('alg'))[:20]!r}, and the trusted key is for {trusted.algorithm}",
            hint="name the key of this issuer; a token without a signature is never read",
        )
    if "kid" in header and header["kid"] not in (trusted.kid, _thumbprint(trusted.key)):
        raise NotGenuine(
            f"{family}.kid",
            f"signed by key {str(header['kid'])[:64]!r}, and {trusted.kid!r} is trusted",
            hint="the issuer has several keys: name the right one",
        )


def _members(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> dict[str, str]:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": encode(key.public_bytes_raw())}
    name = _CURVES[key.curve.name]
    size, numbers = _EC[name][2], key.public_numbers()
    x, y = (encode(value.to_bytes(size, "big")) for value in (numbers.x, numbers.y))
    return {"crv": name, "kty": "EC", "x": x, "y": y}


def _thumbprint(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> str:
    """RFC 7638: SHA-256 over the required members in the order of their names."""
    return encode(hashlib.sha256(json.dumps(_members(key), separators=(",", ":")).encode()).digest())


def public(data: bytes, where: str) -> Public:
    """A public key in a file: JWK, or SubjectPublicKeyInfo in PEM.

    Raises:
        UsageError: no such key, or a private one.
    """
    hint = "a JWK (fastness evidence ear-key) or PUBLIC KEY in PEM: P-256, P-384 or Ed25519"
    try:
        if data.lstrip()[:1] == b"{":
            return _from_jwk(objects(data, "JWK"))
        for label, block in pem.unarmour(data):
            if label == "PUBLIC KEY":
                return _public(keys.load(x509.parse_public_key(block)))
    except (Malformed, ValueError):
        raise UsageError("not a public key that can be used", where=where, hint=hint) from None
    raise UsageError("no public key in this file", where=where, hint=hint)


def _public(key: keys.Key, kid: str | None = None) -> Public:
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES
    ):
        return Public(key, kid or _thumbprint(key))
    raise MalformedEvidence("key", 0, "P-256, P-384 or Ed25519", keys.common_bits(key))


def _from_jwk(jwk: dict[str, Any]) -> Public:
    if "d" in jwk or "k" in jwk:
        raise MalformedEvidence("JWK", 0, "a public key", "a secret one")
    kid, x, y = jwk.get("kid"), jwk.get("x"), jwk.get("y", "")
    if not isinstance(x, str) or not isinstance(y, str) or not isinstance(kid, str | None):
        raise MalformedEvidence("JWK", 0, "x, y and kid as strings", "something else")
    kind = (jwk.get("kty"), jwk.get("crv"))
    key: keys.Key
    if kind == ("OKP", "Ed25519"):
        key = ed25519.Ed25519PublicKey.from_public_bytes(decode(x, "x"))
    elif kind in (("EC", "P-256"), ("EC", "P-384")):
        key = keys.ec_point(_EC[str(kind[1])][1], decode(x, "x") + decode(y, "y"), "JWK")
    else:
        raise MalformedEvidence("JWK", 0, "EC P-256, EC P-384 or OKP Ed25519", kind)
    found = _public(key, kid)
    if jwk.get("alg", found.algorithm) != found.algorithm:
        raise MalformedEvidence("alg", 0, found.algorithm, jwk["alg"])
    return found


def private(data: bytes, where: str) -> Private:
    """A private key in PKCS#8 PEM: P-256, P-384 or Ed25519. Nothing of the file is ever quoted.

    Raises:
        UsageError: none that can be used.
    """
    known = signer.read(data, where)
    return Private(_public(keys.load(x509.parse_public_key(known.public))), known)
