"""TCG event logs: parsing, padding, replay."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.errors import MalformedEvidence
from fastness.wire import eventlog

SPEC = eventlog.SIGNATURE + bytes(4) + b"\0\2\0\2" + struct.pack("<IHHHH", 2, 0x0B, 32, 0x0C, 48) + b"\0"
HEAD = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(SPEC)) + SPEC


def event(index: int, kind: int, data: bytes, count: int = 2) -> bytes:
    digests = [struct.pack("<H", 0x0B) + hashlib.sha256(data).digest(),
               struct.pack("<H", 0x0C) + hashlib.sha384(data).digest()]  # fmt: skip
    return struct.pack("<III", index, kind, count) + b"".join(digests[:count]) + struct.pack("<I", len(data)) + data


LOG = HEAD + event(0, 8, b"v1") + event(7, 4, bytes(4)) + event(0xFFFFFFFF, 3, b"note")


def test_entries() -> None:
    log = eventlog.parse(LOG)
    assert (log.algorithms, log.crypto_agile, log.padding) == (("sha256", "sha384"), True, 0)
    assert [item.name for item in log.events] == ["EV_S_CRTM_VERSION", "EV_SEPARATOR", "EV_NO_ACTION"]
    for item in log.events:
        assert LOG[item.data_offset : item.data_offset + len(item.data)] == item.data
    assert eventlog.replay(log, "sha256") == {
        0: hashlib.sha256(bytes(32) + hashlib.sha256(b"v1").digest()).digest(),
        7: hashlib.sha256(bytes(32) + hashlib.sha256(bytes(4)).digest()).digest(),
    }


@pytest.mark.parametrize("filler", [b"\xff", b"\0"])
def test_padding(filler: bytes) -> None:
    log = eventlog.parse(LOG + filler * 1000)
    assert (log.used, log.padding, len(log.events)) == (len(LOG), 1000, 3)


def test_bytes_behind_the_padding() -> None:
    with pytest.raises(MalformedEvidence):
        eventlog.parse(LOG + b"\xff" * 64 + event(0, 8, b"hidden"))


@pytest.mark.parametrize("locality", [0, 3, 4])
def test_startup_locality(locality: int) -> None:
    log = eventlog.parse(HEAD + event(0, 3, eventlog.STARTUP_LOCALITY + bytes((locality,))) + event(0, 8, b"v1"))
    start = bytes(31) + bytes((locality,))
    assert eventlog.replay(log, "sha256")[0] == hashlib.sha256(start + hashlib.sha256(b"v1").digest()).digest()


@pytest.mark.parametrize("entries", [
    event(0, 3, eventlog.STARTUP_LOCALITY + b"\x01") + event(0, 8, b"v1"),
    event(0, 3, eventlog.STARTUP_LOCALITY),
    event(0, 8, b"v1") + event(0, 3, eventlog.STARTUP_LOCALITY + b"\x03"),
    event(0, 8, b"v1", count=1),
], ids=["locality 1", "no locality", "too late", "no digest"])  # fmt: skip
def test_replay_refuses(entries: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        eventlog.replay(eventlog.parse(HEAD + entries), "sha384")


@pytest.mark.parametrize("entry", [
    event(32, 8, b"x"), event(0xFFFFFFFF, 8, b"x"), event(0, 8, b"x", count=0), struct.pack("<III", 0, 8, 3),
    struct.pack("<III", 0, 8, 1) + struct.pack("<H", 4) + bytes(24),
    struct.pack("<III", 0, 8, 2) + 2 * (struct.pack("<H", 0x0B) + bytes(32)) + bytes(4),
], ids=["register", "no register", "no digest", "many", "algorithm", "twice"])  # fmt: skip
def test_entry_refused(entry: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        eventlog.parse(HEAD + entry + event(0, 8, b"end"))


def test_unknown_bank() -> None:
    with pytest.raises(MalformedEvidence):
        eventlog.replay(eventlog.parse(LOG), "sha1")


def test_truncation() -> None:
    """A cut log is refused, unless what is left of an entry cannot be told from padding."""
    ends = [len(HEAD), *(item.offset for item in eventlog.parse(LOG).events)]
    for size in range(len(HEAD), len(LOG)):
        rest = LOG[max(end for end in ends if end <= size) : size]
        if rest not in (bytes(len(rest)), b"\xff" * len(rest)):
            with pytest.raises(MalformedEvidence):
                eventlog.parse(LOG[:size])


def test_limits() -> None:
    with pytest.raises(MalformedEvidence):
        eventlog.parse(bytes(eventlog.MAX_LOG + 1))
    with pytest.raises(MalformedEvidence):
        eventlog.parse(b"\x01\0\0\0" + bytes(28) * 20000 + b"\x01")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(LOG) - 1), st.integers(1, 255), st.binary(max_size=60))
def test_any_bytes(place: int, flip: int, tail: bytes) -> None:
    data = bytearray(LOG + tail)
    data[place] ^= flip
    try:
        log = eventlog.parse(bytes(data))
        assert log.used + log.padding == len(data)
        for bank in log.algorithms:
            eventlog.replay(log, bank)
    except MalformedEvidence:
        return
