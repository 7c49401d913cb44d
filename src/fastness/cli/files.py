"""Files that the command line writes: whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from fastness.errors import UsageError


def write(path: Path, data: bytes, mode: int, *, exclusive: bool = False) -> None:
    """By a temporary file and a rename, so that nothing half-written is ever there."""
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
        raise UsageError(f"cannot be written: {(error.strerror or '').lower()}", where=str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
