"""What is in the root, and nothing else: interpreter, standard library, wheels, our files, drivers, ``/init``."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fastness.image import archives, cpio, modules, python
from fastness.image.archives import Files
from fastness.image.cache import Cache
from fastness.image.lock import Choice, Input, Lock
from fastness.workload import tcb

OURS = "usr/lib/fastness"
INIT = b"""\
#!/usr/bin/python3.11 -IBS
import sys

sys.path.append("/usr/lib/fastness")

from fastness.keep.init import main

main()
"""
MOUNT_POINTS = ("dev", "proc", "run", "sys", "tmp")
STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
KERNEL, BOOT = "linux-image-", "systemd-boot-efi"


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts an image is made of: the kernel's release and boot image, the EFI stub, the entries of the root."""

    release: str
    vmlinuz: bytes
    stub: bytes
    root: tuple[cpio.Entry, ...]


def gather(lock: Lock, choice: Choice, cache: Cache) -> Contents:
    """Unpacks the inputs of ``lock`` and picks what ``choice`` names.

    Raises:
        UsageError: an input is not in the cache.
        Malformed: an input cannot be read, or lacks something chosen.
    """
    origins: dict[str, str] = {}
    files: Files = {}
    for item in lock.of("deb"):
        if not item.name.startswith((KERNEL, BOOT)):
            unpacked = archives.deb(cache.read(item), python.wanted, str(item))
            files |= unpacked
            origins |= dict.fromkeys(unpacked, item.name)
    kernel = next(item for item in lock.of("deb") if item.name.startswith(KERNEL))
    booted = archives.deb(cache.read(kernel), modules.wanted, str(kernel))
    release, vmlinuz = modules.kernel(booted)
    stub = archives.deb(cache.read(lock.named(BOOT)), lambda path: path == STUB, BOOT)[STUB]
    root = [
        *_python(lock, choice, cache, files, origins),
        *modules.entries(booted, choice.drivers, kernel.name),
        *_own(),
    ]
    return Contents(release, vmlinuz, stub, tuple(root))


def _python(lock: Lock, choice: Choice, cache: Cache, files: Files, origins: dict[str, str]) -> list[cpio.Entry]:
    interpreter = cpio.file(python.INTERPRETER, files[python.INTERPRETER], origins[python.INTERPRETER], execute=True)
    sources, binaries = python.library(files, choice.modules, origins)
    for item in lock.of("wheel"):
        more, entries = _wheel(item, cache.read(item), choice.wheels[item.name])
        sources += more
        binaries += entries
    for row in tcb.files():
        data = (tcb.package_folder().parent / row.name).read_bytes()
        sources.append(python.Source(f"{OURS}/{row.name}", data, "fastness", stays=True))
    binaries.append(interpreter)
    libraries = python.shared(binaries, files, origins)
    return [*binaries, *libraries, *python.compiled(sources, [interpreter, *libraries])]


def _wheel(item: Input, data: bytes, patterns: tuple[str, ...]) -> tuple[list[python.Source], list[cpio.Entry]]:
    wanted: Callable[[str], bool] = lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)  # noqa: E731
    sources, entries = [], []
    for path, content in archives.wheel(data, wanted, str(item)).items():
        if path.endswith(".py"):
            sources.append(python.Source(f"{OURS}/{path}", content, item.name, stays=True))
        else:
            entries.append(cpio.file(f"{OURS}/{path}", content, item.name))
    return sources, entries


def _own() -> list[cpio.Entry]:
    # a console from the first instruction on: where the kernel finds none, the first process has no descriptors 0 to 2
    console = cpio.Entry("dev/console", stat.S_IFCHR | 0o600, device=cpio.CONSOLE)
    folders = [cpio.Entry(path, stat.S_IFDIR | 0o555) for path in MOUNT_POINTS]
    return [cpio.file("init", INIT, "image", execute=True), console, *folders]
