"""Two ends of a link over a socket pair: streams come through whole, apart, held back; who breaks a rule is cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Awaitable, Callable

import pytest

from fastness.errors import ProtocolError
from fastness.streams import mux
from fastness.streams.link import Link
from fastness.streams.mux import Frame, Kind
from turns import others


class Pair:
    """A host's end and a guest's end, and the connections that the guest was given."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.arrived: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.hello = asyncio.Event()
        self.host = Link(ours.detach(), guest=False, on_hello=self.hello.set)
        self.guest = Link(theirs.detach(), guest=True, opened=self.arrived.put_nowait)
        self.tasks = [asyncio.create_task(self.host.run()), asyncio.create_task(self.guest.run())]

    async def connection(self) -> tuple[socket.socket, socket.socket]:
        near = self.host.open()
        far = await asyncio.wait_for(self.arrived.get(), 5)
        far.setblocking(False)
        return near, far

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def play(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), 20)

    asyncio.run(bounded())


async def everything(sock: socket.socket) -> bytes:
    data = b""
    while part := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
        data += part
    return data


def test_streams_carry_both_ways_at_once_and_end_cleanly() -> None:
    async def work() -> None:
        pair, loop = Pair(), asyncio.get_running_loop()
        await pair.guest.say(Frame(0, Kind.HELLO, mux.GREETING))
        await asyncio.wait_for(pair.hello.wait(), 5)
        sent = [random.Random(seed).randbytes(1 << 20) for seed in range(6)]
        for round_ in range(3):
            near, far = await pair.connection()

            async def push(sock: socket.socket, data: bytes) -> None:
                await loop.sock_sendall(sock, data)
                sock.shutdown(socket.SHUT_WR)

            out, back = sent[2 * round_], sent[2 * round_ + 1]
            _, _, there, here = await asyncio.gather(
                push(near, out), push(far, back), everything(far), everything(near)
            )
            assert (there, here) == (out, back)
            near.close()
            far.close()
        await asyncio.sleep(0.05)
        assert not pair.host._streams
        assert not pair.guest._streams
        await pair.close()

    play(work)


def test_a_stream_nobody_reads_holds_back_its_writer_and_no_other() -> None:
    async def work() -> None:
        pair, loop = Pair(), asyncio.get_running_loop()
        stuck, idle = await pair.connection()
        pushing = asyncio.create_task(loop.sock_sendall(stuck, bytes(32 << 20)))
        near, far = await pair.connection()
        await loop.sock_sendall(near, b"quick")
        assert await asyncio.wait_for(loop.sock_recv(far, 5), 5) == b"quick"
        await asyncio.sleep(0.2)
        assert not pushing.done()
        waiting = sum(map(len, pair.guest._streams[1].incoming._queue))  # type: ignore[attr-defined]
        assert waiting <= mux.WINDOW
        pushing.cancel()
        idle.close()
        await pair.close()

    play(work)


def test_a_local_end_that_breaks_resets_the_far_one() -> None:
    async def work() -> None:
        pair, loop = Pair(), asyncio.get_running_loop()
        near, far = await pair.connection()
        far.close()
        with contextlib.suppress(OSError):
            await loop.sock_sendall(near, bytes(1 << 20))
        with contextlib.suppress(OSError):
            assert await asyncio.wait_for(loop.sock_recv(near, 1), 5) == b""
        await pair.close()

    play(work)


def hostile(guest: bool, *frames: Frame) -> None:
    """One end under test; ``frames`` are what the other says."""

    async def work() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        kept: list[socket.socket] = []
        link = Link(ours.detach(), guest=guest, opened=kept.append if guest else None)
        task = asyncio.create_task(link.run())
        if not guest:
            kept.append(link.open())
        loop = asyncio.get_running_loop()
        for frame in frames:
            with contextlib.suppress(OSError):
                await loop.sock_sendall(theirs, frame.encode())
        try:
            with pytest.raises(ProtocolError):
                await asyncio.wait_for(task, 5)
            assert not link._streams
            with pytest.raises(OSError, match="descriptor"):
                os.fstat(link._handle)
        finally:
            theirs.close()
            for sock in kept:
                sock.close()

    play(work)


