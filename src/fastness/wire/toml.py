"""TOML with positions: what `tomllib` reads, and where each key stands, so that errors can say line and column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fastness.errors import UsageError

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_SYNTAX = re.compile(r"^(.*) \(at line (\d+), column (\d+)\)$")

FORM = "a line is a name, =, and a value; text stands in quotes, the name of a table in brackets"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text, both counted from one."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document: its data, and the positions of keys that stand on lines of their own."""

    data: dict[str, Any]
    positions: dict[tuple[str | int, ...], Position]

    def where(self, path: tuple[str | int, ...]) -> Position:
        """Where ``path`` stands; the nearest parent whose place is known otherwise."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, Position(1, 1))


def parse(text: str, file: str, hint: str = FORM) -> Document:
    """The document in ``text``.

    Raises:
        UsageError: not TOML, with file, line and column, and ``hint`` on its form.
    """
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.match(str(error))
        what, where = (match[1], f"{file}:{match[2]}:{match[3]}") if match else (str(error), file)
        raise UsageError(f"not TOML: {what[:1].lower()}{what[1:]}", where=where, hint=hint) from None
    except ValueError:
        raise UsageError("not TOML: a number of too many digits", where=file, hint="64 bits are the most") from None
    except RecursionError:
        raise UsageError("not TOML: nested too deep", where=file, hint="nest less") from None
    return Document(data, _positions(text))


def nearest(word: str, words: tuple[str, ...]) -> str | None:
    """The one of ``words`` that ``word`` was probably meant to be, if any is close."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, words, 1, 0.6)), None)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(next(part for part in match if part) for match in _PART.findall(dotted) if any(match))


def _positions(text: str) -> dict[tuple[str | int, ...], Position]:
    found: dict[tuple[str | int, ...], Position] = {}
    counts: dict[tuple[str, ...], int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            parts = _parts(header[2])
            table = _inside(parts, counts)
            if header[1] == "[[":
                counts[parts] = counts.get(parts, -1) + 1
                table = (*_inside(parts[:-1], counts), parts[-1], counts[parts])
                _restart(parts, counts)
            found.setdefault(table, Position(number, header.start(2) + 1))
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), Position(number, key.start(1) + 1))
    return found


def _inside(parts: tuple[str, ...], counts: dict[tuple[str, ...], int]) -> tuple[str | int, ...]:
    """``parts`` with the index of the latest entry after each array of tables: ``[rule.when]`` is of the last rule."""
    path: list[str | int] = []
    for size, part in enumerate(parts, 1):
        path.append(part)
        if parts[:size] in counts:
            path.append(counts[parts[:size]])
    return tuple(path)


def _restart(parts: tuple[str, ...], counts: dict[tuple[str, ...], int]) -> None:
    """Arrays inside a new entry of an array of tables are counted from zero again."""
    for inner in [item for item in counts if len(item) > len(parts) and item[: len(parts)] == parts]:
        del counts[inner]
