"""A folder of many machines' evidence, taken apart: each folder is judged with what lies in it and what it shares.

`verify` takes all it is given as of one conversation. A collection is not: a forged list beside one quote must not
speak for another. So a folder that holds evidence is a pile of its own; it shares the files above it, and the folders
beside or below it that hold no evidence at all (a folder of certificates, say).

One walk asks of every folder whether it holds evidence, and remembers only that; then each pile is judged on its own,
so that memory does not grow with the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fastness.collateral.gather import MAX_FOLDERS, speaks
from fastness.errors import FastnessError, UsageError


class Pile(NamedTuple):
    """Paths to judge together; the evidence among ``own`` is this pile's, the rest only supports it.

    ``place`` is the folder it lies in, if it is one; ``problem`` is why it cannot be judged.
    """

    own: tuple[str, ...]
    shared: tuple[str, ...] = ()
    place: str = ""
    problem: FastnessError | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return self.place or ", ".join(self.own)


class _Folder(NamedTuple):
    """A folder, whether its own files speak, and whether those of any folder in it do."""

    place: str
    own: tuple[str, ...]
    inner: tuple[_Folder, ...]
    speaks: bool
    problem: FastnessError | None = None

    @property
    def quiet(self) -> bool:
        return not self.speaks and all(item.quiet for item in self.inner)


def piles(paths: Iterable[str]) -> Iterator[Pile]:
    """The piles of ``paths``: files named one by one are one pile, and are shared by those of the folders.

    A named folder without any evidence is a pile of nothing.
    """
    named = list(paths)
    folders = [item for item in named if item != "-" and Path(item).is_dir()]
    files = tuple(item for item in named if item not in folders)
    if not folders or _speaks(files):
        yield Pile(files)
    for name in folders:
        folder = _walk(Path(name), 0)
        if folder.quiet:
            yield Pile((), place=name)
        yield from _below(folder, files)


def _walk(folder: Path, depth: int) -> _Folder:
    try:
        items = sorted(folder.iterdir())
    except OSError as error:
        what = f"cannot be read: {(error.strerror or '').lower()}"
        return _broken(folder, UsageError(what, where=str(folder), hint="make it readable to you"))
    inner = [item for item in items if item.is_dir()]
    own = tuple(str(item) for item in items if item not in inner)
    inner = [item for item in inner if not item.name.startswith(".")]
    if inner and depth == MAX_FOLDERS:
        what = f"folders nested more than {MAX_FOLDERS} deep"
        return _broken(folder, UsageError(what, where=str(folder), hint="name the folders below apart"))
    return _Folder(str(folder), own, tuple(_walk(item, depth + 1) for item in inner), _speaks(own))


def _broken(folder: Path, problem: UsageError) -> _Folder:
    return _Folder(str(folder), (), (), speaks=True, problem=problem)


def _below(folder: _Folder, shared: tuple[str, ...]) -> Iterator[Pile]:
    quiet = tuple(item.place for item in folder.inner if item.quiet)
    if folder.speaks:
        yield Pile(folder.own, (*shared, *quiet), folder.place, folder.problem)
    for item in folder.inner:
        if not item.quiet:
            yield from _below(item, (*shared, *folder.own, *quiet))


def _speaks(paths: tuple[str, ...]) -> bool:
    """Whether there is evidence among ``paths``, or parts of some; what cannot be read is said when it is judged."""
    try:
        return speaks(paths)
    except FastnessError:
        return True
