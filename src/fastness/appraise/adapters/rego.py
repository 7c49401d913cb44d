"""Rego: what a policy answers with, and what it means. Nothing but a plain yes of the one expected form accepts.

The form is told from the rules the policy has, once, before anything is judged: a rule that is undefined for some
evidence never moves the question to another one.

1. ``allow``: must be true.
2. ``matches_sgx_policy``, ``matches_tdx_policy`` … (Intel Trust Authority, policies V1): the one for the TEE of the
   evidence must be true.
3. ``executables``, ``hardware`` and ``configuration``, alone or in ``trust_claims`` (Trustee): each must be affirming
   (2 to 31, draft-ietf-rats-ar4si, "Trustworthiness claims"); the other trust claims must be so, or absent, or 0 (no
   assertion). A claim that AR4SI does not have refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastness.appraise.answers import Told

CORE = ("executables", "hardware", "configuration")
OTHERS = ("file-system", "instance-identity", "runtime-opaque", "storage-opaque", "sourced-data")
AFFIRMING = range(2, 32)
OWN_PACKAGE = "fastness_policy"
LOOKUP = "import rego.v1\nquery_reference_value(name) := data.reference[name]\n"
"""What Trustee adds to the language."""

_LITERAL = re.compile(r'#[^\n]*|"(?:\\.|[^"\\\n])*"|`[^`]*`')
_PACKAGE = re.compile(r"(?:\A|\n)[ \t]*package[ \t]+([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)[ \t]*(?=[\r\n]|\Z)")
_HEAD = re.compile(r"^(?:default[ \t]+)?([A-Za-z_]\w*)(?=[ \t\r]*(?:[=:{]|if\b|contains\b|$))", re.MULTILINE)
_FORBIDDEN = re.compile(r"(?<![\w.])(opa|http|net|rand|uuid|rego|trace|print)[ \t]*(?:[.\[]|\()")
_DIALECT = re.compile(r"import[ \t]+(?:rego\.v1|future\.keywords(?:\.\w+)?)")

Answer = tuple[Told, str]


def bare(text: str) -> str:
    """``text`` with comments and what stands in quotation marks blanked, line for line."""
    return _LITERAL.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def package(text: str) -> str | None:
    """The package a module says it is; empty for none (Intel's), None where it cannot be told."""
    plain = bare(text)
    if match := _PACKAGE.search(plain):
        return match[1]
    return None if re.search(r"^\s*package\b", plain, re.MULTILINE) else ""


def forbidden(text: str) -> tuple[str, int] | None:
    """(name, line) of the first thing a policy may not ask: its answer would be another one elsewhere or tomorrow."""
    plain = _DIALECT.sub(lambda match: " " * len(match[0]), bare(text))
    match = _FORBIDDEN.search(plain)
    return None if match is None else (match[1], plain.count("\n", 0, match.start()) + 1)


def form(text: str) -> tuple[str, int] | None:
    """(``allow``, ``matches`` or ``trust``, the line it starts in); None for a policy without an answer."""
    plain = bare(text)
    heads = {match[1]: plain.count("\n", 0, match.start(1)) + 1 for match in reversed([*_HEAD.finditer(plain)])}
    if "allow" in heads:
        return "allow", heads["allow"]
    for name, line in heads.items():
        if re.fullmatch(r"matches_\w+_policy", name):
            return "matches", line
    if "trust_claims" in heads:
        return "trust", heads["trust_claims"]
    return ("trust", heads[CORE[0]]) if all(name in heads for name in CORE) else None


def program(text: str, name: str, reference: Mapping[str, Any]) -> dict[str, Any]:
    """What :mod:`.worker` is given: modules, reference values, and the query, in which ``NOW`` stands for the time."""
    own = name or OWN_PACKAGE
    whole = text if name else f"package {own}\n{text}"
    modules = [["policy", whole]]
    if "query_reference_value" in bare(text):
        modules.append(["lookup", f"package {own}\n{LOOKUP}"])
    query = f"data.{own} with time.now_ns as NOW"
    return {"modules": modules, "reference": dict(reference), "query": query, "shift": 0 if name else 1}


def questions(kind: str, tee: str) -> tuple[str, ...]:
    """What is expected of the answer."""
    if kind == "allow":
        return ("allow is true",)
    if kind == "matches":
        return (f"matches_{tee}_policy is true",)
    return (*(f"{name} is affirming (2 to 31)" for name in CORE), "no other trust claim speaks against it")


def answers(kind: str, document: object, tee: str) -> tuple[Answer, ...]:
    """An answer to each of :func:`questions`, from the document of the policy's package."""
    found = document if isinstance(document, Mapping) else {}
    if kind == "allow":
        return (_true(found, "allow"),)
    if kind == "matches":
        return (_true(found, f"matches_{tee}_policy"),)
    claims = found.get("trust_claims", {name: found.get(name.replace("-", "_")) for name in (*CORE, *OTHERS)})
    stated = claims if isinstance(claims, Mapping) else {}
    return (*(_affirming(stated, name) for name in CORE), _others(stated))


def _true(found: Mapping[str, Any], name: str) -> Answer:
    value = found.get(name)
    if value is True:
        return Told.YES, "true"
    return (
        Told.NO,
        f"{name} is {'false' if value is False else 'undefined' if name not in found else 'no truth value'}",
    )


def _affirming(stated: Mapping[str, Any], name: str) -> Answer:
    value = stated.get(name)
    if type(value) is int and value in AFFIRMING:
        return Told.YES, str(value)
    return Told.NO, "undefined" if value is None else _tier(value)


def _others(stated: Mapping[str, Any]) -> Answer:
    for name, value in stated.items():
        if name in CORE or (name in OTHERS and (value is None or (type(value) is int and value == 0))):
            continue
        if name not in OTHERS or type(value) is not int or value not in AFFIRMING:
            return Told.NO, f"{name}: {_tier(value)}"
    return Told.YES, "none"


def _tier(value: Any) -> str:
    """A trust claim with its tier; Trustee writes the positive half of the scale."""
    if type(value) is not int:
        return "not a trust claim"
    if value in AFFIRMING:
        return f"{value}, affirming"
    return f"{value}, {'no assertion' if -1 <= value <= 1 else 'warning' if 32 <= value < 96 else 'contraindicated'}"
