"""Nitro: the parser refuses what the specification does not allow, and never fails in another way."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.errors import FastnessError, MalformedEvidence
from fastness.forge import nitro as forge
from fastness.tee import Collateral, nitro
from fastness.wire import cbor

FORGED = forge.make({"nonce": "aa" * 8, "user_data": "bb" * 8})
GOOD = FORGED.evidence
BODY = cbor.decode(nitro.parse(GOOD).message.payload)


def rebuilt(body, *, tag: bool = False, payload: bytes | None = None) -> bytes:
    message = cbor.decode(GOOD)
    message[2] = cbor.encode(body) if payload is None else payload
    return cbor.encode(cbor.Tag(18, message) if tag else message)


def bad(data: bytes) -> MalformedEvidence:
    with pytest.raises(MalformedEvidence) as caught:
        nitro.parse(data)
    return caught.value


def test_tag_18_is_optional_and_kept():
    tagged = rebuilt(BODY, tag=True)
    assert nitro.unparse(nitro.parse(tagged)) == tagged
    assert nitro.parse(tagged).message.tagged
    bad(cbor.encode(cbor.Tag(17, cbor.decode(GOOD))))


def test_an_irregular_envelope_is_kept_as_it_came():
    odd = b"\x9f" + GOOD[1:] + b"\xff"
    assert nitro.unparse(nitro.parse(odd)) == odd
    assert nitro.recognise(odd)
    long = b"\x98\x04" + GOOD[1:]
    assert nitro.unparse(nitro.parse(long)) == long


@pytest.mark.parametrize("name", ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"])
def test_every_mandatory_field(name):
    bad(rebuilt({key: value for key, value in BODY.items() if key != name}))


def test_a_long_bundle():
    assert len(nitro.parse(rebuilt(BODY | {"cabundle": BODY["cabundle"] * 8})).bundle) == 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("module_id", ""),
        ("module_id", b"i-1"),
        ("module_id", "i-\n"),
        ("module_id", "i" * 257),
        ("digest", "SHA256"),
        ("digest", None),
        ("timestamp", 0),
        ("timestamp", -1),
        ("timestamp", True),
        ("timestamp", 1.5),
        ("timestamp", 1 << 63),
        ("pcrs", {}),
        ("pcrs", []),
        ("pcrs", {32: bytes(48)}),
        ("pcrs", {-1: bytes(48)}),
        ("pcrs", {"0": bytes(48)}),
        ("pcrs", {0: bytes(32)}),
        ("pcrs", {0: bytes(49)}),
        ("pcrs", {0: "00" * 48}),
        ("certificate", b""),
        ("certificate", bytes(1025)),
        ("certificate", b"\x30\x00"),
        ("certificate", "text"),
        ("cabundle", []),
        ("cabundle", [b""]),
        ("cabundle", [bytes(1025)]),
        ("cabundle", b"\x30"),
        ("cabundle", [BODY["cabundle"][0]] * 33),
        ("nonce", bytes(1025)),
        ("user_data", bytes(1025)),
        ("public_key", "text"),
        ("nitrotpm_pcrs", {0: bytes(48)}),
    ],
)
def test_n05_n11_fields_of_the_wrong_kind_or_size(name, value):
    assert bad(rebuilt(BODY | {name: value})).field


@pytest.mark.parametrize("size", [0, 1024])
def test_optional_fields_may_be_empty_full_null_or_absent(size):
    for name in ("nonce", "user_data", "public_key"):
        assert getattr(nitro.parse(rebuilt(BODY | {name: bytes(size)})), name) == bytes(size)
        assert getattr(nitro.parse(rebuilt(BODY | {name: None})), name) is None
        without = {key: value for key, value in BODY.items() if key != name}
        assert getattr(nitro.parse(rebuilt(without)), name) is None


def test_n11_duplicate_keys_and_leftovers():
    bad(GOOD + b"\x00")
    payload = cbor.encode(BODY)
    bad(rebuilt(BODY, payload=payload + b"\x00"))
    assert payload[0] & 0xE0 == 0xA0
    twice = bytes((payload[0] + 1,)) + payload[1:] + cbor.encode("digest") + cbor.encode("SHA384")
    error = bad(rebuilt(BODY, payload=twice))
    assert "distinct" in str(error)
    assert error.offset > len(payload) // 2


def test_n01_shapes_that_are_no_cose_sign1():
    message = cbor.decode(GOOD)
    for wrong in (message[:3], [*message, 0], [message[0], [], *message[2:]], [{}, *message[1:]], {}, 1, None):
        bad(cbor.encode(wrong))
    bad(cbor.encode([*message[:3], message[3][:-1]]))
    bad(bytes(70_000))
    bad(b"")


def test_truncated_at_every_byte():
    for size in range(len(GOOD)):
        bad(GOOD[:size])


def test_b21_single_byte_changes_never_pass_and_never_fail_otherwise():
    chance = random.Random(11)
    for offset in [*range(160), *chance.sample(range(160, len(GOOD)), 400)]:
        changed = bytearray(GOOD)
        changed[offset] ^= 1 << chance.randrange(8)
        with pytest.raises(FastnessError):
            evidence = nitro.parse(bytes(changed))
            assert nitro.unparse(evidence) == changed
            nitro.verify(evidence, Collateral(), FORGED.anchors, at=FORGED.at)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_raise_our_own_error(data):
    nitro.recognise(data)
    with pytest.raises(MalformedEvidence):
        nitro.parse(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.binary(max_size=50) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 40) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from([*BODY, "nitrotpm_pcrs", "other"]), VALUES, min_size=1, max_size=3))
def test_any_values_in_any_field_parse_or_raise_our_own_error(changes):
    data = rebuilt(BODY | changes)
    try:
        assert nitro.unparse(nitro.parse(data)) == data
    except MalformedEvidence as error:
        assert error.field


def test_every_field_is_shown():
    evidence = nitro.parse(GOOD)
    rows = {name: (GOOD[offset : offset + size], text) for name, offset, size, text in nitro.show(evidence)}
    assert int.from_bytes(rows["timestamp"][0], "big") == evidence.timestamp
    assert rows["digest"][0] == b"SHA384"
    assert [rows[f"cabundle[{index}]"][0] for index in range(4)] == [item.raw for item in evidence.bundle]
    wanted = {"protected", "signature", *(BODY.keys() - {"pcrs", "cabundle", "public_key"})}
    assert wanted <= rows.keys()
