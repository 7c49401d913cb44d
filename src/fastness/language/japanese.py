"""Japanese, by the catalogue in ``ja/``: ``checks.toml`` by id, ``words.toml`` by English text.

A text is found whole, or by a template (``valid until {0}``) whose holes are said in turn. Templates with more of their
own come first, so that ``no {0} for {1}`` is not taken for ``no {0}``. What is not found stays English: beside the
Japanese of its check, where it has one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from fastness import packaged
from fastness.language import Language

_HOLE = re.compile(r"\{(\d)\}")
MAX_DEPTH = 4


class Japanese(Language):
    """The catalogue, read once."""

    code = "ja"

    def fill(self, template: str, *values: object) -> str:
        """The translated template with its values said; the English one where there is none."""
        said = [self.say(str(value)) for value in values]
        return (_section("fills").get(template) or _texts().get(template, template)).format(*said)

    def say(self, text: str) -> str:
        """``text`` in Japanese, or as it is."""
        return _said(text, MAX_DEPTH)

    def label(self, word: str) -> str:
        """A label."""
        return _section("labels").get(word, word)

    def outcome(self, word: str) -> str:
        """How a check ended."""
        return _section("outcomes").get(word, word)

    def named(self, check: str) -> str:
        """``snp.leaf（末端証明書は AMD が作るもの）``."""
        row = _checks().get(check)
        return f"{check}（{row[0]}）" if row else check

    def advice(self, check: str, text: str) -> str:
        """The translation of ``text``; without one, the hint of the check with ``text`` behind it."""
        said, row = self.say(text), _checks().get(check)
        return f"{row[1]}（{text}）" if row and said == text and text else said

    def trouble(self, kind: str, check: str, text: str) -> str:
        """The translation of ``text``; without one, the check that failed or the kind of error, then ``text``."""
        said, row = self.say(text), _checks().get(check)
        bare = _texts()["not {0}"].format(text.removeprefix("not "))  # the words of a condition, around English
        if said not in (text, bare):
            return said
        return f"成り立たない: {row[0]}（{text}）" if row else f"{_section('kinds').get(kind, kind)}（{text}）"

    def column(self, text: str, width: int) -> str:
        """As in English; a wide letter takes two columns (Unicode, UAX 11)."""
        taken = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
        return text + " " * (width - taken)


@cache
def _words() -> dict[str, dict[str, str]]:
    import tomllib

    return tomllib.loads(packaged.text("language", "ja", "words.toml"))


def _section(name: str) -> dict[str, str]:
    return _words()[name]


def _texts() -> dict[str, str]:
    return _section("texts")


@cache
def _checks() -> dict[str, tuple[str, str]]:
    import tomllib

    whole = tomllib.loads(packaged.text("language", "ja", "checks.toml"))
    return {f"{tee}.{name}": (short, hint) for tee, rows in whole.items() for name, (short, hint) in rows.items()}


@cache
def _templates() -> tuple[tuple[re.Pattern[str], list[int], str], ...]:
    """(pattern, holes in the order they stand, translation), those with the most text of their own first."""
    found = []
    for english, japanese in _texts().items():
        holes = [int(number) for number in _HOLE.findall(english)]
        if holes and _HOLE.sub("", english).strip():
            pattern = "".join(
                "(.+?)" if index % 2 else re.escape(part) for index, part in enumerate(_HOLE.split(english))
            )
            found.append((len(_HOLE.sub("", english)), re.compile(pattern, re.DOTALL), holes, japanese))
    found.sort(key=lambda row: -row[0])
    return tuple((pattern, holes, japanese) for _, pattern, holes, japanese in found)


def _said(text: str, depth: int) -> str:
    whole = _texts().get(text)
    if whole is not None or not depth or not text:
        return text if whole is None else whole
    for pattern, holes, japanese in _templates():
        if match := pattern.fullmatch(text):
            parts = {number: _said(part, depth - 1) for number, part in zip(holes, match.groups(), strict=True)}
            return _HOLE.sub(lambda hole, parts=parts: parts[int(hole[1])], japanese)  # type: ignore[misc]
    return text
