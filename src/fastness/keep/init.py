"""PID 1 of a keep's own machine: mounts, loads drivers, starts the keep's process, and stands between it and the world.

::

    host ═ virtio-serial or vsock ═ PID 1 ─ control: connections as descriptors ─▶ keep's process (confined)
                 (ciphertext)       └──── device: evidence, register, clock ─────┘

PID 1 holds the devices and sees ciphertext; the keep's process holds the keys and the workload and reaches no device.
There is no other process. When the keep's process ends, the machine ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import traceback
from pathlib import Path

from fastness.devices import exchange
from fastness.errors import KeepFailed, ProtocolError
from fastness.keep import hardware, machine
from fastness.keep.__main__ import CONNECT, READY
from fastness.keep.hardware import Hardware
from fastness.streams import mux
from fastness.streams.link import Link
from fastness.streams.mux import Frame, Kind

PORT = 7300
"""The vsock port of a keep."""

SERIAL_NAME = "fastness.keep.0"
"""The virtio-serial port of a keep, by the name its launcher gives it."""

FAILED = 7
"""Exit status of a keep that could not start, as :class:`~fastness.errors.KeepFailed` has it."""

CONNECT_ATTEMPTS = 100


def main() -> None:
    """Runs the machine; never returns."""
    status = FAILED
    try:
        machine.mount()
        machine.load_drivers()
        status = _run(hardware.find(), debug=machine.debug())
    except KeepFailed as error:
        print(f"error: {error.what}", file=sys.stderr, flush=True)
    except BaseException:  # whatever it was, the machine ends: PID 1 that returns is a panic without words
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        machine.power_off()
    sys.exit(status)


def _run(found: Hardware, *, debug: bool) -> int:
    control, keep_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device, keep_device = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _become_keep(keep_control, keep_device, found, debug=debug)
    keep_control.close()
    keep_device.close()
    return asyncio.run(_Supervisor(pid, control, device, found, debug=debug).run())


def _become_keep(control: socket.socket, device: socket.socket, found: Hardware, *, debug: bool) -> None:
    """The keep's process; what it says goes to the console until it is ready, and nowhere afterwards."""
    try:
        from fastness.keep.__main__ import main as keep

        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        for sock in (control, device):
            sock.set_inheritable(True)
        words = ["--control", str(control.detach()), "--device", str(device.detach())]
        words += ["--platform", found.platform, "--tee", found.tee, *(["--debug"] if debug else [])]
        keep(words)
    except BaseException:
        traceback.print_exc()
    os._exit(FAILED)


class _Supervisor:
    """Carries between the host and the keep's process until one of them is gone."""

    def __init__(
        self, pid: int, control: socket.socket, device: socket.socket, found: Hardware, *, debug: bool
    ) -> None:
        control.setblocking(False)
        self._pid = pid
        self._control = control
        self._device = device
        self._found = found
        self._debug = debug

    async def run(self) -> int:
        """Exit status of the keep's process."""
        gone = asyncio.get_running_loop().create_future()
        handle = os.pidfd_open(self._pid)
        asyncio.get_running_loop().add_reader(handle, lambda: gone.done() or gone.set_result(None))
        answering = asyncio.create_task(asyncio.to_thread(self._answer))
        carrying = asyncio.create_task(self._carry())
        await asyncio.wait({gone, answering, carrying}, return_when=asyncio.FIRST_COMPLETED)
        if carrying.done() and carrying.exception() is not None:
            print(f"error: {carrying.exception()}", file=sys.stderr)
        if not gone.done():  # the host is gone, or hostile
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, 9)
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        await self._farewell(status)
        carrying.cancel()
        machine.power_off()
        return status

    async def _farewell(self, status: int) -> None:
        link = getattr(self, "_link", None)
        if link is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(link.say(Frame(0, Kind.GOODBYE, bytes((status & 0xFF,)))), 1)
                await asyncio.sleep(0.05)  # the port's last bytes leave before the power does

    def _answer(self) -> None:
        """Answers the keep's requests of the device, one at a time."""
        with contextlib.suppress(OSError, EOFError, KeepFailed):
            while True:
                op, size = exchange.split(_exactly(self._device, exchange.HEAD), exchange.MAX_REQUEST)
                self._device.sendall(exchange.answer(op, _exactly(self._device, size), self._found))

    async def _carry(self) -> None:
        loop = asyncio.get_running_loop()
        if await loop.sock_recv(self._control, 1) != READY:
            raise KeepFailed("the keep's process did not start")
        if not self._debug:
            machine.hush()
        port = _serial_port()
        if port is not None:
            await self._serial(port)
        else:
            await self._sockets()

    async def _serial(self, port: Path) -> None:
        handle = await _open_port(port)
        self._link = Link(handle, guest=True, opened=self._connect)
        await self._link.say(Frame(0, Kind.HELLO, mux.GREETING))
        await self._link.run()

    async def _sockets(self) -> None:
        listening = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        listening.bind((socket.VMADDR_CID_ANY, PORT))
        listening.listen(mux.MAX_STREAMS)
        listening.setblocking(False)
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listening)
            self._connect(sock)

    def _connect(self, sock: socket.socket) -> None:
        try:
            socket.send_fds(self._control, [CONNECT], [sock.fileno()])
        except OSError as error:
            raise ProtocolError(f"the keep's process takes no connection: {error}") from None
        finally:
            sock.close()


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
