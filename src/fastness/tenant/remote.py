"""The way to a host: its HTTP interface and the upgrade to a keep's connection. Everything a host says is a claim."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from fastness.errors import KeepFailed, RemoteError, UsageError
from fastness.streams.lively import lively

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 60.0
"""Seconds a host has to answer."""

LAUNCH_TIMEOUT = 600.0
"""Seconds a host has to start a keep: how long that may take is its operator's to say (``--boot-timeout``)."""

MAX_ANSWER = 4 * 1024 * 1024
DIGEST_SIZE, MAX_MEASUREMENT = 32, 4096
DEFAULT_PORT = 7300


def address(url: str) -> tuple[str, int]:
    """Host name and port of ``http://NAME[:PORT]``. Plain HTTP is enough: what matters is sealed end to end."""
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        name, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:  # half of an IPv6 address, a port that is none
        parts, name, port = urlsplit(""), "", 0
    if parts.scheme != "http" or not name or parts.path.strip("/") or parts.username:
        hint = f"http://NAME:PORT, port {DEFAULT_PORT} by default"
        raise UsageError(f"not a host's address: {url!r}", where="--host", hint=hint)
    return name, port


@dataclass(frozen=True, slots=True)
class Stands:
    """A keep that waits for its tenant's secret: its id, what the firmware measured, and the launch digest that the
    host says it has (32 bytes)."""

    keep: str
    measurement: bytes
    digest: bytes


