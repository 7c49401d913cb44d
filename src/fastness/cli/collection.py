"""Collections to judge again: recorded results as they stand; evidence itself, verified with what lies beside it.

What cannot be read (a folder, a file, a line) is a record too: it is refused, says what is wrong with it, and keeps
nobody from judging the others. Only where nothing at all was found, or a path is not there, is that an error of use.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from fastness.cli.words import one_line, say
from fastness.errors import FastnessError, Malformed, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from fastness.appraise.records import Record
    from fastness.attestation import Question
    from fastness.cli.tally import Tally
    from fastness.collateral.heap import Ignored
    from fastness.collateral.piles import Pile

MAX_DOCUMENT = 16 << 20
"""Largest result of `verify --json` read whole, in bytes; JSON lines have no limit but that of a line."""
LINES, BYTES = 100, 1 << 20
"""Most lines of a :class:`Batch`, and its size in bytes beyond which it takes no further line."""


class Batch(NamedTuple):
    """Lines of JSON of the file ``place``, as they stand there, from the line ``number`` on."""

    place: str
    number: int
    text: bytes

    def records(self) -> Iterator[Record]:
        """What stands in it."""
        from fastness.appraise import records

        return records.lines(self.text, self.place, self.number)


def judged(paths: Iterable[str], *, at: datetime, anchors: Iterable[str]) -> Iterator[Record]:
    """The records of :func:`batches`, one by one."""
    for item in batches(paths, at=at, anchors=anchors):
        if isinstance(item, Batch):
            yield from item.records()
        else:
            yield item


def batches(
    paths: Iterable[str], *, at: datetime, anchors: Iterable[str], tally: Tally | None = None
) -> Iterator[Record | Batch]:
    """What ``paths`` hold: records as they stand; evidence, told apart by content, verified with what lies beside it.

    Nothing is fetched: collateral that is not among the inputs or in the cache is missing. No path means the keeps that
    run detached from here. ``tally`` hears the size of the records, where it can be known.

    Raises:
        UsageError: a path that is not there, or nothing to judge in any of them.
    """
    from fastness.appraise import records
    from fastness.attestation import question
    from fastness.tenant import records as tenants

    paths = list(paths) or [str(place) for place in tenants.verdicts()]
    if not paths:
        raise UsageError("no keep of yours is on record", hint="name evidence or records, or fastness deploy --detach")
    _there(paths)
    kept = [path for path in paths if path == "-" or _is_record(path)]
    raw = [path for path in paths if path not in kept]
    if tally is not None and "-" not in kept:
        tally.size = sum(place.stat().st_size for place in map(Path, kept) if place.is_file())
    for path in kept if raw else ():
        say(one_line(f"{path} holds recorded results: nothing in it is verified again"))
    asked = question(at, None, None, None, anchors, offline=True)  # anchors that cannot be read are told in any case
    found, empty = False, []
    for item in chain(_verified(raw, asked) if raw else (), _records(kept)):
        if isinstance(item, UsageError):
            empty.append(item)
        else:
            found = True
            yield item
    if not found:
        where = ", ".join(error.where for error in empty)
        raise UsageError(empty[0].what, where=where, hint=empty[0].hint)
    for error in empty:
        yield records.unreadable(error, error.where)


def _there(paths: Iterable[str]) -> None:
    """A path that is not there is a slip of the hand: told before anything is judged."""
    for path in paths:
        if path != "-" and not os.path.lexists(path):
            hint = "name evidence, or records: files and folders that are there"
            raise UsageError("there is no such file or folder", where=path, hint=hint)


def _is_record(path: str) -> bool:
    """Whether a file is of JSON that tells of verdicts; one that cannot be read is for whoever reads it to say."""
    place = Path(path)
    if place.is_dir():
        return False
    if place.exists() and not place.is_file():
        return True  # a pipe: what is looked at is gone
    try:
        head = _head(path)
    except OSError:
        return True
    return not head or _tells(head)


def _head(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(1 << 16).lstrip()


def _tells(head: bytes) -> bool:
    """Whether what begins so is JSON that tells of verdicts."""
    if b"\0" not in head and (b"fastness/verdict" in head or b"fastness/error" in head):
        return True  # whatever its first line is: one that was cut does not hide the others
    return head[:1] in (b"{", b"[") and (b'"claims"' in head or b'"genuine"' in head)


def _holds_records(path: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(path).is_file() and _tells(_head(path))
    return False


def _files(folder: str) -> Iterator[str]:
    for parent, _, files in os.walk(folder):
        yield from (os.path.join(parent, item) for item in files)  # noqa: PTH118 - one call for many names


def _verified(paths: list[str], asked: Question) -> Iterator[Record | UsageError]:
    from fastness.appraise import records
    from fastness.collateral.piles import piles

    told: set[str] = set()
    for pile in piles(paths):
        try:
            yield from _pile(pile, asked, told)
        except FastnessError as error:
            yield records.unreadable(error, pile.name)


def _pile(pile: Pile, asked: Question, told: set[str]) -> Iterator[Record | UsageError]:
    """The records of one pile's own evidence; ``told`` is what was said to be left aside already."""
    from fastness.appraise import records
    from fastness.attestation import answer
    from fastness.collateral.gather import gather

    if pile.problem is not None:
        raise pile.problem
    if not pile.own:
        yield _none(pile)
        return
    gathered = gather((*pile.own, *pile.shared), lenient=True)
    results = answer(gathered, asked)
    unread = [item for item in gathered.ignored if item.unread and item.source in pile.own]
    for item in gathered.ignored:
        if item.source not in told and item not in unread:
            told.add(item.source)
            say(one_line(f"ignored {item.source}: {_why(item)}"))
    for item in unread:
        error = UsageError(item.why, where=item.source, hint="make it readable to you")
        yield records.unreadable(error, item.source)
    for result in results:
        if result.tee is None:
            if not unread:
                yield _none(pile)
        elif not result.source or result.source in pile.own:
            name = result.source or pile.name
            yield records.record({**result.to_json(), "id": name}, name)


