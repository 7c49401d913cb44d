"""Conditions on claims: one path, one matcher, three answers. What cannot be told is never a yes.

=====================  ==========================================================================
written                holds when the claim …
=====================  ==========================================================================
``true``, ``3``        equals it
``"milan"``            equals it (text without an operator)
``">=23"``             compares so: ``>= <= > < !=``, with a number, a date (``2026-03-13``: whole days of UTC; with
                       a time: to the second), a version (part by part), or other text by its order
``"10..20"``           is a number from 10 to 20, both included
``["a", "b"]``         is one of them; each may be any of the forms above
``"@name"``            is in the named set of ``[sets]`` (measurements, hardware ids …)
``{ not = X }``        does not match X
``{ none = [..] }``    is a list with none of them in it (advisories that must not be open)
``{ only = [..] }``    is a list with nothing else in it (advisories that may be open)
``{ days = N }``       is a date at most N days before the time of judgement
``{ days = N,          the same, and ``M`` days more in which the result says that it is in grace
grace = M }``
``{ bits = M }``       is a number with every bit of the mask M set (mitigation vectors)
``{ clear = M }``      is a number with every bit of the mask M clear
``{ at_least = [..] }``  is a list of as many numbers, none lower than the one in its place (TCB components)
``{ by_generation =    matches what stands beside its ``cpu.generation``; a generation not named never holds
{ genoa = X } }``
=====================  ==========================================================================

Hexadecimal is the same in either case of letters. A word that no evidence has (``tee = "sev-snp"``), a sign that is
none (``"=>23"``), a number of more than 64 bits are errors (:mod:`fastness.appraise.vocabulary`).

A value of another kind than the condition speaks of (text where a number stands) cannot be told: it neither satisfies
an accepting rule nor lifts a refusing one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastness.appraise import vocabulary
from fastness.appraise.answers import Answer, Tell, Told, Wrong
from fastness.appraise.sets import NamedSet
from fastness.wire.der import zulu

FOREIGN = ("cel", "rego")
"""What a condition in another language stands under (:mod:`fastness.appraise.adapters`)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``path = matcher`` of a rule, where it stands, and how it is written.

    ``written`` is the normal form of what the policy says; ``tell`` has more to say of a value (who signed it, how long
    its grace lasts).
    """

    path: str
    text: str
    line: int
    matches: Answer
    file: str = ""
    written: Any = None
    tell: Tell | None = None
    _parts: tuple[str, ...] = field(init=False, default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", tuple(self.path.split(".")))

    def ask(self, claims: Mapping[str, Any], at: datetime) -> tuple[Told, Any]:
        """(answer, value found); a value of a kind the matcher does not understand cannot be told."""
        value: Any = claims
        for part in self._parts:
            if (type(value) is not dict and not isinstance(value, Mapping)) or part not in value:
                return Told.UNKNOWN, None
            value = value[part]
        if value is None:
            return Told.UNKNOWN, None
        try:
            return (Told.YES if self.matches(value, at, claims) else Told.NO), value
        except (TypeError, ValueError, OverflowError):
            return Told.UNKNOWN, value

    def said(self, claims: Mapping[str, Any]) -> str:
        """``text``, of several generations that of ``claims`` alone."""
        cases = self.written.get("by_generation") if isinstance(self.written, dict) else None
        cpu = claims.get("cpu")
        name = cpu.get("generation") if isinstance(cpu, Mapping) else None
        return f"{words(cases[name])} ({name})" if cases and isinstance(name, str) and name in cases else self.text

    def hint(self, told: Told, wanted: str) -> str:
        """What to do about an answer that is not yes, in a rule that requires this; ``wanted`` as :meth:`said`."""
        if told is Told.UNKNOWN and self.path == "debug":
            return NO_DEBUG
        if told is Told.UNKNOWN:
            return f"the evidence does not say {self.path}; use a TEE that does, or leave line {self.line} out"
        return f"would be accepted if {self.path} were {wanted}, or with line {self.line} of the policy changed"


NO_DEBUG = (
    "the evidence does not say debug; use a TEE that does, or a rule that says what may run and leaves debug out, "
    "beside a [[waive]] of policy.debug"
)
"""What to do where there is no debug mode to speak of, as on an instance with a NitroTPM: without the rule's line the
strict answer stands, so that a line left out is not all."""

_COMPARISON = re.compile(r"(>=|<=|!=|>|<)\s*(.+)")
_RANGE = re.compile(r"(-?\d+)\s*\.\.\s*(-?\d+)")
_NO_SIGN = re.compile(r"\s|[=<>!~^]|[<>!]?=|\d*\s*\.\.")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(_DAY.pattern + r"[T ].*", re.DOTALL)
_VERSION = re.compile(r"[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]+)+")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){4,}")
MAX_NUMBER = 1 << 64
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    ">=": lambda a, b: bool(a >= b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    "<": lambda a, b: bool(a < b),
    "!=": lambda a, b: bool(a != b),
}


def words(written: Any) -> str:
    """A condition as people read it."""
    if isinstance(written, bool):
        return "true" if written else "false"
    if isinstance(written, list):
        return "one of " + ", ".join(map(words, written))
    if not isinstance(written, dict):
        return str(written)
    if "grace" in written:
        return f"at most {written['days']} days old, or {written['grace']} more in grace"
    if "days" in written:
        return f"at most {written['days']} days old"
    name, operand = next(iter(written.items()))
    return _SAID[name](operand)


_SAID: dict[str, Callable[[Any], str]] = {
    "not": lambda inner: f"not {words(inner)}",
    "none": lambda items: f"with none of {', '.join(items) or 'nothing'}",
    "only": lambda items: f"with nothing but {', '.join(items)}" if items else "empty",
    "bits": lambda mask: f"with bits {mask:#x} set" if isinstance(mask, int) else f"with bits {mask} set",
    "clear": lambda mask: f"with bits {mask:#x} clear" if isinstance(mask, int) else f"with bits {mask} clear",
    "at_least": lambda floors: f"at least [{', '.join(map(str, floors))}]",
    "by_generation": lambda cases: ", ".join(f"{name} {words(case)}" for name, case in cases.items()),
}


def compile_matcher(written: Any, sets: Mapping[str, NamedSet], path: str) -> Answer:
    """The matcher for what stands in a policy beside ``path``.

    Raises:
        Wrong: it cannot be understood, or names a set that is not there.
    """
    if isinstance(written, bool):
        return lambda value, at, claims: _bool(value) is written
    if isinstance(written, int):
        return _is_number(_small(written))
    if isinstance(written, str):
        return _text(written, sets, path)
    if isinstance(written, list):
        if not written:
            raise Wrong("an empty list never holds")
        return _one_of([compile_matcher(item, sets, path) for item in written])
    if isinstance(written, dict) and written:
        return _operator(written, sets, path)
    raise Wrong(f"{type(written).__name__} is not a condition")


def _one_of(options: list[Answer]) -> Answer:
    """Holds when one does; the order they are written in never matters, so one that cannot be told is kept for last."""

    def answer(value: Any, at: datetime, claims: Mapping[str, Any]) -> bool:
        unknown: Exception | None = None
        for option in options:
            try:
                if option(value, at, claims):
                    return True
            except (TypeError, ValueError, OverflowError) as error:
                unknown = error
        if unknown is not None:
            raise unknown
        return False

    return answer


def _text(written: str, sets: Mapping[str, NamedSet], path: str) -> Answer:
    if written.startswith("@"):
        named = sets.get(written[1:])
        if named is None:
            raise Wrong(f"no set is called {written!r}; name it under [sets], or give reference values that do")
        return named.answer(path)
    if path == "measurements":
        raise Wrong('measurements as a whole are compared with reference values: measurements = "@name"')
    if match := _RANGE.fullmatch(written):
        low, high = _small(int(match[1])), _small(int(match[2]))
        if low > high:
            raise Wrong(f"no number is in {written}")
        return lambda value, at, claims: low <= _number(value) <= high
    if match := _COMPARISON.fullmatch(written):
        return _compare(match[1], match[2].strip(), path)
    return _word(written, path)


def _small(number: int) -> int:
    if abs(number) >= MAX_NUMBER:
        raise Wrong("a number of more than 64 bits")
    return number


def _word(written: str, path: str) -> Answer:
    """Equality with text; what no evidence can say, or looks like a sign and is none, is an error: in a refusing rule
    it would never refuse."""
    if not written or _NO_SIGN.match(written) or written != written.strip():
        raise Wrong(f"{written!r} is neither a word nor a comparison; signs are >= <= > < !=, and 10..20")
    if fault := vocabulary.fault(path, written):
        raise Wrong(fault)
    if _DAY.fullmatch(written) or _TIME.fullmatch(written):
        return _compare_dates("==", written)
    return _is_hex(written.lower()) if _HEX.fullmatch(written) else _is_word(written)


# the two that most conditions are, each in one call


def _is_number(wanted: int) -> Answer:
    def answer(value: Any, at: datetime, claims: Mapping[str, Any]) -> bool:
        if type(value) is int:
            return value == wanted
        raise TypeError("not a number")

    return answer


def _is_word(wanted: str) -> Answer:
    def answer(value: Any, at: datetime, claims: Mapping[str, Any]) -> bool:
        if isinstance(value, str):
            return value == wanted
        raise TypeError("not text")

    return answer


def _is_hex(wanted: str) -> Answer:
    return lambda value, at, claims: _is_text(value).lower() == wanted


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("neither true nor false")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not a number")
    return value


def _compare(sign: str, operand: str, path: str) -> Answer:
    order = _ORDER[sign]
    try:
        wanted = int(operand, 0)
    except ValueError:
        return _compare_text(sign, operand, path)
    _small(wanted)
    return lambda value, at, claims: order(_number(value), wanted)


def _compare_text(sign: str, operand: str, path: str) -> Answer:
    if _NO_SIGN.match(operand) or operand.isdecimal():
        raise Wrong(f"{operand!r} is nothing to compare with")
    if _DAY.fullmatch(operand) or _TIME.fullmatch(operand):
        return _compare_dates(sign, operand)
    if sign == "!=":
        equal = _word(operand, path)
        return lambda value, at, claims: not equal(value, at, claims)
    order = _ORDER[sign]
    if _VERSION.fullmatch(operand):
        return lambda value, at, claims: order(*_versions(_is_text(value), operand))
    return lambda value, at, claims: order(_is_text(value), operand)


def _compare_dates(sign: str, operand: str) -> Answer:
    """To the precision that is written: whole days of UTC, or seconds; without a zone it is UTC."""
    order = _ORDER[sign]
    try:
        wanted = date(operand)
    except ValueError:
        raise Wrong(f"{operand!r} is no date") from None
    if _DAY.fullmatch(operand):
        day = wanted.date()
        return lambda value, at, claims: order(date(value).astimezone(UTC).date(), day)
    return lambda value, at, claims: order(date(value), wanted)


def _versions(value: str, operand: str) -> tuple[list[int] | list[str], list[int] | list[str]]:
    """Both in parts: numbers, or hexadecimal of one width (VBIOS), whose order is that of its text."""
    one, two = value.split("."), operand.split(".")
    if all(part.isascii() and part.isdecimal() for part in (*one, *two)):
        return [int(part) for part in one], [int(part) for part in two]
    if _VERSION.fullmatch(value) and list(map(len, one)) == list(map(len, two)):
        return value.lower().split("."), operand.lower().split(".")
    raise TypeError("not a version of that form")


def _is_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


OPERATORS = frozenset({"not", "none", "only", "days", "grace", "bits", "clear", "at_least", "by_generation"})


def _operator(written: dict[str, Any], sets: Mapping[str, NamedSet], path: str) -> Answer:
    if written.keys() == {"days", "grace"} and all(map(_count, written.values())):
        return _days(written["days"] + written["grace"])
    if len(written) != 1:
        raise Wrong(f"{', '.join(written)} do not stand together; only days and grace do")
    name, operand = next(iter(written.items()))
    found = _simple(name, operand, path)
    if found is not None:
        return found
    if name == "not":
        inner = compile_matcher(operand, sets, path)
        return lambda value, at, claims: not inner(value, at, claims)
    if name == "by_generation" and isinstance(operand, dict) and operand:
        for key in operand:
            _word(key, "cpu.generation")
        return _by_generation({key: compile_matcher(item, sets, path) for key, item in operand.items()})
    known = ", ".join(sorted(OPERATORS))
    raise Wrong(f"{name!r} is not an operator with such an operand; {known} are")


def _simple(name: str, operand: Any, path: str) -> Answer | None:
    """The operators that look at the value alone."""
    if name in ("none", "only") and isinstance(operand, list) and all(isinstance(item, str) for item in operand):
        named = _listed(operand, path)
        if name == "none":
            return lambda value, at, claims: not named & _is_list(value)
        return lambda value, at, claims: _is_list(value) <= named
    if name == "days" and _count(operand):
        return _days(operand)
    if name in ("bits", "clear"):
        mask = _mask(operand)
        wanted = mask if name == "bits" else 0
        return lambda value, at, claims: _bits(value) & mask == wanted
    if name == "at_least" and isinstance(operand, list) and operand and all(map(_count, operand)):
        floors = tuple(operand)
        return lambda value, at, claims: all(map(int.__ge__, _numbers(value, len(floors)), floors))
    return None


def _listed(items: list[str], path: str) -> frozenset[str]:
    for item in items:
        if item.startswith("@"):
            raise Wrong(f"{item!r}: a list has its items in it, not the name of a set")
        _word(item, path)
    return frozenset(map(_same, items))


def _same(item: str) -> str:
    return item.lower() if _HEX.fullmatch(item) else item


def _by_generation(cases: Mapping[str, Answer]) -> Answer:
    def answer(value: Any, at: datetime, claims: Mapping[str, Any]) -> bool:
        cpu = claims.get("cpu")
        case = cases.get(_is_text(cpu.get("generation") if isinstance(cpu, Mapping) else None))
        return case is not None and case(value, at, claims)

    return answer


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_NUMBER


def _days(days: int) -> Answer:
    try:
        span = timedelta(days=days)
    except OverflowError:
        raise Wrong(f"{days} days are too many") from None
    return lambda value, at, _: at - date(value) <= span


def grace(written: Any) -> Tell | None:
    """What ``{ days = N, grace = M }`` has to say of a date that only its grace saves."""
    if not isinstance(written, dict) or written.keys() != {"days", "grace"}:
        return None
    due, last = timedelta(days=written["days"]), timedelta(days=written["days"] + written["grace"])

    def tell(value: Any, at: datetime, _: Mapping[str, Any]) -> str:
        since = at - date(value)
        return f"in grace until {zulu(date(value) + last)[:10]}" if due < since <= last else ""

    return tell


def _mask(operand: Any) -> int:
    try:
        mask = int(operand, 0) if isinstance(operand, str) else operand
    except ValueError:
        mask = None
    if type(mask) is not int or not 0 < mask < MAX_NUMBER:
        raise Wrong("a mask is a number above zero, of 64 bits, or its text in hexadecimal: 0x0f")
    return mask


def _bits(value: Any) -> int:
    """Vectors of 64 bits are claimed as ``0x…`` text, which every JSON reader keeps whole."""
    if isinstance(value, str) and value.startswith("0x"):
        return int(value, 16)
    return _number(value)


def _numbers(value: Any, size: int) -> list[int]:
    if not isinstance(value, list | tuple) or len(value) != size:
        raise TypeError(f"not a list of {size}")
    return [_number(item) for item in value]


def _is_list(value: Any) -> frozenset[str]:
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    return frozenset(map(_same, value))


def date(value: Any) -> datetime:
    """A date of a claim; ``TypeError`` or ``ValueError`` for what is none."""
    found = datetime.fromisoformat(_is_text(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
