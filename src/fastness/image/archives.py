"""Reads the two kinds of input: Debian packages (deb(5): ``ar`` with a compressed tar in it) and wheels (zip)."""

from __future__ import annotations

import io
import lzma
import posixpath
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from fastness.errors import Malformed

AR_MAGIC = b"!<arch>\n"
AR_HEAD = 60
MAX_LINKS = 8
Files = dict[str, bytes]
"""Contents by path, without a leading slash. Links are followed, so that nothing but files is left."""


def deb(data: bytes, wanted: Callable[[str], bool], where: str) -> Files:
    """The files of a Debian package whose paths are ``wanted``; a link counts by its own path.

    A link to a file of another package is left out.

    Raises:
        Malformed: it is no Debian package.
    """
    try:
        body = next(_unpacked(name, part) for name, part in _members(data, where) if name.startswith("data.tar"))
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            return _files(archive, wanted)
    except StopIteration:
        raise Malformed("the package has no data", where=where) from None
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise Malformed(f"the package cannot be read: {error}", where=where) from None


def wheel(data: bytes, wanted: Callable[[str], bool], where: str) -> Files:
    """The files of a wheel whose paths are ``wanted``.

    Raises:
        Malformed: it is no zip archive, or a checksum in it is wrong.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and wanted(name)]
            return {_safe(name, where): archive.read(name) for name in names}
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise Malformed(f"the wheel cannot be read: {error}", where=where) from None


def _members(data: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    if not data.startswith(AR_MAGIC):
        raise Malformed("not a Debian package", where=where)
    at = len(AR_MAGIC)
    while at < len(data):
        head = data[at : at + AR_HEAD]
        size = head[48:58].strip()
        if head[58:] != b"`\n" or not size.isdigit() or at + AR_HEAD + int(size) > len(data):
            raise Malformed("a member of the package is cut", where=f"{where}, byte {at}")
        start = at + AR_HEAD
        yield head[:16].rstrip(b" /").decode("ascii", "replace"), data[start : start + int(size)]
        at = start + int(size) + int(size) % 2


def _unpacked(name: str, part: bytes) -> bytes:
    if name.endswith(".zst"):
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(part) as reader:
            return reader.read()
    return lzma.decompress(part) if name.endswith(".xz") else part


def _files(archive: tarfile.TarFile, wanted: Callable[[str], bool]) -> Files:
    members = {member.name.removeprefix("./"): member for member in archive}
    found = {}
    for path, member in members.items():
        if not wanted(path):
            continue
        target: tarfile.TarInfo | None = member
        for _ in range(MAX_LINKS):
            if target is None or not (target.issym() or target.islnk()):
                break
            target = members.get(_target(target))
        if target is not None and target.isreg():
            stream = archive.extractfile(target)
            found[path] = stream.read() if stream else b""
    return found


def _target(member: tarfile.TarInfo) -> str:
    if member.islnk() or member.linkname.startswith("/"):
        return member.linkname.removeprefix("./").removeprefix("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(member.name.removeprefix("./")), member.linkname))


def _safe(name: str, where: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise Malformed("a path leaves the wheel", where=f"{where}: {name}")
    return name
