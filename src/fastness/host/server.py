"""The host's interface: HTTP/1.1 (parsed by h11), seven requests, and an upgrade to a relayed connection.

=======  ===========================  ==============================================================
GET      /v1/capacity                 platform, limit, running, free
GET      /v1/platform                 what keeps run on; for sev, its certificates and policy
GET      /v1/keeps                    what runs and what ended
POST     /v1/keeps                    a new keep: 201 and its id; 503 when full. With a ``session`` (sev): it stands
                                      before its first instruction, and the answer has its ``measurement``
POST     /v1/keeps/ID/secret          ``header`` and ``data`` for a keep that stands: it runs
DELETE   /v1/keeps/ID                 ends a keep
GET      /v1/keeps/ID/channel         ``Upgrade: fastness-keep``: 101, then the keep's bytes, unread
=======  ===========================  ==============================================================

Answers are JSON; errors are ``{"error", "hint"}``. There is no authentication: a host protects nobody, and whoever
reaches it can end keeps (they can never read them). Listen where only tenants reach it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import Coroutine
from typing import Any

import h11

from fastness.errors import FastnessError, KeepFailed, RemoteError
from fastness.host.inventory import Entry, Inventory
from fastness.host.launch import Session
from fastness.host.relay import relay
from fastness.streams.lively import lively

MAX_CONNECTIONS = 512
MAX_BODY = 4096
IDLE_TIMEOUT = 60.0
UPGRADE = b"fastness-keep"
UNCLAIMED = 5.0
"""Seconds in which somebody must come for a keep once whoever asked for it has hung up."""


class Problem(Exception):
    """An answer other than success."""

    def __init__(self, status: int, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.status, self.what, self.hint = status, what, hint


class Server:
    """Serves one inventory on one listening socket."""

    def __init__(self, inventory: Inventory, listening: socket.socket) -> None:
        self._inventory = inventory
        self._listening = listening
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Takes connections until cancelled; then ends every keep and connection."""
        loop = asyncio.get_running_loop()
        self._inventory.start()
        try:
            while True:
                sock, _ = await loop.sock_accept(self._listening)
                if len(self._tasks) >= MAX_CONNECTIONS:
                    sock.close()
                    continue
                self._later(self._connection(sock))
        finally:
            self._listening.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._inventory.close()

    async def _connection(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            lively(sock)  # a tenant that went without a word is gone to its keep too
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)
        made: list[Entry] = []
        try:
            while True:
                request, first = await _next_request(http, sock)
                if request is None:
                    return
                if await self._one(http, sock, request, first, made):
                    return
                http.start_next_cycle()
        except (OSError, TimeoutError, h11.ProtocolError):
            return
        finally:
            sock.close()
            for entry in made:
                self._later(self._unclaimed(entry))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _unclaimed(self, entry: Entry) -> None:
        """Ends a keep nobody spoke to: a tenant that was interrupted may never have learnt its id.

        One that somebody spoke to goes on without connections: its workload may be detached. Where it was given
        none, it ends by itself.
        """
        await asyncio.sleep(UNCLAIMED)
        if not entry.traffic.to_keep:
            entry.why = "nobody came for it"
            await self._inventory.stop(entry)

    async def _one(
        self, http: h11.Connection, sock: socket.socket, request: h11.Request, body: bytes, made: list[Entry]
    ) -> bool:
        """Answers one request; True when the connection is used up."""
        path = request.target.split(b"?")[0].decode("ascii", "replace")
        method = request.method.decode("ascii", "replace")
        try:
            if method == "GET" and path.startswith("/v1/keeps/") and path.endswith("/channel"):
                await self._channel(http, sock, request, path.split("/")[3])
                return True
            status, answer = await self._answer(method, path, body, made)
        except Problem as problem:
            status, answer = problem.status, {"error": problem.what, "hint": problem.hint}
        except KeepFailed as error:
            status, answer = 500, {"error": error.what, "hint": error.hint, "where": error.where}
        except FastnessError as error:
            status, answer = 503, {"error": error.what, "hint": error.hint}
        await _reply(http, sock, status, answer)
        return bool(http.our_state is h11.MUST_CLOSE)

    async def _answer(self, method: str, path: str, body: bytes, made: list[Entry]) -> tuple[int, Any]:
        inventory = self._inventory
        match method, path.strip("/").split("/"):
            case "GET", ["v1", "capacity"]:
                return 200, inventory.capacity()
            case "GET", ["v1", "keeps"]:
                return 200, {"keeps": [entry.to_json() for entry in inventory.list()]}
            case "GET", ["v1", "platform"]:
                return 200, inventory.describe()
            case "POST", ["v1", "keeps"]:
                return await self._launch(_wish(body), made)
            case "POST", ["v1", "keeps", name, "secret"]:
                packet = _wish(body)
                entry = self._find(name)
                await inventory.inject(entry, str(packet.get("header")), str(packet.get("data")))
                return 200, entry.to_json()
            case "GET", ["v1", "keeps", name]:
                return 200, self._find(name).to_json()
            case "DELETE", ["v1", "keeps", name]:
                entry = self._find(name)
                await inventory.stop(entry)
                return 200, {"id": entry.id, "stopped": True}
            case _, ["v1", *_]:
                raise Problem(405, f"{method} {path} is not offered")
        raise Problem(404, f"nothing is at {path}", "this host speaks /v1/keeps and /v1/capacity")

    async def _launch(self, wish: dict[str, Any], made: list[Entry]) -> tuple[int, Any]:
        """A keep of the platform that was wished for: never another one in its place."""
        wanted = wish.get("platform") or self._inventory.platform
        if wanted != self._inventory.platform:
            raise Problem(
                409, f"this host runs {self._inventory.platform!r}, not {wanted!r}", "deploy to a host that runs it"
            )
        if "session" not in wish:
            entry = await self._inventory.launch()
            made.append(entry)
            return 201, entry.to_json()
        entry = await self._inventory.attend(_session(wish["session"]))
        made.append(entry)
        told = entry.standing
        if told is None:
            raise Problem(410, "the keep has ended before its tenant could look at it")
        return 201, {**entry.to_json(), "measurement": told.measurement.decode(), "digest": told.digest}

    def _find(self, name: str) -> Any:
        try:
            return self._inventory.find(name)
        except RemoteError as error:
            raise Problem(404, error.what, error.hint) from None

    async def _channel(self, http: h11.Connection, sock: socket.socket, request: h11.Request, name: str) -> None:
        entry = self._find(name)
        if dict(request.headers).get(b"upgrade") != UPGRADE:
            raise Problem(426, "a channel needs `Upgrade: fastness-keep`")
        if entry.status is not None:
            raise Problem(410, f"keep {name} has ended", "see `fastness keep list`")
        if entry.standing is not None:
            raise Problem(409, f"keep {name} waits for its tenant's secret", f"POST /v1/keeps/{name}/secret")
        keep = entry.running.connect()
        headers = [("Upgrade", UPGRADE.decode()), ("Connection", "Upgrade")]
        data = http.send(h11.InformationalResponse(status_code=101, headers=headers))
        entry.connections += 1
        try:
            await asyncio.get_running_loop().sock_sendall(sock, data or b"")
            await relay(sock, keep, entry.traffic, http.trailing_data[0])
        finally:
            entry.connections -= 1
            entry.since = time.monotonic()
            keep.close()


