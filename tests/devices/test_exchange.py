"""What a keep asks of its platform's device: both ends, and a holder that lies, stalls or goes away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from fastness.devices import Quote, exchange
from fastness.devices.exchange import Client, Op
from fastness.errors import KeepFailed
from fastness.keep.attest import Remote
from fastness.seal import log
from fastness.wire import cbor


class Holder:
    """A device that remembers what it was asked."""

    platform, debug = "vm", False

    def __init__(self, tee: str = "tpm") -> None:
        self.tee = tee
        self.extended: list[bytes] = []
        self.time = 0

    def quote(self, report_data: bytes) -> Quote:
        return Quote("tpm", b"quote over " + report_data, (("ak", b"key"),))

    def extend(self, measured: bytes) -> None:
        self.extended.append(measured)

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        return credential + secret

    def set_time(self, milliseconds: int) -> None:
        if milliseconds < 10:
            raise KeepFailed("no such time")
        self.time = milliseconds


@contextmanager
def served(holder: Holder) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        while head := theirs.recv(exchange.HEAD, socket.MSG_WAITALL):
            op, size = exchange.split(head, exchange.MAX_REQUEST)
            theirs.sendall(exchange.answer(op, theirs.recv(size, socket.MSG_WAITALL) if size else b"", holder))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ours
    finally:
        ours.close()
        thread.join(5)
        theirs.close()


def test_each_request_reaches_the_holder_and_comes_back() -> None:
    holder = Holder()
    with served(holder) as sock:
        device = Remote(sock)
        assert (device.platform, device.tee, device.debug) == ("vm", "tpm", False)
        event = log.Event(log.WORKLOAD, b"\1" * 32)
        assert device.quote(b"r" * 64) == Quote("tpm", b"quote over " + b"r" * 64, (("ak", b"key"),))
        device.extend(event)
        assert device.activate(b"c", b"s") == b"cs"
        device.set_time(1_700_000_000_000)
    assert holder.extended == [log.measured(event)]
    assert holder.time == 1_700_000_000_000


def test_a_refusal_of_the_holder_is_told_in_its_words() -> None:
    with served(Holder()) as sock, pytest.raises(KeepFailed, match="no such time"):
        Remote(sock).set_time(1)


def test_an_answer_that_comes_too_late_is_not_that_to_the_next_request() -> None:
    ours, theirs = socket.socketpair()
    client = Client(ours, 0.05)
    with pytest.raises(KeepFailed, match="no answer from the device"):
        client.extend(b"\1")
    with suppress(OSError):
        theirs.sendall(framed(b""))  # what was extended, by now: it must not count for what is asked next
    with pytest.raises(KeepFailed, match="no answer from the device"):
        client.extend(b"\2")
    theirs.close()


def test_evidence_of_another_tee_than_this_keeps_is_refused() -> None:
    with served(Holder("snp")) as sock, pytest.raises(KeepFailed, match="answers with 'tpm'"):
        Remote(sock).quote(bytes(64))


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (b"Q", bytes(63)),
        (b"Q", bytes(65)),
        (b"E", b""),
        (b"E", bytes(257)),
        (b"T", bytes(7)),
        (b"A", b"\xff"),
        (b"A", cbor.encode([b"c"])),
        (b"A", cbor.encode(["c", b"s"])),
        (b"X", b""),
    ],
)
def test_a_request_out_of_form_is_refused_and_reaches_nothing(op: bytes, body: bytes) -> None:
    holder = Holder()
    assert exchange.answer(op, body, holder)[0] == 1
    assert not holder.extended
    assert not holder.time


def test_a_request_over_the_limit_is_refused_before_its_body() -> None:
    with pytest.raises(KeepFailed, match="limit"):
        exchange.split(
            exchange.request(Op.QUOTE, bytes(exchange.MAX_REQUEST + 1))[: exchange.HEAD], exchange.MAX_REQUEST
        )


def framed(body: bytes, status: int = 0) -> bytes:
    return bytes((status,)) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "went away"),
        (b"\0\0", "went away"),
        (framed(b"abc")[:-1], "went away"),
        (b"\0\xff\xff\xff\xff", "limit"),
        (framed(b"\xff"), "cannot be read"),
        (framed(cbor.encode(["tpm", b"x"])), "no evidence"),
        (framed(cbor.encode(["tpm", b"", []])), "no evidence"),
        (framed(cbor.encode(["tpm", b"x", [["ak"]]])), "no evidence"),
        (framed(cbor.encode(["tpm", b"x", [["a", b""]] * 33])), "no evidence"),
        (framed(b"the chip is gone", 1), "the chip is gone"),
        (framed(b"\xff\xfe", 7), "failed"),
    ],
)
def test_an_answer_out_of_form_is_a_keep_that_failed(answer: bytes, words: str) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(KeepFailed, match=words):
        Client(ours, 2).quote(bytes(64))
    ours.close()
    theirs.close()


@pytest.mark.parametrize("body", [b"\xff", cbor.encode(["vm", "tpm"]), cbor.encode(["vm", "tpm", 1]), cbor.encode({})])
def test_a_greeting_out_of_form_is_a_keep_that_failed(body: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(framed(body))
    with pytest.raises(KeepFailed, match="greeting"):
        Remote(ours)
    ours.close()
    theirs.close()


def test_a_holder_that_stalls_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with pytest.raises(KeepFailed, match="no answer"):
        Client(ours, 0.05).extend(b"x")
    ours.close()
    theirs.close()


def test_an_extension_that_is_answered_with_something_is_refused() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(framed(b"x"))
    with pytest.raises(KeepFailed, match="with something"):
        Client(ours, 2).extend(b"x")
    ours.close()
    theirs.close()
