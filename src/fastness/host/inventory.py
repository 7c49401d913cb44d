"""The keeps of a host: how many may run, which do, what became of them. In memory only: no record of tenants."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastness.errors import RemoteError
from fastness.host.launch import Attended, Launcher, Running, Session, Standing
from fastness.host.relay import Traffic

PATIENCE = 300.0
"""Seconds that a tenant has to check a measurement and give its secret."""

ENDS = {0: "", 14: "its tenant left, and gave it no workload"}
"""Why keeps end that do not die, by their exit status (keep protocol v1, section 8)."""

MAX_REMEMBERED = 256
"""How many ended keeps are remembered for ``keep list``."""


@dataclass
class Entry:
    """One keep as the host sees it."""

    id: str
    platform: str
    running: Running
    started: float = field(default_factory=time.time)
    traffic: Traffic = field(default_factory=Traffic)
    connections: int = 0
    since: float = field(default_factory=time.monotonic)
    """When it started, or its last connection went."""

    why: str = ""
    """Why it ended, where this host had a reason or its status has one."""

    status: int | None = None
    standing: Standing | None = None
    """Where it waits for its tenant's secret before its first instruction."""

    def to_json(self) -> dict[str, object]:
        """For the host's API: what an operator may know."""
        state = "running" if self.status is None else "ended" if self.status in ENDS else "died"
        if self.standing is not None and self.status is None:
            state = "waiting"
        return {
            "id": self.id,
            "platform": self.platform,
            "state": state,
            "pid": self.running.pid,
            "started": int(self.started),
            "connections": self.connections,
            "idle": None if self.connections or self.status is not None else int(time.monotonic() - self.since),
            "why": self.why,
            "bytes_to_keep": self.traffic.to_keep,
            "bytes_from_keep": self.traffic.from_keep,
        }


def ended_by(status: int) -> str:
    """What an exit status says of a keep that died."""
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


