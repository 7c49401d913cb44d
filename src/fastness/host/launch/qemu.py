"""Virtual machines with a keep in them: the parts of QEMU's command line that platforms share, and the running machine.

The host and the keep's machine share one thing, the channel: a virtio-serial port whose far end we hold as one end of a
socket pair, or vsock where the kernel has it. No file of the host, no network, no monitor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastness.errors import KeepFailed, ProtocolError, UsageError
from fastness.host.launch import waiting
from fastness.host.launch.guard import Guard
from fastness.host.launch.vsock import Vsock
from fastness.streams.link import Link

PROGRAM = "qemu-system-x86_64"
SERIAL_NAME = "fastness.keep.0"
MAX_WORDS = 4096
ESCAPE = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]")
"""What firmware says to a terminal (ECMA-48, control sequences), and no word of why a keep does not start."""

PATIENCE = 60.0
"""Seconds QEMU has to tell its version, on a machine that is busy."""

FIRMWARE = ("/usr/share/ovmf/OVMF.fd", "/usr/share/edk2/x64/OVMF.fd", "/usr/share/qemu/OVMF.fd")
"""Where distributions put an OVMF that is code and variables in one, best first."""

LEAST_MEMORY, MOST_MEMORY = 256, 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may choose of a machine.

    Attributes:
        image: folder, digest or its beginning, of the keep image; empty for the last one built.
        memory: MiB.
        vcpus: how many.
        firmware: OVMF file, empty for the distribution's.
        boot: ``direct`` (kernel, initramfs and command line by the firmware) or ``uki``.
        accelerator: ``kvm``, ``tcg``, or ``auto``: KVM when it runs a guest here, told otherwise.
        channel: ``serial`` (one virtio-serial port, many streams) or ``vsock``.
        guard: what confidential machines are told besides.
    """

    image: str = ""
    memory: int = 512
    vcpus: int = 1
    firmware: str = ""
    boot: str = "direct"
    accelerator: str = "auto"
    channel: str = "serial"
    guard: Guard = field(default_factory=Guard)

    def checked(self) -> Settings:
        """These settings, if they can be.

        Raises:
            UsageError: one of them cannot.
        """
        if not LEAST_MEMORY <= self.memory <= MOST_MEMORY:
            raise UsageError(f"a keep has 256 MiB to 1 TiB of memory, not {self.memory} MiB", where="memory")
        if not 1 <= self.vcpus <= 255:
            raise UsageError(f"a machine has 1 to 255 processors, not {self.vcpus}", where="vcpus")
        if self.boot not in ("direct", "uki") or self.accelerator not in ("auto", "kvm", "tcg"):
            raise UsageError("boot is direct or uki; accelerator auto, kvm or tcg")
        if self.channel not in ("serial", "vsock"):
            raise UsageError(f"a channel is serial or vsock, not {self.channel}", where="channel")
        return self


@dataclass(frozen=True, slots=True)
class Program:
    """QEMU on this machine."""

    path: str
    version: tuple[int, int]


