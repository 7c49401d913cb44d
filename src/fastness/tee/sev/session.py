"""The tenant's side of a launch: keys that only the firmware of one platform can unwrap.

Source: AMD 55766, SEV API 0.24, section 2.2 (keys), 6.2 (LAUNCH_START), appendix C. The tenant makes a Diffie-Hellman
key and two transport keys for each launch: TEK encrypts what it sends, TIK signs what both send. They are wrapped under
keys derived from the agreement with the platform's PDH:

    z      = ECDH over P-384, x coordinate, 48 bytes, big endian
    master = KDF(z, "sev-master-secret", nonce);  KEK = KDF(master, "sev-kek");  KIK = KDF(master, "sev-kik")
    KDF    = first 16 bytes of HMAC-SHA-256(key, 1 ‖ label ‖ 0 ‖ context ‖ 128), counter and bits 4 bytes little endian

The session, 128 bytes: nonce 16 ‖ AES-128-CTR(KEK, TEK ‖ TIK) 32 ‖ IV 16 ‖ HMAC(KIK, wrapped) 32 ‖
HMAC(TIK, policy) 32. The host gives it and the tenant's certificate (GODH) to LAUNCH_START; QEMU reads both as base64
(``sev-guest,dh-cert-file=…,session-file=…``).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fastness.claims.genuine import Genuine
from fastness.errors import MissingCollateral, NotGenuine, UsageError
from fastness.tee.sev import endorse
from fastness.tee.sev import layout as at
from fastness.tee.sev.evidence import SevCertificate
from fastness.tee.sev.verify import Proven

KEY_SIZE = 16
SESSION_SIZE = 128


@dataclass(frozen=True, slots=True)
class TransportKeys:
    """TEK and TIK, 16 bytes each; never shown."""

    tek: bytes = field(repr=False)
    tik: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """What a tenant sends to the host for LAUNCH_START, and the keys it keeps to itself.

    ``pdh`` is the certificate of the platform it was made for; ``godh`` the tenant's, 2084 bytes; ``blob`` 128 bytes.
    """

    keys: TransportKeys
    policy: int
    pdh: bytes
    godh: bytes
    blob: bytes


def kdf(key: bytes, label: bytes, context: bytes = b"") -> bytes:
    """16 bytes by SP 800-108 in counter mode, one round (AMD 55766, section 2.2.2)."""
    message = (1).to_bytes(4, "little") + label + b"\0" + context + (8 * KEY_SIZE).to_bytes(4, "little")
    return hmac.digest(key, message, "sha256")[:KEY_SIZE]


def wrapping(shared: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """KEK and KIK from the agreed secret and the nonce of the session."""
    master = kdf(shared, b"sev-master-secret", nonce)
    return kdf(master, b"sev-kek"), kdf(master, b"sev-kik")


def counter(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode: the same both ways."""
    return Cipher(algorithms.AES128(key), modes.CTR(iv)).encryptor().update(data)


def wrap(shared: bytes, keys: TransportKeys, policy: int, *, nonce: bytes, iv: bytes) -> bytes:
    """The session of ``keys``, 128 bytes."""
    kek, kik = wrapping(shared, nonce)
    wrapped = counter(kek, iv, keys.tek + keys.tik)
    mac = hmac.digest(kik, wrapped, "sha256")
    return nonce + wrapped + iv + mac + hmac.digest(keys.tik, policy.to_bytes(4, "little"), "sha256")


def agreement(own: ec.EllipticCurvePrivateKey, other: SevCertificate) -> bytes:
    """The shared secret with the key of a certificate, 48 bytes.

    Raises:
        NotGenuine: ``sev.pdh``: its key is not one on P-384, or no point of it.
    """
    if at.CURVES[other.curve] != 48:
        raise NotGenuine(
            "sev.pdh", "the Diffie-Hellman key is not on P-384", hint="the firmware is older than any known"
        )
    return own.exchange(ec.ECDH(), endorse.ec_key(other))


def start(platform: Genuine[Proven], policy: int) -> Session:
    """New keys for one launch on ``platform``, which was verified before: its PDH alone can unwrap them.

    Raises:
        MissingCollateral: the platform's PDH certificate was not there.
        UsageError: a policy with reserved bits, or that lets the host debug the guest or share its keys.
    """
    import os

    pdh = platform.evidence.evidence.pdh
    if pdh is None:
        raise MissingCollateral(
            "the platform's PDH certificate", check="sev.pdh", hint="export it with `sevctl export`"
        )
    if policy >> 32 or policy & at.POLICY_RESERVED:
        raise UsageError(f"no SEV policy: 0x{policy:x}", hint="bits 6 to 15 are reserved")
    if policy & 3 != 3:
        raise UsageError(
            f"policy 0x{policy:x} lets the host read the guest",
            hint="set bits 0 (no debugging) and 1 (no key sharing): 0x3 for SEV, 0x7 for SEV-ES",
        )
    own = ec.generate_private_key(ec.SECP384R1())
    keys = TransportKeys(os.urandom(KEY_SIZE), os.urandom(KEY_SIZE))
    blob = wrap(agreement(own, pdh), keys, policy, nonce=os.urandom(16), iv=os.urandom(16))
    return Session(keys, policy, pdh.raw, certificate(own.public_key()), blob)


def certificate(key: ec.EllipticCurvePublicKey) -> bytes:
    """The tenant's Diffie-Hellman certificate: of usage PDH, signed by nobody, as the firmware asks of it."""
    numbers = key.public_numbers()
    body = (1).to_bytes(4, "little") + bytes(4) + (0x1003).to_bytes(4, "little")
    body += at.ECDH_SHA256.to_bytes(4, "little") + (2).to_bytes(4, "little")
    body += numbers.x.to_bytes(at.COORDINATE, "little") + numbers.y.to_bytes(at.COORDINATE, "little")
    return body.ljust(at.SEV_SIGNED, b"\0") + 2 * (at.NO_USAGE.to_bytes(4, "little") + bytes(516))
