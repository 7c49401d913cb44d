"""Rows of an image as a statement of reference values, in the form of :mod:`fastness.appraise.reference`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fastness.appraise import reference
from fastness.image.measure import Row
from fastness.wire.der import zulu


def make(
    rows: Iterable[Row], *, name: str, image: str, issued: datetime, expires: datetime | None = None
) -> reference.Statement:
    """``rows`` about the image of digest ``image``, under the name that policies know the set by.

    Raises:
        UsageError: a name no set can have, or no row.
    """
    stated = distinct(reference.Row(row.tee, _ordered(row), row.note) for row in rows)
    statement = reference.Statement(name, image, issued.replace(microsecond=0), expires, stated)
    # read back, so that nothing is written which policies would refuse
    return reference.parse(reference.dump_toml(statement).encode(), "reference values")


def document(statement: reference.Statement) -> dict[str, Any]:
    """The statement as one JSON document, with the same names as in TOML."""
    times = {"issued": zulu(statement.issued)}
    if statement.expires is not None:
        times["expires"] = zulu(statement.expires)
    values = []
    for row in statement.rows:
        found = {name: list(digests) for name, digests in row.measurements.items()}
        values.append({"tee": row.tee, "note": row.note, "measurements": found})
    return {"schema": reference.SCHEMA, "name": statement.name, "image": statement.image, **times, "value": values}


def distinct(rows: Iterable[reference.Row]) -> tuple[reference.Row, ...]:
    """``rows`` without those that say what an earlier one says, whatever their notes."""
    kept: dict[object, reference.Row] = {}
    for row in rows:
        kept.setdefault(row.key, row)
    return tuple(kept.values())


def _ordered(row: Row) -> dict[str, tuple[str, ...]]:
    """Measurements in the order people count: ``pcr9`` before ``pcr11``."""
    names = sorted(row.measurements, key=lambda name: (name.rstrip("0123456789"), len(name), name))
    return {name: row.measurements[name] for name in names}
