"""A tenant that is killed between its launch and its release leaves nothing behind for long; its host can say why."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from e2e import stalled_tenant
from fastness.host import server
from fastness.host.inventory import Inventory
from fastness.host.launch import nil, spawn
from fastness.host.server import Server
from fastness.keep import protocol
from fastness.tenant.remote import Host

HASTY = "import fastness.keep.protocol as hurried; hurried.PATIENCE = 0.3; "
"""A keep's process with less patience than it is measured with."""


def serving(work: Callable[[str], Awaitable[None]], *, spare: int = 0) -> None:
    async def both() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        launcher = nil.Launcher()
        launcher.check()
        kept = Inventory(launcher, limit=2, spare=spare, boot_timeout=20, grace=1)
        host = asyncio.create_task(Server(kept, listening).serve())
        try:
            await work(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            host.cancel()
            await asyncio.gather(host, return_exceptions=True)

    asyncio.run(both())


async def stalled(url: str, stage: str) -> tuple[asyncio.subprocess.Process, str]:
    """A real process that stands still at ``stage``, and its keep's id."""
    tenant = await asyncio.create_subprocess_exec(
        sys.executable, stalled_tenant.__file__, url, stage, "development", "nil", stdout=subprocess.PIPE
    )
    if tenant.stdout is None:
        raise AssertionError
    keep = (await asyncio.wait_for(tenant.stdout.readline(), 30)).decode().strip()
    assert keep, "the tenant did not get so far"
    return tenant, keep


async def told(url: str, keep: str) -> dict[str, Any]:
    host = Host(url)
    (found,) = [item for item in await host.keeps() if item["id"] == keep]
    host.close()
    return found


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(protocol.__file__).parents[2]))
    words = spawn._BOOT.split("; ", 2)
    monkeypatch.setattr(spawn, "_BOOT", "; ".join([*words[:2], HASTY + words[2]]))
    monkeypatch.setattr(server, "UNCLAIMED", 0.3)


@pytest.mark.parametrize("stage", stalled_tenant.STAGES)
def test_the_keep_of_a_killed_tenant_ends_and_its_host_says_why(stage: str) -> None:
    async def work(url: str) -> None:
        tenant, keep = await stalled(url, stage)
        before = await told(url, keep)
        assert (before["state"], before["why"], before["connections"]) == ("running", "", int(stage != "launched"))
        tenant.kill()
        await tenant.wait()
        async with asyncio.timeout(60):
            while (after := await told(url, keep))["state"] == "running":
                await asyncio.sleep(0.05)
        spoke = stage not in ("launched", "channel")
        why = "its tenant left, and gave it no workload" if spoke else "nobody came for it"
        assert (after["state"], after["why"], after["connections"]) == ("ended", why, 0)

    serving(work)


def test_a_keep_that_nobody_spoke_to_yet_waits_and_one_that_is_questioned_waits_on() -> None:
    """A spare keep is there for its first tenant; and a look at a keep does not end it while somebody is there."""

    async def work(url: str) -> None:
        host = Host(url)
        async with asyncio.timeout(60):
            while not (await host.capacity())["spare"]:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)
        assert (await host.capacity())["spare"] == 1
        host.close()
        tenant, keep = await stalled(url, "attested")
        other = Host(url)
        (await other.channel(keep)).close()
        await asyncio.sleep(0.6)
        assert (await told(url, keep))["state"] == "running"
        tenant.kill()
        await tenant.wait()

    serving(work, spare=1)
