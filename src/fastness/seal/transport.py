"""A channel over an asyncio socket: handshake, framed messages, timeouts. Used by both ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from fastness.errors import ProtocolError, RemoteError
from fastness.seal.channel import CHUNK, Channel
from fastness.seal.frames import Reader, Type, frame

HANDSHAKE_TIMEOUT = 20.0
"""Seconds for the TLS handshake; a guest under emulation needs one."""

CLOSE_TIMEOUT = 2.0
KEPT = 1024 * 1024
"""Buffers of up to this size are used again, not mapped anew and cleared by the kernel page by page."""

TURN = 4
"""How often the others have their turn, in reads: reading what is there already waits for nobody."""


class Closed(RemoteError):
    """The peer ended the stream; ``clean`` when it said so between two messages."""

    def __init__(self, *, clean: bool) -> None:
        super().__init__(
            "the connection was closed" if clean else "the connection was cut in the middle of a message",
            hint="ask the host whether the keep still runs: `fastness keep list`",
        )
        self.clean = clean


class Transport:
    """Messages over one TLS session over one non-blocking socket."""

    def __init__(self, sock: socket.socket, channel: Channel) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bytes(KEPT)  # what was mapped and is freed is what glibc keeps from then on: mallopt(3), M_MMAP_THRESHOLD
        self.sock = sock
        self.channel = channel
        self.reader = Reader(frozenset[Type]())
        self.heard = False
        """Whether the peer ever sent anything."""
        self._owed = b""
        self._turns = 0
        self._sending = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    async def handshake(self, timeout: float = HANDSHAKE_TIMEOUT) -> None:
        """Finishes the TLS handshake.

        Raises:
            ProtocolError: not the TLS this protocol asks for.
            RemoteError: the peer stalls or goes away.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self.channel.handshake():
                    await self._flush()
                    await self._fill(during="the TLS handshake")
                await self._flush()
        except TimeoutError:
            raise RemoteError(f"the TLS handshake did not finish within {timeout:g} s") from None
        except (ProtocolError, RemoteError):
            with contextlib.suppress(OSError, RemoteError):
                await self._flush()
            raise

    @property
    def between(self) -> asyncio.Lock:
        """Held while a message is on its way: who holds it can cancel a sender without cutting the session."""
        return self._sending

    async def send(self, kind: Type, body: bytes) -> None:
        """Sends one message; returns when the kernel has taken it (back-pressure)."""
        async with self._sending:
            self.channel.send(frame(kind, body))
            await self._flush()

    async def receive(self, *allowed: Type, timeout: float | None = None) -> tuple[Type, bytes]:
        """The next message, which must be one of ``allowed``.

        Raises:
            ProtocolError: another type, or one over its limit.
            Closed: the stream ended.
            RemoteError: nothing came within ``timeout`` seconds.
        """
        self.reader.allow(*allowed)
        try:
            async with asyncio.timeout(timeout):
                while (message := self.reader.next()) is None:
                    records = self.channel.records()  # put together once, when a message is whole
                    for data in records:
                        self.reader.feed(data)
                    if records:
                        continue
                    await self._answer()
                    if self.channel.closed:
                        raise Closed(clean=self.reader.idle)
                    await self._fill()
                return message
        except TimeoutError:
            names = " or ".join(kind.name.lower() for kind in allowed)
            raise RemoteError(
                f"no {names} message within {timeout:g} s",
                hint="the host or the keep stalls; try again, or another host",
            ) from None

    async def close(self) -> None:
        """Says goodbye and closes the socket; never raises."""
        with contextlib.suppress(OSError, RemoteError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT), self._sending:
                self.channel.close()
                await self._flush()
        self.sock.close()

    async def _answer(self) -> None:
        """Sends what TLS itself answers (to a peer that asks for new keys) before more is read: kept until our next
        message it would grow for as long as the peer asks."""
        self._owed += self.channel.outgoing()
        if self._owed:
            async with self._sending:
                await self._flush()

    async def _flush(self) -> None:
        data, self._owed = self._owed + self.channel.outgoing(), b""
        if data:
            try:
                await self._loop.sock_sendall(self.sock, data)
            except OSError:
                raise Closed(clean=False) from None

    async def _fill(self, during: str = "") -> None:
        try:
            data = await self._loop.sock_recv(self.sock, CHUNK)
        except OSError:
            data = b""
        if not data:
            if during:
                raise RemoteError(f"the connection was closed during {during}")
            # without a close_notify the end may be an attacker's: never clean (RFC 8446 section 6.1)
            raise Closed(clean=False)
        self.heard = True
        self.channel.feed(data)
        self._turns += 1
        if not self._turns % TURN:
            await asyncio.sleep(0)
