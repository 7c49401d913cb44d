"""Carries bytes between two sockets, unread. What the host sees is what passes here: ciphertext and lengths."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from dataclasses import dataclass

from fastness.streams.ready import ready

CHUNK = 256 * 1024
PIPE = 1 << 20
TURN = 8
"""How often the other tenants have their turn, in chunks."""

LINGER = 5.0
"""Seconds a tenant has to hang up after its keep has."""


@dataclass
class Traffic:
    """Bytes carried so far, for the operator's accounts."""

    to_keep: int = 0
    from_keep: int = 0

    def add(self, size: int, *, inward: bool) -> None:
        """Counts bytes that were carried towards the keep, or from it."""
        if inward:
            self.to_keep += size
        else:
            self.from_keep += size


async def relay(outside: socket.socket, keep: socket.socket, traffic: Traffic, first: bytes = b"") -> None:
    """Carries bytes both ways until both have ended or one way breaks; closes both sockets.

    ``first`` is what already came from outside.
    """
    loop = asyncio.get_running_loop()
    one = asyncio.create_task(_carry(outside, keep, traffic, inward=True, first=first))
    other = asyncio.create_task(_carry(keep, outside, traffic, inward=False))
    try:
        await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)
        broken = one.exception() if one.done() and not one.cancelled() else None
        if isinstance(broken, _HungUp):  # the keep, while it was written to: it may have said why
            await asyncio.wait({other}, timeout=LINGER)
        elif broken is None and not other.done():
            await other
        if other.done():
            await asyncio.wait_for(_discard(outside, one), LINGER)
    except (OSError, TimeoutError):
        pass
    finally:
        for task in (one, other):
            task.cancel()
        await asyncio.gather(one, other, return_exceptions=True)
        for sock in (outside, keep):
            with contextlib.suppress(OSError, ValueError):
                loop.remove_reader(sock)
            sock.close()


async def _discard(outside: socket.socket, carrying: asyncio.Task[None]) -> None:
    """Reads on until the tenant hangs up: closing over unread bytes would reset the connection and lose the end."""
    carrying.cancel()
    await asyncio.gather(carrying, return_exceptions=True)
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(outside, CHUNK):
        pass


class _HungUp(OSError):
    """Who was written to is gone."""


async def _carry(
    source: socket.socket, sink: socket.socket, traffic: Traffic, *, inward: bool, first: bytes = b""
) -> None:
    """Moves bytes from socket to socket through a pipe with ``splice(2)``: they never enter this process."""
    if first:
        await asyncio.get_running_loop().sock_sendall(sink, first)
        traffic.add(len(first), inward=inward)
    taking, giving = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    turns = 0
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(giving, fcntl.F_SETPIPE_SZ, PIPE)
        while size := await _splice(source.fileno(), giving, CHUNK, waits_for=source, writing=False):
            traffic.add(size, inward=inward)
            try:
                while size:
                    size -= await _splice(taking, sink.fileno(), size, waits_for=sink, writing=True)
            except OSError:
                raise _HungUp from None
            turns += 1
            if not turns % TURN:  # where one is always there to be read and one to be written to, this never waits
                await asyncio.sleep(0)
    finally:
        os.close(taking)
        os.close(giving)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


async def _splice(source: int, sink: int, size: int, *, waits_for: socket.socket, writing: bool) -> int:
    """Bytes moved, at least one; 0 at the end of the stream."""
    while True:
        try:
            return os.splice(source, sink, size, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        except BlockingIOError:
            await ready(waits_for.fileno(), writing=writing)
