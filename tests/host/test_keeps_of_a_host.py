"""What becomes of a host's keeps when nobody comes for them, when their tenant goes, when they do not start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import made_up
import pytest

from fastness.errors import KeepFailed, RemoteError
from fastness.host import server
from fastness.host.inventory import Inventory
from fastness.host.launch import Root
from fastness.host.server import Server
from fastness.streams import lively as streams
from fastness.tenant import remote
from fastness.tenant.remote import Host

TCP_REPAIR = 19
"""Linux, include/uapi/linux/tcp.h: a connection that is closed under it leaves no trace on the wire."""


@dataclass
class Keep(made_up.Keep):
    """One that may be slow to start, or not start at all; whoever connects to it is not answered."""

    starts: bool = True
    slow: float = 0.0
    started: bool = False
    visitors: list[socket.socket] = field(default_factory=list)

    async def ready(self, timeout: float) -> None:
        await asyncio.sleep(self.slow)
        self.started = True
        if not self.starts:
            raise KeepFailed("it was not ready in time")

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.visitors.append(theirs)
        ours.setblocking(False)
        return ours


@dataclass
class Launcher:
    name: str = "vm"
    starts: bool = True
    slow: float = 0.0
    made: list[Keep] = field(default_factory=list)
    most: int = 0
    """How many were starting at once, at the most."""

    def check(self) -> None: ...

    def anchors(self) -> tuple[Root, ...]:
        return ()

    async def launch(self, *, debug: bool = False) -> Keep:
        self.made.append(Keep(starts=self.starts, slow=self.slow))
        self.most = max(self.most, sum(not keep.started for keep in self.made))
        return self.made[-1]


def hosted(launcher: Launcher, work: Callable[[str], Awaitable[None]]) -> None:
    """Runs ``work`` with the address of a host of ``launcher``'s keeps."""

    async def both() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        kept = Inventory(launcher, limit=2, spare=0, boot_timeout=5, grace=0)
        serving = asyncio.create_task(Server(kept, listening).serve())
        try:
            await work(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(both())


def test_a_keep_somebody_came_for_outlives_the_connection_and_one_nobody_came_for_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A detached workload goes on when its tenant has hung up."""
    monkeypatch.setattr(server, "UNCLAIMED", 0.05)
    launcher = Launcher()

    async def work(url: str) -> None:
        host = Host(url)
        with await host.channel(await host.launch(None)) as spoken:
            spoken.send(b"x")
        host.close()
        host = Host(url)
        await host.launch(None)
        host.close()
        claimed, unclaimed = launcher.made
        await asyncio.wait_for(unclaimed.gone.wait(), 20)
        assert claimed.alive

    hosted(launcher, work)


def test_a_tenant_that_went_without_a_word_is_gone_to_its_keep_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine lost power: no end of the connection ever comes, and nothing is sent that would show it."""
    monkeypatch.setattr(
        streams, "ALIVE", ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2))
    )
    launcher = Launcher()

    async def work(url: str) -> None:
        host = Host(url)
        sock = await host.channel(await host.launch(None))
        await asyncio.get_running_loop().sock_sendall(sock, b"x")
        (visitor,) = launcher.made[0].visitors
        visitor.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(visitor, 10) == b"x"
        await asyncio.sleep(0.3)  # acknowledgements that are late would meet nobody, and be answered so
        try:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except PermissionError:
            pytest.skip("only an administrator takes a connection away without a word")
        sock.close()
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(visitor, 10), 20) == b""

    hosted(launcher, work)


def test_a_host_that_went_without_a_word_is_gone_to_its_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        streams, "ALIVE", ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2))
    )

    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            sock = await Host(f"http://127.0.0.1:{listening.getsockname()[1]}")._open()
            peer, _ = listening.accept()
            await asyncio.sleep(0.3)  # as above
            try:
                peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            except PermissionError:
                pytest.skip("only an administrator takes a connection away without a word")
            peer.close()
            # the machine is there still and says that it knows of no such connection; one that is off says nothing
            with pytest.raises(ConnectionResetError), sock:
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 10), 20)

    asyncio.run(work())


def test_a_keep_that_does_not_start_is_ended_and_takes_no_room() -> None:
    launcher = Launcher(starts=False)

    async def work(url: str) -> None:
        host = Host(url)
        for _ in range(3):
            with pytest.raises(KeepFailed, match="not ready in time"):
                await host.launch(None)
        assert (await host.capacity())["free"] == 2
        host.close()
        assert not any(keep.alive for keep in launcher.made)

    hosted(launcher, work)


def test_a_launch_may_take_longer_than_another_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_TIMEOUT", 0.2)

    async def work(url: str) -> None:
        host = Host(url)
        assert await host.launch(None)
        monkeypatch.setattr(remote, "LAUNCH_TIMEOUT", 0.2)
        with pytest.raises(RemoteError, match=r"did not answer within 0\.2 s") as error:
            await host.launch(None)
        assert error.value.hint
        host.close()

    hosted(Launcher(slow=0.5), work)


def stocked(launcher: Launcher, work: Callable[[Inventory], Awaitable[None]]) -> None:
    """Runs ``work`` with an inventory that has begun to keep one spare keep ready."""

    async def both() -> None:
        kept = Inventory(launcher, limit=3, spare=1, boot_timeout=5, grace=0)
        kept.start()
        await asyncio.sleep(0.01)  # the spare one starts
        try:
            await work(kept)
        finally:
            await kept.close()

    asyncio.run(both())


def test_a_launch_takes_the_spare_keep_that_starts_already() -> None:
    """Two machines that start at once are slower than one, and no other is started until that one is there."""
    launcher = Launcher(slow=0.2)

    async def work(kept: Inventory) -> None:
        (spare,) = launcher.made
        entry = await kept.launch()
        assert entry.running is spare
        assert launcher.most == 1
        await asyncio.sleep(0.01)  # another spare one starts
        two = await asyncio.gather(kept.launch(), kept.launch())  # one takes it, one needs its own
        assert {id(entry.running) for entry in two} == {id(keep) for keep in launcher.made[1:3]}
        assert launcher.most == 2

    stocked(launcher, work)
    assert not any(keep.alive for keep in launcher.made)


def test_a_tenant_is_told_what_became_of_the_keep_that_started_already() -> None:
    launcher = Launcher(starts=False, slow=0.2)

    async def work(kept: Inventory) -> None:
        with pytest.raises(KeepFailed, match="not ready in time"):
            await kept.launch()
        assert kept.capacity()["free"] == 3
        launcher.starts = True
        assert (await kept.launch()).running.alive

    stocked(launcher, work)
    assert not any(keep.alive for keep in launcher.made)


def test_a_launch_that_is_given_up_ends_the_keep_it_waited_for_and_a_new_spare_one_starts() -> None:
    launcher = Launcher(slow=0.2)

    async def work(kept: Inventory) -> None:
        launching = asyncio.create_task(kept.launch())
        await asyncio.sleep(0.01)
        launching.cancel()
        await asyncio.gather(launching, return_exceptions=True)
        assert not launcher.made[0].alive
        assert (await kept.launch()).running is launcher.made[1]

    stocked(launcher, work)


def test_a_host_that_closes_ends_a_keep_that_has_just_started() -> None:
    launcher = Launcher()

    async def both() -> None:
        kept = Inventory(launcher, limit=1, spare=1, boot_timeout=5, grace=0)
        kept.start()
        while not launcher.made or not launcher.made[0].started:
            await asyncio.sleep(0)
        await kept.close()

    asyncio.run(both())
    assert len(launcher.made) == 1
    assert not launcher.made[0].alive
