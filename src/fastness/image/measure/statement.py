"""Reference values of one image as TOML: ``fastness/reference-values/v1``, ready to be signed.

``fastness.appraise.reference`` reads and signs it; this writes it. The same rows at the same
time give the same text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastness.image.measure import Row

SCHEMA = "fastness/reference-values/v1"


@dataclass(frozen=True, slots=True)
class Statement:
    """What is stated: values of ``image`` (its digest), under the name policies know the set by, and for how long."""

    name: str
    image: str
    issued: datetime
    expires: datetime | None
    rows: tuple[Row, ...]

    def document(self) -> dict[str, Any]:
        """The statement as one JSON document, with the same names as in TOML."""
        times = {"issued": _zulu(self.issued)} | ({"expires": _zulu(self.expires)} if self.expires else {})
        values = [
            {
                "tee": row.tee,
                "note": row.note,
                "measurements": {name: list(row.measurements[name]) for name in _names(row)},
            }
            for row in self.rows
        ]
        return {"schema": SCHEMA, "name": self.name, "image": self.image, **times, "value": values}

    def toml(self) -> str:
        """The statement as TOML."""
        lines = [f"schema = {_text(SCHEMA)}", f"name = {_text(self.name)}", f"image = {_text(self.image)}"]
        lines.append(f"issued = {_zulu(self.issued)}")
        if self.expires is not None:
            lines.append(f"expires = {_zulu(self.expires)}")
        for row in self.rows:
            lines += ["", "[[value]]", f"tee = {_text(row.tee)}", f"note = {_text(row.note)}", "[value.measurements]"]
            lines += [f"{name} = [{', '.join(map(_text, row.measurements[name]))}]" for name in _names(row)]
        return "\n".join(lines) + "\n"


def distinct(rows: Iterable[Row]) -> tuple[Row, ...]:
    """``rows`` without those that say what an earlier one says, whatever their notes."""
    kept: list[Row] = []
    for row in rows:
        if not any((other.tee, other.measurements) == (row.tee, row.measurements) for other in kept):
            kept.append(row)
    return tuple(kept)


def _names(row: Row) -> list[str]:
    """Names of measurements in the order people count: ``pcr9`` before ``pcr11``."""
    return sorted(row.measurements, key=lambda name: (name.rstrip("0123456789"), len(name), name))


def _zulu(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's."""
    return json.dumps(value, ensure_ascii=False)
