"""The language people are answered in: English, and Japanese from a catalogue that English never loads.

What is read by machines (JSON, exit codes, ids of checks, claims, the words of a policy) is the same in every language.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from fastness.errors import UsageError

LANGUAGES = ("en", "ja")
OWN = "FASTNESS_LANG"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")


class Language:
    """How a text is said; this one, English, says everything as it is written.

    In another language, what has no translation is said in English: nothing is lost.
    """

    code = "en"

    def fill(self, template: str, *values: object) -> str:
        """``template`` with ``values``, which are said too, where ``{0}``, ``{1}`` … stand."""
        return template.format(*values)

    def say(self, text: str) -> str:
        """``text``, found by itself or by the template it was made of."""
        return text

    def label(self, word: str) -> str:
        """The name of a line or a column."""
        return word

    def outcome(self, word: str) -> str:
        """How a check ended."""
        return word

    def named(self, check: str) -> str:
        """The id of a check; where English readers can tell from it what holds, others are told."""
        return check

    def advice(self, check: str, text: str) -> str:
        """The hint ``text`` of a finding or an error; ``check`` is its id, or empty."""
        del check
        return text

    def trouble(self, kind: str, check: str, text: str) -> str:
        """What went wrong: ``text`` of an error of ``kind``, found by ``check`` or by none."""
        del kind, check
        return text

    def column(self, text: str, width: int) -> str:
        """``text`` with spaces up to ``width`` columns of a terminal."""
        return text.ljust(width)


ENGLISH = Language()


def of(code: str) -> Language:
    """The language ``code``.

    Raises:
        UsageError: there is none of that name.
    """
    if code == "en":
        return ENGLISH
    if code != "ja":
        raise UsageError(f"no language is called {code[:16]!r}", where="--lang", hint="one of " + ", ".join(LANGUAGES))
    from fastness.language.japanese import Japanese

    return Japanese()


def wished(environment: Mapping[str, str]) -> str:
    """The language of ``environment``: what ``FASTNESS_LANG`` says, or what the locale's messages are in.

    Raises:
        UsageError: ``FASTNESS_LANG`` names none.
    """
    own = environment.get(OWN, "")
    if own:
        if own not in LANGUAGES:
            raise UsageError(f"no language is called {own[:16]!r}", where=OWN, hint="one of " + ", ".join(LANGUAGES))
        return own
    locale = next((environment[name] for name in LOCALE if environment.get(name)), "")
    return "ja" if locale.split("_")[0].split(".")[0] == "ja" else "en"


class _Chosen:
    """The language of this process, once somebody asked for it."""

    language: Language | None = None


def use(code: str) -> None:
    """Chooses the language of this process; raises as :func:`of`."""
    _Chosen.language = _spoken(of(code))


def current() -> Language:
    """The language of this process: the one chosen, or that of its environment."""
    if _Chosen.language is None:
        _Chosen.language = ENGLISH  # in which a fault of the environment itself is told
        _Chosen.language = _spoken(of(wished(os.environ)))
    return _Chosen.language


def _spoken(language: Language) -> Language:
    """``language``, unless the streams cannot carry its letters: a page of question marks helps nobody."""
    if language.code == "en":
        return language
    for stream in (sys.stdout, sys.stderr):
        try:
            language.label("where").encode(getattr(stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            sys.stderr.write(f"this output cannot carry {language.code}: English it is; PYTHONIOENCODING=utf-8 helps\n")
            return ENGLISH
    return language