class Inventory:
    """Launches keeps up to a limit, with some ready in advance."""

    def __init__(self, launcher: Launcher, *, limit: int, spare: int, boot_timeout: float, grace: float) -> None:
        self._launcher = launcher
        self._limit = limit
        self._spare = min(spare, limit)
        self._boot_timeout = boot_timeout
        self._grace = grace
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._warm: list[Running] = []
        self._coming: asyncio.Task[Running] | None = None
        """The spare keep that starts now, as long as nobody has asked for it."""

        self._loose: list[Running] = []
        """Keeps that have been started, and are neither spare nor anybody's yet."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._launching = 0
        self._refilling = asyncio.Lock()
        self._closing = False

    @property
    def platform(self) -> str:
        """Name of the platform keeps run on."""
        return self._launcher.name

    def list(self) -> list[Entry]:
        """Every keep that runs, and the last that ended."""
        return list(self._entries.values())

    def capacity(self) -> dict[str, object]:
        """What the host has to offer."""
        running = sum(entry.status is None for entry in self._entries.values())
        return {"platform": self.platform, "limit": self._limit, "running": running, "free": self._limit - running,
                "spare": len(self._warm)}  # fmt: skip

    def find(self, name: str) -> Entry:
        """The keep called ``name``.

        Raises:
            RemoteError: there is none.
        """
        if name not in self._entries:
            raise RemoteError(f"this host has no keep {name!r}", hint="see `fastness keep list`")
        return self._entries[name]

    async def launch(self) -> Entry:
        """A keep that takes connections.

        Raises:
            RemoteError: the host is full.
            KeepFailed: it did not start.
        """
        try:
            with self._room():
                started = self._ready_one() or await self._next()
            return self._enter(Entry(secrets.token_hex(8), self.platform, started))
        finally:
            if not self._closing:
                self._spawn(self._refill())

    def describe(self) -> dict[str, object]:
        """What a tenant has to know of the platform before a launch."""
        more = self._launcher.platform() if isinstance(self._launcher, Attended) else {}
        return {"platform": self.platform, **more}

    async def attend(self, session: Session) -> Entry:
        """A keep that was measured, and waits for its tenant's secret; it is ended where none comes in time.

        Raises:
            RemoteError: the host is full, or its platform has no such launches.
            KeepFailed, UsageError: it did not start.
        """
        if not isinstance(self._launcher, Attended):
            raise RemoteError(f"a keep on {self.platform} takes no session", hint="launch it without one")
        with self._room():
            standing = await self._launcher.stand(session)
        entry = self._enter(Entry(secrets.token_hex(8), self.platform, standing.running, standing=standing))
        self._spawn(self._impatient(entry))
        return entry

    async def inject(self, entry: Entry, header: str, data: str) -> None:
        """Gives a waiting keep its secret; returns when it takes connections. One that fails is ended.

        Raises:
            RemoteError: it waits for none.
            KeepFailed, UsageError: the secret was refused, or it did not start.
        """
        standing, entry.standing = entry.standing, None
        if standing is None:
            raise RemoteError(f"keep {entry.id} waits for no secret", hint="a secret is given once")
        try:
            await standing.inject(header, data)
            await entry.running.ready(self._boot_timeout)
        except BaseException:
            standing.close()
            await entry.running.stop(0)
            raise

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        """Counts a launch while it lasts; refuses it where the host is full."""
        running = sum(entry.status is None for entry in self._entries.values())
        if self._closing or running + self._launching >= self._limit:
            raise RemoteError(
                f"the host is full: {self._limit} keeps at most",
                hint="stop one (`fastness keep stop ID`), wait, or raise --max-keeps",
            )
        self._launching += 1
        try:
            yield
        finally:
            self._launching -= 1

    def _enter(self, entry: Entry) -> Entry:
        self._entries[entry.id] = entry
        self._spawn(self._watch(entry))
        return entry

    async def _impatient(self, entry: Entry) -> None:
        await asyncio.sleep(PATIENCE)
        if entry.standing is not None:
            entry.why = "no secret came from its tenant"
            await self.stop(entry)

    async def stop(self, entry: Entry) -> None:
        """Ends a keep."""
        await entry.running.stop(self._grace)

    def start(self) -> None:
        """Begins to keep spare keeps ready."""
        self._spawn(self._refill())

    async def close(self) -> None:
        """Ends every keep and forgets them."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        running = [entry.running for entry in self._entries.values() if entry.status is None]
        await asyncio.gather(*(keep.stop(self._grace) for keep in [*running, *self._warm]), return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(keep.stop(self._grace) for keep in self._loose), return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep_task(asyncio.create_task(work))

    def _keep_task(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, entry: Entry) -> None:
        entry.status = await entry.running.ended()
        entry.why = entry.why or (ENDS[entry.status] if entry.status in ENDS else ended_by(entry.status))
        if entry.standing is not None:
            entry.standing.close()
        ended = [name for name, item in self._entries.items() if item.status is not None]
        for name in ended[: max(0, len(ended) - MAX_REMEMBERED)]:
            del self._entries[name]

    def _ready_one(self) -> Running | None:
        while self._warm:
            keep = self._warm.pop(0)
            if keep.alive:
                return keep
        return None

    async def _next(self) -> Running:
        """The keep that starts already, where there is one: two that start at once take longer than one after the other
        where processors are emulated."""
        starting, self._coming = self._coming, None
        keep = await (starting or self._begin())
        self._loose.remove(keep)
        return keep

    def _begin(self) -> asyncio.Task[Running]:
        task = asyncio.create_task(self._boot())
        self._keep_task(task)
        return task

    async def _boot(self) -> Running:
        keep = await self._launcher.launch()
        try:
            await keep.ready(self._boot_timeout)
        except BaseException:  # it counts for nobody: left alone, it would run for ever
            await keep.stop(0)
            raise
        self._loose.append(keep)
        return keep

    async def _refill(self) -> None:
        async with self._refilling:
            # while one is launched no other starts; whoever asked for it comes back here
            while not self._closing and not self._launching and len(self._warm) < self._spare:
                starting = self._coming = self._begin()
                await asyncio.wait({starting})
                if self._coming is not starting:  # a tenant's by now, who is told what becomes of it
                    continue
                self._coming = None
                if starting.cancelled() or starting.exception() is not None:  # told to the next who asks for a keep
                    return
                self._loose.remove(starting.result())
                self._warm.append(starting.result())
