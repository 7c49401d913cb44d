"""Drivers of the guest kernel: chosen ones and what they need, decompressed, with a table in the order of loading.

``modules.dep`` is made where a kernel is installed, so dependencies are read from the modules themselves (``depends=``
of ``.modinfo``), and so are the devices they are for (``alias=``). Two tables in ``/lib/modules/<release>``:

* ``modules``: one line a module, its name, its file, then the names it needs, each of which has an earlier line;
* ``modules.alias``, as depmod(8) makes it: ``alias``, a pattern of what a device says of itself, the module's name.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

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
    _ordered(drivers, lambda name, _: _unpacked(name, packed, files), order)
    return _placed(release, order, origin)


def given(release: str, drivers: Mapping[str, bytes]) -> list[cpio.Entry]:
    """The modules ``drivers``, by their names, of the kernel ``release``, and their table; nothing of none.

    Raises:
        Malformed: one of them is no module, or needs another that is not among them.
    """

    def read(name: str, needed_by: str) -> bytes:
        if name not in drivers:
            raise Malformed(f"the module {needed_by} needs {name}", hint="name that one too, or build it in")
        return drivers[name]

    order: dict[str, _Module] = {}
    _ordered(sorted(drivers), read, order)
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


class _Module(NamedTuple):
    data: bytes
    needs: tuple[str, ...]
    aliases: tuple[str, ...]


_Read: TypeAlias = Callable[[str, str], bytes]
"""(name of a module, name of the one that needs it or empty) → its bytes."""


def _ordered(names: Iterable[str], read: _Read, order: dict[str, _Module], needed_by: str = "") -> None:
    """Adds the modules ``names`` to ``order``, each behind what it needs."""
    for name in names:
        if name in order:
            continue
        item = _module(read(name, needed_by))
        order[name] = item  # before what it needs, so that two that need each other end
        _ordered(item.needs, read, order, name)
        order[name] = order.pop(name)


def _unpacked(name: str, packed: Mapping[str, str], files: Files) -> bytes:
    if name not in packed:
        raise Malformed(f"the kernel has no module called {name}", hint="look for it in the kernel's config file")
    try:
        return lzma.decompress(files[packed[name]])
    except lzma.LZMAError as error:
        raise Malformed(f"a kernel module cannot be unpacked: {error}", where=packed[name]) from None


def _module(data: bytes) -> _Module:
    rows = elf.modinfo(data)
    needs = tuple(_name(need) for key, text in rows if key == "depends" for need in text.split(",") if need)
    return _Module(data, needs, tuple(text for key, text in rows if key == "alias"))


def _name(file: str) -> str:
    return file.replace("-", "_")
