"""Credential activation, the verifier's side: a secret that only the TPM with this EK and this AK can open.

Source: TCG TPM 2.0 Library 1.83, Part 1 section 24 (credential protection), annexes B.10.3 (RSA) and C.6.1 (ECC), and
section 11.4.10 (KDFa, KDFe). The challenger keeps a :class:`Transcript`; the TPM's owner returns what
TPM2_ActivateCredential gave. The TPM opens it only for an object whose name is the one below, so the returned secret
ties the AK, with all its attributes, to the EK that a certificate vouches for.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fastness.errors import MalformedEvidence, UsageError
from fastness.pki import keys
from fastness.tee.tpm.structures import Public
from fastness.wire import cbor, x509

MAX_SECRET = 32
_Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
_HASHES: dict[str, _Hash] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_CURVE_HASH = {"secp256r1": ("sha256", 128), "secp384r1": ("sha384", 256), "secp521r1": ("sha512", 256)}


@dataclass(frozen=True, slots=True)
class Transcript:
    """What the challenger remembers: SHA-256 of the EK's SubjectPublicKeyInfo, the AK's name, and the secret."""

    ek: bytes
    ak_name: bytes
    secret: bytes

    def encode(self) -> bytes:
        """As the document of kind ``tpm-activation`` that ``verify`` looks for."""
        return cbor.encode({1: self.ek, 2: self.ak_name, 3: self.secret})


def transcript(data: bytes) -> Transcript:
    """A transcript from its encoding."""
    body = cbor.decode(data, canonical=True)
    if (
        not isinstance(body, dict)
        or set(body) != {1, 2, 3}
        or not all(isinstance(item, bytes) for item in body.values())
    ):
        raise MalformedEvidence("tpm-activation", 0, "three byte strings", "something else")
    if not 16 <= len(body[3]) <= MAX_SECRET:
        raise MalformedEvidence("tpm-activation.secret", 0, f"16 to {MAX_SECRET} bytes", len(body[3]))
    return Transcript(body[1], body[2], body[3])


def make_credential(ek: Public | x509.PublicKey, ak_name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """(TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET) for TPM2_ActivateCredential; both with their sizes in front.

    Args:
        ek: the endorsement key; from a bare key the hash and cipher of the default templates are taken (EK Credential
            Profile 2.5, annex B).
        ak_name: name of the attestation key, algorithm and hash.
        secret: 16 to 32 bytes drawn for this challenge.
    """
    if not 16 <= len(secret) <= MAX_SECRET:
        raise UsageError(f"a credential holds 16 to {MAX_SECRET} bytes")
    key = keys.load(ek.spki if isinstance(ek, Public) else ek)
    name, bits = _parameters(ek, key)
    size = _HASHES[name].digest_size
    seed, sealed = _seed_rsa(key, name) if isinstance(key, rsa.RSAPublicKey) else _seed_ecc(key, name)
    plain = len(secret).to_bytes(2, "big") + secret
    identity = _cfb(kdfa(name, seed, b"STORAGE", ak_name, bits), plain)
    integrity = hmac.digest(kdfa(name, seed, b"INTEGRITY", b"", 8 * size), identity + ak_name, name)
    return _sized(_sized(integrity) + identity), _sized(sealed)


def _parameters(ek: Public | x509.PublicKey, key: keys.Key) -> tuple[str, int]:
    if isinstance(ek, Public):
        if ek.symmetric[1] not in (128, 256):
            raise UsageError("the endorsement key has no AES cipher: it is no storage key")
        return ek.name_hash, ek.symmetric[1]
    if isinstance(key, rsa.RSAPublicKey):
        return ("sha256", 128) if key.key_size == 2048 else ("sha384", 256)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVE_HASH[key.curve.name]
    raise UsageError("an endorsement key is RSA or ECC")


def _seed_rsa(key: rsa.RSAPublicKey, name: str) -> tuple[bytes, bytes]:
    import os

    seed = os.urandom(_HASHES[name].digest_size)
    chosen = _HASHES[name]
    return seed, key.encrypt(seed, padding.OAEP(padding.MGF1(chosen), chosen, b"IDENTITY\0"))


def _seed_ecc(key: keys.Key, name: str) -> tuple[bytes, bytes]:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UsageError("an endorsement key is RSA or ECC")
    width = (key.curve.key_size + 7) // 8
    once = ec.generate_private_key(key.curve)
    point, ours = key.public_numbers(), once.public_key().public_numbers()
    shared = once.exchange(ec.ECDH(), key)
    x, y = ours.x.to_bytes(width, "big"), ours.y.to_bytes(width, "big")
    seed = kdfe(name, shared, b"IDENTITY", x, point.x.to_bytes(width, "big"))
    return seed, _sized(x) + _sized(y)


def kdfa(name: str, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa: SP 800-108 in counter mode over HMAC (Part 1 section 11.4.10.2)."""
    out, counter = b"", 0
    while len(out) < bits // 8:
        counter += 1
        message = counter.to_bytes(4, "big") + label + b"\0" + context + bits.to_bytes(4, "big")
        out += hmac.digest(key, message, name)
    return out[: bits // 8]


def kdfe(name: str, shared: bytes, label: bytes, first: bytes, second: bytes) -> bytes:
    """KDFe for one hash of output (Part 1 section 11.4.10.3)."""
    return hashlib.new(name, b"\0\0\0\x01" + shared + label + b"\0" + first + second).digest()


def _cfb(key: bytes, plain: bytes) -> bytes:
    """AES-CFB with a zero vector, written out: at most three blocks, and the library retires the mode."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - the block cipher under CFB
    out, feedback = b"", bytes(16)
    for start in range(0, len(plain), 16):
        piece = plain[start : start + 16]
        feedback = bytes(a ^ b for a, b in zip(block.update(feedback), piece, strict=False))
        out += feedback
    return out


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
