"""What is in the root, and nothing else: interpreter, standard library, wheels, our files, drivers, ``/init``."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fastness.errors import Malformed
from fastness.image import archives, cpio, elf, enclave, ingredients, modules, python
from fastness.image.archives import Files
from fastness.image.cache import Cache
from fastness.image.enclave import Kernel
from fastness.image.ingredients import Part
from fastness.image.lock import Choice, Lock
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
    """What an image is made of.

    Attributes:
        release: the kernel's, as ``uname -r`` says it.
        vmlinuz: the kernel's boot image.
        stub: the EFI stub.
        root: the entries of the root.
        lines: lines of the Python source behind a path of the root.
        parts: libraries inside the binaries of an input, by the input's name.
        enclave: the kernel of the Nitro enclave image, where it is another.
    """

    release: str
    vmlinuz: bytes
    stub: bytes
    root: tuple[cpio.Entry, ...]
    lines: Mapping[str, int]
    parts: Mapping[str, tuple[Part, ...]]
    enclave: Kernel | None = None


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
    kernel, boot = lock.named(KERNEL), lock.named(BOOT)
    booted = archives.deb(cache.read(kernel), modules.wanted, str(kernel))
    release, vmlinuz = modules.kernel(booted)
    stub = _file(archives.deb(cache.read(boot), lambda path: path == STUB, BOOT), STUB)
    wheels = {item.name: archives.wheel(cache.read(item), lambda _: True, str(item)) for item in lock.of("wheel")}
    sources, machine = _python(choice, wheels, files, origins)
    drivers = modules.entries(booted, choice.drivers, kernel.name)
    root = (*machine, *python.compiled(sources, machine), *drivers, *_own())
    lines = {source.result: source.data.count(b"\n") for source in sources}
    parts = {name: found for name, held in wheels.items() if (found := ingredients.of(held))}
    return Contents(release, vmlinuz, stub, root, lines, parts, enclave.of(lock, cache))


def _python(
    choice: Choice, wheels: Mapping[str, Files], files: Files, origins: dict[str, str]
) -> tuple[list[python.Source], list[cpio.Entry]]:
    """Python's sources, and all machine code that runs with them."""
    sources, machine = python.library(files, choice.modules, origins)
    for name, held in wheels.items():
        for path, data in held.items():
            if not any(fnmatchcase(path, pattern) for pattern in choice.wheels.get(name, ())):
                continue
            if path.endswith(".py"):
                sources.append(python.Source(f"{OURS}/{path}", data, name, stays=True))
            else:
                machine.append(cpio.file(f"{OURS}/{path}", elf.loaded(data) if elf.is_elf(data) else data, name))
    for row in tcb.files():
        data = (tcb.package_folder().parent / row.name).read_bytes()
        sources.append(python.Source(f"{OURS}/{row.name}", data, "fastness", stays=True))
    path = python.INTERPRETER
    machine.append(cpio.file(path, _file(files, path), origins[path], execute=True))
    return sources, [*machine, *python.shared(machine, files, origins)]


def _file(files: Files, path: str) -> bytes:
    if path not in files:
        raise Malformed("a file of the image is in none of its inputs", where=path)
    return files[path]


def _own() -> list[cpio.Entry]:
    # a console from the first instruction on: where the kernel finds none, the first process has no descriptors 0 to 2
    console = cpio.Entry("dev/console", stat.S_IFCHR | 0o600, device=cpio.CONSOLE)
    folders = [cpio.Entry(path, stat.S_IFDIR | 0o555) for path in MOUNT_POINTS]
    return [cpio.file("init", INIT, "image", execute=True), console, *folders]
