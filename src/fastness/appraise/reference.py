"""Reference values: what may run, stated by somebody, as a plain TOML file.

::

    schema = "fastness/reference-values/v1"
    name = "keep-images"                 # the set's name in policies: "@keep-images"
    image = "<SHA-256 of the image>"     # optional
    issued = 2026-11-23T12:00:00Z
    expires = 2027-11-23T12:00:00Z       # optional
    [[value]]
    tee = "snp"
    note = "OVMF 2025.02, two processors"
    measurements = { launch = ["<hex>"] }

A row holds for evidence of its ``tee`` when every measurement it names has one of the values beside the name. A
statement says nothing of who stands behind it: signatures are counted in ``appraise.sets``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastness import tee as tees
from fastness.appraise import toml_text
from fastness.errors import UsageError
from fastness.wire import toml
from fastness.wire.der import zulu

SCHEMA = "fastness/reference-values/v1"
MAX_FILE = 4 << 20
"""Largest file of reference values, in bytes."""
MAX_ROWS = 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEX = re.compile(r"(?:[0-9a-f]{2}){16,64}")
_TOP = ("schema", "name", "image", "issued", "expires", "value")
_VALUE = ("tee", "note", "measurements")


@dataclass(frozen=True, slots=True)
class Row:
    """One platform's values: every name of ``measurements`` must match, each by any of its values (16 to 64 bytes)."""

    tee: str
    measurements: Mapping[str, tuple[str, ...]]
    note: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two rows the same measurement, whoever states it and whatever they note."""
        return self.tee, tuple(sorted((name, tuple(sorted(set(values)))) for name, values in self.measurements.items()))


@dataclass(frozen=True, slots=True)
class Statement:
    """Rows under the name policies know the set by, for a time."""

    name: str
    image: str
    issued: datetime
    expires: datetime | None
    rows: tuple[Row, ...]


def load(path: str | Path) -> Statement:
    """The statement in a plain TOML file.

    Raises:
        UsageError: it cannot be read, or a fault in it with line and column.
    """
    return parse(read(path), str(path))


def read(path: str | Path) -> bytes:
    """The bytes of a file of at most 4 MiB."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise UsageError(f"the file cannot be read: {why}", where=str(path), hint="check its name") from None
    if len(data) > MAX_FILE:
        hint = "keys, tokens and reference values are smaller: is it this file?"
        raise UsageError(f"the file has more than {MAX_FILE} bytes", where=str(path), hint=hint)
    return data


def parse(data: bytes, file: str) -> Statement:
    """The statement written in ``data``; ``file`` names it in errors."""
    try:
        document = toml.parse(data.decode(), file)
    except UnicodeDecodeError as error:
        where = f"{file}, byte {error.start}"
        raise UsageError("reference values that are not UTF-8", where=where, hint="save it as UTF-8") from None
    return _Reader(document, file).statement()


class _Reader:
    """Takes a statement out of a document, with places for what is wrong."""

    def __init__(self, document: toml.Document, file: str) -> None:
        self._document = document
        self._file = file

    def wrong(self, path: tuple[str | int, ...], what: str, hint: str = "see docs/policy.md") -> UsageError:
        at = self._document.where(path)
        return UsageError(what, where=f"{self._file}:{at.line}:{at.column}", hint=hint)

    def known(self, path: tuple[str | int, ...], table: Mapping[str, Any], names: tuple[str, ...]) -> None:
        for key in table:
            if key not in names:
                raise self.wrong((*path, key), f"unknown key {key!r}", f"one of {', '.join(names)}")

    def statement(self) -> Statement:
        data = self._document.data
        self.known((), data, _TOP)
        if data.get("schema") != SCHEMA:
            raise self.wrong(("schema",), f"not reference values: schema {data.get('schema')!r}", SCHEMA)
        name, image = data.get("name"), data.get("image", "")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise self.wrong(("name",), "'name' must be the name of a set", 'name = "keep-images"')
        if not isinstance(image, str):
            raise self.wrong(("image",), "'image' must be text", 'image = "…"')
        issued = self.time(data, "issued")
        if issued is None:
            raise self.wrong(("issued",), "'issued' is missing", "issued = 2026-11-23T12:00:00Z")
        values = data.get("value", [])
        if not isinstance(values, list) or not 0 < len(values) <= MAX_ROWS:
            raise self.wrong(("value",), f"a statement has 1 to {MAX_ROWS} values", "[[value]]")
        rows = tuple(self.row(("value", index), item) for index, item in enumerate(values))
        return Statement(name, image, issued, self.time(data, "expires"), rows)

    def time(self, data: Mapping[str, Any], key: str) -> datetime | None:
        value = data.get(key)
        if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
            raise self.wrong((key,), f"{key!r} must be a time with a zone", f"{key} = 2026-11-23T12:00:00Z")
        return None if value is None else value.astimezone(UTC)

    def row(self, path: tuple[str | int, ...], table: Any) -> Row:
        if not isinstance(table, dict):
            raise self.wrong(path, "values must be written as [[value]]", "[[value]]")
        self.known(path, table, _VALUE)
        tee, note, measured = table.get("tee"), table.get("note", ""), table.get("measurements")
        if tee not in tees.NAMES:
            raise self.wrong((*path, "tee"), f"no TEE is called {tee!r}", f"one of {', '.join(tees.NAMES)}")
        if not isinstance(note, str):
            raise self.wrong((*path, "note"), "'note' must be text", 'note = "…"')
        if not isinstance(measured, dict) or not measured:
            raise self.wrong((*path, "measurements"), "a value without measurements", '{ launch = ["…"] }')
        return Row(tee, {name: self.digests((*path, "measurements", name), measured[name]) for name in measured}, note)

    def digests(self, path: tuple[str | int, ...], values: Any) -> tuple[str, ...]:
        found = tuple(item.lower() if isinstance(item, str) else "" for item in values) if values else ()
        if not isinstance(values, list) or not found or not all(map(_HEX.fullmatch, found)):
            raise self.wrong(path, "measurements are lists of 16 to 64 bytes in hexadecimal", '["9f3a…"]')
        return found


def dump_toml(statement: Statement) -> str:
    """``statement`` as TOML; reading it gives the same statement."""
    return "\n".join(_lines(statement)) + "\n"


def _lines(statement: Statement) -> Iterator[str]:
    yield f"schema = {toml_text.text(SCHEMA)}"
    yield f"name = {toml_text.text(statement.name)}"
    yield f"image = {toml_text.text(statement.image)}"
    yield f"issued = {zulu(statement.issued)}"
    if statement.expires is not None:
        yield f"expires = {zulu(statement.expires)}"
    for row in statement.rows:
        yield from ("", "[[value]]", f"tee = {toml_text.text(row.tee)}", f"note = {toml_text.text(row.note)}")
        yield "[value.measurements]"
        for name, values in row.measurements.items():
            yield f"{toml_text.key(name)} = [{', '.join(map(toml_text.text, values))}]"
