"""Frames: bounded, typed, whatever the cuts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import ProtocolError
from fastness.seal.frames import HEAD_SIZE, LIMITS, MAX_CONTROL, MAX_DATA, Reader, Type, frame

messages = st.lists(st.tuples(st.sampled_from(list(Type)), st.binary(max_size=300)), max_size=8)


@given(messages, st.integers(1, 64))
def test_what_is_framed_is_read_whatever_the_cuts(sent: list[tuple[Type, bytes]], cut: int) -> None:
    stream = b"".join(frame(kind, body) for kind, body in sent)
    reader, read = Reader(), []
    for start in range(0, len(stream), cut):
        reader.feed(stream[start : start + cut])
        while (message := reader.next()) is not None:
            read.append(message)
    assert read == sent
    assert reader.idle


@given(st.lists(st.integers(0, 5000), max_size=8), st.lists(st.integers(1, 3000), min_size=1))
def test_what_comes_in_large_parts_is_read_whatever_the_cuts(sizes: list[int], cuts: list[int]) -> None:
    """Large parts are kept as they come, small ones gathered, and a head lies in two of either."""
    sent = [(Type.STDOUT, bytes(number % 251 for number in range(size))) for size in sizes]
    stream, cutting = b"".join(frame(*message) for message in sent), itertools.cycle(cuts)
    reader, read = Reader(), []
    while stream:
        cut = next(cutting)
        reader.feed(stream[:cut])
        stream = stream[cut:]
        while (message := reader.next()) is not None:
            read.append(message)
    assert read == sent
    assert all(type(body) is bytes for _, body in read)
    assert reader.idle


def test_a_length_over_the_limit_is_refused_before_the_body_comes() -> None:
    for kind in Type:
        reader = Reader()
        reader.feed(bytes((kind,)) + (LIMITS.get(kind, MAX_CONTROL) + 1).to_bytes(4, "big"))
        with pytest.raises(ProtocolError, match="limit"):
            reader.next()


def test_a_message_over_its_limit_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="over its limit"):
        frame(Type.STDOUT, bytes(MAX_DATA + 1))


def test_unknown_and_unexpected_types_are_refused_at_their_first_byte() -> None:
    reader = Reader(frozenset({Type.CHALLENGE}))
    reader.feed(bytes((Type.RELEASE,)))
    with pytest.raises(ProtocolError, match="unexpected release"):
        reader.next()
    reader = Reader()
    reader.feed(b"\xee")
    with pytest.raises(ProtocolError, match="unknown message type 0xee"):
        reader.next()


def test_a_truncated_frame_is_neither_given_nor_idle() -> None:
    reader = Reader()
    reader.feed(frame(Type.STDOUT, b"whole")[: HEAD_SIZE + 2])
    assert reader.next() is None
    assert not reader.idle
