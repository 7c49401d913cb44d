"""The archive the kernel unpacks as its root: cpio newc (Linux, driver-api/early-userspace/buffer-format).

Every number that could tell two builds apart is fixed: inode numbers count up, owner and group are 0, device numbers
are those of the node, the time is one for all. Entries come in order of their names, folders before what is in them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastness.errors import Malformed

MAGIC = b"070701"
HEAD = 110
TRAILER = "TRAILER!!!"
CONSOLE = (5, 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in the root.

    Attributes:
        path: without a leading slash.
        mode: type and permissions, as ``st_mode``.
        data: content of a regular file.
        device: major and minor number of a device node.
        origin: the input it comes from, ``fastness`` for our own, ``image`` for what the builder makes.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    origin: str = "image"


def file(path: str, data: bytes, origin: str, *, execute: bool = False) -> Entry:
    """A regular file. Nothing in the root is meant to be written, so nobody may."""
    return Entry(path, stat.S_IFREG | (0o555 if execute else 0o444), data, origin=origin)


def write(entries: Iterable[Entry], epoch: int) -> bytes:
    """The archive of ``entries``, every time stamp ``epoch``. Folders above the entries are made.

    Raises:
        Malformed: two entries have one path.
    """
    named: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in named:
            raise Malformed("two files of the root have one path", where=entry.path)
        named[entry.path] = entry
    for path in list(named):
        for folder in _above(path):
            named.setdefault(folder, Entry(folder, stat.S_IFDIR | 0o555))
    # by parts, so that a folder comes before what is in it
    ordered = sorted(named.values(), key=lambda entry: entry.path.split("/"))
    parts = [_record(inode, entry, epoch) for inode, entry in enumerate(ordered, 1)]
    return b"".join([*parts, _record(0, Entry(TRAILER, 0), 0)])


def read(archive: bytes) -> Iterator[Entry]:
    """The entries of ``archive``, without their origins.

    Raises:
        Malformed: it is not such an archive, or is cut.
    """
    at = 0
    while True:
        head = archive[at : at + HEAD]
        if len(head) < HEAD or head[:6] != MAGIC:
            raise Malformed("the root is not a newc archive, or is cut", where=f"byte {at}")
        try:
            fields = [int(head[6 + 8 * index : 14 + 8 * index], 16) for index in range(13)]
        except ValueError:
            raise Malformed("a number of the archive is not hexadecimal", where=f"byte {at}") from None
        mode, size, major, minor, length = fields[1], fields[6], fields[9], fields[10], fields[11]
        start = _aligned(at + HEAD + length)
        if not length or start + size > len(archive):
            raise Malformed("an entry of the archive is longer than the archive", where=f"byte {at}")
        name = archive[at + HEAD : at + HEAD + length - 1].decode("utf-8", "replace")
        if name == TRAILER:
            return
        yield Entry(name, mode, archive[start : start + size], (major, minor))
        at = _aligned(start + size)


def _record(inode: int, entry: Entry, epoch: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    numbers = (inode, entry.mode, 0, 0, links, epoch, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = MAGIC + b"".join(b"%08x" % number for number in numbers) + name
    return _padded(_padded(head) + entry.data)


def _above(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
