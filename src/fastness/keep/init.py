"""PID 1 of a keep's own machine: mounts, loads drivers, starts the keep's process, and stands between it and the world.

::

    host ═ virtio-serial or vsock ═ PID 1 ─ control: connections as descriptors ─▶ keep's process (confined)
                 (ciphertext)       └──── device: evidence, register, clock ────┘

PID 1 holds the devices and sees ciphertext; the keep's process holds the keys and the workload and reaches no device.
There is no other process. When the keep's process ends, the machine ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from fastness.devices import exchange
from fastness.errors import KeepFailed, ProtocolError
from fastness.keep import hardware, machine
from fastness.keep.__main__ import CONNECT, READY
from fastness.keep.hardware import Hardware
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

FAILED = 7
"""Exit status of a keep that could not start, as :class:`~fastness.errors.KeepFailed` has it."""

CONNECT_ATTEMPTS = 100
FAREWELL = 0.05
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from fastness.keep.__main__ import main; main(sys.argv[2:])"


def main() -> None:
    """Runs the machine; never returns."""
    status = FAILED
    try:
        machine.mount()
        machine.load_drivers()
        machine.freeze()
        status = asyncio.run(_supervise(hardware.find(), debug=machine.debug()))
    except KeepFailed as error:
        _say(error)
    except BaseException:  # whatever it was, the machine ends: PID 1 that returns is a panic without words
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        machine.power_off()
    sys.exit(status)


def _say(error: object) -> None:
    """Words on the console. PID 1 knows no secret: what it carries is ciphertext."""
    sys.stderr.write(f"error: {error}\n")
    sys.stderr.flush()


async def _supervise(found: Hardware, *, debug: bool) -> int:
    return await _Supervisor(found, debug=debug).run()


def _start(found: Hardware, flagged: list[bytes], *, debug: bool) -> tuple[int, socket.socket, socket.socket]:
    """Process id of the keep's process, our ends of its control and of its device.

    What it says goes to the console until it is ready, and nowhere afterwards.
    """
    control, keep_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device, keep_device = socket.socketpair()
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for sock in (keep_control, keep_device):
        sock.set_inheritable(True)
    words = ["--control", str(keep_control.fileno()), "--device", str(keep_device.fileno())]
    words += ["--platform", found.platform, "--tee", found.tee, *(["--debug"] if debug else [])]
    if flagged:
        words += ["--flagged", ",".join(item.hex() for item in flagged)]
    command = [sys.executable, "-IBS", "-c", _BOOT, str(Path(__file__).resolve().parents[2]), *words]
    silent = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, nothing, 1)]
    pid = os.posix_spawn(sys.executable, command, {}, file_actions=silent)
    for end in (keep_control, keep_device):
        end.close()
    os.close(nothing)
    control.setblocking(False)
    return pid, control, device


class _Supervisor:
    """Carries between the host and the keep's process until one of them is gone."""

    def __init__(self, found: Hardware, *, debug: bool) -> None:
        self._found = found
        self._debug = debug
        self._link: Link | None = None
        self._begin([])

    def _begin(self, flagged: list[bytes]) -> None:
        self._pid, self._control, self._device = _start(self._found, flagged, debug=self._debug)

    async def run(self) -> int:
        """Exit status of the keep's process; a compromised one is followed, once, by one that can only say so."""
        carrying = asyncio.create_task(self._carry())
        status = await self._one(carrying)
        if status == COMPROMISED and not carrying.done():
            self._control.close()
            self._device.close()
            self._begin(self._found.measured)
            await self._started()
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
        handle = os.pidfd_open(self._pid)
        loop.add_reader(handle, lambda: None if gone.done() else gone.set_result(None))
        answering = asyncio.create_task(asyncio.to_thread(_answer, self._device, self._found))
        try:
            await asyncio.wait({gone, answering, carrying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        if carrying.done() and carrying.exception() is not None:
            _say(carrying.exception())
        if not gone.done():  # the host is gone or hostile, or the keep's process asked for what no device knows
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    async def _started(self) -> None:
        if await asyncio.get_running_loop().sock_recv(self._control, 1) != READY:
            raise KeepFailed("the keep's process did not start")

    async def _carry(self) -> None:
        await self._started()
        if not self._debug:
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
        try:
            socket.send_fds(self._control, [CONNECT], [sock.fileno()])
        except OSError as error:
            raise ProtocolError(f"the keep's process takes no connection: {error}") from None
        finally:
            sock.close()


def _tell_parent() -> None:
    """Says that this enclave takes connections. One that is not heard is ended from outside: nothing to do here."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(PARENT)
        sock.sendall(HEARTBEAT)
        sock.recv(1)


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
