"""Zip and tar archives of evidence and certificates, read in memory: what is in a member is bounded like a file."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from fastness.collateral.heap import MAX_FILE

MAX_MEMBERS = 512
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


def members(data: bytes) -> Iterator[Member]:
    """The files in an archive, in its order; nothing of what is no archive."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, struct.error):
        return
    for item in archive.infolist()[:MAX_MEMBERS]:
        if not item.is_dir():
            yield Member(item.filename, min(item.file_size, MAX_FILE), _content(archive, item))


def _content(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> bytes | None:
    if item.file_size > MAX_FILE or item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return None
    try:
        return archive.read(item)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, RuntimeError, struct.error):
        return None  # RuntimeError: encrypted


def tarred(data: bytes) -> Iterator[Member]:
    """The files in a tar archive that says ``ustar`` (POSIX and GNU), in its order; nothing of what is no archive.

    Names are those in the headers, cut where a longer one stands before them. No link is followed.
    """
    import tarfile

    place = 0
    for _ in range(MAX_MEMBERS):
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
