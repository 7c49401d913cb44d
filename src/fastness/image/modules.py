"""Drivers of the guest kernel: chosen ones and what they need, decompressed, with a table in the order of loading.

``modules.dep`` is made where a kernel is installed, so dependencies are read from the modules themselves (``depends=``
of ``.modinfo``). Table ``/lib/modules/<release>/modules``: one line a module, its name, its file, then the names it
needs, each of which has an earlier line.
"""

from __future__ import annotations

import lzma
import re

from fastness.errors import Malformed
from fastness.image import cpio, elf
from fastness.image.archives import Files

VMLINUZ = re.compile(r"boot/vmlinuz-(.+)")
PACKED = re.compile(r"(?:usr/)?lib/modules/[^/]+/kernel/.*/([^/]+)\.ko\.xz")


def wanted(path: str) -> bool:
    """Whether a file of the kernel's package is looked at."""
    return bool(VMLINUZ.fullmatch(path) or PACKED.fullmatch(path))


def kernel(files: Files) -> tuple[str, bytes]:
    """Release and boot image of the one kernel in ``files``.

    Raises:
        Malformed: there is none, or more than one.
    """
    found = [(match[1], data) for path, data in files.items() if (match := VMLINUZ.fullmatch(path))]
    if len(found) != 1:
        raise Malformed(f"{len(found)} kernels in the package, need 1")
    return found[0]


def entries(files: Files, drivers: tuple[str, ...], origin: str) -> list[cpio.Entry]:
    """The modules of ``drivers``, what they need, and their table.

    Raises:
        Malformed: one of them is not in the package, or cannot be read.
    """
    release, _ = kernel(files)
    packed = {_name(match[1]): path for path in files if (match := PACKED.fullmatch(path))}
    order: dict[str, tuple[bytes, tuple[str, ...]]] = {}
    for driver in drivers:
        _add(driver, packed, files, order)
    folder = f"lib/modules/{release}"
    table = "".join(f"{' '.join((name, f'{name}.ko', *needs))}\n" for name, (_, needs) in order.items())
    found = [cpio.file(f"{folder}/{name}.ko", data, origin) for name, (data, _) in order.items()]
    return [*found, cpio.file(f"{folder}/modules", table.encode(), "image")]


def _add(name: str, packed: dict[str, str], files: Files, order: dict[str, tuple[bytes, tuple[str, ...]]]) -> None:
    if name in order:
        return
    if name not in packed:
        raise Malformed(f"the kernel has no module called {name}", hint="look for it in the kernel's config file")
    try:
        data = lzma.decompress(files[packed[name]])
    except lzma.LZMAError as error:
        raise Malformed(f"a kernel module cannot be unpacked: {error}", where=packed[name]) from None
    needs = tuple(_name(need) for need in elf.modinfo(data).get("depends", "").split(",") if need)
    for need in needs:
        _add(need, packed, files, order)
    order[name] = data, needs


def _name(file: str) -> str:
    return file.replace("-", "_")
