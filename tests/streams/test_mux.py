"""Frames of a link: what is refused, and that reading is the inverse of writing however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import ProtocolError
from fastness.streams import mux
from fastness.streams.mux import Frame, Kind, Reader

BODIES = {
    Kind.HELLO: st.just(mux.GREETING),
    Kind.OPEN: st.just(b""),
    Kind.DATA: st.binary(min_size=1, max_size=100),
    Kind.END: st.just(b""),
    Kind.RESET: st.just(b""),
    Kind.CREDIT: st.binary(min_size=4, max_size=4),
    Kind.GOODBYE: st.binary(min_size=1, max_size=1),
}


def frames(allowed: frozenset[Kind]) -> st.SearchStrategy[list[Frame]]:
    def one(kind: Kind) -> st.SearchStrategy[Frame]:
        number = st.just(0) if kind in mux.LINK else st.integers(1, 2**32 - 1)
        return st.builds(Frame, number, st.just(kind), BODIES[kind])

    return st.lists(st.one_of(*(one(kind) for kind in sorted(allowed))), max_size=8)


@given(frames(mux.FROM_GUEST), st.lists(st.integers(1, 40), min_size=1))
def test_reading_is_the_inverse_of_writing(sent: list[Frame], cuts: list[int]) -> None:
    data, reader, found, at, turn = b"".join(item.encode() for item in sent), Reader(mux.FROM_GUEST), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += list(reader.feed(data[at : at + size]))
        at, turn = at + size, turn + 1
    assert found == sent


@pytest.mark.parametrize(
    ("allowed", "data", "words"),
    [
        (mux.FROM_GUEST, Frame(1, Kind.OPEN).encode(), "kind 2"),
        (mux.FROM_HOST, Frame(0, Kind.HELLO, mux.GREETING).encode(), "kind 1"),
        (mux.FROM_HOST, Frame(0, Kind.GOODBYE, b"\0").encode(), "kind 7"),
        (mux.FROM_HOST, b"\0\0\0\1\x09\0\0\0", "kind 9"),
        (mux.FROM_HOST, b"\0\0\0\1\x03\x00\x80\x01", "data frame of 32769 bytes"),
        (mux.FROM_HOST, b"\0\0\0\1\x03\0\0\0", "data frame of 0 bytes"),
        (mux.FROM_HOST, b"\0\0\0\1\x06\0\0\5", "credit frame of 5 bytes"),
        (mux.FROM_HOST, b"\0\0\0\1\x04\xff\xff\xff", "end frame of 16777215 bytes"),
        (mux.FROM_HOST, Frame(0, Kind.OPEN).encode(), "open on stream 0"),
        (mux.FROM_GUEST, Frame(3, Kind.GOODBYE, b"\0").encode(), "goodbye on stream 3"),
    ],
)
def test_a_frame_out_of_form_is_refused_at_its_head(allowed: frozenset[Kind], data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        list(Reader(allowed).feed(data[: mux.HEAD]))


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_our_own_error(data: bytes) -> None:
    reader = Reader(mux.FROM_HOST)
    try:
        for frame in reader.feed(data):
            assert frame.kind in mux.FROM_HOST
    except ProtocolError:
        pass
    assert len(reader._buffer) <= mux.HEAD + mux.MAX_BODY
