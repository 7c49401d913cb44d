"""CBOR: cbor2 is the oracle for what is well-formed; what it lets pass and a verifier must not is refused."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import MalformedEvidence
from fastness.wire import cbor, cose

keys = st.one_of(st.integers(-(2**63), 2**63), st.text(max_size=10), st.binary(max_size=10))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.binary(max_size=300), st.text(max_size=40),
              st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=20,
)  # fmt: skip


@given(values)
def test_what_we_encode_the_oracle_reads_and_we_read_back(value: Any) -> None:
    data = cbor.encode(value)
    assert cbor2.loads(data) == value
    assert cbor.decode(data, canonical=True) == value


@given(values)
def test_what_the_oracle_encodes_we_read(value: Any) -> None:
    assert cbor.decode(cbor2.dumps(value)) == value


@given(st.binary(max_size=64))
def test_any_bytes_give_a_value_or_malformed(data: bytes) -> None:
    for canonical in (False, True):
        try:
            value = cbor.decode(data, canonical=canonical)
        except MalformedEvidence:
            continue
        if canonical:
            assert cbor.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        "", "18", "1c", "ff", "5f", "61ff", "a1", "a10102ff", "a201020103",  # truncated, reserved, duplicate key
        "a1f500", "a1800100", "9f01", "5f01ff", "7f4101ff", "f8", "f800", "f4f4", "df",
        "81" * 40 + "00",  # nested too deep
        "9b7fffffffffffffff", "bb7fffffffffffffff", "5b7fffffffffffffff",  # lengths that lie
    ],
)  # fmt: skip
def test_what_is_not_well_formed_is_refused(data: str) -> None:
    with pytest.raises(MalformedEvidence):
        cbor.decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    "data", ["1817", "190017", "1a00000017", "9fff", "a20201010a", "bf0101ff", "5818" + "00" * 24][:6]
)
def test_what_is_not_deterministic_is_refused_where_asked(data: str) -> None:
    cbor.decode(bytes.fromhex(data))
    with pytest.raises(MalformedEvidence):
        cbor.decode(bytes.fromhex(data), canonical=True)


def test_many_items_are_bounded() -> None:
    with pytest.raises(MalformedEvidence, match="items"):
        cbor.decode(b"\x9a\x00\x02\x00\x00" + b"\x00" * 0x20000)


def test_prefix_says_how_much_it_took() -> None:
    assert cbor.decode_prefix(b"\x01\x02") == (1, 1)
    with pytest.raises(MalformedEvidence, match="end of input"):
        cbor.decode(b"\x01\x02")


def test_sign1_round_trip_and_structure() -> None:
    message = cose.Sign1(cbor.encode({1: -35}), {1: -35}, {}, b"payload", b"s" * 96, tagged=True)
    again = cose.parse(message.unparse(), "token")
    assert again == message
    assert cbor2.loads(message.to_be_signed(b"aad")) == ["Signature1", message.protected, b"aad", b"payload"]


@pytest.mark.parametrize(
    "value",
    [
        [b"", {}, b""],
        [b"", {}, b"", b"", b""],
        ["", {}, b"", b""],
        [b"", [], b"", b""],
        [b"\x80", {}, b"", b""],
        [b"\xa1\x01\x26", {1: -7}, b"", b""],
        cbor.Tag(17, [b"", {}, b"", b""]),
    ],
)
def test_what_is_not_a_sign1_is_refused(value: Any) -> None:
    with pytest.raises(MalformedEvidence):
        cose.parse(cbor.encode(value), "token")


def test_critical_headers_of_cose_are_refused():
    for protected, unprotected in (({1: -7, 2: [99]}, {}), ({1: -7}, {2: [1]})):
        with pytest.raises(MalformedEvidence) as caught:
            cose.parse(cbor.encode(cbor.Tag(18, [cbor.encode(protected), unprotected, b"", bytes(64)])), "x")
        assert caught.value.field == "x.crit"
