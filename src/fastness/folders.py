"""Where this user's files lie: the folders of the XDG Base Directory Specification, each named by its variable."""

from __future__ import annotations

import os
from pathlib import Path

from fastness.errors import UsageError


def cache() -> Path:
    """``$XDG_CACHE_HOME/fastness``: what can be had again.

    Raises:
        UsageError: neither the variable nor a home folder says where, as in a container under a number without a name.
    """
    return _folder("XDG_CACHE_HOME", ".cache")


def data() -> Path:
    """``$XDG_DATA_HOME/fastness``: roots of this machine. Raises as :func:`cache`."""
    return _folder("XDG_DATA_HOME", ".local/share")


def state() -> Path:
    """``$XDG_STATE_HOME/fastness``: keys and records of this user. Raises as :func:`cache`."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, below: str) -> Path:
    named = os.environ.get(variable)
    try:
        return (Path(named) if named else Path.home() / below) / "fastness"
    except RuntimeError:
        hint = f"set HOME, or {variable}, to a folder that may be written to"
        raise UsageError("this user has no home folder", where=variable, hint=hint) from None