class Host:
    """One HTTP connection to a host."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._where = address(url)
        self._sock: socket.socket | None = None
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)

    async def _open(self) -> socket.socket:
        if self._sock is None:
            self._sock = await self._connect()
            self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=64 * 1024)
        elif self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        return self._sock

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        name, port = self._where
        reason = "no address"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                for family, kind, proto, _, place in await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM):
                    sock = socket.socket(family, kind, proto)
                    sock.setblocking(False)
                    try:
                        await loop.sock_connect(sock, place)
                        lively(sock)
                        return sock
                    except OSError as error:
                        reason = error.strerror or str(error)
                        sock.close()
                    except BaseException:
                        sock.close()
                        raise
        except TimeoutError:
            reason = f"no answer within {CONNECT_TIMEOUT:g} s"
        except OSError as error:
            reason = error.strerror or str(error)
        raise RemoteError(
            f"host {self.url} cannot be reached: {reason}",
            hint=f"is it running? fastness host serve --listen {name}:{port}",
        )

    async def _exchange(
        self, method: str, path: str, body: bytes, headers: list[tuple[str, str]], timeout: float
    ) -> tuple[int, bytes]:
        sock = await self._open()
        http, loop = self._http, asyncio.get_running_loop()
        base = [("Host", ":".join(map(str, self._where))), ("Content-Length", str(len(body))), *headers]
        request = h11.Request(method=method, target=path, headers=base)
        data = (
            (http.send(request) or b"")
            + (http.send(h11.Data(data=body)) or b"")
            + (http.send(h11.EndOfMessage()) or b"")
        )
        status, answer = 0, b""
        async with asyncio.timeout(timeout):
            await loop.sock_sendall(sock, data)
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await loop.sock_recv(sock, 65536))
                elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                    return 101, b""
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    answer += bytes(event.data)
                    if len(answer) > MAX_ANSWER:
                        raise RemoteError("the host's answer is too long")
                elif isinstance(event, h11.EndOfMessage):
                    return status, answer
                elif not isinstance(event, h11.InformationalResponse):
                    raise RemoteError("the host closed the connection")

    async def _request(
        self, method: str, path: str, wish: object = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> tuple[int, Any]:
        body = b"" if wish is None else json.dumps(wish).encode()
        timeout = LAUNCH_TIMEOUT if method == "POST" else ANSWER_TIMEOUT
        try:
            status, answer = await self._exchange(method, path, body, list(headers), timeout)
        except TimeoutError:
            raise RemoteError(
                f"host {self.url} did not answer within {timeout:g} s", hint="it stalls; try again, or another host"
            ) from None
        except (OSError, h11.ProtocolError) as error:
            raise RemoteError(f"host {self.url} does not speak the host's protocol: {error}") from None
        if status == 101:
            return status, None
        try:
            value = json.loads(answer)
        except ValueError:
            raise RemoteError(f"host {self.url} answered {status} with something that is not JSON") from None
        if status >= 400:
            _raise(status, value, self.url)
        return status, value

    async def capacity(self) -> dict[str, Any]:
        """What the host says it can run."""
        return _object((await self._request("GET", "/v1/capacity"))[1])

    async def keeps(self) -> list[dict[str, Any]]:
        """The keeps the host says it has."""
        found = _object((await self._request("GET", "/v1/keeps"))[1]).get("keeps")
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise RemoteError("the host's list of keeps is not a list")
        return found

    async def launch(self, platform: str | None) -> str:
        """A new keep; its id."""
        wish = {"platform": platform} if platform else {}
        return _identifier(_object((await self._request("POST", "/v1/keeps", wish))[1]).get("id"))

    async def platform(self) -> dict[str, Any]:
        """What the host says of its platform."""
        return _object((await self._request("GET", "/v1/platform"))[1])

    async def attend(self, certificate: bytes, blob: bytes) -> Stands:
        """A new keep for a session of SEV, measured and not running."""
        words = {name: base64.b64encode(item).decode() for name, item in (("certificate", certificate), ("blob", blob))}
        answer = _object((await self._request("POST", "/v1/keeps", {"platform": "sev", "session": words}))[1])
        keep = _identifier(answer.get("id"))
        try:
            digest = bytes.fromhex(str(answer.get("digest")))
        except ValueError:
            digest = b""
        if len(digest) != DIGEST_SIZE:
            raise RemoteError("the host tells no launch digest of the guest it started")
        return Stands(keep, str(answer.get("measurement"))[:MAX_MEASUREMENT].encode(), digest)

    async def inject(self, keep: str, header: bytes, data: bytes) -> None:
        """Gives a keep that waits its secret; returns when it runs."""
        words = {name: base64.b64encode(item).decode() for name, item in (("header", header), ("data", data))}
        await self._request("POST", f"/v1/keeps/{_identifier(keep)}/secret", words)

    async def stop(self, keep: str) -> None:
        """Ends a keep."""
        await self._request("DELETE", f"/v1/keeps/{_identifier(keep)}")

    async def channel(self, keep: str) -> socket.socket:
        """The keep's bytes. This connection is used up by it."""
        headers = (("Upgrade", "fastness-keep"), ("Connection", "Upgrade"))
        status, _ = await self._request("GET", f"/v1/keeps/{_identifier(keep)}/channel", headers=headers)
        sock, self._sock = self._sock, None
        if status != 101 or sock is None:
            raise RemoteError("the host did not give a channel to the keep")
        if self._http.trailing_data[0]:
            sock.close()
            raise RemoteError("the host spoke before the keep did")
        return sock

    def close(self) -> None:
        """Closes the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def is_identifier(value: str) -> bool:
    """Whether ``value`` may be a keep's id: 1 to 64 letters and digits of ASCII."""
    return 1 <= len(value) <= 64 and value.isascii() and value.isalnum()


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not is_identifier(value):
        raise RemoteError("not a keep's id", hint="see `fastness keep list`")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RemoteError("the host's answer is not a JSON object")
    return value


def _raise(status: int, value: Any, url: str) -> None:
    told = value if isinstance(value, dict) else {}
    what, hint = str(told.get("error", f"status {status}"))[:300], str(told.get("hint", ""))[:300]
    kind = KeepFailed if status == 500 else RemoteError
    raise kind(f"host {url}: {what}", where=str(told.get("where", ""))[:300], hint=hint)
