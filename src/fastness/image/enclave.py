"""The kernel that somebody names for the Nitro enclave image, in the place of Debian's, and what it must have.

The hypervisor of an enclave names its devices on the kernel's command line, which Debian's kernels do not heed. Kernel
and modules are inputs like all others: pinned by their SHA-256 in the manifest, kept in the cache. The drivers of
Debian's kernel in the root are of another release, so that a driver must be built in, or come as a module along with
it; modules make a small ramdisk of their own, which the kernel unpacks before the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fastness.errors import Malformed, UsageError
from fastness.image import bzimage, cpio, modules
from fastness.image.bzimage import BzImage
from fastness.image.cache import Cache
from fastness.image.lock import Input, Lock

KERNEL, MODULE = "kernel", "module"
"""Kinds of such inputs."""

UNKNOWN = "not-told"
LICENCE = "GPL-2.0-only WITH Linux-syscall-note"
MAX_FILE, MAX_MODULES = 64 << 20, 8
"""Bytes of a file that is named, and how many modules may be."""

COMMAND_LINE = "VIRTIO_MMIO_CMDLINE_DEVICES"
NEEDED = (
    "64BIT", "BINFMT_ELF", "BINFMT_SCRIPT", "BLK_DEV_INITRD", "DEVTMPFS", "EPOLL", "FUTEX", "NSM", "PROC_FS",
    "RD_ZSTD", "SECCOMP_FILTER", "SYSFS", "TMPFS", "UNIX", "USER_NS", "VIRTIO_MMIO", COMMAND_LINE, "VIRTIO_VSOCKETS",
    "VSOCKETS",
)  # fmt: skip
"""Options of the kernel's configuration: what unpacks the root and starts ``/init``, what PID 1 mounts, what Python and
the sandbox ask for, the enclave's devices."""

LOADABLE = {"NSM": "nsm", "VIRTIO_VSOCKETS": "vmw_vsock_virtio_transport", "VSOCKETS": "vsock"}
"""Options that a module may bring, and that module: of devices that are there. They are there only where the driver of
their bus is built in, since nobody hands the command line to a module."""

WORDS = {
    COMMAND_LINE: b"virtio_mmio.device\0", "NSM": b"nsm-hwrng\0", "VIRTIO_VSOCKETS": b"vmw_vsock_virtio_transport\0",
}  # fmt: skip
"""Where a kernel does not tell its configuration: the name of a parameter, and of two drivers, which stand in it."""


class Kernel(NamedTuple):
    """What the enclave image has of its own: the kernel's release and boot image, and a ramdisk of modules, or none."""

    release: str
    vmlinuz: bytes
    ramdisks: tuple[bytes, ...]


def inputs(kernel: Path, named: Sequence[Path], cache: Cache, say: Callable[[str], None]) -> tuple[Input, ...]:
    """Checks the files ``kernel`` and ``named``, its modules, and keeps them in ``cache``.

    Raises:
        UsageError: one cannot be read or kept, or the kernel lacks what an enclave needs: all of it is named.
        Malformed: one is no boot image, or no module of that kernel.
    """
    if len(named) > MAX_MODULES:
        raise UsageError(f"{len(named)} modules, at most {MAX_MODULES}", where="--nitro-module")
    data = _read(kernel)
    boot = bzimage.parse(data, str(kernel))
    held = [(str(path), _read(path)) for path in named]
    drivers = {_driver(module, boot.release, where): module for where, module in held}
    if len(drivers) != len(named):
        raise UsageError("a module is named twice", where="--nitro-module")
    modules.given(boot.release, drivers)
    _check(boot, drivers, str(kernel), say)
    found = [(_input(KERNEL, "nitro-kernel", boot.release, "bzImage", data), data)]
    for name, module in sorted(drivers.items()):
        found.append((_input(MODULE, f"nitro-module-{name}", boot.release, f"{name}.ko", module), module))
    for item, content in found:
        cache.put(item, content, item.file)
    return tuple(item for item, _ in found)


def of(pinned: Lock, cache: Cache) -> Kernel | None:
    """The enclave image's own kernel among the inputs of ``pinned``; None where it has Debian's.

    Raises:
        UsageError: an input is not in the cache.
        Malformed: an input is not what its kind says.
    """
    kernels = pinned.of(KERNEL)
    if not kernels:
        return None
    data = cache.read(kernels[0])
    release = bzimage.parse(data, str(kernels[0])).release
    drivers: dict[str, bytes] = {}
    for item in pinned.of(MODULE):
        module = cache.read(item)
        drivers[_driver(module, release, str(item))] = module
    entries = modules.given(release, drivers)
    return Kernel(release, data, (cpio.write(entries, pinned.epoch),) if entries else ())


def missing(boot: BzImage, drivers: Iterable[str]) -> list[str]:
    """Options that ``boot`` lacks, as far as it tells, given modules of these names."""
    come = {option for option, name in LOADABLE.items() if name in drivers}
    if boot.options is not None:
        return [option for option in NEEDED if option not in come and boot.options.get(option) != "y"]
    told = boot.kernel
    return [] if told is None else [name for name, word in WORDS.items() if name not in come and word not in told]


def _check(boot: BzImage, drivers: Iterable[str], where: str, say: Callable[[str], None]) -> None:
    lacks = missing(boot, drivers)
    if lacks:
        raise UsageError(
            f"Linux {boot.release} lacks what an enclave needs: {', '.join(f'CONFIG_{name}' for name in lacks)}",
            where=where,
            hint="an option must be built in (=y), or its module named with --nitro-module (AWS's kernel has nsm.ko "
            "beside it); docs/image.md says how to build one",
        )
    if boot.options is not None:
        say(f"Linux {boot.release} for the enclave image: has every option that an enclave needs")
    elif boot.kernel is not None:
        say(f"Linux {boot.release} for the enclave image: has the drivers that an enclave needs; tells no other option")
    else:
        say(f"Linux {boot.release} for the enclave image: packed by {boot.packing}, so nothing of it could be checked")


def _driver(data: bytes, release: str, where: str) -> str:
    """The name of the module ``data``, which must be of the kernel ``release``."""
    name, made = modules.identity(data, where)
    if made != release:
        raise Malformed(
            f"a module of Linux {made}, and the kernel is {release}", where=where, hint="take both from one build"
        )
    return name


def _input(kind: str, name: str, release: str, file: str, data: bytes) -> Input:
    return Input(kind, name, release, file, sha256(data).hexdigest(), len(data), LICENCE, UNKNOWN)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UsageError("no file is there", where=str(path))
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > MAX_FILE:
        raise UsageError(f"more than {MAX_FILE} bytes", where=str(path))
    return data