def data(stream: int, size: int) -> list[Frame]:
    return [Frame(stream, Kind.DATA, bytes(mux.MAX_BODY))] * (size // mux.MAX_BODY)


def test_a_peer_that_breaks_a_rule_is_cut_off() -> None:
    opened = Frame(1, Kind.OPEN)
    hostile(True, opened, *data(1, mux.WINDOW), *data(1, mux.WINDOW), *data(1, mux.WINDOW), *data(1, mux.WINDOW))
    hostile(True, opened, Frame(1, Kind.END), Frame(1, Kind.DATA, b"x"))
    hostile(True, opened, Frame(1, Kind.END), Frame(1, Kind.END))
    hostile(True, opened, mux.credit(1, 1))
    hostile(True, opened, opened)
    hostile(True, Frame(2, Kind.OPEN), opened)
    hostile(True, Frame(5, Kind.DATA, b"x"))
    hostile(True, *(Frame(number, Kind.OPEN) for number in range(1, mux.MAX_STREAMS + 2)))
    hostile(False, Frame(0, Kind.HELLO, b"fastness-mux/9"))
    hostile(False, *[Frame(0, Kind.HELLO, mux.GREETING)] * 2)
    hostile(False, mux.credit(1, 1))
    hostile(False, Frame(9, Kind.RESET))


def test_a_host_opens_no_more_streams_than_a_guest_takes() -> None:
    async def work() -> None:
        pair = Pair()
        kept = [pair.host.open() for _ in range(mux.MAX_STREAMS)]
        with pytest.raises(ProtocolError, match="at most 64"):
            pair.host.open()
        for sock in kept:
            sock.close()
        await pair.close()

    play(work)


def test_the_last_word_of_a_guest_is_its_exit_status() -> None:
    async def work() -> None:
        pair = Pair()
        await pair.guest.say(Frame(0, Kind.GOODBYE, b"\x09"))
        while pair.host.goodbye is None:
            await asyncio.sleep(0.01)
        assert pair.host.goodbye == 9
        await pair.close()

    play(work)


def test_a_stream_that_ends_in_the_middle_of_a_frame_does_not_take_the_link_with_it() -> None:
    """What was begun is said to its end: half a frame would make nonsense of everything after it."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        ours, far = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        far.setblocking(False)
        link = Link(ours.detach(), guest=False)
        running = asyncio.create_task(link.run())
        near = link.open()
        await loop.sock_sendall(near, bytes(mux.MAX_BODY))
        while not link._writing.locked():  # the frame is begun, and the pipe is full
            await asyncio.sleep(0.01)
        await loop.sock_sendall(far, Frame(1, Kind.RESET).encode())
        while link._streams:
            await asyncio.sleep(0.01)
        link.open().close()
        reader, heard = mux.Reader(mux.FROM_HOST), list[Frame]()
        while not heard or heard[-1].kind is not Kind.END:
            heard += reader.feed(await asyncio.wait_for(loop.sock_recv(far, 1 << 16), 5))
        assert [(frame.stream, frame.kind) for frame in heard] == [
            (1, Kind.OPEN), (1, Kind.DATA), (2, Kind.OPEN), (2, Kind.END),
        ]  # fmt: skip
        far.close()
        await asyncio.wait_for(running, 5)

    play(work)


def test_a_link_that_ends_waits_for_no_frame_that_was_begun() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        ours, far = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        link = Link(ours.detach(), guest=False)
        running = asyncio.create_task(link.run())
        near = link.open()
        await loop.sock_sendall(near, bytes(mux.MAX_BODY))
        while not link._writing.locked():
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        while link._writing.locked():
            await asyncio.sleep(0.01)
        far.close()

    play(work)


def test_a_link_that_is_over_writes_to_nobody() -> None:
    """The number of its closed handle may be another connection's by then."""

    async def work() -> None:
        ours, far = socket.socketpair()
        handle = ours.detach()
        link = Link(handle, guest=False)
        far.close()
        await asyncio.wait_for(link.run(), 5)
        theirs, other = socket.socketpair()
        os.dup2(theirs.fileno(), handle)
        try:
            with pytest.raises(OSError, match="over"):
                await link.say(Frame(0, Kind.HELLO, mux.GREETING))
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.recv(1)
        finally:
            if handle != theirs.fileno():
                os.close(handle)
            theirs.close()
            other.close()

    play(work)


def test_a_far_end_that_never_stops_sending_is_not_all_that_a_host_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of streams that are over is read and dropped, and reading it never waited."""
    monkeypatch.setattr("fastness.streams.link.READ", 4096)

    async def work() -> None:
        handle, theirs = os.pipe2(os.O_CLOEXEC)
        os.write(theirs, Frame(0, Kind.HELLO, mux.GREETING).encode())
        greeted = asyncio.Event()
        link = Link(handle, guest=False, on_hello=greeted.set)
        running = asyncio.create_task(link.run())
        await greeted.wait()
        (link.open()).close()
        link._drop(link._streams[1])
        reads = 16
        os.write(theirs, Frame(1, Kind.END).encode() * (reads * 512))  # as many as a pipe holds
        os.close(theirs)
        async with others() as turns:
            await running
        assert turns.taken >= reads

    play(work)
