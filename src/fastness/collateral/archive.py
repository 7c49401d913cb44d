"""Zip archives of evidence and certificates, read in memory: what a member unfolds to is bounded like a file."""

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


class Member(NamedTuple):
    """One file of an archive; ``data`` is None where it is damaged, encrypted, packed otherwise than by deflate or
    larger than a file may be, and ``size`` what was unfolded to know that, at most."""

    name: str
    size: int
    data: bytes | None


def members(data: bytes, source: str) -> Iterator[Member]:
    """The files in the archive ``source``, in its order; nothing of what is no archive.

    Raises:
        UsageError: more than :data:`MAX_ENTRIES` entries.
    """
    if data.count(_ENTRY) > MAX_ENTRIES:
        what = f"an archive of more than {MAX_ENTRIES} entries"
        raise UsageError(what, where=source, hint="unpack it, and verify what belongs to one machine at a time")
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