def _wish(body: bytes) -> dict[str, Any]:
    try:
        wish = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        wish = None
    if not isinstance(wish, dict):
        raise Problem(400, "the body must be a JSON object")
    return wish


def _session(value: Any) -> Session:
    """``{"certificate": base64, "blob": base64}``."""
    try:
        parts = [base64.b64decode(value[name], validate=True) for name in ("certificate", "blob")]
    except (ValueError, KeyError, TypeError):
        raise Problem(400, "no session of a launch", '{"certificate": base64, "blob": base64}') from None
    return Session(*parts)


async def _next_request(http: h11.Connection, sock: socket.socket) -> tuple[h11.Request | None, bytes]:
    """The next request and its body; None at the end of the connection."""
    loop = asyncio.get_running_loop()
    request: h11.Request | None = None
    body = b""
    async with asyncio.timeout(IDLE_TIMEOUT):
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await loop.sock_recv(sock, 65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
                if len(body) > MAX_BODY:
                    raise h11.RemoteProtocolError("body too large")
            elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                return request, body
            else:
                return None, b""


async def _reply(http: h11.Connection, sock: socket.socket, status: int, answer: Any) -> None:
    body = json.dumps(answer).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Server", "fastness-host")]
    events: tuple[h11.Event, ...] = (
        h11.Response(status_code=status, headers=headers),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    data = b"".join(http.send(event) or b"" for event in events)
    await asyncio.get_running_loop().sock_sendall(sock, data)
