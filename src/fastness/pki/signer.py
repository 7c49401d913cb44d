"""Keys that people sign with: Ed25519 and P-256, in PKCS#8 (RFC 5958) as every tool reads them.

Ours rather than the library's loader because that costs every start 20 ms and reads fifty formats; two are wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256

from fastness.errors import Malformed, MalformedEvidence, UsageError
from fastness.pki import keys
from fastness.wire import der, pem, x509

Private: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
KINDS = ("ed25519", "p-256")
LABEL = "PRIVATE KEY"
_P256 = "1.2.840.10045.3.1.7"
# everything but the key itself is constant (RFC 8410 section 7, RFC 5915 section 3 in RFC 5958)
_ED25519_PRIVATE = bytes.fromhex("302e020100300506032b657004220420")
_P256_PRIVATE = bytes.fromhex("3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420")
_ED25519_PUBLIC = bytes.fromhex("302a300506032b6570032100")
_P256_PUBLIC = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key. ``public`` is its SubjectPublicKeyInfo in DER."""

    kind: str
    public: bytes
    _key: Private = field(repr=False)

    @property
    def keyid(self) -> str:
        """SHA-256 over the SubjectPublicKeyInfo, in hexadecimal."""
        return keys.fingerprint(x509.parse_public_key(self.public))

    def sign(self, data: bytes) -> bytes:
        """A signature over ``data``: 64 bytes of Ed25519 (RFC 8032), or ECDSA with SHA-256 in DER."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        return self._key.sign(data, ec.ECDSA(SHA256()))

    def sign_fixed(self, data: bytes) -> bytes:
        """The same with ECDSA as r ‖ s of 32 bytes each, as COSE has it (RFC 9053 section 2.1)."""
        signature = self.sign(data)
        if self.kind == "ed25519":
            return signature
        r, s = utils.decode_dss_signature(signature)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def armoured(self) -> bytes:
        """The private key as PKCS#8 in PEM. A secret: 0600."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return pem.armour(LABEL, [_ED25519_PRIVATE + self._key.private_bytes_raw()])
        value = self._key.private_numbers().private_value
        return pem.armour(LABEL, [_P256_PRIVATE + value.to_bytes(32, "big")])


def generate(kind: str) -> Signer:
    """A new key of one of :data:`KINDS`."""
    if kind == "ed25519":
        return _signer(ed25519.Ed25519PrivateKey.generate())
    return _signer(ec.generate_private_key(ec.SECP256R1()))


def read(data: bytes, where: str) -> Signer:
    """The key in a PEM file.

    Raises:
        UsageError: no key that can be used; nothing of the file is quoted.
    """
    hint = "a key in PKCS#8: fastness policy keygen, or openssl genpkey -algorithm ed25519"
    try:
        blocks = dict(pem.unarmour(data))
        if LABEL in blocks:
            return _signer(_pkcs8(blocks[LABEL]))
        if "EC PRIVATE KEY" in blocks:
            return _signer(_sec1(blocks["EC PRIVATE KEY"], _P256))
    except (Malformed, ValueError):
        raise UsageError("a private key that is neither Ed25519 nor P-256", where=where, hint=hint) from None
    what = "an encrypted private key" if b"ENCRYPTED" in data else "no private key"
    raise UsageError(f"{what} in this file", where=where, hint=hint)


def _pkcs8(data: bytes) -> Private:
    parts = der.children(der.one(data, der.SEQUENCE, "PrivateKeyInfo"), "PrivateKeyInfo")
    if len(parts) < 3:
        raise MalformedEvidence("PrivateKeyInfo", 0, "three fields", len(parts))
    algorithm = der.children(der.expect(parts[1], der.SEQUENCE, "algorithm"), "algorithm")
    body = der.expect(parts[2], der.OCTET_STRING, "privateKey").value
    name = der.oid(algorithm[0], "algorithm")
    if name == keys.ED25519:
        return ed25519.Ed25519PrivateKey.from_private_bytes(der.one(body, der.OCTET_STRING, "privateKey").value)
    if name == keys.EC_KEY and len(algorithm) == 2:
        return _sec1(body, der.oid(algorithm[1], "curve"))
    raise MalformedEvidence("algorithm", 0, "Ed25519 or P-256", name)


def _sec1(data: bytes, curve: str) -> Private:
    """RFC 5915: version 1, the private key, and optionally the curve in [0]."""
    parts = der.children(der.one(data, der.SEQUENCE, "ECPrivateKey"), "ECPrivateKey")
    if len(parts) < 2:
        raise MalformedEvidence("ECPrivateKey", 0, "two fields", len(parts))
    for part in parts[2:]:
        if part.tag == 0xA0:
            curve = der.oid(der.one(part.value, der.OID, "parameters"), "parameters")
    if curve != _P256:
        raise MalformedEvidence("curve", 0, "P-256", curve)
    secret = der.expect(parts[1], der.OCTET_STRING, "privateKey").value
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def _signer(key: Private) -> Signer:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Signer("ed25519", _ED25519_PUBLIC + key.public_key().public_bytes_raw(), key)
    numbers = key.public_key().public_numbers()
    point = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    return Signer("p-256", _P256_PUBLIC + point, key)


def usable(key: keys.Key) -> bool:
    """Whether ``key`` is of a kind people sign with here."""
    return isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    )


def verifies(key: keys.Key, signature: bytes, data: bytes) -> bool:
    """Whether ``signature``, as :meth:`Signer.sign` makes them, is ``key``'s over ``data``."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _holds(lambda: key.verify(signature, data))
    if isinstance(key, ec.EllipticCurvePublicKey) and usable(key):
        return _holds(lambda: key.verify(signature, data, ec.ECDSA(SHA256())))
    return False


def verifies_fixed(key: keys.Key, signature: bytes, data: bytes) -> bool:
    """The same for :meth:`Signer.sign_fixed`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if len(signature) != 64:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        signature = utils.encode_dss_signature(r, s)
    return verifies(key, signature, data)


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except (InvalidSignature, ValueError):
        return False
    return True
