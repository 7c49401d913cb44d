"""Public keys and signature verification, over `cryptography`'s primitives.

Keys are built from numbers, not by a general loader: `serialization` costs 20 ms to import and the formats are few.
RSA is imported when the first RSA key is met, and `hashlib` is used only where it is loaded already.
"""

from __future__ import annotations

import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm

from fastness.errors import MalformedEvidence
from fastness.wire import der, x509

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

Key: TypeAlias = "ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey"

EC_KEY, RSA_KEY, RSA_PSS, ED25519 = "1.2.840.10045.2.1", "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10", "1.3.101.112"
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "1.2.840.10045.3.1.7": ec.SECP256R1,
    "1.3.132.0.34": ec.SECP384R1,
    "1.3.132.0.35": ec.SECP521R1,
}
_Hash: TypeAlias = type[SHA256] | type[SHA384] | type[SHA512]


class Ecdsa(ec.ECDSA):
    """ECDSA to verify with: the constructor of ECDSA imports every cipher, 4 ms, over a question of signing."""

    def __init__(self, algorithm: HashAlgorithm | utils.Prehashed) -> None:
        self._over = algorithm

    @property
    def algorithm(self) -> HashAlgorithm | utils.Prehashed:
        """The hash."""
        return self._over


class Scheme:
    """ECDSA over one hash: its ``name``, and how `cryptography` verifies over ``whole`` data and over a ``digest``."""

    __slots__ = ("digest", "name", "whole")

    def __init__(self, hashing: HashAlgorithm) -> None:
        self.name = hashing.name
        self.whole, self.digest = Ecdsa(hashing), Ecdsa(utils.Prehashed(hashing))


@lru_cache(maxsize=8)
def _scheme(kind: type[HashAlgorithm]) -> Scheme:
    return Scheme(kind())


_SHA256 = SHA256()
ECDSA_SHA256, ECDSA_SHA384 = _scheme(SHA256), _scheme(SHA384)
_ECDSA = {
    "1.2.840.10045.4.3.2": ECDSA_SHA256,
    "1.2.840.10045.4.3.3": ECDSA_SHA384,
    "1.2.840.10045.4.3.4": _scheme(SHA512),
}
_PKCS1: dict[str, _Hash] = {
    "1.2.840.113549.1.1.11": SHA256,
    "1.2.840.113549.1.1.12": SHA384,
    "1.2.840.113549.1.1.13": SHA512,
}
_HASHES: dict[str, _Hash] = {
    "2.16.840.1.101.3.4.2.1": SHA256,
    "2.16.840.1.101.3.4.2.2": SHA384,
    "2.16.840.1.101.3.4.2.3": SHA512,
}
MIN_RSA_BITS = 2048


def fingerprint(key: x509.PublicKey) -> str:
    """SHA-256 over the DER SubjectPublicKeyInfo, in hexadecimal: how anchors name keys."""
    return _fingerprint(key.raw)


@lru_cache(maxsize=256)
def _fingerprint(raw: bytes) -> str:
    return sha256(raw).hex()


def sha256(data: bytes) -> bytes:
    """SHA-256 of ``data``, 32 bytes."""
    loaded = _hashlib()
    if loaded is not None:
        digest: bytes = loaded.sha256(data).digest()
        return digest
    hashing = Hash(_SHA256)
    hashing.update(data)
    return hashing.finalize()


def _hashlib() -> Any:
    """`hashlib`, where something has loaded it: it begins a hash three times as fast as `cryptography`, which fetches
    the algorithm anew. A process that verifies one quote does not pay for a second OpenSSL to save that."""
    loaded = sys.modules.get("hashlib")
    return loaded if hasattr(loaded, "sha512") else None  # another thread may be in the middle of loading it


@lru_cache(maxsize=1024)
def load(key: x509.PublicKey) -> Key:
    """A SubjectPublicKeyInfo as a key to verify with.

    Raises:
        MalformedEvidence: unknown algorithm or curve, point off the curve, RSA modulus under 2048 bits.
    """
    oid = key.algorithm.oid
    try:
        if oid == EC_KEY:
            return ec.EllipticCurvePublicKey.from_encoded_point(_curve(key.algorithm.parameters), key.bits)
        if oid in (RSA_KEY, RSA_PSS):
            parts = der.children(der.one(key.bits, der.SEQUENCE, "RSAPublicKey"), "RSAPublicKey")
            modulus, exponent = (der.integer(part, "RSAPublicKey") for part in parts)
            return rsa_key(modulus, exponent)
        if oid == ED25519:
            return ed25519.Ed25519PublicKey.from_public_bytes(key.bits)
    except (ValueError, OverflowError, UnsupportedAlgorithm) as error:  # OverflowError: a negative number
        raise MalformedEvidence("subjectPublicKey", 0, "a usable public key", error) from None
    raise MalformedEvidence("subjectPublicKeyInfo.algorithm", 0, "an EC, RSA or Ed25519 key", oid)


@cache
def _elliptic(kind: type[Key]) -> bool:
    """Asked of a class, not of its instances: `isinstance` with an abstract class costs a microsecond each time."""
    return issubclass(kind, ec.EllipticCurvePublicKey)


