"""What this machine offers to keeps: for each platform what is there, what is missing, and what to do about it.

Facts are read from the kernel, the processor and the firmware; the one thing started is a machine that tries KVM, for a
bounded time, once for each boot of the host. A platform is ``ready`` when all it needs is there *and* this version of
Fastness can launch it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from fastness.errors import KeepFailed, UsageError
from fastness.host.launch import PLATFORMS, kvm, qemu
from fastness.host.launch.nitro import Launcher as Nitro
from fastness.host.launch.qemu import Settings
from fastness.host.launch.sev import Launcher as Sev
from fastness.host.launch.sgx import Launcher as Sgx
from fastness.host.launch.snp import Launcher as Snp
from fastness.host.launch.tdx import Launcher as Tdx
from fastness.host.machine import Machine, Need, met, permission
from fastness.image import store
from fastness.image.store import load
from fastness.sandbox.kernel import Feature
from fastness.sandbox.probe import probe


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform on this machine."""

    name: str
    text: str
    protects: bool
    launcher: bool
    needs: tuple[Need, ...]
    features: tuple[Feature, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether a keep could be launched on it now."""
        return self.launcher and all(need.there for need in self.needs)


def _firmware(settings: Settings) -> Need:
    """An OVMF that measures what it starts."""
    try:
        place = qemu.firmware(settings.firmware)
    except KeepFailed as error:
        return Need("OVMF", False, error.what, error.hint)
    return Need("OVMF", True, str(place))


def survey(
    machine: Machine | None = None, settings: Settings | None = None, tell: Callable[[str], None] = kvm.quiet
) -> tuple[Platform, ...]:
    """Every platform, on this machine, for keeps of ``settings``; ``tell`` hears of what has to be waited for."""
    here, chosen = machine or Machine(), settings or Settings()
    image, tried = _image(chosen), _kvm(chosen, tell)
    guests = (tried, image)
    rows = (
        ("nil", "a sandboxed process; SIMULATED evidence", False, (), probe()),
        ("vm", "the measured image in QEMU with a vTPM of this host", False,
         (here.program(qemu.PROGRAM, "apt-get install -y qemu-system-x86"),
          here.program("swtpm", "apt-get install -y swtpm"),
          here.program("swtpm_setup", "apt-get install -y swtpm-tools"), _firmware(chosen), image), ()),
        ("snp", "AMD SEV-SNP confidential VM", True, (*Snp(chosen, here).needs(), *guests), ()),
        ("sev", "AMD SEV-ES VM, launched for one tenant's session; a keep in it has no evidence of its own", True,
         (*Sev(chosen, here).needs(), *guests), ()),
        ("tdx", "Intel TDX trust domain", True, (*Tdx(chosen, here).needs(), *guests), ()),
        ("sgx", "Intel SGX enclave under Gramine", True, Sgx(chosen, here).needs(), ()),
        ("nitro", "AWS Nitro enclave", True, (*Nitro(chosen, here).needs(), image, *enclave(chosen)), ()),
    )  # fmt: skip
    return tuple(
        Platform(name, text, protects, name in PLATFORMS, tuple(needs), tuple(found))
        for name, text, protects, needs, found in rows
    )


def _image(settings: Settings) -> Need:
    try:
        image = load(settings.image)
    except UsageError as error:
        return Need("keep image", False, error.what, error.hint)
    return Need("keep image", True, f"{image.digest[:16]}{', a debug build' if image.debug else ''}")


def enclave(settings: Settings) -> tuple[Need, ...]:
    """The kernel of the enclave image. Whether Debian's will do is for Nitro to show: it is told, and can be tried."""
    try:
        image = load(settings.image)
    except UsageError:
        return ()
    own = image.nitro_kernel
    return (Need("kernel of the enclave", True, f"Linux {own}" if own else store.DEBIAN, "" if own else store.ANOTHER),)


def _kvm(settings: Settings, tell: Callable[[str], None]) -> Need:
    """KVM, found out by running the keep's own kernel under it where there is an image."""
    name = "KVM runs a guest"
    remedy = "run on the machine itself, or one whose hypervisor nests"
    try:
        program, image = qemu.program(), load(settings.image)
    except KeepFailed as error:
        return Need(name, False, f"not tried: {error.what}", error.hint)
    except UsageError as error:
        return Need(name, False, f"not tried: {error.what}", error.hint)
    trouble = kvm.trouble(program, image.kernel, image.initrd, tell)
    if kvm.DEVICE.exists() and not os.access(kvm.DEVICE, os.R_OK | os.W_OK):
        remedy = permission(kvm.DEVICE, str(kvm.DEVICE))
    return met(name, not trouble, trouble or "yes, the keep's own kernel", remedy)
