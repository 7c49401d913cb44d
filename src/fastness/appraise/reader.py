"""Reads the files of a policy: the one that was named, what it includes, and the reference values it rests on.

Faults have file, line and column. Nothing here decides; conditions are compiled once all files are known, so that a
file may add to the sets of one it includes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness import tee as tees
from fastness.appraise import canonical, toml_text
from fastness.appraise.answers import Wrong
from fastness.appraise.canonical import Included
from fastness.appraise.conditions import FOREIGN, OPERATORS, Condition, compile_matcher, grace, words
from fastness.appraise.rules import Rule, Waiver
from fastness.appraise.sets import NamedSet
from fastness.errors import UsageError
from fastness.wire import toml

if TYPE_CHECKING:
    from fastness.appraise import owners

MAX_DEPTH = 8
MAX_FILES = 64
TOP = ("id", "include", "sets", "reference", "rule", "waive")
RULE = ("id", "effect", "why", "when", "require", "unless")
WAIVE = ("check", "why")
REFERENCE = ("file", "files", "auditors", "threshold", "name", "inline", "inline_auditors")
CPU = ("vendor", "family", "model", "stepping", "generation", "product", "source")
FIELDS = ("tee", "cpu", "debug", "simulated", "tcb", "tcb_status", "tcb_date", "advisory_ids", "measurements",
          "report_data", "hardware_id", "collateral", "cloud", "composite", *tees.NAMES)  # fmt: skip
NESTED = ("cpu", "tcb", "measurements", "collateral", "composite", *tees.NAMES)

SUFFIXES = tuple(f".{name}" for name in FOREIGN)
"""Files that are a policy in another language as a whole."""

Trail = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """A policy's content, from all its files."""

    id: str
    sets: Mapping[str, tuple[str, ...]]
    references: tuple[Included, ...]
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    named: tuple[NamedSet, ...]


def read(text: str, file: str, fetch: Callable[[str], str]) -> Parts:
    """The parts of the policy in ``text``; ``fetch`` gives the text of another by the name it is included by.

    Raises:
        UsageError: a fault in one of the files, too many of them, or a circle.
    """
    files = _Files(fetch)
    files.add(_Reader(_document(text, file), file), (file,))
    return files.parts()


@dataclass(slots=True)
class _Files:
    """The files of one policy, each once."""

    fetch: Callable[[str], str]
    readers: dict[str, _Reader] = field(default_factory=dict)

    def add(self, reader: _Reader, trail: tuple[str, ...]) -> None:
        reader.known((), reader.data, TOP)
        self.readers[trail[-1]] = reader
        for index, name in enumerate(reader.includes()):
            where = ("include", index)
            place = _place(name, reader.file)
            if place in trail:
                raise reader.wrong(
                    where, f"{name!r} includes itself by way of {' -> '.join(trail)}", "break the circle"
                )
            if place in self.readers:
                continue
            if len(trail) >= MAX_DEPTH or len(self.readers) >= MAX_FILES:
                limits = f"{MAX_DEPTH} levels and {MAX_FILES} files"
                raise reader.wrong(where, f"a policy has at most {limits}", "include less")
            try:
                text = self.fetch(place)
            except UsageError as error:
                raise reader.wrong(where, error.what, error.hint) from None
            self.add(_Reader(_document(text, place), place), (*trail, place))

    def parts(self) -> Parts:
        readers = list(self.readers.values())
        lists: dict[str, tuple[str, ...]] = {}
        for reader in readers:
            for name, members in reader.sets().items():
                lists[name] = (*lists.get(name, ()), *members)
        sets = {name: NamedSet(name, frozenset(map(str.lower, members))) for name, members in lists.items()}
        references = [item for reader in readers for item in reader.references(sets)]
        rules: list[Rule] = []
        waivers: list[Waiver] = []
        first: dict[str, Rule] = {}
        for reader in readers:
            for index, table in enumerate(reader.tables("rule")):
                rule = reader.rule(index, table, sets)
                if rule.id in first:
                    other = first[rule.id]
                    what = f"two rules are called {rule.id!r}; the other stands at {other.file}:{other.line}"
                    raise reader.wrong(("rule", index, "id"), what, "give each its own id")
                first[rule.id] = rule
                rules.append(rule)
            waivers += [reader.waiver(index, table) for index, table in enumerate(reader.tables("waive"))]
        return Parts(readers[0].name(), lists, tuple(references), tuple(rules), tuple(waivers), tuple(sets.values()))


def _document(text: str, file: str) -> toml.Document:
    """A file of a policy; one in another language is the only condition of an accepting rule of that name."""
    if not file.endswith(SUFFIXES):
        return toml.parse(text, file, hint="`fastness policy show default` shows the form")
    name, language = toml_text.text(Path(file).stem), Path(file).suffix[1:]
    rule = f'{{ id = {name}, effect = "accept", require = {{ {language} = {toml_text.text(text)} }} }}'
    return toml.parse(f"rule = [{rule}]\n", file)


