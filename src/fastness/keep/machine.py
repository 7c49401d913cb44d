"""What PID 1 makes of a machine that has just booted: file systems, drivers, silence. Linux, x86-64 and aarch64.

Nothing here is asked of the host: no configuration is read but the measured command line.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from fastness.sandbox import kernel

MOUNTS = (
    ("proc", "/proc", "proc", 2 | 4 | 8),
    ("sysfs", "/sys", "sysfs", 2 | 4 | 8),
    ("devtmpfs", "/dev", "devtmpfs", 2 | 8),
    ("configfs", "/sys/kernel/config", "configfs", 2 | 4 | 8),
    ("securityfs", "/sys/kernel/security", "securityfs", 2 | 4 | 8),
)
"""(source, place, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC)."""

REMOUNT, READ_ONLY = 32, 1
FINIT_MODULE = {"x86_64": 313, "aarch64": 273}
POWER_OFF, RESTART = 0x4321FEDC, 0x01234567
"""LINUX_REBOOT_CMD_POWER_OFF and LINUX_REBOOT_CMD_RESTART (reboot(2))."""

SYSFS = Path("/sys")

DEBUG_WORD = "fastness.debug=1"


class Driver(NamedTuple):
    """A kernel module of the image: its name, its file, the modules it needs."""

    name: str
    file: str
    needs: tuple[str, ...]


def mount() -> None:
    """Mounts what the kernel offers; what it lacks (configfs before its module is loaded) is mounted later."""
    for source, place, kind, flags in MOUNTS:
        with contextlib.suppress(OSError):
            Path(place).mkdir(parents=True, exist_ok=True)
            if not os.path.ismount(place):
                kernel.mount(source, place, kind, flags)


def freeze() -> None:
    """The root can be read only from here on, by PID 1 too."""
    kernel.mount("", "/", "", REMOUNT | READ_ONLY)


def debug() -> bool:
    """Whether the measured command line names a debug build."""
    return DEBUG_WORD in Path("/proc/cmdline").read_text("ascii", "replace").split()


def load_drivers() -> None:
    """Loads the drivers of this machine's devices, and lets nobody load another afterwards.

    A driver may bring further devices to light (virtio devices on a bus of their own), so it looks until none is new.
    """
    folder = Path("/lib/modules", os.uname().release)
    table, aliases = _table(folder), _aliases(folder)
    loaded: set[str] = set()
    while new := (wanted(aliases, _devices()) & table.keys()) - loaded:
        for name in sorted(new):
            _load(name, table, loaded)
    mount()  # configfs is there only now
    with contextlib.suppress(OSError):
        Path("/proc/sys/kernel/modules_disabled").write_text("1")


def wanted(aliases: Iterable[tuple[str, str]], devices: Iterable[str]) -> set[str]:
    """Names of the drivers of ``devices``, each told by its modalias, among (pattern, name) ``aliases``."""
    told = set(devices)
    return {name for pattern, name in aliases if any(fnmatchcase(device, pattern) for device in told)}


def _devices() -> list[str]:
    """What each device says of itself (Linux, sysfs attribute ``modalias``), and the processor, which stands elsewhere
    (Documentation/ABI/testing/sysfs-devices-system-cpu): the driver of TDX guests is for a feature of it."""
    places = [*SYSFS.glob("bus/*/devices/*/modalias"), SYSFS / "devices/system/cpu/modalias"]
    return [_text(place) for place in places]


def _aliases(folder: Path) -> list[tuple[str, str]]:
    """``modules.alias``: one line a pattern, the word alias, the pattern, the driver."""
    rows = (line.split() for line in _text(folder / "modules.alias").splitlines())
    return [(pattern, name) for _, pattern, name in rows]


def _text(place: Path) -> str:
    try:
        return place.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _table(folder: Path) -> dict[str, Driver]:
    """``modules``: one line a driver, its name, its file, then what it needs."""
    found = {}
    for line in _text(folder / "modules").splitlines():
        name, file, *needs = line.split()
        found[name] = Driver(name, str(folder / file), tuple(needs))
    return found


def _load(name: str, table: dict[str, Driver], loaded: set[str]) -> None:
    """A driver and what it needs. One that the kernel does not take is left out."""
    driver = table.get(name)
    if driver is None or name in loaded:
        return
    loaded.add(name)
    for need in driver.needs:
        _load(need, table, loaded)
    handle = os.open(driver.file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            kernel.call(FINIT_MODULE[kernel.MACHINE], handle, b"\0", 0)
    finally:
        os.close(handle)


def hush() -> None:
    """From here on the kernel writes nothing to the console: a register dump could carry what a workload was given."""
    with contextlib.suppress(OSError):
        Path("/proc/sys/kernel/printk").write_text("0 0 0 0")


def power_off() -> None:
    """Ends the machine; its memory is the host's to give away, and encrypted where that matters.

    One without ACPI (an enclave of Nitro) has no switch and would stand halted for ever: a restart ends it.
    """
    os.sync()
    ctypes.CDLL(None).reboot(ctypes.c_int(POWER_OFF if (SYSFS / "firmware/acpi").is_dir() else RESTART))
    os._exit(0)