def is_elliptic(key: Key) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether ``key`` is a point of an elliptic curve to verify ECDSA with."""
    return _elliptic(type(key))


def is_on(key: Key, curve: str) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether ``key`` is a point of ``curve`` (``secp256r1`` …)."""
    return is_elliptic(key) and key.curve.name == curve


@lru_cache(maxsize=8)
def _curve(parameters: bytes) -> ec.EllipticCurve:
    """The named curve of ECParameters (RFC 5480 section 2.1.1)."""
    name = der.oid(der.one(parameters, der.OID, "ecParameters"), "ecParameters")
    if name not in _CURVES:
        raise MalformedEvidence("ecParameters", 0, "P-256, P-384 or P-521", name)
    return _CURVES[name]()


def rsa_key(modulus: int, exponent: int) -> rsa.RSAPublicKey:
    """An RSA key from its numbers; at least 2048 bits."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    if modulus.bit_length() < MIN_RSA_BITS:
        raise MalformedEvidence("RSA modulus", 0, f"at least {MIN_RSA_BITS} bits", modulus.bit_length())
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except (ValueError, OverflowError) as error:
        raise MalformedEvidence("RSA key", 0, "a usable public key", error) from None


def ec_point(curve: type[ec.EllipticCurve], point: bytes, field: str, offset: int = 0) -> ec.EllipticCurvePublicKey:
    """An elliptic-curve key from its uncompressed point without the leading 0x04 (x ‖ y, big endian)."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve(), b"\x04" + point)
    except ValueError as error:
        raise MalformedEvidence(field, offset, f"a point of {curve.name}", error) from None


def verify_ecdsa(key: ec.EllipticCurvePublicKey, r: int, s: int, digest: bytes, algorithm: HashAlgorithm) -> bool:
    """Whether (r, s) is a signature of ``digest`` (already hashed with ``algorithm``) by ``key``."""
    try:
        key.verify(utils.encode_dss_signature(r, s), digest, _scheme(type(algorithm)).digest)
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_over(key: ec.EllipticCurvePublicKey, r: int, s: int, data: bytes, scheme: Scheme) -> bool:
    """Whether (r, s) is a signature of ``data``, hashed as ``scheme`` says, by ``key``."""
    try:
        _verify(key, utils.encode_dss_signature(r, s), data, scheme)
    except (InvalidSignature, ValueError):
        return False
    return True


def _verify(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, scheme: Scheme) -> None:
    loaded = _hashlib()
    if loaded is not None:
        key.verify(signature, getattr(loaded, scheme.name)(data).digest(), scheme.digest)
    else:
        key.verify(signature, data, scheme.whole)


def verify(key: Key, algorithm: x509.Algorithm, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` over ``data`` holds under an X.509 ``algorithm``; unknown or malformed ones never hold."""
    try:
        if is_elliptic(key):
            chosen = _ECDSA.get(algorithm.oid)
            if chosen is None:
                return False
            _verify(key, signature, data, chosen)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            if algorithm.oid != ED25519:
                return False
            key.verify(signature, data)
        else:
            return _verify_rsa(cast("rsa.RSAPublicKey", key), algorithm, signature, data)
    except (InvalidSignature, ValueError, MalformedEvidence):  # the last: parameters of PSS that cannot be read
        return False
    return True


def _verify_rsa(key: rsa.RSAPublicKey, algorithm: x509.Algorithm, signature: bytes, data: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric import padding

    if algorithm.oid == RSA_PSS:
        hashing, salt = _pss(algorithm)
        key.verify(signature, data, padding.PSS(padding.MGF1(hashing()), salt), hashing())
    elif algorithm.oid in _PKCS1:
        key.verify(signature, data, padding.PKCS1v15(), _PKCS1[algorithm.oid]())
    else:
        return False
    return True


@lru_cache(maxsize=64)
def _pss(algorithm: x509.Algorithm) -> tuple[_Hash, int]:
    """Hash and salt length of RSASSA-PSS-params (RFC 4055 section 3.1); MGF1 must use the same hash."""
    found: dict[int, der.Node] = {}
    for part in der.children(der.one(algorithm.parameters, der.SEQUENCE, "PSS"), "PSS"):
        found[part.tag] = der.read(part.value, 0, part.inner, "PSS")[0]
    if not {0xA0, 0xA1, 0xA2} <= found.keys():
        raise ValueError("PSS parameters must state hash, mask and salt: the defaults are SHA-1")
    hashing, *_ = der.children(found[0xA0], "PSS.hash")
    _, over = der.children(found[0xA1], "PSS.mask")
    masking, *_ = der.children(over, "PSS.mask.hash")
    digest, inner = der.oid(hashing), der.oid(masking)
    if digest != inner or digest not in _HASHES:
        raise ValueError("PSS hash and mask must be the same SHA-2")
    return _HASHES[digest], der.unsigned(found[0xA2], "PSS.salt", 512)


def common_bits(key: Key) -> str:
    """Kind and size of a key for people: ``"P-384"``, ``"RSA-4096"``."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}.get(key.curve.name, key.curve.name)
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else f"RSA-{key.key_size}"
