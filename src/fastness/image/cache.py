"""The cache of inputs: ``$XDG_CACHE_HOME/fastness/inputs``, one file per input, named by its SHA-256.

Archives drop what they have superseded, so this folder is what makes an old image buildable again: copy it, keep it. It
is trusted for nothing: every file is hashed at every use.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from fastness import folders
from fastness.errors import UsageError
from fastness.image.lock import Input


def home() -> Path:
    """Where this user's caches of Fastness lie."""
    return folders.cache()


@dataclass(frozen=True, slots=True)
class Cache:
    """The inputs at ``place``."""

    place: Path

    def has(self, item: Input) -> bool:
        """Whether a file of that name and size is here; :meth:`read` tells whether it is the right one."""
        path = self.place / item.sha256
        return path.is_file() and path.stat().st_size == item.size

    def read(self, item: Input) -> bytes:
        """The bytes of ``item``.

        Raises:
            UsageError: they are not here, or are not those of the lock.
        """
        path = self.place / item.sha256
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{item} is not in the cache: {error.strerror}", where=str(path)) from None
        check(item, data, str(path))
        return data

    def put(self, item: Input, data: bytes, where: str) -> None:
        """Keeps ``data``, which came from ``where``, if it is ``item``; a reader sees the whole file or none.

        Raises:
            UsageError: it is not ``item``, or the cache cannot be written.
        """
        check(item, data, where)
        path = self.place / item.sha256
        new = self.place / f".{item.sha256}.{secrets.token_hex(8)}"
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            new.write_bytes(data)
            new.replace(path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise UsageError(
                f"the cache of inputs cannot be written: {error.strerror}",
                where=str(self.place),
                hint="56 MB are needed; --inputs DIR or XDG_CACHE_HOME names another place",
            ) from None


def check(item: Input, data: bytes, where: str) -> None:
    """Refuses ``data`` that is not ``item``."""
    have = hashlib.sha256(data).hexdigest()
    if have != item.sha256:
        raise UsageError(
            f"{item} is not what the lock names: SHA-256 {have}, need {item.sha256}",
            where=where,
            hint="remove that file and build again; if it comes back so, its archive serves something else",
        )
