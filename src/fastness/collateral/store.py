"""The cache of collateral: ``$XDG_CACHE_HOME/fastness/collateral``, one file per key, mode 0600, written whole or not.

What is here is trusted no more than any other input: signatures are checked at every use, and nothing is served past
the end of its signed validity. ``evaluations.json`` remembers the highest TCB evaluation number that was seen for each
TEE, FMSPC and root, and since when: older collateral offered later is a roll-back.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fastness import folders
from fastness.errors import UsageError
from fastness.wire.der import zulu

SCHEMA = "fastness/cached/v1"
MAX_ENTRY = 16 << 20
FOREVER = "9999-12-31T23:59:59Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached answer: ``pieces`` as received, and when its signed validity ends (Zulu)."""

    key: str
    url: str
    fetched: str
    valid_until: str
    pieces: tuple[bytes, ...]

    def valid(self, at: datetime) -> bool:
        """Whether it may be used at ``at``."""
        return zulu(at) <= self.valid_until


def folder() -> Path:
    """Where the cache lies.

    Raises:
        UsageError: this user has no folder for one.
    """
    return folders.cache() / "collateral"


@dataclass(frozen=True, slots=True)
class Store:
    """The cache at ``place``."""

    place: Path

    def get(self, key: str, at: datetime) -> Entry | None:
        """The entry of ``key`` if it may still be used at ``at``. A damaged file is as good as none."""
        entry = _read(self._file(key))
        return entry if entry is not None and entry.key == key and entry.valid(at) else None

    def put(self, entry: Entry) -> None:
        """Keeps an entry; a disk that is full or read-only loses the cache, not the answer."""
        document = {
            "schema": SCHEMA,
            "key": entry.key,
            "url": entry.url,
            "fetched": entry.fetched,
            "valid_until": entry.valid_until,
            "pieces": [base64.b64encode(piece).decode() for piece in entry.pieces],
        }
        _write(self._file(entry.key), json.dumps(document).encode())

    def writable(self) -> None:
        """Returns if entries can be kept.

        Raises:
            UsageError: they cannot.
        """
        trial = self.place / f".trial.{secrets.token_hex(4)}"
        try:
            self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            trial.unlink()
        except OSError as error:
            what, hint = str(error.strerror).lower(), "XDG_CACHE_HOME names another; `collateral bundle` needs none"
            raise UsageError(f"the cache cannot be written: {what}", where=str(self.place), hint=hint) from None

    def entries(self) -> Iterator[Entry]:
        """Everything cached, in no order."""
        if not self.place.is_dir():
            return
        for path in sorted(self.place.glob("*.entry")):
            entry = _read(path)
            if entry is not None:
                yield entry

    def _file(self, key: str) -> Path:
        return self.place / f"{hashlib.sha256(key.encode()).hexdigest()}.entry"

    # roll-back

    def evaluation(self, key: str, number: int, at: datetime) -> int | None:
        """The highest number seen for ``key`` by ``at`` if it is above ``number``; remembers ``number`` otherwise."""
        path = self.place / "evaluations.json"
        known = _numbers(path)
        rows = known.get(key, [])
        moment = zulu(at)
        highest = max((seen for seen, since in rows if since <= moment), default=None)
        if highest is not None and highest > number:
            return highest
        if highest is None or highest < number:
            known[key] = [*rows, (number, moment)][-64:]
            _write(path, json.dumps(known).encode())
        return None


def store() -> Store:
    """The cache; for a user without a folder for one, a cache that holds nothing and keeps nothing."""
    try:
        return Store(folder())
    except UsageError:
        return Store(Path(os.devnull))  # nothing lies in it, and nothing can


def _numbers(path: Path) -> dict[str, list[tuple[int, str]]]:
    try:
        document = json.loads(path.read_bytes()[:MAX_ENTRY])
        return {str(key): [(int(seen), str(since)) for seen, since in rows] for key, rows in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _read(path: Path) -> Entry | None:
    try:
        if path.stat().st_size > MAX_ENTRY:
            return None
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            return None
        pieces = tuple(base64.b64decode(item, validate=True) for item in document["pieces"])
        return Entry(
            str(document["key"]), str(document["url"]), str(document["fetched"]), str(document["valid_until"]), pieces
        )
    except (OSError, ValueError, KeyError, TypeError, binascii.Error):
        return None


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
