"""What SNP, SEV and TDX have in common: KVM or nothing, a firmware that measures what it starts, no falling back.

Each platform's module says what it needs of the machine (:class:`~fastness.host.machine.Need`, the same that
``fastness platforms`` shows) and builds QEMU's command line as a pure function of what was chosen and found.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastness.errors import KeepFailed, Malformed, UsageError
from fastness.host.cpuid import Encryption
from fastness.host.launch import Root, kvm, qemu, vsock
from fastness.host.launch.qemu import Guest, Program, Settings
from fastness.host.machine import Machine, Need, demand, met
from fastness.image.measure import igvm, ovmf, sev
from fastness.image.store import Image, load

AMD_FIRMWARE = (
    "/usr/share/edk2/ovmf/OVMF.amdsev.fd", "/usr/share/OVMF/OVMF.amdsev.fd", "/usr/share/ovmf/OVMF.amdsev.fd",
)  # fmt: skip
"""Where distributions put edk2's AmdSevX64, which checks kernel, initrd and command line. Debian has none."""

REDUCED = 1
"""Address bits that a guest gives up for encryption: one, whatever the host itself gives up (EBX 11:6 of the leaf). So
QEMU answers too (target/i386/sev.c, ``sev_get_capabilities``)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a command line is built from, besides the settings.

    ``encryption`` is that of the host's processor, for AMD; ``is_igvm`` whether ``firmware`` holds the image itself.
    """

    program: Program
    image: Image
    firmware: Path
    is_igvm: bool = False
    encryption: Encryption | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """The channel as QEMU gets it: a descriptor of ours, or a number on vsock.

    ``monitor``, ``certificate`` and ``session`` are descriptors for a launch that a tenant attends, or 0.
    """

    handle: int = 0
    cid: int = 0
    monitor: int = 0
    certificate: int = 0
    session: int = 0


class Confidential(ABC):
    """Starts machines that their host cannot read."""

    name = ""
    takes: frozenset[str] = frozenset()

    def __init__(self, settings: Settings | None = None, machine: Machine | None = None) -> None:
        self.tell: Callable[[str], None] = kvm.quiet
        self._settings = (settings or Settings()).checked()
        self._settings.guard.only(self.name, self.takes)
        if self._settings.accelerator == "tcg":
            raise UsageError(
                f"{self.name} cannot be emulated", where="--accelerator", hint="it needs KVM, or --platform vm"
            )
        self._machine = machine or Machine()

    @abstractmethod
    def needs(self) -> tuple[Need, ...]:
        """What this platform needs of the machine, in the order in which it is mended."""

    @abstractmethod
    def command(self, facts: Facts, port: Port) -> list[str]:
        """QEMU's command line."""

    def anchors(self) -> tuple[Root, ...]:
        """None: evidence leads to the vendor's roots."""
        return ()

    def check(self) -> None:
        """Returns if a keep could be launched.

        Raises:
            KeepFailed: something is missing; it says what, and what would mend it.
            UsageError: no image, or an option names a file that is none.
        """
        demand(self.name, self.needs())
        trouble = kvm.trouble(self._facts.program, self._facts.image.kernel, self._facts.image.initrd, self.tell)
        if trouble:
            raise KeepFailed(
                f"KVM runs no guest here: {trouble}", where="/dev/kvm", hint="fastness platforms says what is missing"
            )
        self.command(self._facts, Port(cid=vsock.LEAST_CID))

    @cached_property
    def _facts(self) -> Facts:
        place = self.firmware()
        encryption = self._machine.encryption()
        return Facts(qemu.program(), load(self._settings.image), place, is_igvm(place), encryption)

    def firmware(self) -> Path:
        """The firmware file that was wished for, or a distribution's, which measures or checks what it starts.

        Raises:
            KeepFailed: there is none, or it does not.
        """
        try:
            place = qemu.firmware(self._settings.firmware, AMD_FIRMWARE)
        except KeepFailed as error:
            raise KeepFailed(error.what, where=error.where, hint=sev.REMEDY) from None
        kernel_hashes(place)
        return place

    def reach(self) -> tuple[Need, ...]:
        """What the channel needs of the machine."""
        if self._settings.channel == "serial":
            return ()
        return (self._machine.device("/dev/vhost-vsock", "load vhost_vsock, or --channel serial"),)

    def firmware_need(self) -> Need:
        """The same as a need."""
        try:
            return Need("firmware", True, str(self.firmware()))
        except KeepFailed as error:
            return Need("firmware", False, f"{error.what} ({error.where})", error.hint)

    async def launch(self, *, debug: bool = False) -> Guest:
        """Starts a machine. Whether it is a debug build is the image's to say."""
        await asyncio.to_thread(self.check)
        if debug and not self._facts.image.debug:
            raise KeepFailed("this image is no debug build", hint="fastness image build --debug")
        return self.start()

    def start(self, monitor: int = 0, certificate: int = 0, session: int = 0) -> Guest:
        """A machine that boots, or with a ``monitor`` waits for its word; for the rest see :class:`Port`."""
        attended = (monitor, certificate, session)
        inherited = tuple(handle for handle in attended if handle)
        if self._settings.channel == "vsock":
            channel = vsock.Vsock(vsock.fresh())
            return Guest(self.command(self._facts, Port(0, channel.cid, *attended)), inherited, channel, lambda: None)
        ours, theirs = socket.socketpair()
        try:
            command = self.command(self._facts, Port(theirs.fileno(), 0, *attended))
            return Guest(command, (theirs.fileno(), *inherited), ours, lambda: None)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()


def is_igvm(place: Path) -> bool:
    """Whether a firmware file is one of the Independent Guest Virtual Machine format."""
    try:
        with place.open("rb") as file:
            return igvm.recognise(file.read(4))
    except OSError:
        return False


def kernel_hashes(place: Path) -> None:
    """Refuses a firmware that would start any kernel it is given.

    Raises:
        KeepFailed: it has no table for the hashes of kernel, initrd and command line.
    """
    try:
        sev.refuse_without_table(read(place))
    except UsageError as error:
        raise KeepFailed(error.what, where=str(place), hint=error.hint) from None


def read(place: Path) -> ovmf.Firmware:
    """The firmware file at ``place``; KeepFailed where it is none."""
    try:
        return ovmf.read(place.read_bytes())
    except OSError as error:
        raise KeepFailed(f"the firmware cannot be read: {error.strerror}", where=str(place)) from None
    except Malformed as error:
        raise KeepFailed(error.what, where=str(place), hint=error.hint) from None


def qemu_of(least: tuple[int, int], item: str) -> Need:
    """QEMU of version ``least`` or newer, built with the object ``item``."""
    name = f"QEMU {least[0]}.{least[1]} with {item}"
    remedy = "install qemu-system-x86 from your distribution's backports or newer release, or build it"
    try:
        found = qemu.program()
        version = f"{found.version[0]}.{found.version[1]}"
        if found.version < least:
            return Need(name, False, f"version {version}", remedy)
        there = item in qemu.objects(found)
    except KeepFailed as error:
        return Need(name, False, error.what, remedy)
    return met(name, there, version if there else f"version {version} was built without it", remedy)
