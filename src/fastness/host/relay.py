"""Carries bytes between two sockets, unread. What the host sees is what passes here: ciphertext and lengths."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass

CHUNK = 256 * 1024
LINGER = 5.0
"""Seconds a tenant has to hang up after its keep has."""


@dataclass
class Traffic:
    """Bytes carried so far, for the operator's accounts."""

    to_keep: int = 0
    from_keep: int = 0


async def relay(outside: socket.socket, keep: socket.socket, traffic: Traffic, first: bytes = b"") -> None:
    """Carries bytes both ways until both have ended or one way breaks; closes both sockets.

    ``first`` is what already came from outside.
    """
    loop = asyncio.get_running_loop()
    one = asyncio.create_task(_carry(outside, keep, traffic, inward=True, first=first))
    other = asyncio.create_task(_carry(keep, outside, traffic, inward=False))
    try:
        await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)
        if other.done():
            await asyncio.wait_for(_discard(outside, one), LINGER)
        elif not _broken(one):
            await other
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


def _broken(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


async def _carry(
    source: socket.socket, sink: socket.socket, traffic: Traffic, *, inward: bool, first: bytes = b""
) -> None:
    loop = asyncio.get_running_loop()
    buffer = bytearray(CHUNK)
    room, data = memoryview(buffer), memoryview(first)
    while True:
        if data:
            await loop.sock_sendall(sink, data)
            if inward:
                traffic.to_keep += len(data)
            else:
                traffic.from_keep += len(data)
        size = await loop.sock_recv_into(source, buffer)
        if not size:
            break
        data = room[:size]
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
