"""Facts of this machine that launching depends on: what is there, what was seen, and what would mend what is missing.

Read from the kernel and the processor; nothing is started or changed. Launchers refuse by the same
:class:`Need` that ``fastness platforms`` shows.
"""

from __future__ import annotations

import fcntl
import grp
import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fastness.errors import KeepFailed
from fastness.host import cpuid
from fastness.host.cpuid import Encryption, Registers

KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES = 0xAE03, 235
"""Linux, include/uapi/linux/kvm.h: a bitmask of the kinds of guest that this kernel makes on this processor."""

VM_TYPES = {"sev": 2, "sev-es": 3, "snp": 4, "tdx": 5}
"""Linux, arch/x86/include/uapi/asm/kvm.h, KVM_X86_*_VM."""

SEV_ISSUE_CMD, SEV_PLATFORM_STATUS = 0xC0105300, 1
"""Linux, include/uapi/linux/psp-sev.h: struct sev_issue_cmd is cmd 4, address 8, error 4; the status 12 bytes."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing a platform needs: whether it is there, what was seen, and what would mend it, or make it better."""

    name: str
    there: bool
    seen: str
    remedy: str = ""


def met(name: str, there: bool, seen: str, remedy: str) -> Need:
    """A need; the remedy counts only where it is not met."""
    return Need(name, there, seen, "" if there else remedy)


def demand(platform: str, needs: Iterable[Need]) -> None:
    """Returns if every need is met.

    Raises:
        KeepFailed: the first that is not, with what would mend it. There is no other platform to fall back to.
    """
    for need in needs:
        if not need.there:
            raise KeepFailed(
                f"{platform} cannot be launched here: {need.name}: {need.seen}", where=need.name, hint=need.remedy
            )


class Machine:
    """Reads facts below ``root``; a test gives another one, and another processor."""

    def __init__(self, root: Path = Path("/"), leaf: Callable[[int], Registers | None] = cpuid.cpuid) -> None:
        self._root = root
        self._leaf = leaf

    def text(self, path: str) -> str:
        """The content of a small kernel file, or nothing."""
        try:
            return (self._root / path).read_text("utf-8", "replace").strip()
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return (self._root / path).exists()

    def flags(self) -> frozenset[str]:
        """CPU flags as the kernel lists them."""
        for line in self.text("proc/cpuinfo").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
        return frozenset()

    def flag(self, name: str, what: str) -> Need:
        """A CPU flag: the processor has it, and firmware and kernel left it on."""
        there = name in self.flags()
        remedy = f"use a machine with {what}; switch it on in the firmware's settings; a kernel that knows it"
        return met(f"cpu flag {name}", there, what if there else "absent", remedy)

    def encryption(self) -> Encryption | None:
        """Where the processor's C-bit is; None without memory encryption."""
        highest = self._leaf(cpuid.EXTENDED)
        if highest is None or highest.eax < cpuid.MEMORY_ENCRYPTION:
            return None
        found = self._leaf(cpuid.MEMORY_ENCRYPTION)
        return cpuid.encryption(found) if found is not None and found.eax & 2 else None

    def c_bit(self) -> Need:
        """Memory encryption as CPUID tells it."""
        found = self.encryption()
        seen = f"C-bit {found.c_bit}, {found.reduced} address bits fewer" if found else "no SEV"
        return met("CPUID 0x8000001F", found is not None, seen, "use a machine whose processor has SEV")

    def parameter(self, module: str, name: str) -> Need:
        """A boolean module parameter that must be on."""
        value = self.text(f"sys/module/{module}/parameters/{name}")
        remedy = f"load {module} with {name}=1, and switch it on in the firmware's settings"
        return met(f"{module}.{name}", value in ("Y", "1"), value or "not loaded", remedy)

    def device(self, path: str, remedy: str) -> Need:
        """A device that this user may open for reading and writing."""
        place = self._root / path.lstrip("/")
        if not place.exists():
            return Need(path, False, "absent", remedy)
        allowed = os.access(place, os.R_OK | os.W_OK)
        return met(path, allowed, "there" if allowed else "permission denied", permission(place, path))

    def program(self, name: str, remedy: str) -> Need:
        """A program on the search path."""
        found = shutil.which(name)
        return met(name, found is not None, found or "absent", remedy)

    def guests(self, kind: str) -> Need:
        """Whether the kernel's KVM makes guests of ``kind``, by its own word (Linux 6.10 and newer)."""
        place = self._root / "dev/kvm"
        name = f"KVM guests of type {kind}"
        try:
            handle = os.open(place, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            return Need(name, False, f"/dev/kvm: {(error.strerror or '').lower()}", permission(place, "/dev/kvm"))
        try:
            mask = fcntl.ioctl(handle, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES)
        except OSError as error:
            return Need(name, False, f"/dev/kvm: {(error.strerror or '').lower()}", "use a kernel with KVM")
        finally:
            os.close(handle)
        there = bool(mask >> VM_TYPES[kind] & 1)
        return met(name, there, f"types 0x{mask:x}", "a kernel of 6.11 (sev, snp) or 6.16 (tdx) or newer, with it on")

    def sev_firmware(self, least: tuple[int, int]) -> Need:
        """The secure processor's firmware, of API version ``least`` or newer, by PLATFORM_STATUS."""
        name = f"SEV firmware {least[0]}.{least[1]}"
        place = self._root / "dev/sev"
        found = self.device("/dev/sev", "load the ccp driver; switch SEV on in the firmware's settings")
        if not found.there:
            return found
        try:
            version = platform_status(place)
        except OSError as error:
            return Need(name, False, f"/dev/sev: {(error.strerror or '').lower()}", "update the machine's firmware")
        seen = f"API {version[0]}.{version[1]}, build {version[2]}"
        return met(name, version[:2] >= least, seen, "update the machine's firmware (BIOS), or amd_sev.fw")


def permission(place: Path, path: str) -> str:
    """What lets this user open the device ``place``, called ``path``: its group, where it has one that may."""
    try:
        found = place.stat()
        group = grp.getgrgid(found.st_gid).gr_name if found.st_gid and found.st_mode & 0o060 == 0o060 else ""
    except OSError:
        return f"load the driver of {path}"
    except KeyError:
        group = str(found.st_gid)
    if not group:
        return f"run as root, or let a udev rule give {path} (mode {stat.filemode(found.st_mode)}) to a group of yours"
    return f"let this user open {path}: usermod -aG {group} USER, and log in anew"


def platform_status(place: Path) -> tuple[int, int, int]:
    """(API major, minor, build) of the secure processor behind ``place``.

    Raises:
        OSError: there is none, or it does not answer.
    """
    import ctypes

    status = ctypes.create_string_buffer(12)
    command = bytearray(struct.pack("<IQI", SEV_PLATFORM_STATUS, ctypes.addressof(status), 0))
    handle = os.open(place, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, SEV_ISSUE_CMD, command, True)
    finally:
        os.close(handle)
    major, minor, _, _, build = struct.unpack_from("<BBBIB", status.raw)
    return major, minor, build
