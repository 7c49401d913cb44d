"""Files that the command line writes: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from fastness.errors import UsageError


def write(path: Path, data: bytes, mode: int, *, exclusive: bool = False) -> None:
    """By a temporary file and a rename, so that nothing half-written is ever there."""
    if not exclusive and _is_special(path):
        _into(path, data, mode)
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    except FileExistsError:
        raise UsageError("there is a file already", where=str(path), hint="name another, or remove it") from None
    except OSError as error:
        raise _unwritten(path, error) from None
    finally:
        with contextlib.suppress(OSError):  # below a file, under a name too long: it was never there
            temporary.unlink()


def _is_special(path: Path) -> bool:
    try:
        return path.is_symlink() or (path.exists() and not path.is_file())
    except OSError as error:  # a name too long
        raise _unwritten(path, error) from None


def _into(path: Path, data: bytes, mode: int) -> None:
    """Into what nothing must take the place of: a pipe, a link, ``/dev/stdout``, which may be either."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
    except OSError as error:
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> UsageError:
    hint = "name a file in a folder that is there and may be written to"
    return UsageError(f"cannot be written: {(error.strerror or '').lower()}", where=str(path), hint=hint)
