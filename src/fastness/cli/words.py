"""How things are said: errors worst first, lower case, no full stop; words on stderr, data on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from fastness.errors import FastnessError

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """``text`` in ``colour``, where the stream is a terminal and NO_COLOR is not set."""
    out = stream or sys.stderr
    if os.environ.get("NO_COLOR") or not out.isatty():
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def tell(error: FastnessError) -> None:
    """``error: what`` / ``where …`` / ``hint …`` on stderr. Control characters of a peer's words are made visible."""
    from fastness.language import current

    spoken, check = current(), getattr(error, "check", "")
    what = spoken.trouble(error.kind, check, error.what)
    print(f"{paint(spoken.label('error:'), 'red')} {printable(what)}", file=sys.stderr)
    if error.where:
        print(f"  {spoken.label('where')} {printable(error.where)}", file=sys.stderr)
    if error.hint:
        print(f"  {spoken.label('hint')} {printable(spoken.advice(check, error.hint))}", file=sys.stderr)


def say(text: str) -> None:
    """A line for the person, on stderr."""
    print(printable(text), file=sys.stderr)


def printable(text: str) -> str:
    """``text`` without anything a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def one_line(text: str) -> str:
    """:func:`printable`, on one line: names of files and records must not write rows of their own."""
    return printable(text).replace("\n", "\\x0a")


def emit(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(as_json(document, indent=2) + "\n")


def as_json(document: dict[str, Any], **form: Any) -> str:
    """``document`` as JSON; escaped where stdout could not take it as it is (names of files that are not UTF-8)."""
    text = json.dumps(document, ensure_ascii=False, **form)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document, **form)
    return text
