"""Conditions on claims: one path, one matcher, three answers. What cannot be told is never a yes.

=====================  ==========================================================================
written                holds when the claim …
=====================  ==========================================================================
``true``, ``3``        equals it
``"milan"``            equals it (text without an operator)
``">=23"``             compares so: ``>= <= > < !=``, with a number, or text (dates, versions) by its order
``"10..20"``           is a number from 10 to 20, both included
``["a", "b"]``         is one of them; each may be any of the forms above
``"@name"``            is in the named set of ``[sets]`` (measurements, hardware ids …)
``{ not = X }``        does not match X
``{ none = [..] }``    is a list with none of them in it (advisories that must not be open)
``{ only = [..] }``    is a list with nothing else in it (advisories that may be open)
``{ days = N }``       is a date at most N days before the time of judgement
=====================  ==========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any

Answer = Callable[[Any, datetime], bool]


class Told(Enum):
    """What a condition says of claims."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``path = matcher`` of a rule, where it stands, and how it is written."""

    path: str
    text: str
    line: int
    matches: Answer

    def ask(self, claims: Mapping[str, Any], at: datetime) -> tuple[Told, Any]:
        """(answer, value found); a value of a kind the matcher does not understand cannot be told."""
        value = look_up(claims, self.path)
        if value is None:
            return Told.UNKNOWN, None
        try:
            return (Told.YES if self.matches(value, at) else Told.NO), value
        except (TypeError, ValueError, OverflowError):
            return Told.UNKNOWN, value


@lru_cache(maxsize=1024)
def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def look_up(claims: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted ``path``; None when any part of it is absent."""
    value: Any = claims
    for part in _parts(path):
        if (type(value) is not dict and not isinstance(value, Mapping)) or part not in value:
            return None
        value = value[part]
    return value


_COMPARISON = re.compile(r"(>=|<=|!=|>|<)\s*(.+)")
_RANGE = re.compile(r"(-?\d+)\s*\.\.\s*(-?\d+)")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda a, b: bool(a >= b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    "<": lambda a, b: bool(a < b),
    "!=": lambda a, b: bool(a != b),
}


class Wrong(ValueError):
    """A matcher that cannot be understood; the policy reader adds file and line."""


def compile_matcher(written: Any, sets: Mapping[str, tuple[str, ...]]) -> Answer:
    """The matcher for what stands in a policy.

    Raises:
        Wrong: it cannot be understood, or names a set that is not there.
    """
    if isinstance(written, bool):
        return lambda value, _: value is written
    if isinstance(written, int):
        return lambda value, _: type(value) is int and value == written
    if isinstance(written, str):
        return _text(written, sets)
    if isinstance(written, list):
        if not written:
            raise Wrong("an empty list never holds")
        options = [compile_matcher(item, sets) for item in written]
        return lambda value, at: any(option(value, at) for option in options)
    if isinstance(written, dict) and len(written) == 1:
        return _operator(*next(iter(written.items())), sets)
    raise Wrong(f"{type(written).__name__} is not a condition")


def _text(written: str, sets: Mapping[str, tuple[str, ...]]) -> Answer:
    if written.startswith("@"):
        if written[1:] not in sets:
            raise Wrong(f"no set is called {written!r}; name it under [sets]")
        members = frozenset(item.lower() for item in sets[written[1:]])
        return lambda value, _: isinstance(value, str) and value.lower() in members
    if match := _RANGE.fullmatch(written):
        low, high = int(match[1]), int(match[2])
        return lambda value, _: _number(value) and low <= value <= high
    if match := _COMPARISON.fullmatch(written):
        return _compare(match[1], match[2].strip())
    return lambda value, _: isinstance(value, str) and value == written


def _number(value: Any) -> bool:
    if type(value) is not int:
        raise TypeError("not a number")
    return True


def _compare(sign: str, operand: str) -> Answer:
    order = _ORDER[sign]
    try:
        wanted = int(operand, 0)
    except ValueError:
        return lambda value, _: order(_is_text(value), operand)
    return lambda value, _: _number(value) and order(value, wanted)


def _is_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _operator(name: str, operand: Any, sets: Mapping[str, tuple[str, ...]]) -> Answer:
    if name == "not":
        inner = compile_matcher(operand, sets)
        return lambda value, at: not inner(value, at)
    if name in ("none", "only") and isinstance(operand, list) and all(isinstance(item, str) for item in operand):
        named = frozenset(operand)
        if name == "none":
            return lambda value, _: not named & _is_list(value)
        return lambda value, _: _is_list(value) <= named
    if name == "days" and type(operand) is int and operand >= 0:
        span = timedelta(days=operand)
        return lambda value, at: at - _date(value) <= span
    raise Wrong(f"{name!r} is not an operator with such an operand; not, none, only, days are")


def _is_list(value: Any) -> frozenset[str]:
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    return frozenset(value)


def _date(value: Any) -> datetime:
    found = datetime.fromisoformat(_is_text(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
