"""Anchors a person names."""

from __future__ import annotations

import base64
import itertools
import json

import judged
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fastness.collateral import anchors_file
from fastness.errors import UsageError
from fastness.forge import cca
from fastness.wire import cbor


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


def as_cose(key) -> dict:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {1: 1, -1: 6, -2: key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)}
    numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    curve = {256: 1, 384: 2, 521: 3}[key.curve.key_size]
    return {1: 2, -1: curve, -2: numbers.x.to_bytes(size, "big"), -3: numbers.y.to_bytes(size, "big")}


def test_cose_keys_alone_in_a_set_and_as_text(tmp_path):
    keys = [key for key in KEYS if not isinstance(key, rsa.RSAPublicKey)]
    whole = cbor.encode([as_cose(key) for key in keys])
    for name, data in (("raw", whole), ("hex", whole.hex().encode()), ("base64", base64.b64encode(whole))):
        (tmp_path / name).write_bytes(data)
        assert [item.key.raw for item in anchors_file.load([str(tmp_path / name)]).items] == list(map(spki, keys))
    (tmp_path / "one").write_bytes(cbor.encode(as_cose(keys[0])))
    assert [item.key.raw for item in anchors_file.load([str(tmp_path / "one")]).items] == [spki(keys[0])]


STORED = {"pkey": as_jwk(KEYS[1]), "implementation-id": "AB" * 32, "instance-id": "01" + "cd" * 32}


def test_a03_a_trust_anchor_store_names_each_key_for_one_instance(tmp_path):
    (tmp_path / "x").write_text(json.dumps([STORED, as_jwk(KEYS[0])]))
    first, second = anchors_file.load([str(tmp_path / "x")]).items
    assert (first.tee, first.line, first.key.raw) == ("cca", f"{'ab' * 32}/01{'cd' * 32}", spki(KEYS[1]))
    assert (second.tee, second.line) == ("*", "")
    with pytest.raises(UsageError):
        anchors_file.load([f"snp:{tmp_path / 'x'}"])


@pytest.mark.parametrize("data", [
    *(json.dumps([STORED | change]).encode() for change in (
        {"pkey": "x"}, {"pkey": {}}, {"implementation-id": None}, {"implementation-id": "ab"},
        {"instance-id": "zz" * 33},
    )),
    cbor.encode({}), cbor.encode([]), cbor.encode([1]), cbor.encode({1: 2, -1: 2, -2: b"x", -3: b"y"}), b"\xa1",
    cbor.encode(as_cose(KEYS[0]) | {-3: True}), cbor.encode({1: 4, -1: b"secret"}), cbor.encode({1: 2, -1: 9}), b"[]",
    b"", b"{", b"{}", b'{"keys": []}', b'{"keys": [1]}', b'{"kty": "oct", "k": "AA"}', b'{"kty": "EC", "crv": "P-256"}',
    b'{"kty": "EC", "crv": "P-256", "x": "AA", "y": "%%"}', b'{"kty": "RSA", "n": "", "e": "AQAB"}',
    b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", b"plain words",
], ids=itertools.count())  # fmt: skip
def test_what_is_no_anchor(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        anchors_file.load([str(tmp_path / "x")])
    assert caught.value.hint and caught.value.where


def test_files_that_are_not_there_or_too_large(tmp_path):
    (tmp_path / "x").write_bytes(bytes(anchors_file.MAX_FILE + 1))
    for name in (tmp_path / "x", tmp_path / "none", tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises(UsageError):
            anchors_file.load([str(name)])


def test_paths_may_stand_after_two_hyphens(tmp_path, monkeypatch, capsys):
    """So that files whose names begin with one can be named, and an option that takes many ends."""
    forged = cca.make({})
    (tmp_path / "-token").write_bytes(forged.evidence)
    (tmp_path / "cpak").write_bytes(forged.anchors.items[0].key.raw)
    monkeypatch.chdir(tmp_path)
    at = forged.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert judged.run(capsys, "verify", "--json", "--at", at, "--anchors", "cpak", "--", "-token").code == 0
