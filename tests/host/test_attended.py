"""Launches that a tenant attends, as the host's interface has them; the keep behind it is made up."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from made_up import Keep

from fastness.errors import KeepFailed, RemoteError, UsageError
from fastness.host import inventory
from fastness.host.inventory import Inventory
from fastness.host.launch import Root, Session
from fastness.host.server import Server
from fastness.tenant.remote import Host


@dataclass
class Stands:
    running: Keep = field(default_factory=Keep)
    measurement: bytes = b"{}"
    digest: str = "ab" * 32
    refuses: bool = False
    given: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    async def inject(self, header: str, data: str) -> None:
        self.given.append((header, data))
        if self.refuses:
            raise KeepFailed("the firmware refuses it")

    def close(self) -> None:
        self.closed = True


@dataclass
class Launcher:
    name: str = "sev"
    made: list[Stands] = field(default_factory=list)
    refuses: bool = False

    def check(self) -> None: ...

    def anchors(self) -> tuple[Root, ...]:
        return ()

    def platform(self) -> dict[str, object]:
        return {"certificates": "AAAA", "policy": 7}

    async def launch(self, *, debug: bool = False) -> Keep:
        raise UsageError("nobody attends it")

    async def stand(self, session: Session) -> Stands:
        if len(session.blob) != 128:
            raise UsageError("no session")
        self.made.append(Stands(refuses=self.refuses))
        return self.made[-1]


class Site:
    """A host on a port of its own."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.loop = asyncio.new_event_loop()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.port = self.listening.getsockname()[1]
        self.inventory: Inventory | None = None
        self.task: asyncio.Task[None] | None = None
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.serve()), daemon=True)
        self.thread.start()

    async def serve(self) -> None:
        kept = Inventory(self.launcher, limit=2, spare=1, boot_timeout=5, grace=0)
        self.task = asyncio.ensure_future(Server(kept, self.listening).serve())
        await asyncio.wait([self.task])

    def ask(self, method: str, path: str, wish: object = None) -> tuple[int, Any]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        line.request(method, path, None if wish is None else json.dumps(wish))
        answer = line.getresponse()
        return answer.status, json.loads(answer.read())

    def end(self) -> None:
        if self.task is not None:
            self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(20)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(Launcher())
    yield made
    made.end()


SESSION = {name: base64.b64encode(bytes(size)).decode() for name, size in (("certificate", 2084), ("blob", 128))}


def test_a_keep_stands_until_its_secret_comes_and_takes_it_once(site: Site) -> None:
    assert site.ask("GET", "/v1/platform") == (200, {"platform": "sev", "certificates": "AAAA", "policy": 7})
    status, told = site.ask("POST", "/v1/keeps", {"platform": "sev", "session": SESSION})
    assert (status, told["state"], told["measurement"], told["digest"]) == (201, "waiting", "{}", "ab" * 32)
    place = f"/v1/keeps/{told['id']}"
    status, answer = site.ask("GET", f"{place}/channel")
    assert (status, answer["error"]) == (426, "a channel needs `Upgrade: fastness-keep`")
    status, given = site.ask("POST", f"{place}/secret", {"header": "aa", "data": "bb"})
    assert (status, given["state"]) == (200, "running")
    assert site.launcher.made[0].given == [("aa", "bb")]
    status, again = site.ask("POST", f"{place}/secret", {"header": "cc", "data": "dd"})
    assert (status, again["hint"]) == (503, "a secret is given once")
    assert site.launcher.made[0].given == [("aa", "bb")]


def test_nobody_talks_to_a_keep_that_stands(site: Site) -> None:
    _, told = site.ask("POST", "/v1/keeps", {"session": SESSION})

    async def channel() -> None:
        host = Host(f"http://127.0.0.1:{site.port}")
        try:
            await host.channel(told["id"])
        finally:
            host.close()

    with pytest.raises(RemoteError, match="waits for its tenant's secret"):
        asyncio.run(channel())


def test_a_secret_the_firmware_refuses_ends_the_keep(site: Site) -> None:
    site.launcher.refuses = True
    _, told = site.ask("POST", "/v1/keeps", {"session": SESSION})
    status, answer = site.ask("POST", f"/v1/keeps/{told['id']}/secret", {"header": "aa", "data": "bb"})
    assert (status, answer["error"]) == (500, "the firmware refuses it")
    stands = site.launcher.made[0]
    assert stands.closed
    assert not stands.running.alive


def test_a_tenant_that_does_not_come_back_has_no_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "PATIENCE", 0.2)
    site = Site(Launcher())
    try:
        _, told = site.ask("POST", "/v1/keeps", {"session": SESSION})
        for _ in range(100):
            if site.ask("GET", f"/v1/keeps/{told['id']}")[1]["state"] == "ended":
                break
            time.sleep(0.05)
        else:
            pytest.fail("it still stands")
        assert site.launcher.made[0].closed
    finally:
        site.end()


@pytest.mark.parametrize(
    ("wish", "status", "told"),
    [
        ({}, 503, "nobody attends it"),
        ({"session": 1}, 400, "no session of a launch"),
        ({"session": {"certificate": "*", "blob": ""}}, 400, "no session of a launch"),
        ({"session": {"certificate": "", "blob": ""}}, 503, "no session"),
        ({"platform": "snp", "session": SESSION}, 409, "this host runs 'sev', not 'snp'"),
        ([], 400, "the body must be a JSON object"),
    ],
)
def test_what_is_no_session_launches_nothing(site: Site, wish: object, status: int, told: str) -> None:
    found, answer = site.ask("POST", "/v1/keeps", wish)
    assert (found, answer["error"]) == (status, told)
    assert not site.launcher.made


def test_keeps_that_stand_count(site: Site) -> None:
    for expected in (201, 201, 503):
        assert site.ask("POST", "/v1/keeps", {"session": SESSION})[0] == expected


def test_other_platforms_take_no_session() -> None:
    from fastness.host.launch import nil

    site = Site(nil.Launcher())  # type: ignore[arg-type]
    try:
        assert site.ask("GET", "/v1/platform") == (200, {"platform": "nil"})
        status, answer = site.ask("POST", "/v1/keeps", {"session": SESSION})
        assert (status, answer["error"]) == (503, "a keep on nil takes no session")
    finally:
        site.end()
