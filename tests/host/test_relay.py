"""The relay: what a keep said last arrives, whatever was on its way to it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from fastness.host.relay import Traffic, relay
from turns import others


def pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


async def heard(sock: socket.socket) -> bytes:
    found = b""
    while data := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
        found += data
    return found


def test_the_last_words_of_a_keep_that_hangs_up_while_it_is_written_to() -> None:
    """Over TCP with little room, so that passing them on takes more steps than finding that the keep is gone."""

    async def once() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        tenant = socket.socket()
        tenant.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        tenant.connect(listening.getsockname())
        outside, _ = listening.accept()
        for sock in (tenant, outside):
            sock.setblocking(False)
        inside, keep = pair()
        words = bytes(range(256)) * 512
        keep.send(words)
        keep.close()
        tenant.send(b"something it will never read")
        relaying = asyncio.create_task(relay(outside, inside, Traffic()))
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(heard(tenant), 10) == words
        tenant.close()
        await asyncio.wait_for(relaying, 10)
        listening.close()

    asyncio.run(once())


def test_a_tenant_that_is_gone_takes_its_keep_with_it() -> None:
    async def once() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        tenant = socket.create_connection(listening.getsockname())
        outside, _ = listening.accept()
        outside.setblocking(False)
        inside, keep = pair()
        relaying = asyncio.create_task(relay(outside, inside, Traffic()))
        tenant.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
        tenant.close()
        assert await asyncio.wait_for(heard(keep), 3) == b""
        keep.close()
        await asyncio.wait_for(relaying, 3)
        listening.close()

    asyncio.run(once())


def test_a_tenant_that_never_stops_sending_is_not_all_that_a_host_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastness.host.relay.CHUNK", 1024)

    async def once() -> None:
        (tenant, outside), (inside, keep) = pair(), pair()
        for sock in (tenant, inside):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sent = tenant.send(bytes(64 * 1024))
        traffic = Traffic()
        relaying = asyncio.create_task(relay(outside, inside, traffic))
        async with others() as turns, asyncio.timeout(20):
            while traffic.to_keep < sent:
                before = turns.taken
                await asyncio.sleep(0)
        assert before > 4
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
        for sock in (tenant, keep):
            sock.close()

    asyncio.run(once())
