"""A local server that speaks the vendors' HTTP interfaces, and misbehaves on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    stall: float = 0.0
    drip: float = 0.0


@dataclass
class Service:
    """``routes`` maps a path with its query to replies, used in order; the last one stays. ``answer`` is to POST."""

    url: str = ""
    routes: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: Callable[[bytes], Reply] | None = None

    def say(self, path: str, *replies: Reply | bytes) -> None:
        self.routes[path] = [Reply(item) if isinstance(item, bytes) else item for item in replies]


@contextmanager
def serving() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.asked.append(self.path)
            replies = service.routes.get(self.path, [Reply(b"no", 404)])
            if self.command == "POST" and service.answer is not None:
                replies = [service.answer(service.bodies[-1])]
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(90 if reply.drip else 0):
                    self.flush_headers()
                    time.sleep(reply.drip)
                    self.send_header("X", "y")
                self.end_headers()
            if reply.stall:
                time.sleep(reply.stall)
            self.wfile.write(reply.body[: len(reply.body) - reply.cut])

        def do_POST(self) -> None:
            service.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def counted() -> tuple[list[float], Callable[[float], None]]:
    """A sleep that only takes notes."""
    slept: list[float] = []
    return slept, slept.append
