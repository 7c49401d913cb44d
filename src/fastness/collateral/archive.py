"""Zip and tar archives of evidence and certificates, read in memory: what is in a member is bounded like a file."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from fastness.collateral.heap import MAX_FILE
from fastness.errors import UsageError

MAX_ENTRIES = 512
_ENTRY = b"PK\x01\x02"
"""How each entry of the directory starts: counted before it is read, as an entry takes twenty times its bytes."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, OverflowError, RuntimeError, struct.error)
"""What :mod:`zipfile` raises; RuntimeError where a member is encrypted."""
_BLOCK = 512
"""Bytes of a header of tar, and what contents are padded to (POSIX.1-2017, pax interchange format)."""
_PASSED = frozenset(b"5xgLKV")
"""Types of what is no file in a tar archive: folders, and what is said of the next entry or of all (pax, GNU)."""


class Member(NamedTuple):
    """One file of an archive; ``data`` is None where it is damaged, encrypted, packed otherwise than by deflate, no
    regular file or larger than a file may be, and ``size`` what was unfolded to know that, at most."""

    name: str
    size: int
    data: bytes | None


def members(data: bytes, source: str) -> Iterator[Member]:
    """The files in the archive ``source``, in its order; nothing of what is no archive.

    Raises:
        UsageError: more than :data:`MAX_ENTRIES` entries.
    """
    if data.count(_ENTRY) > MAX_ENTRIES:
        raise _crowded(source)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _DAMAGED:
        return
    for item in archive.infolist():
        if not item.is_dir():
            yield Member(item.filename, min(item.file_size, MAX_FILE), _content(archive, item))


def _content(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> bytes | None:
    if item.file_size > MAX_FILE or item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return None
    try:
        with archive.open(item) as file:
            return file.read(item.file_size)  # read() would unfold all there is before it looks at the size
    except _DAMAGED:
        return None


def tarred(data: bytes, source: str) -> Iterator[Member]:
    """The files in the tar archive ``source`` that says ``ustar`` (POSIX and GNU), in its order; nothing of what is no
    archive. Names are those in the headers, cut where a longer one stands before them. No link is followed.

    Raises:
        UsageError: more than :data:`MAX_ENTRIES` entries.
    """
    import tarfile

    place = 0
    for _ in range(MAX_ENTRIES):
        head = data[place : place + _BLOCK]
        if not head.strip(b"\0"):
            return
        try:
            item = tarfile.TarInfo.frombuf(head, "utf-8", "replace")
        except tarfile.HeaderError:
            item = None
        if item is None or item.size < 0:
            if place:
                yield Member(f"entry at byte {place}", 0, None)
            return
        start, place = place + _BLOCK, place + _BLOCK + -(-item.size // _BLOCK) * _BLOCK
        if item.type[0] not in _PASSED:
            whole = item.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and item.size <= min(MAX_FILE, len(data) - start)
            yield Member(item.name, min(item.size, MAX_FILE), data[start : start + item.size] if whole else None)
    if data[place : place + _BLOCK].strip(b"\0"):
        raise _crowded(source)


def _crowded(source: str) -> UsageError:
    what = f"an archive of more than {MAX_ENTRIES} entries"
    return UsageError(what, where=source, hint="unpack it, and verify what belongs to one machine at a time")
