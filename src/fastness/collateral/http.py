"""HTTP for collateral: bounded in time and size, retried where it helps, through the proxies of the environment.

Only signatures make collateral trustworthy, so transport here is about not waiting for ever and not being flooded.
Retried: 429 and 503 (after ``Retry-After``, at most :data:`MAX_WAIT`), 500, 502, 504, cut or stalled answers.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastness import __version__
from fastness.errors import RemoteError

MAX_BODY = 8 << 20
MAX_WAIT = 60.0
CHUNK = 64 * 1024
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_RETRIED = frozenset((429, 500, 502, 503, 504))


class Unreachable(RemoteError):
    """Nobody answers at this address, or not in time."""

    kind = "unreachable"


class NotThere(RemoteError):
    """The service answered that it has no such thing (404, 410) or does not take the request (400, 403)."""

    kind = "not-there"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer with status 200; header names are lower case."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class _Reader(io.RawIOBase):
    """What a socket gives until ``until``: drips do not hold us, be they of the head of an answer or of its body."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until: float, clock: Callable[[], float]) -> None:
        self._raw, self._sock, self._until, self._clock = raw, sock, until, clock
        self._timeout = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - self._clock()
        if left <= 0:
            raise TimeoutError("it answers too slowly")
        self._sock.settimeout(min(left, self._timeout or left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections whose answers must be whole at ``until``."""

    def __init__(self, until: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self._until, self._clock = until, clock

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        def answer(sock: socket.socket, *rest: Any, **named: Any) -> http.client.HTTPResponse:
            response = http.client.HTTPResponse(sock, *rest, **named)
            raw: Any = response.fp.detach()
            response.fp = io.BufferedReader(_Reader(raw, sock, self._until, self._clock))
            return response

        def connect(host: str, **settings: Any) -> Any:
            connection = http_class(host, **settings)
            connection.response_class = answer
            return connection

        return super().do_open(connect, req, **options)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within a host only: what was asked of a vendor is not told to others."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise urllib.error.HTTPError(req.full_url, code, "a redirect to another host", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _nothing(_: str) -> None:
    """Progress that nobody wants to see."""


@dataclass(slots=True)
class Client:
    """A client with a rate limit per host.

    Attributes:
        timeout: seconds without a byte before an attempt is given up.
        deadline: seconds for one attempt as a whole: a server that drips bytes does not hold us.
        attempts: how often a request is tried.
        spacing: least seconds between two requests to a host; AMD answers 429 to more than one VCEK in 10 s.
        sleep, clock: replaced in tests.
        progress: called with a line for people.
    """

    timeout: float = 10.0
    deadline: float = 30.0
    attempts: int = 4
    spacing: Mapping[str, float] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    progress: Callable[[str], None] = _nothing
    _last: dict[str, float] = field(default_factory=dict)

    def get(self, url: str, body: bytes | None = None, content_type: str = "") -> Answer:
        """The answer to GET ``url``, or to POST when there is a ``body``.

        Raises:
            NotThere: 400, 403, 404 or 410.
            RemoteError: unreachable, refused, too large, cut or stalled, after all attempts.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise RemoteError(f"not an http address: {url[:80]!r}", hint="check the configured base address")
        last = RemoteError("no attempt was made")
        for attempt in range(self.attempts):
            self._space(parts.hostname)
            try:
                return self._once(url, body, content_type)
            except NotThere:
                raise
            except _Again as error:
                last = error.reason
                wait = min(MAX_WAIT, error.after if error.after is not None else float(2**attempt))
            if attempt + 1 < self.attempts:
                self.progress(f"{last.what}; again in {wait:.0f} s")
                self.sleep(wait)
        raise last

    def _space(self, host: str) -> None:
        least = self.spacing.get(host, 0.0)
        if least and host in self._last:
            wait = self._last[host] + least - self.clock()
            if wait > 0:
                self.progress(f"{host} takes one request in {least:.0f} s; waiting {wait:.0f} s")
                self.sleep(wait)
        self._last[host] = self.clock()

    def _once(self, url: str, body: bytes | None, content_type: str) -> Answer:
        headers = {"User-Agent": f"fastness/{__version__}", "Accept-Encoding": "identity"}
        if content_type:
            headers["Content-Type"] = content_type
        self.progress(f"asking {url}")
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - the scheme was checked
        opener = urllib.request.build_opener(_SameHost, _Handler(self.clock() + self.deadline, self.clock))
        try:
            with opener.open(request, timeout=self.timeout) as reply:
                if reply.status != 200:
                    raise _Again(RemoteError(f"{url} answered with status {reply.status}"))
                return Answer(
                    url, {name.lower(): value for name, value in reply.headers.items()}, self._body(reply, url)
                )
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error, url) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            kind = Unreachable if isinstance(error, urllib.error.URLError | TimeoutError) else RemoteError
            raise _Again(kind(f"{url} cannot be reached: {reason}", hint="check network and proxy")) from None

    def _body(self, reply: http.client.HTTPResponse, url: str) -> bytes:
        until = self.clock() + self.deadline
        parts = bytearray()
        while data := reply.read1(CHUNK):
            parts += data
            if len(parts) > MAX_BODY:
                raise RemoteError(f"{url} answers with more than {MAX_BODY} bytes")
            if self.clock() > until:
                raise _Again(RemoteError(f"{url} answers too slowly"))
        stated = reply.headers.get("Content-Length", "")
        if stated.isdigit() and int(stated) != len(parts):
            raise _Again(RemoteError(f"{url} was cut after {len(parts)} of {stated} bytes"))
        return bytes(parts)


class _Again(Exception):
    """An attempt that may be repeated, ``after`` seconds if the server said so."""

    def __init__(self, reason: RemoteError, after: float | None = None) -> None:
        super().__init__(reason.what)
        self.reason = reason
        self.after = after


def _refusal(error: urllib.error.HTTPError, url: str) -> Exception:
    if error.code in (400, 403, 404, 410):
        return NotThere(f"{url} is not there (status {error.code})", hint="the service does not know this machine")
    if error.code in _REDIRECTS:
        place = (error.headers.get("Location") or "")[:200]
        return RemoteError(f"{url} redirects to another host", hint=f"configure {place}, if that is the service")
    reason = RemoteError(f"{url} refused with status {error.code}", hint="try again later, or use a mirror")
    if error.code not in _RETRIED:
        return reason
    stated = (error.headers.get("Retry-After") or "").strip()
    return _Again(reason, float(stated) if stated.isdigit() else (10.0 if error.code == 429 else None))
