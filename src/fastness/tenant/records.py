"""What the tenant remembers of detached keeps: where they are, by which policy they were accepted, and the owner token.

One file per keep, ``$XDG_STATE_HOME/fastness/keeps/ID.json``, mode 0600, written by temporary file and rename.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastness import folders
from fastness.errors import UsageError
from fastness.tenant.launch import decode

MAX_RECORD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """One detached keep."""

    id: str
    host: str
    policy: str
    anchors: tuple[str, ...]
    workload: str
    started: str
    owner: str = field(repr=False)
    launched: str = field(repr=False, default="")
    """What is known of a launch that was attended (:mod:`fastness.tenant.launch`)."""
    owners: str = ""
    """The file of owners who had to sign the policy."""


def folder() -> Path:
    """Where records lie."""
    return folders.state() / "keeps"


def write(record: Record) -> Path:
    """Keeps ``record``.

    Raises:
        UsageError: it cannot be written; nothing half-written is left.
    """
    place = folder() / f"{record.id}.json"
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(record), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        what, hint = (
            f"the record of the keep cannot be written: {error.strerror}",
            "XDG_STATE_HOME names another folder",
        )
        raise UsageError(what, where=str(place), hint=hint) from None
    return place


def read(keep: str) -> Record | None:
    """The record of ``keep``; None if this tenant has none.

    Raises:
        UsageError: there is one, damaged.
    """
    place = folder() / f"{keep}.json"
    if not keep.isalnum() or not place.is_file() or place.stat().st_size > MAX_RECORD:
        return None
    try:
        value = json.loads(place.read_text("utf-8"))
        record = Record(**{**value, "anchors": tuple(value["anchors"])})
        bytes.fromhex(record.owner)
        if record.launched:
            decode(record.launched)
        return record
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError("the record of this keep is damaged", where=str(place), hint="remove the file") from None


def remember(keep: str, verdict: dict[str, Any]) -> None:
    """Keeps the verdict that ``keep`` was accepted on, for `policy plan`; a full disk loses it and nothing else."""
    place = folder() / "verdicts" / f"{keep}.json"
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.write_text(json.dumps({**verdict, "id": keep}) + "\n", "utf-8")
        temporary.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def verdicts() -> tuple[Path, ...]:
    """The files of :func:`remember`, one for each keep that this tenant runs."""
    return tuple(sorted((folder() / "verdicts").glob("*.json")))


def names() -> tuple[str, ...]:
    """The keeps on record, by id."""
    return tuple(sorted(place.stem for place in folder().glob("*.json") if place.stem.isalnum()))


def forget(keep: str) -> None:
    """Removes the record of ``keep``, if there is one."""
    if keep.isalnum():
        (folder() / f"{keep}.json").unlink(missing_ok=True)
        (folder() / "verdicts" / f"{keep}.json").unlink(missing_ok=True)