def program() -> Program:
    """The QEMU on the search path.

    Raises:
        KeepFailed: there is none.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise KeepFailed(f"{PROGRAM} is not installed", hint="apt-get install -y qemu-system-x86")
    match = re.search(r"version (\d+)\.(\d+)", _said(path, "--version"))
    if match is None:
        raise KeepFailed(f"{PROGRAM} does not tell its version", where=path)
    return Program(path, (int(match[1]), int(match[2])))


def objects(found: Program) -> frozenset[str]:
    """Names of the objects that this QEMU was built with."""
    said = _said(found.path, "-object", "help")
    return frozenset(line.strip() for line in said.splitlines() if line.startswith("  "))


def _said(path: str, *words: str) -> str:
    """What QEMU answers at once.

    Raises:
        KeepFailed: it does not.
    """
    try:
        return subprocess.run([path, *words], capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KeepFailed(f"{PROGRAM} does not answer: {type(error).__name__}", where=path) from None


def firmware(wish: str, places: Sequence[str] = FIRMWARE) -> Path:
    """The firmware file that was wished for, or the first of ``places`` that is there.

    Raises:
        KeepFailed: there is none.
    """
    for place in (wish,) if wish else places:
        if Path(place).is_file():
            return Path(place)
    raise KeepFailed("no OVMF firmware is here", where=wish or places[0], hint="apt-get install -y ovmf")


def processor(found: Program, accelerator: str) -> str:
    """``-cpu``: under emulation everything QEMU knows, but for what emulation makes slow or wrong.

    A guest that is told of fast string instructions copies with ``rep movsb``, which is emulated byte by byte. Each
    vector instruction of AVX is a call: what OpenSSL has for it hashes half as fast as what it has for processors
    without. Page tables of five levels are one more level to walk at each miss. Version 7.2 gets cmpxchg16b wrong.
    """
    if accelerator == "kvm":
        return "host"
    slow = "max,-erms,-fsrm,-avx,-avx2,-la57"
    return slow if found.version >= (8, 0) else f"{slow},-cx16"


def value(text: object) -> str:
    """``text`` as the value of a QEMU option, where a comma would end it."""
    return str(text).replace(",", ",,")


def common(
    found: Program, settings: Settings, accelerator: str, channel: int, *, cpu: str = "", cid: int = 0
) -> list[str]:
    """The part of the command line that is the same on every platform.

    Args:
        found, settings: QEMU and the machine.
        accelerator: ``kvm`` or ``tcg``.
        channel: descriptor of the port.
        cpu: the processor's model where it is measured; otherwise what the accelerator has.
        cid: number of the machine on vsock, which then is its channel and there is no port.
    """
    port = [
        "-chardev", f"socket,id=channel,fd={channel}", "-device", "virtio-serial-pci",
        "-device", f"virtserialport,chardev=channel,name={SERIAL_NAME}",
    ]  # fmt: skip
    return [
        found.path, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-accel", accelerator, "-cpu", cpu or processor(found, accelerator),
        "-smp", str(settings.vcpus), "-m", str(settings.memory), "-serial", "stdio",
        *(["-device", f"vhost-vsock-pci,guest-cid={cid}"] if cid else port),
    ]  # fmt: skip


class Guest:
    """A machine that boots or runs. Starts in the running event loop.

    Args:
        command: QEMU's command line.
        inherited: descriptors it is given.
        channel: our end of the port, or the machine's vsock.
        cleanup: called once it is gone.
    """

    def __init__(
        self,
        command: list[str],
        inherited: tuple[int, ...],
        channel: socket.socket | Vsock,
        cleanup: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._cleanup = cleanup
        self._words = b""
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._stopping = False
        self._hello = asyncio.Event()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=inherited, start_new_session=True, cwd="/", env={"PATH": os.environ.get("PATH", "")},
            )  # fmt: skip
        except OSError as error:
            cleanup()
            raise KeepFailed(f"cannot start {command[0]}: {error.strerror}") from None
        self.pid = self._process.pid
        self._link: Link | Vsock
        if isinstance(channel, Vsock):
            self._link = channel
        else:
            self._link = Link(channel.detach(), guest=False, on_hello=self._hello.set)
        self._carrying = asyncio.create_task(self._carry())
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._output = self._process.stdout.fileno() if self._process.stdout else -1
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._hear)

    async def _carry(self) -> None:
        try:
            await (self._link.run(self._hello.set) if isinstance(self._link, Vsock) else self._link.run())
        except ProtocolError as error:
            # a keep's machine that breaks the rules is none of ours any more
            self._words += f"\n{error.what}".encode()
            self._kill()

    def _hear(self) -> None:
        """Keeps the last words of console and QEMU, for a keep that does not start; bounded."""
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._output)
        self._words = (self._words + data)[-MAX_WORDS:]

    def _reap(self) -> None:
        self._hear()
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._output)
        os.close(self._pidfd)
        status = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._carrying.add_done_callback(lambda _: self._conclude(status))
        self._loop.call_later(1, self._carrying.cancel)

    def _conclude(self, status: int) -> None:
        """A machine that took its leave ended as its keep did, one told to end ended well; others were cut off.

        Over vsock there is no leave: QEMU's own status has to do, and only the tenant's channel tells more.
        """
        self._cleanup()
        unsaid = 0 if self._stopping else status if isinstance(self._link, Vsock) else status or 1
        if not self._gone.done():
            self._gone.set_result(unsaid if self._link.goodbye is None else self._link.goodbye)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self._gone.done()

    async def ready(self, timeout: float) -> None:
        """Returns when the keep takes connections.

        Raises:
            KeepFailed: it died, or did not start in time; with its last words.
        """
        if not await waiting.greeted(self._hello, self._gone, timeout):
            what = "was not ready within {timeout:g} s" if self.alive else "died while it started"
            raise KeepFailed(f"the keep's machine {what.format(timeout=timeout)}", where=self.last_words())

    def last_words(self) -> str:
        """Why it ended, as far as the console says."""
        text = ESCAPE.sub("", self._words.decode("utf-8", "replace"))
        told = [line.strip() for line in text.splitlines() if line.strip()]
        return next((line for line in reversed(told) if line.startswith("error:")), told[-1] if told else "")[-300:]

    def connect(self) -> socket.socket:
        """A new connection to the keep."""
        if not self.alive:
            raise KeepFailed("the keep is gone")
        return self._link.open()

    async def ended(self) -> int:
        """The exit status once the machine is gone."""
        return await asyncio.shield(self._gone)

    async def stop(self, grace: float) -> None:
        """Hangs up, which ends the keep (over vsock there is nothing to hang up); kills after ``grace`` seconds."""
        self._stopping = True
        self._carrying.cancel()
        if isinstance(self._link, Vsock):
            grace = 0
        await waiting.gone_within(grace, self._gone, self._kill)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
