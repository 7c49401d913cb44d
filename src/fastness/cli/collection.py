"""Collections to judge again: recorded results as they stand; evidence itself, verified with what lies beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fastness.cli.tally import Tally
from fastness.cli.words import printable, say
from fastness.errors import Malformed, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from fastness.appraise.records import Record

MAX_DOCUMENT = 16 << 20
"""Largest result of `verify --json` read whole, in bytes; JSON lines have no limit but that of a line."""


def judged(
    paths: Iterable[str], *, at: datetime, anchors: Iterable[str], tally: Tally | None = None
) -> Iterator[Record]:
    """What ``paths`` hold: records as they stand; evidence, told apart by content, verified with what lies beside it.

    Nothing is fetched: collateral that is not among the inputs or in the cache is missing. No path means the keeps that
    run detached from here.
    """
    from fastness.tenant import records as tenants

    paths = list(paths) or [str(place) for place in tenants.verdicts()]
    if not paths:
        raise UsageError("no keep of yours is on record", hint="name evidence or records, or fastness deploy --detach")
    kept = [path for path in paths if path == "-" or _is_record(path)]
    raw = [path for path in paths if path not in kept]
    if raw:
        yield from _verified(raw, at, anchors)
    yield from _records(kept, tally or Tally())


def _verified(paths: list[str], at: datetime, anchors: Iterable[str]) -> Iterator[Record]:
    from fastness.appraise import records
    from fastness.attestation import verify_all
    from fastness.collateral.piles import piles

    found = 0
    for pile in piles(paths):
        given = (*pile.own, *pile.shared)
        results = verify_all(*given, at=at, anchors=anchors, offline=True)
        for number, result in enumerate(results):
            for item in () if number else result.ignored:
                say(printable(f"ignored {item.source}: {item.why}"))
            if not result.source or result.source in pile.own:
                found += 1
                yield records.record({**result.to_json(), "id": result.source}, result.source)
    if not found:
        raise UsageError(
            "no evidence was found", where=", ".join(paths), hint="fastness evidence show PATH… tells more"
        )


def _is_record(path: str) -> bool:
    """Whether a file is of JSON that tells of claims; a file that is not there is for the reader of records to miss."""
    from pathlib import Path

    place = Path(path)
    if place.is_dir():
        return False
    try:
        with place.open("rb") as file:
            head = file.read(1 << 16).lstrip()
    except OSError:
        return True
    told = any(word in head for word in (b"fastness/verdict", b'"claims"', b'"genuine"'))
    return not head or (head[:1] in (b"{", b"[") and told)


def _records(paths: list[str], tally: Tally) -> Iterator[Record]:
    from pathlib import Path

    from fastness.appraise import records

    if "-" not in paths:
        tally.size = sum(place.stat().st_size for place in map(Path, paths) if place.is_file())
    for path in paths:
        try:
            stream = sys.stdin if path == "-" else open(path, encoding="utf-8")  # noqa: SIM115, PTH123
        except OSError as error:
            raise UsageError(f"the records cannot be read: {(error.strerror or '').lower()}", where=path) from None
        with stream:
            try:
                first = stream.readline(records.MAX_LINE + 1)
                if first.strip() in ("{", "["):  # a document over several lines, as `verify --json` writes it
                    yield from _document(first + stream.read(MAX_DOCUMENT + 1), path)
                    continue
                number = 1
                while first:
                    tally.read += len(first)
                    if first.strip():
                        yield records.read(first, f"{path}:{number}")
                    first, number = stream.readline(records.MAX_LINE + 1), number + 1
            except UnicodeDecodeError:
                hint = "for evidence itself: fastness verify --json PATH… > results.json"
                raise Malformed("records that are not UTF-8", where=path, hint=hint) from None


def _document(text: str, path: str) -> Iterator[Record]:
    import json

    from fastness.appraise import records

    if len(text) > MAX_DOCUMENT:
        raise Malformed(f"a document has at most {MAX_DOCUMENT} characters", where=path, hint="write JSON lines")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("records that are not JSON", where=path) from None
    results = value.get("results", [value]) if isinstance(value, dict) else value
    if not isinstance(results, list):
        raise Malformed("results that are not a list", where=path)
    for index, item in enumerate(results):
        yield records.record(item, f"{path}#{index}")
