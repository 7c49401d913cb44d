"""Keys: of which kind one is."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fastness.pki import keys

P256, P384 = (ec.generate_private_key(curve()).public_key() for curve in (ec.SECP256R1, ec.SECP384R1))
OTHERS = [rsa.generate_private_key(65537, 2048).public_key(), ed25519.Ed25519PrivateKey.generate().public_key()]


def test_a_key_is_on_its_own_curve_and_no_other() -> None:
    assert keys.is_on(P256, "secp256r1") and keys.is_on(P384, "secp384r1")
    assert not keys.is_on(P256, "secp384r1") and not keys.is_on(P384, "secp256r1")
    assert keys.is_elliptic(P256) and keys.is_elliptic(P384)


@pytest.mark.parametrize("key", OTHERS, ids=keys.common_bits)
def test_keys_of_other_kinds_are_on_no_curve(key: keys.Key) -> None:
    assert not keys.is_elliptic(key)
    assert not keys.is_on(key, "secp256r1")
