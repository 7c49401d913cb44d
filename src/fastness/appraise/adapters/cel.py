"""CEL: one expression that must be true. Its top-level ``&&`` are taken apart, so that findings name what failed.

Lexical structure: CEL language definition, "Syntax". Whatever is taken apart wrongly costs a name, never a refusal: the
whole expression is asked as well, and it decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""//[^\n]*
    | (?:[rR][bB]?|[bB][rR])(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n]*"|'[^'\n]*')
    | [bB]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | [A-Za-z_0-9]+ | && | \|\| | \s+ | .""",
    re.DOTALL | re.VERBOSE,
)
MAX_PARTS = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One operand of the outermost ``&&``: what it says on one line, and the line of the file it starts in."""

    text: str
    line: int


def parts(text: str) -> tuple[Part, ...]:
    """The operands of the outermost ``&&`` of ``text``; the whole where there are none, or too many."""
    found: list[Part] = []
    words: list[str] = []
    depth, line, start = 0, 1, 0
    for word in _TOKEN.findall(text):
        if word == "&&" and depth == 0:
            found.append(_part(words, start))
            words, start = [], 0
        elif word in ("||", "?") and depth == 0:
            return (whole(text),)
        elif word.startswith("//") or word.isspace():
            words.append(" ")
        else:
            start = start or line
            depth += (word in "([{") - (word in ")]}")
            words.append(word)
        line += word.count("\n")
    found.append(_part(words, start))
    return tuple(found) if 1 < len(found) <= MAX_PARTS and all(part.text for part in found) else (whole(text),)


def _part(words: list[str], line: int) -> Part:
    return Part(" ".join("".join(words).split(" ")).strip(), line or 1)


def whole(text: str) -> Part:
    """``text`` on one line, without comments."""
    tokens = [" " if word.startswith("//") or word.isspace() else word for word in _TOKEN.findall(text)]
    blank = re.match(r"(?:\s|//[^\n]*)*", text)
    return Part("".join(tokens).strip(), 1 + (blank[0].count("\n") if blank else 0))
