"""PID 1 once everything is there: carries between the host and the keep's process, and answers what it asks.

Imported after the keep's process was started, so that the two begin side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from pathlib import Path

from fastness.devices import exchange
from fastness.errors import KeepFailed
from fastness.keep import machine
from fastness.keep.__main__ import CONNECT, READY
from fastness.keep.hardware import Hardware
from fastness.keep.process import Started, start
from fastness.keep.states import COMPROMISED
from fastness.streams import mux
from fastness.streams.link import Link
from fastness.streams.mux import Frame, Kind

PORT = 7300
"""The vsock port of a keep."""

PARENT, HEARTBEAT = (3, 9000), b"\xb7"
"""Where AWS's tool waits for a byte that says that an enclave has booted, and answers with it (init.c of
aws-nitro-enclaves-sdk-bootstrap). Without it the tool ends the enclave."""

SERIAL_NAME = "fastness.keep.0"
"""The virtio-serial port of a keep, by the name its launcher gives it."""

CONNECT_ATTEMPTS = 100
FAREWELL = 0.05


def supervise(keep: Started, found: Hardware) -> int:
    """Exit status of the keep's process, once it is over."""
    return asyncio.run(_supervise(keep, found))


async def _supervise(keep: Started, found: Hardware) -> int:
    return await _Supervisor(keep, found).run()


def say(error: object) -> None:
    """Words on the console. PID 1 knows no secret: what it carries is ciphertext."""
    sys.stderr.write(f"error: {error}\n")
    sys.stderr.flush()


class _Supervisor:
    """Carries between the host and the keep's process until one of them is gone."""

    def __init__(self, keep: Started, found: Hardware) -> None:
        self._keep = keep
        self._found = found
        self._link: Link | None = None

    async def run(self) -> int:
        """Exit status of the keep's process; a compromised one is followed, once, by one that can only say so."""
        carrying = asyncio.create_task(self._carry())
        status = await self._one(carrying)
        if status == COMPROMISED and not carrying.done():
            self._keep.control.close()
            self._keep.device.close()
            self._keep = start(tuple(self._found.measured))  # asks for the device first: connections wait for it
            status = await self._one(carrying)
        if self._link is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._link.say(Frame(0, Kind.GOODBYE, bytes((status & 0xFF,)))), 1)
                await asyncio.sleep(FAREWELL)  # the port's last bytes leave before the power does
        machine.power_off()
        return status

    async def _one(self, carrying: asyncio.Task[None]) -> int:
        """Exit status of the keep's process that runs now."""
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()
        handle = os.pidfd_open(self._keep.pid)
        loop.add_reader(handle, lambda: None if gone.done() else gone.set_result(None))
        answering = asyncio.create_task(asyncio.to_thread(_answer, self._keep.device, self._found))
        try:
            await asyncio.wait({gone, answering, carrying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        if carrying.done() and carrying.exception() is not None:
            say(carrying.exception())
        if not gone.done():  # the host is gone or hostile, or the keep's process asked for what no device knows
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._keep.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self._keep.pid, 0)[1])

    async def _carry(self) -> None:
        if await asyncio.get_running_loop().sock_recv(self._keep.control, 1) != READY:
            raise KeepFailed("the keep's process did not start")
        if not self._found.debug:
            machine.hush()
        port = _serial_port()
        if port is not None:
            self._link = Link(await _open_port(port), guest=True, opened=self._connect)
            await self._link.say(Frame(0, Kind.HELLO, mux.GREETING))
            await self._link.run()
        else:
            await self._sockets()

    async def _sockets(self) -> None:
        listening = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        listening.bind((socket.VMADDR_CID_ANY, PORT))
        listening.listen(mux.MAX_STREAMS)
        listening.setblocking(False)
        if self._found.platform == "nitro":
            await asyncio.to_thread(_tell_parent)
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listening)
            self._connect(sock)

    def _connect(self, sock: socket.socket) -> None:
        """Passes a connection on; closes one that comes between a keep's process and its successor."""
        with sock, contextlib.suppress(OSError):
            socket.send_fds(self._keep.control, [CONNECT], [sock.fileno()])


def _tell_parent() -> None:
    """Says that this enclave takes connections. One that is not heard is ended from outside: nothing to do here.

    Raises:
        KeepFailed: there is no vsock, and never will be: whoever listens would wait for ever.
    """
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(PARENT)
            sock.sendall(HEARTBEAT)
            sock.recv(1)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise KeepFailed("this enclave has no vsock: its kernel was told of none, or took none") from None


def _answer(device: socket.socket, found: Hardware) -> None:
    """Answers what the keep's process asks of the device, one request at a time."""
    with contextlib.suppress(OSError, EOFError, KeepFailed):
        while True:
            op, size = exchange.split(_exactly(device, exchange.HEAD), exchange.MAX_REQUEST)
            device.sendall(exchange.answer(op, _exactly(device, size), found))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _serial_port() -> Path | None:
    for place in Path("/sys/class/virtio-ports").glob("*/name"):
        if place.read_text("ascii", "replace").strip() == SERIAL_NAME:
            return Path("/dev", place.parent.name)
    return None


async def _open_port(port: Path) -> int:
    """The port, once the host's end is there: until then it reads as ended."""
    import select

    handle = os.open(port, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    poll = select.poll()
    poll.register(handle, select.POLLOUT)
    for _ in range(CONNECT_ATTEMPTS):
        if all(not event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
            return handle
        await asyncio.sleep(0.05)
    raise KeepFailed("the host does not take up the keep's port")
