"""A condition in another language: CEL or Rego text that must say yes, as one part of an ordinary rule.

So a policy of somebody else's has everything a rule has: it stands in the digest, is explained, is tried against
evidence and planned over keeps; refusals of other rules override it, and the strict answers hold for what our own rules
do not speak about. Only a plain yes is one. Undefined, an error, no answer in time, no truth value: cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastness.appraise.adapters import cel, rego
from fastness.appraise.adapters.engine import Engine
from fastness.appraise.adapters.shape import shape
from fastness.appraise.answers import Told
from fastness.appraise.conditions import Condition
from fastness.errors import UsageError

LANGUAGES = ("cel", "rego")
MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Foreign(Condition):
    """``path`` is the language, ``written`` the whole text. Answers come with the reason as the value found."""

    engine: Engine | None = None
    form: str = ""
    parts: tuple[cel.Part, ...] = ()

    def ask(self, claims: Mapping[str, Any], at: datetime) -> tuple[Told, Any]:
        """(answer, why)."""
        if self.engine is None:
            return Told.UNKNOWN, "no engine"
        when = at if at.tzinfo else at.replace(tzinfo=UTC)
        try:
            nanoseconds = int(when.timestamp()) * 10**9
        except (OverflowError, ValueError):
            return Told.UNKNOWN, "no such time"
        given = dict(claims) if self.path == "cel" else shape(claims)
        results = self.engine.ask({"input": given, "now": when.isoformat(), "ns": nanoseconds})
        return self._of_cel(results) if self.path == "cel" else self._of_rego(results, str(claims.get("tee")))

    def hint(self, told: Told, wanted: str) -> str:
        """What to do about an answer that is not yes."""
        if told is Told.UNKNOWN:
            return f"the {self.path} text gives no answer for this evidence, which refuses; see docs/policy-adapters.md"
        return f"see what it asks for at {self.file}:{self.line}"

    def _of_cel(self, results: list[Any]) -> tuple[Told, str]:
        """The whole expression decides; its parts only name what did not hold."""
        whole, *each = results if len(results) == 1 + len(self.parts) else [*results[:1]]
        told, why = _truth(whole)
        if told is Told.YES:
            return told, why
        failed = [(part, _truth(item)) for part, item in zip(self.parts, each, strict=False)]
        bad = [(part, found) for part, found in failed if found[0] is not Told.YES]
        if not bad:
            return told, why
        return told, "; ".join(f"{found[1]}: {part.text} (line {part.line})" for part, found in bad)

    def _of_rego(self, results: list[Any], tee: str) -> tuple[Told, str]:
        first = results[0] if results and isinstance(results[0], Mapping) else {"error": "no answer"}
        if "value" not in first:
            return Told.UNKNOWN, str(first.get("error", "no answer"))
        answers = rego.answers(self.form, first["value"], tee)
        against = [
            f"{question}: {why}"
            for question, (told, why) in zip(rego.questions(self.form, tee), answers, strict=True)
            if told is not Told.YES
        ]
        return (Told.NO, "; ".join(against)) if against else (Told.YES, "; ".join(why for _, why in answers))


def _truth(result: Any) -> tuple[Told, str]:
    found = result if isinstance(result, Mapping) else {}
    value = found.get("value")
    if value is True or value is False:
        return (Told.YES, "true") if value else (Told.NO, "false")
    return Told.UNKNOWN, str(found.get("error", "no answer"))


def condition(
    language: str, text: str, sets: Mapping[str, Iterable[str]], *, file: str, line: int, own: bool
) -> Foreign:
    """The condition that ``text`` is.

    Args:
        language: one of :data:`LANGUAGES`.
        text: an expression of CEL, or a module of Rego.
        sets: the policy's named sets, which it knows as reference values.
        file, line: where it stands.
        own: whether it is a file of its own, so that lines are its own.

    Raises:
        UsageError: the engine is not installed, or a fault in the text, with its place.
    """
    if not text.strip():
        raise UsageError(f"an empty text of {language}", where=f"{file}:{line}", hint="say what it asks for")
    values = {name: _values(members) for name, members in sets.items()}
    make = _cel if language == "cel" else _rego
    return make(text, values, file, line, own)


def _values(members: Iterable[str]) -> list[str | int]:
    """A set as reference values: a decimal number counts as text and as number."""
    found = sorted(set(members))
    return [*found, *(int(item) for item in found if item.isdecimal() and len(item) < 16)]


def _cel(text: str, values: Mapping[str, Any], file: str, line: int, own: bool) -> Foreign:
    parts = cel.parts(text)
    asked = parts if len(parts) > 1 else ()
    engine = Engine("cel", {"parts": [text, *(part.text for part in asked)], "reference": values})
    fault, at = engine.check()
    if fault:
        raise _fault("CEL", fault, file, line, at or 1, own=own)
    shown = cel.whole(text).text
    shown = shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 1] + "…"
    return Foreign("cel", f"is true: {shown}", line, _never, file, text, engine=engine, parts=asked)


def _rego(text: str, values: Mapping[str, Any], file: str, line: int, own: bool) -> Foreign:
    package = rego.package(text)
    if package is None:
        raise _fault("Rego", "a package that is not a plain name", file, line, 1, own=own)
    if found := rego.forbidden(text):
        what = f"{found[0]} asks for what is not in the evidence: the answer would be another one elsewhere or tomorrow"
        raise _fault("Rego", what, file, line, found[1], own=own)
    told = rego.form(text)
    if told is None:
        raise UsageError(
            "the policy has no answer",
            where=f"{file}:{line}",
            hint="name it allow, matches_sgx_policy, matches_tdx_policy …, or executables, hardware and configuration",
        )
    form, at = told
    engine = Engine("rego", rego.program(text, package, values))
    fault, where = engine.check()
    if fault:
        raise _fault("Rego", fault, file, line, where or 1, own=own)
    said = "; ".join(rego.questions(form, "<tee>"))
    return Foreign("rego", said, at if own else line, _never, file, text, engine=engine, form=form)


def _fault(language: str, what: str, file: str, line: int, at: int, *, own: bool) -> UsageError:
    place = f"{file}:{at}" if own else f"{file}:{line}, line {at} of the text"
    return UsageError(f"{language}: {what}", where=place, hint="see docs/policy-adapters.md")


def _never(value: Any, at: datetime, claims: Mapping[str, Any]) -> bool:
    raise TypeError("a foreign condition is asked as a whole")
