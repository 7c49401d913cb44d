"""Platform ``vm``: the measured image in QEMU, with a vTPM of this host.

The whole of boot, measurement and quote is real: OVMF measures itself and what it starts, the kernel measures its
command line and initramfs, the keep its workload. The TPM is this host's own, and the host can read the machine's
memory: it protects from nobody who owns the host, and its evidence is genuine only to who names the host's authority.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from fastness.errors import KeepFailed, UsageError
from fastness.host.launch import Root, kvm, qemu, swtpm
from fastness.host.launch.qemu import Guest, Program, Settings
from fastness.image.store import Image, load


class Launcher:
    """Starts ``vm`` keeps."""

    name = "vm"

    def __init__(self, settings: Settings | None = None) -> None:
        self.tell: Callable[[str], None] = kvm.quiet
        self._settings = (settings or Settings()).checked()
        self._settings.guard.only(self.name, frozenset())
        if self._settings.channel != "serial":
            raise UsageError("vm is reached by its serial port", where="--channel", hint="--channel serial")

    @cached_property
    def _image(self) -> Image:
        return load(self._settings.image)

    @cached_property
    def _program(self) -> Program:
        return qemu.program()

    @cached_property
    def _accelerator(self) -> str:
        wish = self._settings.accelerator
        if wish == "tcg":
            return wish
        trouble = kvm.trouble(self._program, self._image.kernel, self._image.initrd, self.tell)
        if trouble and wish == "kvm":
            raise KeepFailed(f"KVM runs no guest here: {trouble}", hint="--accelerator tcg emulates, ten times slower")
        return "tcg" if trouble else "kvm"

    def anchors(self) -> tuple[Root, ...]:
        """The certificate of this host's TPM authority."""
        return (Root("CERTIFICATE", swtpm.authority()),)

    def check(self) -> None:
        """An image, QEMU, a firmware, and an authority for TPMs."""
        self.command(0, 0)
        self.anchors()

    async def launch(self, *, debug: bool = False) -> Guest:
        """Starts a machine. Whether it is a debug build is the image's to say."""
        if debug and not self._image.debug:
            raise KeepFailed("this image is no debug build", hint="fastness image build --debug")
        state = Path(tempfile.mkdtemp(prefix="fastness-vm-"))
        try:
            await asyncio.to_thread(swtpm.manufacture, state)
            return self._start(state)
        except BaseException:
            shutil.rmtree(state, ignore_errors=True)
            raise

    def _start(self, state: Path) -> Guest:
        process, tpm = swtpm.start(state)

        def cleanup() -> None:
            process.terminate()
            process.wait(10)
            shutil.rmtree(state, ignore_errors=True)

        ours, theirs = socket.socketpair()
        try:
            command = self.command(theirs.fileno(), tpm.fileno())
            return Guest(command, (theirs.fileno(), tpm.fileno()), ours, cleanup)
        except BaseException:
            ours.close()
            cleanup()
            raise
        finally:
            theirs.close()
            tpm.close()

    def command(self, channel: int, tpm: int) -> list[str]:
        """QEMU's command line; descriptors of the keep's port and of the TPM's control channel."""
        image, settings = self._image, self._settings
        command = qemu.common(self._program, settings, self._accelerator, channel)
        command += ["-machine", "q35", "-bios", str(qemu.firmware(settings.firmware))]
        command += ["-chardev", f"socket,id=tpm,fd={tpm}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        command += ["-device", "tpm-crb,tpmdev=tpm0"]
        if settings.boot == "uki":
            return [*command, "-kernel", str(image.uki)]
        return [*command, "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline]
