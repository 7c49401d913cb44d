"""Keeps reached by vsock: one connection to the keep's port for each tenant, nothing in between.

Beside the virtio-serial link of :mod:`~fastness.streams.link`; the only way into an enclave of Nitro. Nobody says over
vsock that a keep is ready, so the first connection that it takes says so.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable

from fastness.errors import KeepFailed

PORT = 7300
"""Where a keep listens (``fastness.keep.init``)."""

PAUSE = 0.1
TIMEOUT = 2.0
"""Seconds between two attempts while it boots, and that one attempt may take."""

LEAST_CID, MOST_CID = 3, 0xFFFFFFFE
"""0 to 2 and the last one have meanings of their own (vsock(7))."""


def dial(cid: int) -> socket.socket:
    """A connection to the keep in the machine ``cid``; OSError where none is to be had."""
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        sock.settimeout(TIMEOUT)
        sock.connect((cid, PORT))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def fresh() -> int:
    """A number for a new machine, from a space in which none is met twice."""
    return LEAST_CID + secrets.randbelow(MOST_CID - LEAST_CID)


class Vsock:
    """The channel to one machine."""

    def __init__(self, cid: int, connect: Callable[[int], socket.socket] = dial) -> None:
        self.cid = cid
        self._connect = connect
        self.goodbye: int | None = None
        """Nobody takes leave over vsock."""

    async def run(self, on_hello: Callable[[], None]) -> None:
        """Tries until the keep takes a connection; then says so, once. Whoever waits sets the bound, and cancels."""
        while True:
            try:
                sock = await asyncio.to_thread(self._connect, self.cid)
            except OSError:
                await asyncio.sleep(PAUSE)
                continue
            sock.close()
            on_hello()
            return

    def open(self) -> socket.socket:
        """A new connection."""
        try:
            return self._connect(self.cid)
        except OSError as error:
            what = (error.strerror or str(error)).lower()
            raise KeepFailed(f"the keep takes no connection: {what}", where=f"vsock {self.cid}:{PORT}") from None