def _place(name: str, file: str) -> str:
    """A file included by name: relative to the one it stands in. A bare word is a profile's name."""
    if Path(name).suffix == "" and "/" not in name:
        return name
    return os.path.normpath(Path(file).parent / name)


class _Reader:
    """Takes values out of a parsed document, with places for what is wrong."""

    def __init__(self, document: toml.Document, file: str) -> None:
        self._document = document
        self.file = file
        self.data: Mapping[str, Any] = document.data

    def wrong(self, path: Trail, what: str, hint: str) -> UsageError:
        at = self._document.where(path)
        return UsageError(what, where=f"{self.file}:{at.line}:{at.column}", hint=hint)

    def known(self, path: Trail, table: Mapping[str, Any], names: tuple[str, ...]) -> None:
        for key in table:
            if key not in names:
                close = toml.nearest(key, names)
                hint = f"did you mean {close!r}?" if close else f"one of {', '.join(names)}"
                raise self.wrong((*path, key), f"unknown key {key!r}", hint)

    def name(self) -> str:
        return self.text((), self.data, "id", needed=False)

    def includes(self) -> list[str]:
        return self.texts((), self.data, "include")

    def texts(self, path: Trail, table: Mapping[str, Any], key: str) -> list[str]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.wrong((*path, key), f"{key!r} must be a list of text", f'{key} = ["…"]')
        return value

    def tables(self, name: str) -> list[Mapping[str, Any]]:
        value = self.data.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong((name,), f"{name!r} must be written as [[{name}]]", f"[[{name}]]")
        return value

    def text(self, path: Trail, table: Mapping[str, Any], key: str, *, needed: bool = True) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or (needed and not value):
            raise self.wrong((*path, key), f"{key!r} must be text", f'{key} = "…"')
        return value

    def sets(self) -> dict[str, tuple[str, ...]]:
        value = self.data.get("sets", {})
        if not isinstance(value, dict):
            raise self.wrong(("sets",), "'sets' must be a table", "[sets]")
        for name, members in value.items():
            if not isinstance(members, list) or not all(isinstance(item, str) for item in members):
                raise self.wrong(("sets", name), f"set {name!r} must be a list of text", f'{name} = ["…"]')
        return {name: tuple(members) for name, members in value.items()}

    def references(self, sets: dict[str, NamedSet]) -> list[Included]:
        """Reads the files, fills ``sets`` with their rows, and gives back what the canonical form needs of them."""
        value = self.data.get("reference", [])
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return [self.reference(("reference",), {"files": value}, sets)]
        return [self.reference(("reference", index), item, sets) for index, item in enumerate(self.tables("reference"))]

    def reference(self, path: Trail, table: Mapping[str, Any], sets: dict[str, NamedSet]) -> Included:
        import base64

        from fastness.appraise import reference, statements

        self.known(path, table, REFERENCE)
        named = [*self.texts(path, table, "files"), *([self.text(path, table, "file")] if "file" in table else [])]
        base = Path(self.file).parent
        found = [(str(base / name), reference.read(base / name)) for name in named]
        found += [(f"{self.file} inline", self.base64(path, item)) for item in self.texts(path, table, "inline")]
        if not found:
            raise self.wrong(path, "a reference without files", 'file = "keep-images.toml"')
        ring, raw = self.auditors(path, table)
        threshold = table.get("threshold", ring.threshold if ring else None)
        if threshold is not None and (
            type(threshold) is not int or not ring or not 1 <= threshold <= len(ring.holders)
        ):
            hint = f"a number from 1 to {len(ring.holders)}" if ring else 'auditors = "auditors.toml"'
            raise self.wrong((*path, "threshold"), "a threshold is a number of auditors", hint)
        sources = [statements.read(data, where, ring) for where, data in found]
        only = self.text(path, table, "name", needed=False)
        for name in sorted({item.statement.name for item in sources}):
            if only and name != only:
                raise self.wrong(
                    (*path, "name"), f"a file states values of {name!r}, not of {only!r}", f'name = "{name}"'
                )
            rows = [item for item in sources if item.statement.name == name]
            statements.merged(sets, name, statements.group(rows, ring, threshold or 0))
        files = tuple(base64.b64encode(data).decode() for _, data in found)
        stated = None if ring is None or threshold == ring.threshold else threshold
        return Included(only, stated, files, raw)

    def auditors(self, path: Trail, table: Mapping[str, Any]) -> tuple[owners.Keyring | None, str]:
        name = self.text(path, table, "auditors", needed=False)
        inline = self.text(path, table, "inline_auditors", needed=False)
        if not name and not inline:
            return None, ""
        import base64

        from fastness.appraise import owners, reference

        place = str(Path(self.file).parent / name) if name else f"{self.file} inline_auditors"
        data = reference.read(place) if name else self.base64(path, inline)
        return owners.parse(data, place), base64.b64encode(data).decode()

    def base64(self, path: Trail, text: str) -> bytes:
        import base64

        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise self.wrong(path, "what stands inline is not base64", "name a file instead") from None

    def rule(self, index: int, table: Mapping[str, Any], sets: Mapping[str, NamedSet]) -> Rule:
        path = ("rule", index)
        self.known(path, table, RULE)
        effect = self.text(path, table, "effect")
        if effect not in ("refuse", "accept"):
            raise self.wrong((*path, "effect"), f"effect {effect!r} is neither refuse nor accept", "refuse or accept")
        when, require, unless = (
            self.conditions((*path, name), table.get(name, {}), sets) for name in ("when", "require", "unless")
        )
        self.shape(path, effect, when, require, unless)
        why = self.text(path, table, "why", needed=effect == "refuse")
        line = self._document.where(path).line
        return Rule(self.text(path, table, "id"), effect, why, when, require, line, unless, self.file)

    def shape(self, path: Trail, effect: str, when: Any, require: Any, unless: Any) -> None:
        if effect == "refuse" and require:
            raise self.wrong((*path, "require"), "a refusing rule has no 'require'", "put its conditions into 'when'")
        if effect == "accept" and unless:
            hint = "an accepting rule has 'require'; 'unless' lifts a refusal"
            raise self.wrong((*path, "unless"), "an accepting rule has no 'unless'", hint)
        if effect == "refuse" and not when:
            raise self.wrong(path, "a rule that refuses everything", "say what it refuses in 'when'")
        if effect == "accept" and not when and not require:
            raise self.wrong(path, "a rule that accepts everything", "say what it accepts in 'when' and 'require'")

    def conditions(self, path: Trail, value: Any, sets: Mapping[str, NamedSet]) -> tuple[Condition, ...]:
        if not isinstance(value, dict):
            raise self.wrong(path, "conditions must be a table", '{ "cpu.vendor" = "amd" }')
        found: dict[str, Condition] = {}
        for name in filter(value.__contains__, FOREIGN):
            found[name] = self.foreign((*path, name), name, value[name], sets)
        for name, raw in _flat({name: item for name, item in value.items() if name not in found}):
            self.field((*path, name), name)
            if name in found:
                raise self.wrong((*path, name), f"{name!r} stands here twice", "dotted and nested keys are the same")
            found[name] = self.condition((*path, name), name, raw, sets)
        return tuple(found.values())

    def condition(self, path: Trail, name: str, raw: Any, sets: Mapping[str, NamedSet]) -> Condition:
        try:
            if raw == []:
                raise Wrong("an empty list never holds")
            written = canonical.normal(name, raw)
            matches = compile_matcher(written, sets, name)
        except ValueError as error:
            raise self.wrong(path, f"{name}: {error}", "see the table of conditions in docs/policy.md") from None
        tell = grace(written)
        if isinstance(written, str) and written.startswith("@"):
            tell = sets[written[1:]].tell(name)
        line = self._document.where(path).line
        return Condition(name, words(written), line, matches, self.file, written, tell)

    def foreign(self, path: Trail, language: str, raw: Any, sets: Mapping[str, NamedSet]) -> Condition:
        """``cel = "expression"``, ``rego = { file = "theirs.rego" }``."""
        from fastness.appraise import reference
        from fastness.appraise.adapters import foreign

        place, own = self.file, self.file.endswith(SUFFIXES)
        if isinstance(raw, dict):
            self.known(path, raw, ("file",))
            place, own = str(Path(self.file).parent / self.text(path, raw, "file")), True
            try:
                raw = reference.read(place).decode()
            except UnicodeDecodeError:
                raise self.wrong((*path, "file"), f"{place} is not UTF-8", "save it as UTF-8") from None
        if not isinstance(raw, str):
            raise self.wrong(path, f"{language!r} must be text, or name a file", f'{language} = {{ file = "…" }}')
        values = {name: item.members for name, item in sets.items()}
        line = 1 if own else self._document.where(path).line
        return foreign.condition(language, raw, values, file=place, line=line, own=own)

    def field(self, path: Trail, name: str) -> None:
        """Refuses a claim that no TEE has."""
        top, _, rest = name.partition(".")
        names = FIELDS if not rest or top != "cpu" else CPU
        word = top if names is FIELDS else rest
        nested = top in NESTED
        if word not in names or (rest and not nested) or (nested and not rest and top != "measurements"):
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
        return Waiver(check, self.text(path, table, "why"), self._document.where(path).line, self.file)


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted and nested keys as one: ``{cpu = {vendor = 1}}`` is ``{"cpu.vendor" = 1}``."""
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict) and not OPERATORS & value.keys() and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
