"""The release opens with the attested key, in this conversation, or not at all."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fastness.errors import ProtocolError
from fastness.seal.challenger import seal
from fastness.seal.release import unseal

KEY = X25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()


def test_it_opens() -> None:
    assert unseal(seal(b"workload", PUBLIC, b"info"), KEY, b"info") == b"workload"


def test_another_key_another_conversation_or_an_altered_byte_does_not_open() -> None:
    sealed = seal(b"workload", PUBLIC, b"info")
    with pytest.raises(ProtocolError):
        unseal(sealed, X25519PrivateKey.generate(), b"info")
    with pytest.raises(ProtocolError):
        unseal(sealed, KEY, b"other")
    for index in range(len(sealed)):
        with pytest.raises(ProtocolError):
            unseal(sealed[:index] + bytes((sealed[index] ^ 1,)) + sealed[index + 1 :], KEY, b"info")
    for end in range(len(sealed)):
        with pytest.raises(ProtocolError):
            unseal(sealed[:end], KEY, b"info")
