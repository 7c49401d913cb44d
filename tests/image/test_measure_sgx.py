"""MRENCLAVE from pages and from a SIGSTRUCT; the keep's Gramine manifest; Gramine's own tool, there and not."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from measured import record, sgxs

from fastness.errors import FastnessError, Malformed, MalformedEvidence, UsageError
from fastness.image import gramine
from fastness.image.measure import Machine, Parts, sgx

STREAM = sgxs()
PEER = "4c3d038b576aeab33a9d94eeeca3e75c2af21dd71690e332588933b694671757"
"""What ``EnclaveHash::from_stream`` of the crate sgxs 0.9.0 says of STREAM."""


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def signed(
    key: rsa.RSAPrivateKey, *, attributes: int = 4, vendor: int = 0, header: bytes = sgx.HEADER,
    measured: bytes = b"\x42" * 32,
) -> bytes:  # fmt: skip
    """A SIGSTRUCT (Intel SDM 38.13)."""
    first = header + struct.pack("<II", vendor, 0x20261123) + sgx.HEADER2 + bytes(4) + bytes(84)
    second = struct.pack("<II4x16sQQQQ", 0, 0xFFFFFFFF, bytes(16), attributes, 3, 2**64 - 3, 2**64 - 1)
    second += measured + bytes(16) + bytes(16) + struct.pack("<HH", 7, 3)
    signature = int.from_bytes(key.sign(first + second, padding.PKCS1v15(), hashes.SHA256()), "big")
    modulus = key.public_key().public_numbers().n
    q1, rest = divmod(signature * signature, modulus)
    numbers = [modulus.to_bytes(384, "little"), struct.pack("<I", 3), signature.to_bytes(384, "little")]
    quotients = [value.to_bytes(384, "little") for value in (q1, rest * signature // modulus)]
    return b"".join([first, *numbers, second, bytes(12), *quotients])


def test_a_stream_as_others_measure_it() -> None:
    assert sgx.mrenclave(STREAM).hex() == PEER
    (row,) = sgx.rows(Parts(b"", b"", "", enclave=STREAM), Machine())
    assert (row.tee, row.measurements) == ("sgx", {"mrenclave": (PEER,)})


def test_the_smallest_enclave() -> None:
    smallest = STREAM[:12] + struct.pack("<Q", 0x2000) + STREAM[20:64]
    assert sgx.mrenclave(smallest) == hashlib.sha256(smallest).digest()


def test_what_is_not_extended_is_not_measured() -> None:
    extra = record(b"UNMEASRD", 0x2000) + b"x" * 256
    assert sgx.mrenclave(STREAM + extra).hex() == PEER
    measured = STREAM + record(b"EEXTEND", 0x2000) + b"x" * 256
    assert sgx.mrenclave(measured).hex() == hashlib.sha256(measured).hexdigest() != PEER


@pytest.mark.parametrize(
    ("stream", "field"),
    [
        (b"", "ECREATE"),
        (STREAM[64:], "ECREATE"),
        (STREAM.replace(struct.pack("<Q", 0x4000), struct.pack("<Q", 0x5000), 1), "ECREATE.size"),
        (STREAM[:12] + struct.pack("<Q", 0x1000) + STREAM[20:64], "ECREATE.size"),
        (STREAM[:-1], "record"),
        (STREAM + STREAM[:64], "record"),
        (STREAM + record(b"EADD", 0x2000, 0x203), "EADD.offset"),
        (STREAM + record(b"EADD", 0x4000, 0x203), "EADD.offset"),
        (STREAM + record(b"EADD", 0x3001, 0x203), "EADD.offset"),
        (STREAM + record(b"EADD", 0x3000, 0x003), "EADD.flags"),
        (STREAM + record(b"EADD", 0x3000, 0x20B), "EADD.flags"),
        (STREAM + record(b"EEXTEND", 0x2100) + bytes(256), "EEXTEND.offset"),
        (STREAM + record(b"EEXTEND", 0x2000) + bytes(255), "EEXTEND.data"),
        (STREAM[:64] + record(b"EEXTEND", 0) + bytes(256), "EEXTEND.offset"),
    ],
)
def test_streams_that_no_processor_would_take(stream: bytes, field: str) -> None:
    with pytest.raises(MalformedEvidence) as caught:
        sgx.mrenclave(stream)
    assert caught.value.field == field


def test_a_signed_enclave(key: rsa.RSAPrivateKey) -> None:
    data = signed(key)
    assert len(data) == sgx.SIGSTRUCT_SIZE
    found = sgx.sigstruct(data)
    modulus = key.public_key().public_numbers().n.to_bytes(384, "little")
    assert found == sgx.Sigstruct(b"\x42" * 32, hashlib.sha256(modulus).digest(), 7, 3, False)
    (row,) = sgx.rows(Parts(b"", b"", "", enclave=data), Machine())
    assert row.measurements == {"mrenclave": ("42" * 32,), "mrsigner": (found.mrsigner.hex(),)}
    assert "may be debugged" not in row.note
    (row,) = sgx.rows(Parts(b"", b"", "", enclave=signed(key, attributes=6)), Machine())
    assert "may be debugged" in row.note


@pytest.mark.parametrize("at", [0, 16, 24, 40 + 8, 128, 512, 516, 900, 960, 1024, 1028])
def test_every_part_of_a_sigstruct_counts(key: rsa.RSAPrivateKey, at: int) -> None:
    data = bytearray(signed(key))
    data[at] ^= 1
    with pytest.raises(Malformed, match="enclave"):
        sgx.rows(Parts(b"", b"", "", enclave=bytes(data)), Machine())


def test_a_stranger_s_header_is_refused(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(MalformedEvidence, match="HEADER"):
        sgx.sigstruct(signed(key, header=b"\x07" + sgx.HEADER[1:]))
    assert sgx.sigstruct(signed(key, vendor=0x8086)).isv_svn == 3
    with pytest.raises(MalformedEvidence):
        sgx.sigstruct(signed(key, vendor=1))


def test_without_an_enclave_nothing_is_told() -> None:
    with pytest.raises(UsageError, match="no enclave"):
        sgx.rows(Parts(b"", b"", ""), Machine())


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    for enclave in (data, STREAM[:64] + data):
        with contextlib.suppress(FastnessError):
            sgx.rows(Parts(b"", b"", "", enclave=enclave), Machine())


# --- Gramine ---

ROOT = [
    {"path": "usr/lib", "mode": "040555", "origin": "image"},
    {"path": "usr/lib/b.so", "mode": "100444", "origin": "x", "sha256": "bb" * 32, "size": 1},
    {"path": "init", "mode": "100555", "origin": "image", "sha256": "aa" * 32, "size": 1},
    {"path": "lib", "mode": "120777", "origin": "image"},
]


def test_manifest() -> None:
    files = gramine.trusted(ROOT)
    assert files == (("init", "aa" * 32), ("usr/lib/b.so", "bb" * 32))
    text = gramine.manifest(files)
    found = tomllib.loads(text)
    assert found["sgx"]["trusted_files"] == [
        {"uri": "file:root/init", "sha256": "aa" * 32},
        {"uri": "file:root/usr/lib/b.so", "sha256": "bb" * 32},
    ]
    assert found["sgx"]["remote_attestation"] == "dcap"
    assert found["sgx"]["debug"] is False
    assert found["loader"]["argv"][:3] == ["python3.11", "-IBS", "-c"]
    assert found["loader"]["argv"][3:] == [gramine.BOOT]
    assert found["sys"]["disallow_subprocesses"] is True
    assert "allowed_files" not in found["sgx"]
    assert found["loader"]["log_level"] == "none"
    # nothing of the host's: no arguments, environment or files that it may choose
    assert "insecure" not in text
    assert "passthrough" not in text
    assert "allowed_files" not in text
    assert text == gramine.manifest(gramine.trusted(ROOT[::-1]))


@pytest.mark.parametrize(
    "row",
    [
        {"path": "a", "sha256": "aa" * 32},
        {"path": "a", "mode": "file", "sha256": "aa" * 32},
        {"path": "a", "mode": "100444"},
        {"path": "a", "mode": "100444", "sha256": "AA" * 32},
        {"path": "a", "mode": "100444", "sha256": "aa" * 31},
        {"path": "../a", "mode": "100444", "sha256": "aa" * 32},
        {"path": "/a", "mode": "100444", "sha256": "aa" * 32},
        "a",
    ],
)
def test_rows_of_a_manifest_from_elsewhere(row: dict[str, str]) -> None:
    with pytest.raises(Malformed) as caught:
        gramine.trusted([ROOT[0], row])
    assert caught.value.where == "root[1]"
    with pytest.raises(Malformed):
        gramine.trusted(row)


def test_debug_and_size() -> None:
    found = tomllib.loads(gramine.manifest((), enclave=gramine.Enclave(2048, 8, True)))
    assert (found["sgx"]["debug"], found["sgx"]["enclave_size"], found["sgx"]["max_threads"]) == (True, "2048M", 8)
    assert gramine.manifest((), enclave=gramine.Enclave(256, 1)) != gramine.manifest(
        (), enclave=gramine.Enclave(256, 1024)
    )
    for enclave in (gramine.Enclave(1000), gramine.Enclave(128), gramine.Enclave(256, 0), gramine.Enclave(256, 1025)):
        with pytest.raises(UsageError):
            gramine.manifest((), enclave=enclave)


def test_a_name_cannot_leave_its_string() -> None:
    found = tomllib.loads(gramine.manifest([('a"b\\c', "aa" * 32)]))
    assert found["sgx"]["trusted_files"][0]["uri"] == 'file:root/a"b\\c'
    with pytest.raises(UsageError):
        gramine.manifest([("a\nb", "aa" * 32)])


def test_gramine_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="gramine-sgx-sign") as caught:
        gramine.sign(tmp_path, "x = 1")
    assert "--enclave" in caught.value.hint


def tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder / "bin"
    place.mkdir()
    (place / "gramine-sgx-sign").write_text(f"#!/bin/sh\n{script}\n")
    (place / "gramine-sgx-sign").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")


def test_gramine_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(
        tmp_path,
        '[ "$*" = "--manifest keep.manifest --output keep.manifest.sgx" ] && cp keep.manifest keep.sig',
        monkeypatch,
    )
    assert gramine.sign(tmp_path, "x = 1") == b"x = 1"


@pytest.mark.parametrize(
    ("script", "words"), [("echo no key >&2; exit 1", "no key"), ("exit 1", "no reason"), ("exit 0", "keep.sig")]
)
def test_gramine_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    tool(tmp_path, script, monkeypatch)
    with pytest.raises(UsageError, match=words):
        gramine.sign(tmp_path, "x = 1")
