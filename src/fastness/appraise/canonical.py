"""The canonical form of a policy: one text for everything that means the same. Its SHA-256 is the policy's digest.

It is itself a policy: rules, waivers and sets in the order of their names, conditions by path, alternatives once and in
order, hexadecimal in lower case, includes flattened, and reference values with their auditors inside. Comments, layout,
file names and the order of rules are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastness.appraise import toml_text
from fastness.appraise.conditions import Condition
from fastness.appraise.rules import Rule, Waiver
from fastness.appraise.vocabulary import HEX_TOPS

_SIGNED = re.compile(r"(>=|<=|!=|>|<)(.*)", re.DOTALL)
_RANGE = re.compile(r"(-?\d+)\s*\.\.\s*(-?\d+)")
_HEX = re.compile(r"[0-9A-Fa-f]+")
ORDERED = frozenset({"at_least"})
"""Operators whose list is no set of alternatives: the place of an item means something."""


@dataclass(frozen=True, slots=True)
class Included:
    """A ``[[reference]]`` with its files read. ``name`` is empty where the statements name the set."""

    name: str
    threshold: int | None
    files: tuple[str, ...]
    auditors: str
    """Both in base64."""


def normal(path: str, written: Any) -> Any:
    """What a policy says beside ``path``, in its normal form."""
    if isinstance(written, str):
        return _text(path, written)
    if isinstance(written, list):
        items = [normal(path, item) for item in written]
        unique = {value(item): item for item in items}
        ordered = [unique[key] for key in sorted(unique)]
        return ordered[0] if len(ordered) == 1 and not isinstance(ordered[0], list) else ordered
    if isinstance(written, dict):
        return {key: _operand(path, key, written[key]) for key in sorted(written)}
    return written


def _operand(path: str, operator: str, operand: Any) -> Any:
    if operator in ORDERED:
        return operand
    if operator == "by_generation" and isinstance(operand, dict):
        return {key: normal(path, operand[key]) for key in sorted(operand)}
    if operator in ("none", "only") and isinstance(operand, list):
        return sorted({str(item) for item in operand}) if all(isinstance(item, str) for item in operand) else operand
    if operator in ("bits", "clear") and isinstance(operand, str):
        try:
            return int(operand, 0)
        except ValueError:
            return operand
    return normal(path, operand)


def _text(path: str, written: str) -> str:
    if match := _SIGNED.fullmatch(written):
        return match[1] + _hex(path, match[2].strip())
    if match := _RANGE.fullmatch(written):
        return f"{int(match[1])}..{int(match[2])}"
    return _hex(path, written)


def _hex(path: str, word: str) -> str:
    return word.lower() if path.partition(".")[0] in HEX_TOPS and _HEX.fullmatch(word) else word


def value(item: Any) -> str:
    """``item`` as a TOML value on one line; tables with their keys in order."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str):
        return toml_text.text(item)
    if isinstance(item, list | tuple):
        return f"[{', '.join(map(value, item))}]"
    if isinstance(item, Mapping):
        return "{ " + ", ".join(f"{toml_text.key(key)} = {value(item[key])}" for key in sorted(item)) + " }"
    return str(item)


def dump(
    name: str,
    sets: Mapping[str, Iterable[str]],
    references: Iterable[Included],
    rules: Iterable[Rule],
    waivers: Iterable[Waiver],
) -> str:
    """The canonical text. ``name`` is the policy's ``id`` if it has one; ``sets`` are the members policies list."""
    blocks = [[f"id = {value(name)}"]] if name else []
    if sets:
        rows = {key: sorted({item.lower() for item in members}) for key, members in sets.items()}
        blocks.append(["[sets]", *(f"{toml_text.key(key)} = {value(rows[key])}" for key in sorted(rows))])
    blocks += sorted([list(_reference(item)) for item in references])
    blocks += [list(_rule(item)) for item in sorted(rules, key=lambda item: item.id)]
    blocks += sorted({(item.check, item.why): list(_waiver(item)) for item in waivers}.values())
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _reference(item: Included) -> Iterator[str]:
    yield "[[reference]]"
    if item.name:
        yield f"name = {value(item.name)}"
    if item.threshold is not None:
        yield f"threshold = {item.threshold}"
    if item.auditors:
        yield f"inline_auditors = {value(item.auditors)}"
    yield f"inline = {value(sorted(set(item.files)))}"


def _rule(rule: Rule) -> Iterator[str]:
    yield "[[rule]]"
    yield f"id = {value(rule.id)}"
    yield f"effect = {value(rule.effect)}"
    if rule.why:
        yield f"why = {value(rule.why)}"
    for name, conditions in (("when", rule.when), ("require", rule.require), ("unless", rule.unless)):
        if conditions:
            yield f"[rule.{name}]"
            yield from (_condition(item) for item in sorted(conditions, key=lambda item: item.path))


def _condition(item: Condition) -> str:
    return f"{toml_text.key(item.path)} = {value(item.written)}"


def _waiver(item: Waiver) -> Iterator[str]:
    yield "[[waive]]"
    yield f"check = {value(item.check)}"
    yield f"why = {value(item.why)}"