def _none(pile: Pile) -> UsageError:
    """There is no evidence in a pile. Whoever may put files into a folder could write itself a verdict there, so only
    files named one by one are records."""
    if pile.place and any(map(_holds_records, _files(pile.place))):
        hint = "name the files: results are as good as the place they were kept in"
        return UsageError("no evidence was found, only recorded results", where=pile.name, hint=hint)
    return UsageError("no evidence was found", where=pile.name, hint="fastness evidence show PATH… tells more")


def _why(item: Ignored) -> str:
    return "a recorded result beside evidence: name it to have it judged" if _holds_records(item.source) else item.why


def _records(paths: Iterable[str]) -> Iterator[Record | Batch | UsageError]:
    from fastness.appraise import records

    for path in paths:
        empty = True
        try:
            for item in _file(path):
                empty = False
                yield item
        except OSError as error:
            what = f"the records cannot be read: {(error.strerror or '').lower()}"
            yield records.unreadable(UsageError(what, where=path, hint="make it readable to you"), path)
        except Malformed as error:
            yield records.unreadable(error, path)
        else:
            if empty:
                yield UsageError("no record was found", where=path, hint="fastness verify --json writes records")


def _file(path: str) -> Iterator[Record | Batch]:
    with contextlib.ExitStack() as stack:
        stream = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))  # noqa: PTH123
        first = _line(stream)
        if first.strip() in (b"{", b"["):  # a document over several lines, as `verify --json` writes it
            yield from _document(first + stream.read(MAX_DOCUMENT + 1), path)
            return
        number, rows = 1, [first]
        while rows[0]:
            size = len(rows[0])
            while len(rows) < LINES and size < BYTES and (line := _line(stream)):
                rows.append(line)
                size += len(line)
            text = b"".join(rows)
            if text.strip():
                yield Batch(path, number, text)
            number, rows = number + len(rows), [_line(stream)]


def _line(stream: IO[bytes]) -> bytes:
    """The next line; of one that is too long for a record, enough to see that."""
    from fastness.appraise.records import MAX_LINE

    line = rest = stream.readline(MAX_LINE + 2)
    while len(rest) > MAX_LINE + 1 and not rest.endswith(b"\n"):
        rest = stream.readline(MAX_LINE + 2)
    return line if line.endswith(b"\n") or not line else line + b"\n"


def _document(text: bytes, path: str) -> Iterator[Record]:
    from fastness.appraise import records

    if len(text) > MAX_DOCUMENT:
        raise Malformed(f"a document has at most {MAX_DOCUMENT} bytes", where=path, hint="write JSON lines")
    try:
        value = records.parse(text.decode())
    except (ValueError, RecursionError):
        raise Malformed("records that are not JSON", where=path, hint="one document, or one record a line") from None
    yield from records.several(value, path)
