"""PEM is read as RFC 7468 has it, in one pass, and as a pattern would have read it."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import MalformedEvidence
from fastness.wire import pem

PATTERN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*+)-----END \1-----")
parts = st.sampled_from(
    [b"-----BEGIN ", b"-----END ", b"-----", b"A", b"CERTIFICATE", b"-----BEGIN A-----", b"-----END A-----",
     b"\n", b" ", b"QUJD", b"=", b"-", b"x: y", b"\0", b"-----BEGIN A-----\nQUJD\n-----END A-----\n"]
)  # fmt: skip


@given(st.lists(parts, max_size=12).map(b"".join))
def test_blocks_are_those_a_pattern_finds(data: bytes) -> None:
    wanted = [(match[1].decode(), match.start(), match.end(), match[2]) for match in PATTERN.finditer(data)]
    assert [tuple(block) for block in pem.blocks(data)] == wanted


def test_der_comes_back() -> None:
    assert pem.unarmour(pem.armour("X", [b"one", b"two" * 100])) == [("X", b"one"), ("X", b"two" * 100)]
    assert pem.unarmour(pem.armour("X", [b"one"]) + pem.armour("Y", [b"two"]), "Y") == [("Y", b"two")]


@pytest.mark.parametrize("text", [b"QUI", b"Q===", b"QU=JD", b"====="])
def test_broken_base64_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedEvidence) as caught:
        pem.unarmour(b"-----BEGIN A-----\n" + text + b"\n-----END A-----")
    assert caught.value.field == "PEM A"


@pytest.mark.parametrize("unit", [b"-----BEGIN A-----", b"-----BEGIN ", b"-----BEGIN A-----\n-----END B-----", b"-"])
def test_hostile_input_takes_one_pass(unit: bytes) -> None:
    data = unit * (pem.MAX_PEM // len(unit))
    begin = time.process_time()
    assert pem.unarmour(data) == []
    assert time.process_time() - begin < 3


def test_too_much_is_refused() -> None:
    with pytest.raises(MalformedEvidence):
        pem.unarmour(bytes(pem.MAX_PEM + 1))
