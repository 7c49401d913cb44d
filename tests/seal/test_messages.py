"""Messages: what is encoded is decoded, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import ProtocolError
from fastness.seal import challenger, log
from fastness.seal.messages import (
    Attach,
    Challenge,
    Ended,
    Measured,
    Refusal,
    Statement,
    Status,
    Workload,
    credit,
    encode_evidence,
)
from fastness.wire import cbor

EVENTS = (log.Event(log.WORKLOAD, bytes(32)), log.Event(log.CONFIGURATION, b"\x01" * 32))
EXAMPLES: list[Any] = [
    Challenge("tenant", b"\x07" * 32, ("nil", "snp")),
    Statement("nil", "nil", b"evidence", (("vcek", b"der"),), b"spki", b"\x02" * 32, b"\x03" * 32, EVENTS, 5, "host"),
    Workload(b"\0asm", b"cfg", {"key": b"secret"}, {"/a": b"asset"}, b"\x04" * 32, attached=False),
    Attach(b"\x05" * 32, "logs", follow=True),
    Ended("trap", 0, "unreachable", "in f", "hint"),
    Refusal("no", "hint", ("nil",)),
    Measured(b"\x06" * 32, EVENTS),
    Status("running", b""),
]
DECODERS: dict[type, Callable[[bytes], Any]] = {
    Challenge: Challenge.decode,
    Statement: challenger.decode_statement,
    Workload: Workload.decode,
    Attach: Attach.decode,
    Ended: challenger.decode_ended,
    Refusal: challenger.decode_refusal,
    Measured: challenger.decode_measured,
    Status: challenger.decode_status,
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda item: type(item).__name__)
def test_round_trip(example: Any) -> None:
    assert DECODERS[type(example)](example.encode()) == example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda item: type(item).__name__)
def test_truncated_extended_or_recoded_messages_are_refused(example: Any) -> None:
    body = example.encode()
    decode = DECODERS[type(example)]
    for end in range(len(body)):
        with pytest.raises(ProtocolError):
            decode(body[:end])
    with pytest.raises(ProtocolError):
        decode(body + b"\0")
    value = cbor.decode(body)
    for key in value:
        with pytest.raises(ProtocolError):
            decode(cbor.encode({k: v for k, v in value.items() if k != key}))
        with pytest.raises(ProtocolError):
            decode(cbor.encode({**value, key: {"another": "kind"} if not isinstance(value[key], dict) else 0}))
    with pytest.raises(ProtocolError, match="unknown or missing"):
        decode(cbor.encode({**value, 99: 0}))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_a_protocol_error(data: bytes) -> None:
    for decode in DECODERS.values():
        try:
            decode(data)
        except ProtocolError:
            continue


@pytest.mark.parametrize("time", [-1, 1 << 63])
def test_a_release_with_a_time_that_no_clock_has_is_refused(time: int) -> None:
    value = cbor.decode(EXAMPLES[2].encode())
    with pytest.raises(ProtocolError, match="no time"):
        Workload.decode(cbor.encode({**value, 7: time}))


def test_another_version_is_refused() -> None:
    value = cbor.decode(EXAMPLES[0].encode())
    with pytest.raises(ProtocolError, match="version 2"):
        Challenge.decode(cbor.encode({**value, 1: 2}))
    value = cbor.decode(EXAMPLES[1].encode())
    with pytest.raises(ProtocolError, match="version 3"):
        challenger.decode_statement(cbor.encode({**value, 1: 3}))


def test_another_role_is_refused() -> None:
    value = cbor.decode(EXAMPLES[0].encode())
    with pytest.raises(ProtocolError, match="no role"):
        Challenge.decode(cbor.encode({**value, 2: "host"}))


@pytest.mark.parametrize("nonce", [b"", b"\x01" * 31, b"\x01" * 33, bytes(32)])
def test_a_nonce_has_32_bytes_and_is_not_zero(nonce: bytes) -> None:
    value = cbor.decode(EXAMPLES[0].encode())
    with pytest.raises(ProtocolError, match="nonce"):
        Challenge.decode(cbor.encode({**value, 3: nonce}))


def test_an_evidence_message_holds_two_byte_strings() -> None:
    assert challenger.decode_evidence(encode_evidence(b"statement", b"signature")) == (b"statement", b"signature")
    for wrong in (b"", b"\xff", cbor.encode([b"one"]), cbor.encode([b"one", "two"]), cbor.encode({})):
        with pytest.raises(ProtocolError):
            challenger.decode_evidence(wrong)


def test_credit_is_four_bytes() -> None:
    assert challenger.decode_credit(credit(70_000)) == 70_000
    with pytest.raises(ProtocolError):
        challenger.decode_credit(b"\0")


def test_secrets_are_not_in_the_representation() -> None:
    shown = repr(EXAMPLES[2]) + repr(EXAMPLES[3])
    assert "secret" not in shown
    assert "asset" not in shown
    assert "\\x05" not in shown
    assert "\\x04" not in shown
