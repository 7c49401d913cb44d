"""A folder of many machines' evidence, taken apart: each folder is judged with what lies in it and what it shares.

`verify` takes all it is given as of one conversation. A collection is not: a forged list beside one quote must not
speak for another. So a folder that holds evidence is a pile of its own; it shares the files above it, and the folders
beside or below it that hold no evidence at all (a folder of certificates, say).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fastness.collateral.gather import MAX_FOLDERS, gather
from fastness.errors import Malformed, UsageError


class Pile(NamedTuple):
    """Paths to judge together; the evidence among ``own`` is this pile's, the rest only supports it."""

    own: tuple[str, ...]
    shared: tuple[str, ...] = ()


def piles(paths: Iterable[str]) -> Iterator[Pile]:
    """The piles of ``paths``: files named one by one are one pile, and are shared by those of the folders."""
    named = list(paths)
    folders = [item for item in named if item != "-" and Path(item).is_dir()]
    files = tuple(item for item in named if item not in folders)
    if not folders or _speaks(files):
        yield Pile(files)
    for folder in folders:
        yield from _below(Path(folder), files, 0)


def _below(folder: Path, shared: tuple[str, ...], depth: int) -> Iterator[Pile]:
    inner, own = [], []
    try:
        items = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"cannot be read: {(error.strerror or '').lower()}", where=str(folder)) from None
    for item in items:
        if not item.is_dir():
            own.append(str(item))
        elif not item.name.startswith("."):
            inner.append(item)
    quiet = tuple(str(item) for item in inner if depth < MAX_FOLDERS and not _speaks((str(item),)))
    if _speaks(tuple(own)):
        yield Pile(tuple(own), (*shared, *quiet))
    for item in inner:
        if depth < MAX_FOLDERS and str(item) not in quiet:
            yield from _below(item, (*shared, *own, *quiet), depth + 1)


def _speaks(paths: tuple[str, ...]) -> bool:
    """Whether there is evidence among ``paths``, or parts of some."""
    try:
        found = gather(paths)
    except (Malformed, UsageError):
        return True  # said when it is judged
    return bool(found.evidence) or found.problem is not None
