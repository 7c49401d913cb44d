"""Intel's signed JSON, read strictly: the envelope by the bytes that are signed, members by the very type they have.

The signature is over the exact bytes of the inner object, so they are cut out of the raw response and never made again
from what was parsed (Intel PCS API 4.0, "Get TCB Info" and "Get QE Identity").
"""

from __future__ import annotations

from datetime import datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from fastness.errors import MalformedEvidence

if TYPE_CHECKING:
    from json import JSONDecoder

MAX_DOCUMENT = 1 << 20
T = TypeVar("T")


def bad(field: str, need: object, have: object) -> MalformedEvidence:
    """The refusal of a member: its name, what it should be, and the first 60 characters of what it is."""
    return MalformedEvidence(field, 0, need, repr(have)[:60])


def envelope(data: bytes, name: str) -> tuple[bytes, dict[str, Any], bytes]:
    """(signed bytes, inner object, signature) of ``{"<name>": {…}, "signature": "…"}``, the two in either order."""
    if len(data) > MAX_DOCUMENT:
        raise bad(name, f"at most {MAX_DOCUMENT} bytes", len(data))
    try:
        found, spans = _members(data.decode("ascii"), 2)
    except (ValueError, IndexError, RecursionError):
        raise bad(name, "JSON in ASCII", data[:40]) from None
    if set(found) != {name, "signature"}:
        raise bad(name, f'{{"{name}": …, "signature": …}} and nothing else', sorted(found))
    inner = found[name]
    if not isinstance(inner, dict):
        raise bad(name, "an object", inner)
    signed = found["signature"] if type(found["signature"]) is str else ""
    return data[slice(*spans[name])], inner, octets(signed, "signature", 64)


def _members(text: str, count: int) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
    """The ``count`` members of the object that fills ``text``, and where each value stands.

    Raises:
        ValueError, IndexError: something else; a name that comes twice.
    """
    decode = _decoder().raw_decode
    found: dict[str, Any] = {}
    spans = {}
    position = _past(text, 0, "{")
    for index in range(count):
        name, end = decode(text, position)
        start = _past(text, end, ":")
        value, end = decode(text, start)
        if not isinstance(name, str) or name in found:
            raise ValueError("not a name of its own")
        found[name], spans[name] = value, (start, end)
        position = _past(text, end, "}" if index == count - 1 else ",")
    if position != len(text):
        raise ValueError("something follows")
    return found, spans


@cache
def _decoder() -> JSONDecoder:
    from json import JSONDecoder

    return JSONDecoder()


_SPACES = (" ", "\t", "\n", "\r")


def _past(text: str, position: int, mark: str) -> int:
    """The position after ``mark`` and the white space around it, of which Intel writes none."""
    if text[position] != mark:
        position = _blank(text, position)
        if text[position] != mark:
            raise ValueError(f"no {mark}")
    position += 1
    return _blank(text, position) if text[position : position + 1] in _SPACES else position


def _blank(text: str, position: int) -> int:
    while text[position : position + 1] in _SPACES:
        position += 1
    return position


class Shape:
    """The members that an object must have, each of the very type that is named (true is no int)."""

    __slots__ = ("_get", "_kinds", "_names")

    def __init__(self, *members: tuple[str, type]) -> None:
        self._names, self._kinds = zip(*members, strict=True)
        self._get = itemgetter(*self._names)

    def take(self, value: Any) -> tuple[Any, ...]:
        """The members of ``value``, in the order they are named."""
        if type(value) is dict:
            try:
                found: tuple[Any, ...] = self._get(value)
            except KeyError:
                pass
            else:
                if (*map(type, found),) == self._kinds:
                    return found
        raise self._fault(value)

    def _fault(self, value: Any) -> MalformedEvidence:
        for key, kind in zip(self._names, self._kinds, strict=True):
            item = value.get(key) if type(value) is dict else None
            if type(item) is not kind:
                return bad(key, kind.__name__, item)
        return bad("document", "an object", value)


def one(value: Any, key: str, kind: type[T]) -> T:
    """The member ``key`` of an object, of the very type ``kind``."""
    item = value.get(key) if type(value) is dict else None
    if type(item) is not kind:
        raise bad(key, kind.__name__, item)
    return item


def within(found: int, key: str, limit: int = 65535) -> int:
    """``found``, if it is 0 to ``limit``."""
    if not 0 <= found <= limit:
        raise bad(key, f"0 to {limit}", found)
    return found


def octets(found: str, key: str, size: int) -> bytes:
    """``size`` bytes in hexadecimal, in either case and without white space."""
    try:
        plain = bytes.fromhex(found)
    except ValueError:
        plain = b""
    if len(plain) != size or len(found) != 2 * size:  # fromhex takes white space
        raise bad(key, f"{size} bytes in hexadecimal", found)
    return plain


def time(text: str, key: str) -> datetime:
    """A time as 2026-01-31T12:00:00Z."""
    time = _instant(text) if len(text) == 20 else None
    if time is None:
        raise bad(key, "a time in Zulu with seconds", text)
    return time


@lru_cache(maxsize=256)
def _instant(text: str) -> datetime | None:
    """That, and no other form of ISO 8601; documents of one issue share their few dates."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if text[4::3] == "--T::Z" and text[11:13] < "24" else None  # of what else has twenty characters


def listed(found: list[Any], key: str, limit: int = 256) -> list[Any]:
    """``found``, if it has at most ``limit`` entries."""
    if len(found) > limit:
        raise bad(key, f"at most {limit} entries", len(found))
    return found
