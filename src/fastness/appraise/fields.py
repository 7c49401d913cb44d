"""The claims policies can speak of, from the table beside this file: what exists, of which kind, in which TEE."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from fastness import tee as tees

SHARED = {
    "all": tees.NAMES,
    "cpu": ("snp", "sev", "sgx", "tdx"),
    "dcap": ("sgx", "tdx"),
    "collateral": ("sgx", "tdx", "nitro", "nvgpu"),
}
"""Sections of the table that more than one TEE has."""
_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "number": (int,), "text": (str,), "hex": (str,), "date": (str,), "list": (list,), "mask": (str,),
    "platform": (str, int, bool), "any": (str, int, bool, list),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One claim, or several of a kind: ``path`` may hold stars."""

    path: str
    kind: str
    says: str
    tees: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is of the field's kind."""
        return type(value) in _KINDS[self.kind]


@cache
def table() -> tuple[Field, ...]:
    """Every row, in the order of the file."""
    import tomllib
    from importlib.resources import files

    whole = tomllib.loads(files("fastness.appraise").joinpath("data/fields.toml").read_text("utf-8"))
    return tuple(
        Field(path, kind, says, SHARED.get(section, (section,)))
        for section, rows in whole.items()
        for path, (kind, says) in rows.items()
    )


def of(tee: str, path: str) -> Field | None:
    """The row for ``path`` in evidence of ``tee``: the one that names it exactly before one with stars."""
    found = [row for row in table() if tee in row.tees and _covers(row.path, path)]
    return min(found, key=lambda row: row.path.count("*"), default=None)


def anywhere(path: str) -> bool:
    """Whether any TEE has ``path``, or something inside it."""
    return any(_covers(row.path, path) or row.path.startswith(f"{path}.") for row in table())


def _covers(pattern: str, path: str) -> bool:
    return pattern == path or (pattern.count(".") == path.count(".") and fnmatchcase(path, pattern))
