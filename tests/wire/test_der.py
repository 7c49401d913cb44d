"""DER: the quick way through short elements is the strict way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastness
from fastness.errors import MalformedEvidence
from fastness.wire import der


def plainly(node: der.Node) -> list[der.Node]:
    """The children, one :func:`der.read` after another."""
    found, position = [], 0
    while position < len(node.value):
        child, position = der.read(node.value, position, node.inner, "x")
        found.append(child)
    return found


sizes = st.sampled_from([b"\0", b"\1", b"\2", b"\x7f", b"\x80", b"\x81\x80", b"\x82\x01\0", b"\x81\x01", b"\x85"])
elements = st.tuples(st.binary(min_size=1, max_size=1), sizes, st.binary(max_size=5)).map(b"".join)


def element(tag: int, value: bytes) -> bytes:
    size = bytes((len(value),)) if len(value) < 128 else bytes((0x81, len(value)))
    return bytes((tag & 0xDF,)) + size + value


whole = st.builds(element, st.integers(0, 255), st.binary(max_size=130))


@given(st.lists(elements | whole, max_size=5).map(b"".join), st.integers(0, 9))
def test_children_are_read_one_after_another(value: bytes, offset: int) -> None:
    node = der.Node(der.SEQUENCE, value, bytes((0x30, 0)) + value, offset)
    try:
        wanted: object = plainly(node)
    except MalformedEvidence as error:
        wanted = str(error), error.where
    try:
        have: object = der.children(node, "x")
    except MalformedEvidence as error:
        have = str(error), error.where
    assert have == wanted


@pytest.mark.parametrize(
    ("tag", "text", "wanted"),
    [
        (der.UTC_TIME, b"491231235959Z", "2049-12-31T23:59:59+00:00"),
        (der.UTC_TIME, b"500101000000Z", "1950-01-01T00:00:00+00:00"),
        (der.GENERALIZED_TIME, b"20500101000000Z", "2050-01-01T00:00:00+00:00"),
        (der.GENERALIZED_TIME, b"99991231235959Z", "9999-12-31T23:59:59+00:00"),
        (der.UTC_TIME, b"20500101000000Z", None),
        (der.GENERALIZED_TIME, b"500101000000Z", None),
        (der.OCTET_STRING, b"500101000000Z", None),
        (der.UTC_TIME, b"260230000000Z", None),
        (der.UTC_TIME, b"260101240000Z", None),
        (der.UTC_TIME, b"260101006000Z", None),
        (der.UTC_TIME, b"260101000060Z", None),
        (der.UTC_TIME, b"2601010000Z", None),
        (der.UTC_TIME, b"260101000000z", None),
        (der.UTC_TIME, b"26010100000+Z", None),
        (der.GENERALIZED_TIME, b"00000101000000Z", None),
        (der.GENERALIZED_TIME, b"", None),
    ],
)
def test_times_are_those_rfc_5280_takes(tag: int, text: bytes, wanted: str | None) -> None:
    node = der.Node(tag, text, bytes((tag, len(text))) + text, 3)
    if wanted is not None:
        assert der.time(node).isoformat() == wanted
        return
    with pytest.raises(MalformedEvidence):
        der.time(node)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        (datetime(999, 12, 31, 1, 2, 3, 4, UTC), "0999-12-31T01:02:03Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59Z"),
    ],
)  # fmt: skip
def test_a_year_has_four_digits(at: datetime, said: str) -> None:
    assert der.zulu(at) == said


def test_times_are_written_by_one_function() -> None:
    """strftime writes a year before 1000 without its zeros, wherever it comes from."""
    source = Path(fastness.__file__).parent
    found = {str(place.relative_to(source)) for place in source.rglob("*.py") if "%Y" in place.read_text("utf-8")}
    assert found == {"image/cyclonedx.py"}  # the time of a build
