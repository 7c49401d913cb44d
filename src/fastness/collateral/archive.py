"""Zip archives of evidence and certificates, read in memory: what a member unfolds to is bounded like a file."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from fastness.collateral.heap import MAX_FILE

MAX_MEMBERS = 512


class Member(NamedTuple):
    """One file of an archive; ``data`` is None where it is damaged, encrypted, packed otherwise than by deflate or
    larger than a file may be, and ``size`` what was unfolded to know that, at most."""

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
