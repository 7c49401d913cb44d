"""Drivers of the guest kernel: chosen ones and what they need, decompressed, with a table in the order of loading.

``modules.dep`` is made where a kernel is installed, so dependencies are read from the modules themselves (``depends=``
of ``.modinfo``), and so are the devices they are for (``alias=``). Two tables in ``/lib/modules/<release>``:

* ``modules``: one line a module, its name, its file, then the names it needs, each of which has an earlier line;
* ``modules.alias``, as depmod(8) makes it: ``alias``, a pattern of what a device says of itself, the module's name.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Mapping
from typing import NamedTuple

from fastness.errors import Malformed
from fastness.image import cpio, elf
from fastness.image.archives import Files

VMLINUZ = re.compile(r"boot/vmlinuz-(.+)")
NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
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
    order: dict[str, _Module] = {}
    for driver in drivers:
        _add(driver, packed, files, order)
    return _placed(release, order, origin)


def given(release: str, drivers: Mapping[str, bytes]) -> list[cpio.Entry]:
    """The modules ``drivers``, by their names, of the kernel ``release``, and their table; nothing of none.

    Raises:
        Malformed: one of them is no module, or needs another that is not among them.
    """
    order: dict[str, _Module] = {}
    for name in sorted(drivers):
        _ordered(name, drivers, order)
    return _placed(release, order, "image") if order else []


def identity(data: bytes, where: str) -> tuple[str, str]:
    """Name of a module, and release of the kernel it is for.

    Raises:
        Malformed: it is no module, or does not say.
    """
    try:
        rows = dict(elf.modinfo(data))
    except Malformed as error:
        raise Malformed(error.what, where=where, hint="a file NAME.ko, not compressed") from None
    name, made = rows.get("name", ""), rows.get("vermagic", "").partition(" ")[0]
    if not NAME.fullmatch(name) or not made:
        raise Malformed("a kernel module that tells no name, or no release of its kernel", where=where)
    return name, made


def _placed(release: str, order: Mapping[str, _Module], origin: str) -> list[cpio.Entry]:
    """The modules of ``order`` in the root, and the two tables."""
    folder = f"lib/modules/{release}"
    table = "".join(f"{' '.join((name, f'{name}.ko', *item.needs))}\n" for name, item in order.items())
    aliases = "".join(f"alias {alias} {name}\n" for name, item in order.items() for alias in item.aliases)
    found = [cpio.file(f"{folder}/{name}.ko", item.data, origin) for name, item in order.items()]
    tables = (("modules", table), ("modules.alias", aliases))
    return [*found, *(cpio.file(f"{folder}/{name}", text.encode(), "image") for name, text in tables)]


def _ordered(name: str, drivers: Mapping[str, bytes], order: dict[str, _Module]) -> None:
    if name in order:
        return
    item = _module(drivers[name])
    order[name] = item  # before what it needs, so that two that need each other end
    for need in item.needs:
        if need not in drivers:
            raise Malformed(f"the module {name} needs {need}", hint="name that one too, or build it in")
        _ordered(need, drivers, order)
    order[name] = order.pop(name)


class _Module(NamedTuple):
    data: bytes
    needs: tuple[str, ...]
    aliases: tuple[str, ...]


def _add(name: str, packed: dict[str, str], files: Files, order: dict[str, _Module]) -> None:
    if name in order:
        return
    if name not in packed:
        raise Malformed(f"the kernel has no module called {name}", hint="look for it in the kernel's config file")
    try:
        data = lzma.decompress(files[packed[name]])
    except lzma.LZMAError as error:
        raise Malformed(f"a kernel module cannot be unpacked: {error}", where=packed[name]) from None
    item = _module(data)
    for need in item.needs:
        _add(need, packed, files, order)
    order[name] = item


def _module(data: bytes) -> _Module:
    rows = elf.modinfo(data)
    needs = tuple(_name(need) for key, text in rows if key == "depends" for need in text.split(",") if need)
    return _Module(data, needs, tuple(text for key, text in rows if key == "alias"))


def _name(file: str) -> str:
    return file.replace("-", "_")
