"""Typed reading of one table from outside: every key is taken by name and type, and what is left over is refused.

The table comes from TOML somebody wrote or from CBOR a peer sent; the reader does not care. It is given a function that
turns (path, what, hint) into the error of that origin: with file, line and column, or with the path alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastness.errors import FastnessError

Path = tuple[str | int, ...]
Fault = Callable[[Path, str, str], FastnessError]
Nearest = Callable[[str, tuple[str, ...]], str | None]

MAX_TEXT = 65_536
"""Longest single string, in characters."""

MAX_ENTRIES = 4096
"""Most entries of one list or table."""


def dotted(path: Path) -> str:
    """``("files", 3, "kind")`` as ``files[3].kind``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part.replace("-", "_").isidentifier()
            text += ("." if text else "") + (part if bare else f'"{part}"')
    return text


class Fields:
    """One table being read.

    Args:
        data: what should be a table.
        path: where it stands in the document.
        fault: makes the error to raise.
        nearest: finds the known key that an unknown one was probably meant to be; None where no person wrote it.
    """

    __slots__ = ("data", "fault", "nearest", "path", "taken")

    def __init__(self, data: object, path: Path, fault: Fault, nearest: Nearest | None = None) -> None:
        self.path = path
        self.fault = fault
        self.nearest = nearest
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise fault(path, f"{dotted(path)} must be a table", "")
        if len(data) > MAX_ENTRIES:
            raise fault(path, f"{dotted(path) or 'the table'} has {len(data)} entries, more than {MAX_ENTRIES}", "")
        self.data: Mapping[str, Any] = data
        self.taken: set[str] = set()

    def wrong(self, key: str | int, what: str, hint: str = "") -> FastnessError:
        """The error about ``key``."""
        at = (*self.path, key)
        return self.fault(at, f"{dotted(at)} {what}", hint)

    def take(self, key: str, default: Any = None) -> Any:
        """The raw value of ``key``."""
        self.taken.add(key)
        return self.data.get(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        """A string without NUL. Required when there is no default."""
        value = self.take(key, default)
        if value is None:
            raise self.fault(self.path, f"{dotted(self.path) or 'the document'} needs the key {key}", "")
        return self.checked(key, value)

    def checked(self, key: str | int, value: object) -> str:
        """``value`` if it is a string that WASI can carry."""
        if not isinstance(value, str):
            raise self.wrong(key, f"must be a string, not {type(value).__name__}")
        if "\0" in value or len(value) > MAX_TEXT:
            raise self.wrong(key, f"must be at most {MAX_TEXT} characters, none of them NUL")
        return value

    def choice(self, key: str, words: tuple[str, ...], default: str | None = None) -> str:
        """One of ``words``."""
        value = self.text(key, default)
        if value not in words:
            raise self.wrong(key, f'is "{value}"', f"use one of {', '.join(words)}")
        return value

    def integer(self, key: str, default: int, low: int, high: int, units: dict[str, int] | None = None) -> int:
        """An integer of ``low`` to ``high``; with ``units``, also text such as ``"64 MiB"``."""
        from fastness.workload.limits import quantity

        value = quantity(self.take(key, default), units or {})
        if value is None:
            form = f'an integer or text such as "64 {list(units)[-2]}"' if units else "an integer"
            raise self.wrong(key, f"must be {form}", f"units: {', '.join(units)}" if units else "")
        if not low <= value <= high:
            raise self.wrong(key, f"is {value}", f"use {low} to {high}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty when absent."""
        return tuple(Fields.checked(inner, at, item) for inner, at, item in self.items(key))

    def items(self, key: str) -> Iterator[tuple[Fields, int, Any]]:
        """The items of a list, each with a reader whose path ends in ``key`` and with its index."""
        value = self.take(key, [])
        if not isinstance(value, list | tuple):
            raise self.wrong(key, "must be a list")
        if len(value) > MAX_ENTRIES:
            raise self.wrong(key, f"has {len(value)} entries, more than {MAX_ENTRIES}")
        inner = Fields({}, (*self.path, key), self.fault, self.nearest)
        for index, item in enumerate(value):
            yield inner, index, item

    def table(self, key: str) -> Fields:
        """A table, empty when absent."""
        return Fields(self.take(key, {}), (*self.path, key), self.fault, self.nearest)

    def tables(self, key: str) -> Iterator[Fields]:
        """The tables of a list of tables."""
        for inner, index, item in self.items(key):
            yield Fields(item, (*inner.path, index), self.fault, self.nearest)

    def done(self) -> None:
        """Refuses keys that were not taken, naming the nearest known one where that is told."""
        for key in self.data:
            if key not in self.taken:
                near = self.nearest(key, tuple(sorted(self.taken))) if self.nearest else None
                hint = f"did you mean {near}?" if near else f"known keys: {', '.join(sorted(self.taken))}"
                raise self.fault((*self.path, key), f"unknown key {dotted((*self.path, key))}", hint)
