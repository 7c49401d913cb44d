"""Policies: TOML read into frozen values. A policy is data with a digest; errors in it have line and column.

::

    id = "ours"                                 # optional
    [sets]                                      # named sets of text, used as "@name"
    keep-images = ["9f3a…"]
    [[rule]]                                    # refusals override acceptances, whatever the order
    id = "no-milan"
    effect = "refuse"
    why = "root seed extractable (2026-05)"
    when = { "cpu.vendor" = "amd", "cpu.generation" = "milan" }
    [[rule]]                                    # nothing is accepted by default
    id = "amd-rest"
    effect = "accept"
    when = { tee = "snp" }
    require = { "tcb.reported.snp" = ">=23", "measurements.launch" = "@keep-images" }
    [[waive]]                                   # a check that may stay unanswered, by name, with a reason
    check = "snp.revocation"
    why = "air-gapped; CRLs are reviewed by hand"
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fastness import packaged
from fastness import tee as tees
from fastness.appraise.conditions import Condition, Wrong, compile_matcher
from fastness.appraise.verdict import Verdict, refusal
from fastness.claims.finding import Finding, Outcome, Where
from fastness.errors import UsageError
from fastness.wire import toml

PROFILES = ("strict", "default", "development")
MAX_POLICY = 1 << 20
HARDWARE = frozenset(tees.NAMES) - {"nil"}
TOP = ("id", "sets", "rule", "waive")
RULE = ("id", "effect", "why", "when", "require")
WAIVE = ("check", "why")
CPU = ("vendor", "family", "model", "stepping", "generation", "product", "source")
FIELDS = ("tee", "cpu", "debug", "simulated", "tcb", "tcb_status", "tcb_date", "advisory_ids", "measurements",
          "report_data", "hardware_id", "collateral", *tees.NAMES)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``effect`` is ``refuse`` or ``accept``; a refusing rule has no ``require``."""

    id: str
    effect: str
    why: str
    when: tuple[Condition, ...]
    require: tuple[Condition, ...]
    line: int

    def names(self, path: str) -> bool:
        """Whether a condition of this rule is about ``path`` or something inside it."""
        return any(item.path == path or item.path.startswith(f"{path}.") for item in (*self.when, *self.require))

    @property
    def names_nil(self) -> bool:
        """Whether the rule writes ``nil`` itself: ``{ not = "snp" }`` would hold for it and does not mean it."""
        asked = [item for item in (*self.when, *self.require) if item.path == "tee"]
        return any("nil" in item.text.replace(",", " ").split() and "not" not in item.text.split() for item in asked)


