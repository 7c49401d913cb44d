"""Platform ``nil``: a sandboxed process, evidence by a local software root. SIMULATED: protects nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from functools import cached_property
from hashlib import sha384

from fastness.devices import Quote, exchange
from fastness.errors import KeepFailed
from fastness.host import software_root
from fastness.host.launch import Root, waiting
from fastness.host.launch.spawn import Spawned, spawn
from fastness.host.software_root import SoftwareRoot
from fastness.workload import tcb

LABEL = "FASTNESS SIMULATED ROOT"
CONNECT, TERMINATE, READY = b"C", b"T", b"R"
MAX_BOOT_WORDS = 4096
BUFFER = 1 << 20
COMPROMISED = 13
"""Exit status of a keep that found its own code altered (keep protocol v1, section 7)."""


class Chip:
    """What stands in a chip's place: a register that only grows, and the software root's signature over it."""

    platform, tee = "nil", "nil"

    def __init__(self, root: Callable[[], SoftwareRoot], *, debug: bool) -> None:
        self._root = root
        self.debug = debug
        self._register = bytes(48)
        self.measured: list[bytes] = []

    def quote(self, report_data: bytes) -> Quote:
        """Simulated evidence over the measurement of what was launched."""
        evidence = self._root().sign(report_data, tcb.launch_digest(), self._register, debug=self.debug)
        return Quote("nil", evidence)

    def extend(self, measured: bytes) -> None:
        """``r' = SHA-384(r ‖ SHA-384(measured))``."""
        self.measured.append(measured)
        self._register = sha384(self._register + sha384(measured).digest()).digest()

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """There is no TPM here."""
        raise KeepFailed("a keep on nil has no TPM: it opens no credential")

    def set_time(self, milliseconds: int) -> None:
        """A process has no clock of its own."""
        raise KeepFailed("a keep on nil shares the host's clock, which is not trusted and cannot be set")


class NilKeep:
    """A running keep process, and the simulated chip it asks for evidence.

    A keep that ends because it found itself compromised is followed by a process that can say so and nothing else.
    """

    def __init__(self, spawned: Spawned, chip: Chip) -> None:
        self._chip = chip
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._succeeded = False
        self._take(spawned)

    def _take(self, spawned: Spawned) -> None:
        self._process = spawned.process
        self._control = spawned.control
        self._words = spawned.words
        self._debug = spawned.debug
        self.pid = spawned.process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._answering = asyncio.create_task(_answer(spawned.device, self._chip))
        self._ready = asyncio.ensure_future(self._wait_ready())
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self._process.wait()
        self._control.close()
        self._answering.cancel()
        if status == COMPROMISED and not self._succeeded:
            self._succeeded = True
            self._take(spawn(debug=self._debug, flagged=tuple(self._chip.measured)))
        elif not self._gone.done():
            self._gone.set_result(status)

    async def _wait_ready(self) -> None:
        words = self._words
        try:
            answer = await self._loop.sock_recv(self._control, 1)
        except OSError:
            answer = b""
        try:
            if answer != READY:
                raise KeepFailed("the keep died while it started", where=self._last_words())
        finally:
            os.close(words)

    def _last_words(self) -> str:
        os.set_blocking(self._words, False)
        try:
            text = os.read(self._words, MAX_BOOT_WORDS).decode("utf-8", "replace")
        except BlockingIOError:
            return ""
        return text.strip().rsplit("\n", 1)[-1]

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self._gone.done()

    async def ready(self, timeout: float) -> None:
        """Returns when the keep takes connections."""
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), timeout)
        except TimeoutError:
            raise KeepFailed(f"the keep was not ready within {timeout:g} s") from None

    def connect(self) -> socket.socket:
        """A new connection: one end of a socket pair goes to the keep."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        for end in (ours, theirs):  # a message of the keep's fits whole, so that neither side waits for the other
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        try:
            socket.send_fds(self._control, [CONNECT], [theirs.fileno()])
        except OSError:
            ours.close()
            raise KeepFailed("the keep is gone") from None
        finally:
            theirs.close()
        return ours

    async def ended(self) -> int:
        """The exit status, once there is one; negative for a signal."""
        return await asyncio.shield(self._gone)

    async def stop(self, grace: float) -> None:
        """Asks, waits, kills."""
        with contextlib.suppress(OSError):
            self._control.send(TERMINATE)
        await waiting.gone_within(grace, self._gone, lambda: self._process.send_signal(signal.SIGKILL))


class Launcher:
    """Starts ``nil`` keeps."""

    name = "nil"

    def __init__(self, root: SoftwareRoot | None = None) -> None:
        self._given = root

    @cached_property
    def _root(self) -> SoftwareRoot:
        return self._given or software_root.load()

    def anchors(self) -> tuple[Root, ...]:
        """The software root's public key."""
        return (Root(LABEL, self._root.public_key),)

    def check(self) -> None:
        """A process can be started anywhere; the software root is made if there is none."""
        self.anchors()

    async def launch(self, *, debug: bool = False) -> NilKeep:
        """Starts a keep process and a task that answers its requests for evidence."""
        return self.adopt(spawn(debug=debug))

    def adopt(self, spawned: Spawned) -> NilKeep:
        """Takes charge of a keep process that was started already."""
        keep = NilKeep(spawned, Chip(lambda: self._root, debug=spawned.debug))
        tcb.launch_digest()  # measured while the keep boots
        return keep


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(sock, size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


async def _answer(device: socket.socket, chip: Chip) -> None:
    """Answers what the keep asks of the chip, until the keep is gone."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            op, size = exchange.split(await _exactly(device, exchange.HEAD), exchange.MAX_REQUEST)
            await loop.sock_sendall(device, exchange.answer(op, await _exactly(device, size), chip))
    except (OSError, EOFError, KeepFailed):
        return
    finally:
        device.close()
