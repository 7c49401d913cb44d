"""Files, folders, standard input and bytes, in any mix, sorted into evidence and collateral by their content.

Names count for nothing. What is in a folder and is neither evidence nor collateral is left aside and listed; the
order of the inputs does not matter; a piece that comes twice counts once.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from fastness.collateral import parts
from fastness.collateral.heap import MAX_FILE, MAX_FILES, Found, Heap, Ignored
from fastness.collateral.sort import Sorter
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine, UsageError
from fastness.tee import Collateral, Document

Source: TypeAlias = str | os.PathLike[str] | bytes
MAX_FOLDERS = 8
"""Deepest nesting of folders that is walked."""


class Gathered(NamedTuple):
    """Evidence, in the order it was found, all collateral, what was left aside, and why parts are not evidence."""

    evidence: tuple[Found, ...]
    collateral: Collateral
    ignored: tuple[Ignored, ...]
    problem: MissingCollateral | MalformedEvidence | NotGenuine | None = None
    bundle_at: str = ""
    owner: str = ""
    """Whose the parts are, if all are of one TEE."""


def gather(sources: Iterable[Source], *, lenient: bool = False) -> Gathered:
    """What ``sources`` hold: paths of files and folders, ``-`` for standard input, bytes.

    Args:
        sources: the inputs.
        lenient: whether a named file that cannot be read is left aside, as it is in a folder.

    Raises:
        UsageError: a path that cannot be read, or more input than :mod:`~fastness.collateral.heap` takes.
    """
    heap = Heap()
    for _ in _sorted(sources, heap, lenient=lenient):
        pass
    problem = _assembled(heap)
    owners = {tee for tee, _ in heap.parts}
    owner = owners.pop() if len(owners) == 1 else ""
    found, left = tuple(heap.evidence.values()), tuple(dict.fromkeys(heap.ignored))
    return Gathered(found, heap.collateral(), left, problem, heap.bundle_at, owner)


def absent(gathered: Gathered) -> MalformedEvidence | UsageError:
    """The error that there is no evidence in ``gathered``."""
    if not gathered.ignored and gathered.collateral == Collateral():
        hint = "name files or folders with evidence in them, or - for standard input"
        return UsageError("nothing was given, or empty folders", where="PATH", hint=hint)
    error = MalformedEvidence("evidence", 0, "evidence of a TEE we know", "none among the inputs")
    error.hint = "it may be cut short: `fastness evidence show` tells what was understood"
    return error


def speaks(sources: Iterable[Source]) -> bool:
    """Whether there is evidence in ``sources``, parts of some, or what cannot be read and might be.

    Raises:
        UsageError: as :func:`gather`, lenient.
    """
    heap = Heap()
    # what is left is not read once there is evidence
    found = any(heap.evidence for _ in _sorted(sources, heap, lenient=True))
    return found or any(item.unread for item in heap.ignored) or _assembled(heap) is not None or bool(heap.evidence)


def _sorted(sources: Iterable[Source], heap: Heap, *, lenient: bool) -> Iterator[str]:
    """Sorts one source after the other into ``heap``; their names."""
    sorter = Sorter(heap)
    for name, data in _inputs(sources, heap, lenient=lenient):
        try:
            understood = sorter.sort(data, name)
        except MalformedEvidence as error:
            heap.ignore(name, error.what)
        else:
            if not understood:
                heap.ignore(name, "neither evidence nor collateral" if data else "empty")
        yield name


def _assembled(heap: Heap) -> MissingCollateral | MalformedEvidence | NotGenuine | None:
    """Puts parts together; why they are not evidence, if they are not."""
    try:
        parts.assemble(heap)
    except (MissingCollateral, MalformedEvidence, NotGenuine) as error:
        return error
    return parts.log_alone(heap)


def _inputs(sources: Iterable[Any], heap: Heap, *, lenient: bool) -> Iterator[tuple[str, bytes]]:
    for source in sources:
        if isinstance(source, bytes | bytearray | memoryview):
            _small(len(source), "bytes")
            yield "bytes", bytes(source)
        elif not isinstance(source, str | os.PathLike):
            what = f"a source is no path and no bytes but {type(source).__name__}"
            raise UsageError(what, where="sources", hint='verify("evidence/", report), each on its own')
        elif os.fspath(source) == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
            _small(len(data), "standard input")
            yield "-", data
        else:
            yield from _path(os.fspath(source), heap, lenient=lenient)


def _small(size: int, where: str) -> None:
    if size > MAX_FILE:
        hint = "evidence and collateral are smaller: name the file it was taken from"
        raise UsageError(f"an input holds at most {MAX_FILE} bytes", where=where, hint=hint)


def _path(name: str, heap: Heap, *, lenient: bool) -> Iterator[tuple[str, bytes]]:
    try:
        if not stat.S_ISDIR(os.stat(name).st_mode):  # noqa: PTH116 - one call, no pathlib on this path
            if lenient:
                yield from _readable(name, heap)
            else:
                yield name, _read(name)
            return
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        if lenient:
            heap.ignore(name, f"cannot be read: {reason}", unread=True)
            return
        closed = isinstance(error, PermissionError)
        hint = "make it readable to you" if closed else "name files and folders that are there"
        raise UsageError(f"cannot be read: {reason}", where=name or repr(name), hint=hint) from None
    yield from _folder(name, heap, lenient=lenient)


def _readable(path: str, heap: Heap) -> Iterator[tuple[str, bytes]]:
    """The file at ``path``, or nothing where it cannot be read."""
    try:
        yield path, _read(path)
    except OSError as error:
        heap.ignore(path, f"cannot be read: {str(error.strerror).lower()}", unread=True)
    except UsageError as error:
        heap.ignore(path, error.what)


def _folder(name: str, heap: Heap, *, lenient: bool) -> Iterator[tuple[str, bytes]]:
    count = 0

    def unread(error: OSError) -> None:
        place, why = str(error.filename), f"cannot be read: {str(error.strerror).lower()}"
        if place == name and not lenient:
            raise UsageError(why, where=name, hint="make it readable to you")
        heap.ignore(place, why, unread=True)

    for parent, folders, files in os.walk(name, onerror=unread):
        folders[:] = sorted(item for item in folders if not item.startswith("."))
        if parent[len(name) :].count(os.sep) >= MAX_FOLDERS:
            for item in folders:
                heap.ignore(os.path.join(parent, item), f"deeper than {MAX_FOLDERS} folders")  # noqa: PTH118
            folders.clear()
        for item in sorted(files):
            count += 1
            if count > MAX_FILES:
                raise UsageError(f"more than {MAX_FILES} files", where=name, hint="name the files of one machine only")
            path = os.path.join(parent, item)  # noqa: PTH118 - as above
            yield from _readable(path, heap)


def _read(path: str) -> bytes:
    # O_NONBLOCK: a FIFO in a folder must not hang us; a device is no evidence
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb", closefd=True) as file:  # noqa: PTH123
        status = os.fstat(handle)
        if stat.S_ISFIFO(status.st_mode) or path.startswith(("/dev/fd/", "/proc/")):
            os.set_blocking(handle, True)
        elif not stat.S_ISREG(status.st_mode):
            raise UsageError("not a file", where=path, hint="name a file, a folder, or - for standard input")
        data = file.read(MAX_FILE + 1)
    _small(len(data), path)
    return data


def nonces(collateral: Collateral) -> tuple[Document, ...]:
    """Short files that look like nothing else: perhaps the nonce somebody asked for."""
    return collateral.of("nonce")


def place(name: str) -> str:
    """A source for people: the last part of a path."""
    return name.rstrip(os.sep).rsplit(os.sep, 1)[-1] or name