@dataclass(frozen=True, slots=True)
class Waiver:
    """A check that may stay unanswered (``*`` stands for any part of the id), and why."""

    check: str
    why: str
    line: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy; ``digest`` is the SHA-256 of its text."""

    name: str
    file: str
    text: str
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    digest: str
    """Every path a rule is about, and every path that leads there."""

    def waiver(self, check: str) -> Waiver | None:
        """The waiver of ``check``, if there is one."""
        return next((item for item in self.waivers if fnmatchcase(check, item.check)), None)

    def evidence_types(self) -> frozenset[str]:
        """The TEEs an accepting rule could accept; ``nil`` only where one names it."""
        found: set[str] = set()
        for rule in self.rules:
            if rule.effect == "accept":
                found |= {name for name in tees.NAMES if _admits(rule, name)}
        return frozenset(found)

    def refuse_evidence(self, has: tuple[str, ...], *, at: datetime) -> Verdict:
        """The refusal of a keep that has only evidence this policy never accepts."""
        types = ", ".join(sorted(self.evidence_types())) or "nothing"
        shown = ", ".join(name if name in tees.NAMES else "unknown" for name in has)
        hint = f"deploy to a host with one of {types}, or add a rule that names {shown}"
        if "nil" in has:
            hint = (
                f"nil protects nothing: deploy to a host with one of {types}; to try things out, --policy development"
            )
        finding = Finding(
            "policy.evidence-type",
            Outcome.FAILED,
            expected=f"evidence of {types}",
            actual=f"{shown}{' (SIMULATED)' if 'nil' in has else ''}",
            where=(Where(file=self.file),),
            because="no accepting rule of the policy can ever hold for it",
            hint=hint,
        )
        return refusal("policy.evidence-type", (finding,), self.name, self.digest, at)


def _admits(rule: Rule, tee: str) -> bool:
    asked = [item for item in (*rule.when, *rule.require) if item.path == "tee"]
    if tee not in HARDWARE and not rule.names_nil:
        return False
    return all(item.matches(tee, datetime.min) for item in asked)


def load(name: str) -> Policy:
    """The built-in profile ``name``, or the policy in the file of that name.

    Raises:
        UsageError: no such profile or file, or a fault in it, with file, line and column.
    """
    if name in PROFILES:
        return parse(packaged.text("appraise", "profiles", f"{name}.toml"), name)
    path = Path(name)
    try:
        if path.stat().st_size > MAX_POLICY:
            raise UsageError(f"a policy has at most {MAX_POLICY} bytes", where=name)
        text = path.read_text("utf-8")
    except OSError as error:
        close = toml.nearest(name, PROFILES)
        hint = f"did you mean {close!r}? " if close else ""
        raise UsageError(
            f"the policy {name!r} cannot be read: {(error.strerror or '').lower()}",
            hint=f"{hint}a file, or one of {', '.join(PROFILES)}",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            "the policy is not UTF-8", where=f"{name}, byte {error.start}", hint="save it as UTF-8"
        ) from None
    return parse(text, name)


def parse(text: str, file: str) -> Policy:
    """The policy written in ``text``; ``file`` names it in errors and findings."""
    document = toml.parse(text, file)
    reader = _Reader(document, file)
    data = document.data
    reader.known((), data, TOP)
    sets = reader.sets(data.get("sets", {}))
    rules = tuple(reader.rule(index, item, sets) for index, item in enumerate(reader.tables(data, "rule")))
    waivers = tuple(reader.waiver(index, item) for index, item in enumerate(reader.tables(data, "waive")))
    ids = [rule.id for rule in rules]
    for index, name in enumerate(ids):
        if name in ids[:index]:
            raise reader.wrong(("rule", index, "id"), f"two rules are called {name!r}", "give each its own id")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Policy(str(data.get("id") or Path(file).stem), file, text, rules, waivers, digest)


class _Reader:
    """Takes values out of a parsed document, with places for what is wrong."""

    def __init__(self, document: toml.Document, file: str) -> None:
        self._document = document
        self._file = file

    def wrong(self, path: tuple[str | int, ...], what: str, hint: str) -> UsageError:
        at = self._document.where(path)
        return UsageError(what, where=f"{self._file}:{at.line}:{at.column}", hint=hint)

    def known(self, path: tuple[str | int, ...], table: Mapping[str, Any], names: tuple[str, ...]) -> None:
        for key in table:
            if key not in names:
                close = toml.nearest(key, names)
                hint = f"did you mean {close!r}?" if close else f"one of {', '.join(names)}"
                raise self.wrong((*path, key), f"unknown key {key!r}", hint)

    def tables(self, data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
        value = data.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong((name,), f"{name!r} must be written as [[{name}]]", f"[[{name}]]")
        return value

    def text(self, path: tuple[str | int, ...], table: Mapping[str, Any], key: str, *, needed: bool = True) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or (needed and not value):
            raise self.wrong((*path, key), f"{key!r} must be text", f'{key} = "…"')
        return value

    def sets(self, value: Any) -> dict[str, tuple[str, ...]]:
        if not isinstance(value, dict):
            raise self.wrong(("sets",), "'sets' must be a table", "[sets]")
        for name, members in value.items():
            if not isinstance(members, list) or not all(isinstance(item, str) for item in members):
                raise self.wrong(("sets", name), f"set {name!r} must be a list of text", f'{name} = ["…"]')
        return {name: tuple(members) for name, members in value.items()}

    def rule(self, index: int, table: Mapping[str, Any], sets: Mapping[str, tuple[str, ...]]) -> Rule:
        path = ("rule", index)
        self.known(path, table, RULE)
        effect = self.text(path, table, "effect")
        if effect not in ("refuse", "accept"):
            raise self.wrong((*path, "effect"), f"effect {effect!r} is neither refuse nor accept", "refuse or accept")
        when = self.conditions((*path, "when"), table.get("when", {}), sets)
        require = self.conditions((*path, "require"), table.get("require", {}), sets)
        if effect == "refuse" and require:
            raise self.wrong((*path, "require"), "a refusing rule has no 'require'", "put its conditions into 'when'")
        if effect == "refuse" and not when:
            raise self.wrong(path, "a rule that refuses everything", "say what it refuses in 'when'")
        if effect == "accept" and not when and not require:
            raise self.wrong(path, "a rule that accepts everything", "say what it accepts in 'when' and 'require'")
        why = self.text(path, table, "why", needed=effect == "refuse")
        line = self._document.where(path).line
        return Rule(self.text(path, table, "id"), effect, why, when, require, line)

    def conditions(
        self, path: tuple[str | int, ...], value: Any, sets: Mapping[str, tuple[str, ...]]
    ) -> tuple[Condition, ...]:
        if not isinstance(value, dict):
            raise self.wrong(path, "conditions must be a table", '{ "cpu.vendor" = "amd" }')
        found = []
        for name, written in _flat(value):
            self.field((*path, name), name)
            try:
                matches = compile_matcher(written, sets)
            except Wrong as error:
                raise self.wrong(
                    (*path, name), f"{name}: {error}", "see the table of conditions in docs/policy.md"
                ) from None
            found.append(Condition(name, _written(written), self._document.where((*path, name)).line, matches))
        return tuple(found)

    def field(self, path: tuple[str | int, ...], name: str) -> None:
        """Refuses a claim that no TEE has."""
        top, _, rest = name.partition(".")
        names = FIELDS if not rest or top != "cpu" else CPU
        word = top if names is FIELDS else rest
        nested = top in ("cpu", "tcb", "measurements", "collateral", *tees.NAMES)
        if word not in names or (rest and not nested) or (nested and not rest):
            close = toml.nearest(word, names)
            raise self.wrong(
                path,
                f"no claim is called {name!r}",
                f"did you mean {close!r}?" if close else f"one of {', '.join(names)}",
            )

    def waiver(self, index: int, table: Mapping[str, Any]) -> Waiver:
        path = ("waive", index)
        self.known(path, table, WAIVE)
        check = self.text(path, table, "check")
        if "." not in check or check.split(".")[0] not in ("*", "policy", *tees.NAMES):
            raise self.wrong((*path, "check"), f"{check!r} is not the id of a check", "<tee>.<check>, or *.<check>")
        return Waiver(check, self.text(path, table, "why"), self._document.where(path).line)


OPERATORS = frozenset({"not", "none", "only", "days"})


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted and nested keys as one: ``{cpu = {vendor = 1}}`` is ``{"cpu.vendor" = 1}``."""
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict) and not OPERATORS & value.keys() and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_written(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "one of " + ", ".join(map(_written, value))
    return str(value)
