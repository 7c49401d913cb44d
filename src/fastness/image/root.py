"""The image's root as files on disk, for what opens them one by one: Gramine, which checks each by its hash."""

from __future__ import annotations

import stat
from pathlib import Path

from fastness.errors import Malformed, UsageError
from fastness.image import cpio, store
from fastness.image.store import Image

MAX_ROOT = 1 << 30
"""Largest root that is unpacked, in bytes."""


def lay(image: Image, folder: Path) -> None:
    """Writes the folders and regular files of the root of ``image`` below ``folder``, which exists and is empty.

    Device nodes and links are a machine's and are left out.

    Raises:
        UsageError: zstandard is not installed, or a file cannot be written.
        Malformed: the archive cannot be unpacked, or names a path outside the root.
    """
    for entry in cpio.read(unpacked(image.initrd.read_bytes())):
        parts = entry.path.split("/")
        if not all(parts) or ".." in parts or "." in parts:
            raise Malformed("the root names a path outside itself", where=entry.path)
        place = folder / entry.path
        try:
            if stat.S_ISDIR(entry.mode):
                place.mkdir(exist_ok=True)
            elif stat.S_ISREG(entry.mode):
                place.write_bytes(entry.data)
                place.chmod(stat.S_IMODE(entry.mode))
        except OSError as error:
            raise UsageError(f"the root cannot be written: {error.strerror}", where=str(place)) from None


def unpacked(initrd: bytes) -> bytes:
    """The archive inside a zstd frame, at most :data:`MAX_ROOT` bytes."""
    try:
        import zstandard
    except ImportError:
        raise UsageError("zstandard is not installed", hint="pip install 'fastness[image]'") from None
    try:
        return zstandard.ZstdDecompressor().decompress(initrd, max_output_size=MAX_ROOT)
    except zstandard.ZstdError as error:
        raise Malformed(f"the root cannot be unpacked: {error}", where=store.INITRD) from None
