"""Anchors a person names."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fastness.collateral import anchors_file
from fastness.errors import UsageError


def text(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


def spki(key) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def as_jwk(key) -> dict:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": text(numbers.n, (numbers.n.bit_length() + 7) // 8), "e": text(numbers.e, 3)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": text(int.from_bytes(raw, "big"), 32)}
    numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    return {"kty": "EC", "crv": f"P-{key.curve.key_size}", "x": text(numbers.x, size), "y": text(numbers.y, size)}


KEYS = [
    ec.generate_private_key(ec.SECP256R1()).public_key(),
    ec.generate_private_key(ec.SECP384R1()).public_key(),
    ec.generate_private_key(ec.SECP521R1()).public_key(),
    rsa.generate_private_key(65537, 2048).public_key(),
    ed25519.Ed25519PrivateKey.generate().public_key(),
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_as_der_pem_and_jwk(key, tmp_path):
    armoured = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for name, data in (("der", spki(key)), ("pem", armoured), ("jwk", json.dumps(as_jwk(key)).encode())):
        (tmp_path / name).write_bytes(data)
        found = anchors_file.load([f"cca:{tmp_path / name}"]).items
        assert [item.key.raw for item in found] == [spki(key)] and found[0].tee == "cca"
        assert anchors_file.load([str(tmp_path / name)]).items[0].tee == "*"


def test_a_set_of_keys(tmp_path):
    rows = [as_jwk(key) | {"kid": str(index)} for index, key in enumerate(KEYS)]
    (tmp_path / "set").write_text(json.dumps({"keys": rows}))
    found = anchors_file.load([str(tmp_path / "set")]).items
    assert [item.name for item in found] == list("01234") and [item.key.raw for item in found] == list(map(spki, KEYS))


@pytest.mark.parametrize("data", [
    b"", b"{", b"{}", b'{"keys": []}', b'{"keys": [1]}', b'{"kty": "oct", "k": "AA"}', b'{"kty": "EC", "crv": "P-256"}',
    b'{"kty": "EC", "crv": "P-256", "x": "AA", "y": "%%"}', b'{"kty": "RSA", "n": "", "e": "AQAB"}',
    b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", b"plain words",
])  # fmt: skip
def test_what_is_no_anchor(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UsageError):
        anchors_file.load([str(tmp_path / "x")])


def test_files_that_are_not_there_or_too_large(tmp_path):
    (tmp_path / "x").write_bytes(bytes(anchors_file.MAX_FILE + 1))
    for name in ("x", "none"):
        with pytest.raises(UsageError):
            anchors_file.load([str(tmp_path / name)])
