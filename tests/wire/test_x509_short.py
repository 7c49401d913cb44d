"""X.509: the quick way through short structures is the strict way, and sees nearly all that real certificates hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import MalformedEvidence
from fastness.forge import snp
from fastness.wire import der, x509


def element(tag: int, value: bytes) -> bytes:
    size = bytes((len(value),)) if len(value) < 128 else bytes((0x81, len(value)))
    return bytes((tag,)) + size + value


tags = st.sampled_from([der.SEQUENCE, der.SET, der.OID, der.OCTET_STRING, der.BOOLEAN, der.UTF8, 0x1F, 0x3F])
flags = st.sampled_from([b"", b"\x01\x01\xff", b"\x01\x01\x00", b"\x01\x01\x01"])
oids = st.builds(element, st.just(der.OID) | tags, st.binary(max_size=12))
values = st.builds(element, st.just(der.OCTET_STRING) | tags, st.binary(max_size=130))
extensions = st.builds(lambda *parts: element(der.SEQUENCE, b"".join(parts)[:255]), oids, flags, values)
attributes = st.builds(
    lambda oid, value: element(der.SEQUENCE, oid + value), oids, values.filter(lambda v: len(v) < 90)
)
relatives = st.builds(lambda parts: element(der.SET, b"".join(parts)[:255]), st.lists(attributes, max_size=2))


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """What ``whole`` draws, with at most two bytes altered, cut or with something after it."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 2))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(
                st.sampled_from([0, 1, 2, 4, 6, 0x30, 0x31, 0x7F, 0x80, 0x81])
            )
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))]) + draw(st.binary(max_size=3))


@given(damaged(extensions), st.integers(0, 3))
def test_a_short_extension_is_read_as_any_other(data: bytes, less: int) -> None:
    end = max(0, len(data) - less)
    short = x509._short_extension(data, 0, end)
    if short is not None:
        assert short == x509._extension(data, 0, end, "x")


@given(damaged(relatives), st.integers(0, 3))
def test_a_short_attribute_is_read_as_any_other(data: bytes, less: int) -> None:
    limit = max(0, len(data) - less)
    short = x509._short_attribute(data, 0, limit)
    if short is not None:
        assert short == x509._relative(data, 0, limit)


@given(st.integers(0, 600), st.integers(0, 3), st.integers(-2, 2), st.integers(0, 3), st.booleans())
def test_lengths_read_in_place_are_those_of_the_strict_way(
    filled: int, width: int, less: int, cut: int, ends: bool
) -> None:
    said = max(0, filled - less)
    size = said.to_bytes(3, "big")[-width:] if width else b""
    data = b"\x30" + (bytes((0x80 | width,)) + size if width else bytes((said & 0x7F,))) + bytes(filled)
    limit = max(0, len(data) - cut)
    data = data[:limit] if ends else data

    def end(how: Callable[[], tuple[int, int]]) -> tuple[int, int] | str:
        try:
            return how()
        except MalformedEvidence as error:
            return str(error)

    strict = end(lambda: der.head(data, 0, limit, "x"))
    assert end(lambda: der.span(data, 0, limit, 0x30, "x")) == strict


def test_the_quick_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = snp.Maker({}).forged().collateral.certificates[0]

    def slow(*_: object) -> object:
        raise AssertionError("the slow way")

    monkeypatch.setattr(x509, "_relative", slow)
    x509.read_common_name.cache_clear()
    assert x509.read_common_name(certificate.subject)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03\x06\x01", b"\x30\x80\x06\x01\x55\x04\x00"])
def test_what_is_cut_short_is_malformed(data: bytes) -> None:
    assert x509._short_extension(data, 0, len(data)) is None
    with pytest.raises(MalformedEvidence):
        x509._extension(data, 0, len(data), "x")


@pytest.mark.parametrize("raw", x509._USUAL_CONSTRAINTS)
def test_usual_constraints_are_what_reading_them_says(raw: bytes) -> None:
    assert x509._USUAL_CONSTRAINTS[raw] == x509._basic_constraints.__wrapped__(raw, 0)


@pytest.mark.parametrize(("version", "extensions"), [(b"\xa0\x03\x02\x01\x02", True), (b"\xa0\x03\x02\x01\x00", False)])
def test_the_usual_version_is_read_as_any_other(version: bytes, extensions: bool) -> None:
    raw = snp.Maker({}).forged().collateral.certificates[0].raw
    usual = b"\xa0\x03\x02\x01\x02"
    assert raw.count(usual) == 1
    if extensions:
        assert x509.certificate(raw).extensions
    else:
        with pytest.raises(MalformedEvidence):
            x509.certificate(raw.replace(usual, version))
