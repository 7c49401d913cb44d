"""TPM structures and HCL reports with one field wrong: each refused by the name of that field."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from fastness.errors import MalformedEvidence
from fastness.forge import tpm as forge
from fastness.tee.tpm import hcl, structures
from fastness.wire import cbor
from swtpm import AK_ECC, AK_RSA, sized

ECC = AK_ECC[:-4] + sized(bytes(31) + b"\1") * 2
RSA = AK_RSA[:-2] + sized(b"\xc1" + bytes(254) + b"\1")


@cache
def fields() -> dict[int, Any]:
    return cbor.decode(forge.make({"trust": "hardware-report"}).evidence)


def edit(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


def selection() -> int:
    quote = structures.quote(fields()[2])
    return quote.spans["selection"].offset


@pytest.mark.parametrize(("field", "place", "value"), [
    ("magic", 0, b"\xff\x54\x43\x48"), ("type", 4, b"\x80\x17"), ("clockInfo.safe", -1, b"\2"),
    ("pcrSelect.count", 0, bytes(4)), ("pcrSelect.count", 0, b"\0\0\0\x11"), ("pcrSelect.hash", 4, b"\0\x10"),
    ("pcrSelect.pcrSelect", 6, b"\5"),
])  # fmt: skip
def test_cve_2024_29038_quote(field: str, place: int, value: bytes) -> None:
    """Only what the TPM made begins with its magic; only a quote is a quote."""
    raw = fields()[2]
    base = selection() if field.startswith("pcr") else 0
    if field == "clockInfo.safe":
        base, place = structures.quote(raw).spans["clock"].offset, 16
    with pytest.raises(MalformedEvidence) as caught:
        structures.quote(edit(raw, base + place, value))
    assert caught.value.field == field


def test_registers_beyond_the_last() -> None:
    raw, start = fields()[2], selection()
    wide = raw[: start + 6] + b"\4" + raw[start + 7 : start + 10] + b"\1" + raw[start + 10 :]
    with pytest.raises(MalformedEvidence) as caught:
        structures.quote(wide)
    assert caught.value.field == "pcrSelect.pcrSelect"


def test_bank_twice() -> None:
    raw, start = fields()[2], selection()
    entry = raw[start + 4 : start + 10]
    with pytest.raises(MalformedEvidence) as caught:
        structures.quote(raw[:start] + b"\0\0\0\2" + entry * 2 + raw[start + 10 :])
    assert caught.value.field == "pcrSelect.hash"


@pytest.mark.parametrize(("field", "whole", "place", "value"), [
    ("publicArea.type", ECC, 0, b"\0\x08"), ("publicArea.nameAlg", ECC, 2, b"\0\4"),
    ("publicArea.objectAttributes", ECC, 4, b"\x80"), ("parameters.curveID", ECC, 16, b"\0\x10"),
    ("parameters.kdf", ECC, 18, b"\0\x20"), ("parameters.keyBits", RSA, 16, b"\x0c\0"),
])  # fmt: skip
def test_public(field: str, whole: bytes, place: int, value: bytes) -> None:
    assert structures.public(RSA).raw == RSA
    with pytest.raises(MalformedEvidence) as caught:
        structures.public(edit(whole, place, value))
    assert caught.value.field == field


def test_keys_that_are_limited_to_a_firmware() -> None:
    """firmwareLimited and svnLimited are attributes since 1.83 of the library."""
    limited = structures.public(edit(ECC, 6, bytes((ECC[6] | 0b11,))))
    assert limited.has("firmware_limited") and limited.has("svn_limited")
    assert not structures.public(ECC).has("firmware_limited") and not structures.public(ECC).has("svn_limited")


@pytest.mark.parametrize(("size", "fits"), [(0, True), (66, True), (67, False)])
def test_as_much_is_asked_over_as_fits(size: int, fits: bool) -> None:
    raw, span = fields()[2], structures.quote(fields()[2]).spans["report_data"]
    nonce = bytes(range(size))
    whole = raw[: span.offset - 2] + size.to_bytes(2, "big") + nonce + raw[span.offset + span.size :]
    if fits:
        assert structures.quote(whole).extra_data == nonce
    else:
        with pytest.raises(MalformedEvidence):
            structures.quote(whole)


@pytest.mark.parametrize("size", [0, 63, 1025])
def test_signature_of_no_size(size: int) -> None:
    with pytest.raises(MalformedEvidence):
        structures.signature(b"\xaa" * size)


@pytest.mark.parametrize(("field", "place", "value"), [
    ("hcl.signature", 0, b"HCLB"), ("hcl.reserved", 20, b"\1"), ("hcl.runtime.reportType", 1224, b"\3"),
    ("hcl.runtime.hashType", 1228, b"\4"), ("hcl.runtime.data", 1232, b"\xff\xff"),
])  # fmt: skip
def test_hcl(field: str, place: int, value: bytes) -> None:
    with pytest.raises(MalformedEvidence) as caught:
        hcl.parse(edit(fields()[10], place, value))
    assert caught.value.field == field


def with_runtime(runtime: bytes) -> bytes:
    raw = fields()[10]
    return raw[:1232] + len(runtime).to_bytes(4, "little") + runtime


KEY = {"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": "AQAB"}


@pytest.mark.parametrize(("text", "found"), [
    ("AB" * 64, b"\xab" * 64), ("", b""), ("AB" * 65, b""), ("zz", b""), (7, b""), (None, b""),
])  # fmt: skip
def test_what_the_guest_put_beside_its_keys(text: object, found: bytes) -> None:
    document = {"keys": [KEY]} | ({} if text is None else {"user-data": text})
    assert hcl.parse(with_runtime(json.dumps(document).encode())).user_data == found


@pytest.mark.parametrize(("field", "document"), [
    ("runtime data", "[]"), ("runtime data", '{"keys": 1, "keys": 2}'), ("runtime data", "[" * 5000),
    ("vm-configuration", json.dumps({"vm-configuration": 1, "keys": [KEY]})),
    ("HCLAkPub", json.dumps({"keys": [KEY, KEY]})), ("HCLAkPub", json.dumps({"keys": [KEY | {"kty": "EC"}]})),
    ("HCLAkPub", json.dumps({"keys": [KEY | {"n": 5}]})), ("HCLAkPub", json.dumps({"keys": [KEY | {"n": "?"}]})),
    ("HCLAkPub", json.dumps({"keys": []})), ("HCLAkPub", json.dumps({})),
])  # fmt: skip
def test_runtime_data(field: str, document: str) -> None:
    with pytest.raises(MalformedEvidence) as caught:
        hcl.parse(with_runtime(document.encode()))
    assert caught.value.field == field


def test_hcl_padding() -> None:
    assert hcl.parse(fields()[10] + bytes(100)).kind == "snp"
    with pytest.raises(MalformedEvidence):
        hcl.parse(fields()[10] + b"\0\1")


def test_point_off_the_curve() -> None:
    from fastness.tee import tpm

    with pytest.raises(MalformedEvidence):
        tpm.parse(cbor.encode(fields() | {4: ECC}))
