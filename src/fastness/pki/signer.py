"""Keys that people sign with: Ed25519, P-256 and P-384, in PKCS#8 (RFC 5958) as every tool reads them.

Ours rather than the library's loader because that costs every start 20 ms and reads fifty formats; three are wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from fastness.errors import Malformed, MalformedEvidence, UsageError
from fastness.pki import keys
from fastness.wire import der, pem, x509

Private: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
LABEL = "PRIVATE KEY"
# everything but the key itself is constant (RFC 8410 section 7, RFC 5915 section 3 in RFC 5958)
_ED25519_PRIVATE = bytes.fromhex("302e020100300506032b657004220420")
_ED25519_PUBLIC = bytes.fromhex("302a300506032b6570032100")


@dataclass(frozen=True, slots=True)
class _Curve:
    """A curve: its identifier, the hash that goes with it, the size of a number, and the constant DER heads."""

    oid: str
    curve: type[ec.EllipticCurve]
    hash: type[SHA256 | SHA384]
    size: int
    private: bytes
    public: bytes


_CURVES = {
    "p-256": _Curve(
        "1.2.840.10045.3.1.7", ec.SECP256R1, SHA256, 32,
        bytes.fromhex("3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420"),
        bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
    ),
    "p-384": _Curve(
        "1.3.132.0.34", ec.SECP384R1, SHA384, 48,
        bytes.fromhex("304e020100301006072a8648ce3d020106052b81040022043730350201010430"),
        bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"),
    ),
}  # fmt: skip
KINDS = ("ed25519", *_CURVES)


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
        """A signature over ``data``: 64 bytes of Ed25519 (RFC 8032), or ECDSA in DER, with the hash of its curve."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        return self._key.sign(data, ec.ECDSA(_CURVES[self.kind].hash()))

    def sign_fixed(self, data: bytes) -> bytes:
        """The same with ECDSA as r ‖ s, as COSE and JOSE have it (RFC 9053 section 2.1, RFC 7518 section 3.4)."""
        signature = self.sign(data)
        if self.kind == "ed25519":
            return signature
        r, s = utils.decode_dss_signature(signature)
        size = _CURVES[self.kind].size
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def armoured(self) -> bytes:
        """The private key as PKCS#8 in PEM. A secret: 0600."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return pem.armour(LABEL, [_ED25519_PRIVATE + self._key.private_bytes_raw()])
        value = self._key.private_numbers().private_value
        form = _CURVES[self.kind]
        return pem.armour(LABEL, [form.private + value.to_bytes(form.size, "big")])


def generate(kind: str) -> Signer:
    """A new key of one of :data:`KINDS`."""
    if kind == "ed25519":
        return _signer(ed25519.Ed25519PrivateKey.generate())
    return _signer(ec.generate_private_key(_CURVES[kind].curve()))


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
            return _signer(_sec1(blocks["EC PRIVATE KEY"], ""))
    except (Malformed, ValueError):
        raise UsageError("a private key that is not Ed25519, P-256 or P-384", where=where, hint=hint) from None
    what = "an encrypted private key" if b"ENCRYPTED" in data else "no private key"
    raise UsageError(f"{what} in this file", where=where, hint=hint)


def _pkcs8(data: bytes) -> Private:
    parts = der.children(der.one(data, der.SEQUENCE, "PrivateKeyInfo"), "PrivateKeyInfo")
    if len(parts) < 3 or der.integer(parts[0], "version") not in (0, 1):
        raise MalformedEvidence("PrivateKeyInfo", 0, "version 0 or 1 and two more fields", len(parts))
    algorithm = der.children(der.expect(parts[1], der.SEQUENCE, "algorithm"), "algorithm")
    body = der.expect(parts[2], der.OCTET_STRING, "privateKey").value
    name = der.oid(algorithm[0], "algorithm")
    if name == keys.ED25519:
        return ed25519.Ed25519PrivateKey.from_private_bytes(der.one(body, der.OCTET_STRING, "privateKey").value)
    if name == keys.EC_KEY and len(algorithm) == 2:
        return _sec1(body, der.oid(algorithm[1], "curve"))
    raise MalformedEvidence("algorithm", 0, "Ed25519, P-256 or P-384", name)


def _sec1(data: bytes, curve: str) -> Private:
    """RFC 5915: version 1, the private key, and optionally the curve in [0]."""
    parts = der.children(der.one(data, der.SEQUENCE, "ECPrivateKey"), "ECPrivateKey")
    if len(parts) < 2 or der.integer(parts[0], "version") != 1:
        raise MalformedEvidence("ECPrivateKey", 0, "version 1 and a key", len(parts))
    for part in parts[2:]:
        if part.tag == 0xA0:
            curve = der.oid(der.one(part.value, der.OID, "parameters"), "parameters")
    form = next((item for item in _CURVES.values() if item.oid == curve), None)
    if form is None:
        raise MalformedEvidence("curve", 0, "P-256 or P-384", curve or "none")
    secret = der.expect(parts[1], der.OCTET_STRING, "privateKey").value
    return ec.derive_private_key(int.from_bytes(secret, "big"), form.curve())


def _signer(key: Private) -> Signer:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Signer("ed25519", _ED25519_PUBLIC + key.public_key().public_bytes_raw(), key)
    kind = next(name for name, item in _CURVES.items() if isinstance(key.curve, item.curve))
    form, numbers = _CURVES[kind], key.public_key().public_numbers()
    point = numbers.x.to_bytes(form.size, "big") + numbers.y.to_bytes(form.size, "big")
    return Signer(kind, form.public + point, key)


def kind(key: keys.Key) -> str:
    """One of :data:`KINDS`, or empty for a key that people do not sign with here."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return ""
    return next((name for name, item in _CURVES.items() if isinstance(key.curve, item.curve)), "")


def usable(key: keys.Key) -> bool:
    """Whether ``key`` is of a kind people sign with here."""
    return bool(kind(key))


def verifies(key: keys.Key, signature: bytes, data: bytes) -> bool:
    """Whether ``signature``, as :meth:`Signer.sign` makes them, is ``key``'s over ``data``."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _holds(lambda: key.verify(signature, data))
    if isinstance(key, ec.EllipticCurvePublicKey) and usable(key):
        return _holds(lambda: key.verify(signature, data, ec.ECDSA(_CURVES[kind(key)].hash())))
    return False


def verifies_fixed(key: keys.Key, signature: bytes, data: bytes) -> bool:
    """The same for :meth:`Signer.sign_fixed`."""
    if isinstance(key, ec.EllipticCurvePublicKey) and usable(key):
        size = _CURVES[kind(key)].size
        if len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        signature = utils.encode_dss_signature(r, s)
    return verifies(key, signature, data)


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except (InvalidSignature, ValueError):
        return False
    return True
