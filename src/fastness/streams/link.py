"""One end of a link: each stream of :mod:`~fastness.streams.mux` becomes one end of a local socket pair.

::

    socket pair ── pump ─┐                        ┌─ pump ── socket pair
    socket pair ── pump ─┼─ frames ─ byte pipe ───┼─ pump ── socket pair

Back-pressure holds end to end: a stream is read only within the credit its far end gave, and credit is given back only
when the local socket took the bytes. One slow stream stops nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from fastness.errors import ProtocolError
from fastness.streams import mux
from fastness.streams.mux import Frame, Kind
from fastness.streams.ready import ready

READ = 64 * 1024


class Stream:
    """One stream: our end of a socket pair, and what may still pass."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.number = number
        self.sock = sock
        self.credit = mux.WINDOW
        self.more = asyncio.Event()
        self.owed = mux.WINDOW
        """What the far end may still send."""
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()
        self.ended = False
        """Whether the far end has said that it sends no more."""
        self.directions = 2
        """How many directions are not done yet."""

    def work(self, task: Coroutine[Any, Any, None]) -> None:
        """Runs ``task`` for as long as the stream lives."""
        self.tasks.add(asyncio.create_task(task))


class Link:
    """Streams over the byte pipe ``handle`` (non-blocking; read and write).

    Args:
        handle: descriptor of the pipe; closed with the link.
        guest: which end this is.
        opened: called with the other end of the socket pair of every stream that the host opens (guest only).
        on_hello: called once when the guest says that it is ready (host only).
    """

    def __init__(
        self,
        handle: int,
        *,
        guest: bool,
        opened: Callable[[socket.socket], None] | None = None,
        on_hello: Callable[[], None] | None = None,
    ) -> None:
        os.set_blocking(handle, False)
        self._handle = handle
        self._opened = opened
        self._on_hello = on_hello
        self._reader = mux.Reader(mux.FROM_HOST if guest else mux.FROM_GUEST)
        self._guest = guest
        self._greeted = False
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[Any] | None = None
        """Who is in the middle of a frame."""
        self._over = False
        self.goodbye: int | None = None
        """Exit status that the guest took leave with."""

    async def run(self) -> None:
        """Carries until the pipe ends; returns then.

        Raises:
            ProtocolError: the far end broke a rule.
        """
        try:
            while data := await self._read():
                for frame in self._reader.feed(data):
                    self._take(frame)
                await asyncio.sleep(0)  # a far end that never stops sending must not be all that this end does
        finally:
            self._over = True
            for stream in list(self._streams.values()):
                self._drop(stream)
            try:
                if self._writer is not None:
                    self._writer.cancel()
                    await asyncio.wait({self._writer})
            finally:
                os.close(self._handle)

    async def say(self, frame: Frame) -> None:
        """Sends one frame. One that was begun is sent to its end, also by a task that is cancelled meanwhile: half a
        frame would make nonsense of everything after it."""
        data = frame.encode()
        view, cancelled = memoryview(data), False
        async with self._writing:
            if self._over:  # the number of the closed handle may be somebody else's by now
                raise BrokenPipeError(errno.EPIPE, "the link is over")
            while view:
                try:
                    view = view[os.write(self._handle, view) :]
                except BlockingIOError:
                    cancelled |= await self._writable(begun=len(view) < len(data))
        if cancelled:
            raise asyncio.CancelledError

    async def _writable(self, *, begun: bool) -> bool:
        """Returns when the pipe takes bytes again, in the middle of a frame; whether it was cancelled meanwhile."""
        if not begun:
            await ready(self._handle, writing=True)
            return False
        self._writer = asyncio.current_task()
        try:
            await ready(self._handle, writing=True)
        except asyncio.CancelledError:
            if self._over:
                raise
            return True
        finally:
            self._writer = None
        return False

    def open(self) -> socket.socket:
        """A new stream (host only): the end of it that a caller uses.

        Raises:
            ProtocolError: too many are open.
        """
        if len(self._streams) >= mux.MAX_STREAMS:
            raise ProtocolError(f"a keep takes at most {mux.MAX_STREAMS} connections", hint="close one, then try again")
        self._last += 1
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        stream = self._begin(self._last, ours)
        stream.work(self._outward(stream, first=Frame(self._last, Kind.OPEN)))
        return theirs

    async def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._handle, READ)
            except BlockingIOError:
                await ready(self._handle, writing=False)
            except OSError:
                return b""

    def _take(self, frame: Frame) -> None:
        if frame.kind in mux.LINK:
            self._greet(frame)
        elif frame.kind is Kind.OPEN:
            self._accept(frame.stream)
        elif stream := self._streams.get(frame.stream):
            self._carry(stream, frame)
        elif not 0 < frame.stream <= self._last:
            raise ProtocolError(f"the other end of the link speaks of stream {frame.stream}, which was never opened")

    def _greet(self, frame: Frame) -> None:
        if frame.kind is Kind.GOODBYE:
            self.goodbye = frame.body[0]
        elif self._greeted or frame.body != mux.GREETING:
            raise ProtocolError("the guest greeted twice, or speaks another version of the link")
        else:
            self._greeted = True
            if self._on_hello is not None:
                self._on_hello()

    def _accept(self, number: int) -> None:
        if number <= self._last:
            raise ProtocolError(f"the host opened stream {number} after {self._last}")
        self._last = number
        if len(self._streams) >= mux.MAX_STREAMS or self._opened is None:
            raise ProtocolError(f"the host opened more than {mux.MAX_STREAMS} streams at once")
        ours, theirs = socket.socketpair()
        stream = self._begin(number, ours)
        stream.work(self._outward(stream))
        self._opened(theirs)

    def _begin(self, number: int, sock: socket.socket) -> Stream:
        stream = self._streams[number] = Stream(number, sock)
        stream.work(self._inward(stream))
        return stream

    def _carry(self, stream: Stream, frame: Frame) -> None:
        match frame.kind:
            case Kind.DATA:
                stream.owed -= len(frame.body)
                if stream.owed < 0 or stream.ended:
                    raise ProtocolError(
                        f"stream {stream.number}: more data than there was credit for, or after its end"
                    )
                stream.incoming.put_nowait(frame.body)
            case Kind.END:
                if stream.ended:
                    raise ProtocolError(f"stream {stream.number} was ended twice")
                stream.ended = True
                stream.incoming.put_nowait(b"")
            case Kind.CREDIT:
                stream.credit += int.from_bytes(frame.body, "big")
                if stream.credit > mux.WINDOW:
                    raise ProtocolError(f"stream {stream.number}: credit over the window")
                stream.more.set()
            case _:
                self._drop(stream)

    async def _outward(self, stream: Stream, first: Frame | None = None) -> None:
        """Local socket to far end."""
        loop = asyncio.get_running_loop()
        try:
            if first is not None:
                await self.say(first)
            while True:
                while not stream.credit:
                    stream.more.clear()
                    await stream.more.wait()
                data = await loop.sock_recv(stream.sock, min(stream.credit, mux.MAX_BODY))
                if not data:
                    break
                stream.credit -= len(data)
                await self.say(Frame(stream.number, Kind.DATA, data))
            await self.say(Frame(stream.number, Kind.END))
        except OSError:
            await self._reset(stream)
            return
        self._half(stream)

    async def _inward(self, stream: Stream) -> None:
        """Far end to local socket."""
        loop = asyncio.get_running_loop()
        try:
            while data := await stream.incoming.get():
                await loop.sock_sendall(stream.sock, data)
                stream.owed += len(data)
                await self.say(mux.credit(stream.number, len(data)))
            stream.sock.shutdown(socket.SHUT_WR)
        except OSError:
            await self._reset(stream)
            return
        self._half(stream)

    async def _reset(self, stream: Stream) -> None:
        """The local end broke: the far end is told, and the stream is over."""
        with contextlib.suppress(OSError):
            await self.say(Frame(stream.number, Kind.RESET))
        self._drop(stream)

    def _half(self, stream: Stream) -> None:
        """One direction is done; a stream is forgotten once both are."""
        stream.directions -= 1
        if not stream.directions:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        if self._streams.pop(stream.number, None) is None:
            return
        for task in stream.tasks - {asyncio.current_task()}:
            task.cancel()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, ValueError):
            loop.remove_reader(stream.sock)
            loop.remove_writer(stream.sock)
        stream.sock.close()
