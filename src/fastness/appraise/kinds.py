"""Whether a condition speaks of a claim that exists, as what that claim is: what is legal, and hardly meant."""

from __future__ import annotations

import re
from typing import Any

from fastness.appraise import fields
from fastness.appraise.conditions import Condition

_RANGE = re.compile(r"-?\d+\.\.-?\d+")
_SIGN = re.compile(r"(?:>=|<=|!=|>|<)(.+)", re.DOTALL)
_LOOSE = frozenset({"platform", "any"})
_TEXT = frozenset({"text", "hex", "date", "mask"}) | _LOOSE
_NUMBER = frozenset({"number"}) | _LOOSE
_OPERATORS = {
    "none": frozenset({"list", "any"}), "only": frozenset({"list", "any"}), "at_least": frozenset({"list", "any"}),
    "days": frozenset({"date", "text"}), "grace": frozenset({"date", "text"}),
    "bits": frozenset({"number", "mask"}), "clear": frozenset({"number", "mask"}),
}  # fmt: skip
WORDS = {
    "bool": "true or false", "number": "a number", "text": "text", "hex": "hexadecimal", "date": "a date",
    "list": "a list", "mask": "a bit mask",
}  # fmt: skip


def unknown(item: Condition) -> bool:
    """Whether no TEE has the claim at all. Measurements and what clouds add have names of their own."""
    return item.path != "measurements" and not fields.anywhere(item.path)


def mismatch(item: Condition) -> str:
    """What the claim is, where the condition takes it for something else; empty when they fit."""
    if item.path == "measurements":
        return ""
    rows = [row for row in (fields.of(tee, item.path) for tee in fields.SHARED["all"]) if row is not None]
    if not rows or any(_fits(item.written, row.kind) for row in rows):
        return ""
    return WORDS.get(rows[0].kind, rows[0].kind)


def _fits(written: Any, kind: str) -> bool:
    if isinstance(written, bool):
        return kind in {"bool"} | _LOOSE
    if isinstance(written, int):
        return kind in _NUMBER
    if isinstance(written, list):
        return all(_fits(part, kind) for part in written)
    if isinstance(written, dict):
        return all(_operator(name, operand, kind) for name, operand in written.items())
    return isinstance(written, str) and kind in _of_text(written)


def _of_text(written: str) -> frozenset[str]:
    if _RANGE.fullmatch(written):
        return _NUMBER
    if match := _SIGN.fullmatch(written):
        try:
            int(match[1], 0)
        except ValueError:
            return _TEXT
        return _NUMBER
    return _TEXT


def _operator(name: str, operand: Any, kind: str) -> bool:
    if name in _OPERATORS:
        return kind in _OPERATORS[name]
    if name == "by_generation":
        return all(_fits(part, kind) for part in operand.values())
    return _fits(operand, kind)
