"""Sealing to the attested key: HPKE (RFC 9180) base mode, X25519, HKDF-SHA256, AES-256-GCM.

A release never rests on TLS alone: without the private key that the evidence speaks for, nothing opens.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fastness.errors import ProtocolError


def suite() -> hpke.Suite:
    """The one suite of the protocol."""
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def unseal(sealed: bytes, key: X25519PrivateKey, info: bytes) -> bytes:
    """The plaintext of :func:`fastness.seal.challenger.seal`.

    Raises:
        ProtocolError: sealed to another key, for another transcript, or altered.
    """
    try:
        return suite().decrypt(sealed, key, info=info)
    except (InvalidTag, ValueError):
        raise ProtocolError("the release was not sealed to this keep for this session") from None
