"""What is legal in a policy and hardly meant: rules that can never hold, firmware known to be broken, any code at all.

A policy is tried in *worlds*: every TEE with every processor generation it can name. A claim a world does not fix is
free, unless that TEE can never have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from fastness import tee as tees
from fastness.appraise import canonical, kinds, knowledge
from fastness.appraise.answers import Told
from fastness.appraise.conditions import FOREIGN, Condition
from fastness.appraise.policy import Policy
from fastness.appraise.rules import Rule
from fastness.claims.finding import table

_NUMBERS = re.compile(r"-?(?:0x[0-9a-fA-F]+|\d+)")
_AT = datetime(2000, 1, 1, tzinfo=UTC)
World = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to look at. ``kind`` is a stable word for machines."""

    kind: str
    rule: str
    line: int
    what: str
    hint: str
    file: str = ""


@cache
def worlds() -> tuple[World, ...]:
    """Every TEE with every generation its evidence can name; a vTPM's is that of the TEE it rests on."""
    found: list[World] = [{"tee": name, "cpu": {}} for name in knowledge.SILENT]
    for row in knowledge.processors():
        cpu = {"vendor": row.vendor, "family": row.family, "generation": row.generation}
        able = knowledge.AMD if row.vendor == "amd" else knowledge.INTEL
        found += [{"tee": name, "cpu": cpu} for name in (*able, "tpm")]
    return tuple(found)


def lint(policy: Policy, at: datetime | None = None) -> tuple[Remark, ...]:
    """The remarks on ``policy``, by line; ``at`` is when its reference values must count (now)."""
    remarks = [*_nothing(policy), *_waivers(policy), *_unvouched(policy, at or datetime.now(UTC))]
    for rule in policy.rules:
        remarks += _fields(rule)
        possible = [world for world in worlds() if _may_hold(rule, world)]
        if not possible or _never_together(rule):
            remarks.append(
                Remark("contradiction", rule.id, rule.line, "its conditions can never hold together",
                       "no TEE known to this version has such claims; see `fastness policy show --cpus`", rule.file)
            )  # fmt: skip
        elif rule.effect == "accept":
            remarks += _accepting(policy, rule, possible)
    return tuple(sorted(remarks, key=lambda item: (item.file, item.line)))


def _waivers(policy: Policy) -> Iterator[Remark]:
    for item in policy.waivers:
        named = [check for check in table().values() if fnmatchcase(check.id, item.check)]
        if not named:
            what = f"no check is called {item.check!r}: the waiver waives nothing"
            yield Remark("unknown-check", "", item.line, what, "see docs/checks.md", item.file)
        elif not any(check.waivable for check in named):
            what = f"{item.check!r} never stays unanswered: the waiver waives nothing"
            hint = "what cryptography or format decides cannot be waived; docs/checks.md says what can"
            yield Remark("never-waived", "", item.line, what, hint, item.file)


def _unvouched(policy: Policy, at: datetime) -> Iterator[Remark]:
    """Reference values that would count for nothing: too few auditors, or their word is not valid."""
    for named in policy.sets:
        for group in named.groups:
            silent = [number for number in range(len(group.rows)) if not group.counts(number, at)]
            if silent:
                what = f"{len(silent)} of {len(group.rows)} rows of @{named.name} do not count: "
                what += group.story(silent[0], at)
                hint = "sign it (`fastness policy reference FILE --key KEY`), state it anew, or ask for fewer auditors"
                yield Remark("not-vouched", "", 1, what, hint, policy.file)


def _fields(rule: Rule) -> Iterator[Remark]:
    for item in (*rule.when, *rule.require, *rule.unless):
        effect = "it refuses everything else that matches" if rule.effect == "refuse" else "it never holds"
        if item.path in FOREIGN:
            continue  # what is in it is for whoever wrote it
        if kinds.unknown(item):
            what = f"no TEE has {item.path!r}: {effect}"
            yield Remark("unknown-field", rule.id, item.line, what, "see the fields in docs/policy.md", item.file)
        elif found := kinds.mismatch(item):
            what = f"{item.path} is {found}, and is compared with {item.text!r}: {effect}"
            yield Remark("wrong-kind", rule.id, item.line, what, f"compare it as {found}", item.file)


def _never_together(rule: Rule) -> bool:
    """Whether two conditions of a rule on one claim leave no value for it: the nearest to each bound are tried."""
    asked: dict[str, list[Condition]] = {}
    for item in (*rule.when, *rule.require):
        asked.setdefault(item.path, []).append(item)
    for path, items in asked.items():
        tried = sorted({value for item in items for value in _near(item.written)}, key=repr)
        if len(items) > 1 and tried and not any(_all(items, _with({}, path, value)) for value in tried):
            return True
    return False


def _all(items: list[Condition], world: World) -> bool:
    return all(item.ask(world, _AT)[0] is Told.YES for item in items)


def _near(written: Any) -> Iterator[bool | int | str]:
    """Values that a simple condition holds for, if any does; none for what cannot be tried."""
    if isinstance(written, bool):
        yield from (True, False)
    elif isinstance(written, int):
        yield written
    elif isinstance(written, list):
        for item in written:
            yield from _near(item)
    elif isinstance(written, str) and not written.startswith("@"):
        numbers = [int(word, 0) for word in _NUMBERS.findall(written)]
        yield from (number + step for number in numbers for step in (-1, 0, 1))
        yield written


def _nothing(policy: Policy) -> Iterator[Remark]:
    if not any(rule.effect == "accept" for rule in policy.rules):
        yield Remark("accepts-nothing", "", 1, "no rule accepts anything", 'add a rule with effect = "accept"')


def _accepting(policy: Policy, rule: Rule, possible: list[World]) -> Iterator[Remark]:
    left = [world for world in possible if not _refused(policy, _fixed(rule, world))]
    if not left:
        what = "everything it could accept is refused by another rule"
        yield Remark("unreachable", rule.id, rule.line, what, "refusals override: remove one of the two", rule.file)
        return
    if not rule.says_what_runs and any(world["tee"] != "nil" for world in left):
        hint = 'require a measurement, for example "measurements.launch" = "@keep-images"'
        yield Remark(
            "no-measurement", rule.id, rule.line, "it accepts any code at all; delivery will refuse it", hint, rule.file
        )
    yield from _revoked(rule, left)
    yield from _broken(policy, rule, left)


def _fixed(rule: Rule, world: World) -> World:
    """``world`` with what the rule itself demands to the letter."""
    for item in (*rule.when, *rule.require):
        plain = isinstance(item.written, bool | int) or (isinstance(item.written, str) and item.written[:1].isalnum())
        if plain and _free(item, world) and ".." not in str(item.written):
            world = _with(world, item.path, item.written)
    return world


def _revoked(rule: Rule, left: list[World]) -> Iterator[Remark]:
    for row in knowledge.revoked():
        hit = any(world["tee"] == row.tee and world["cpu"].get("generation") == row.generation for world in left)
        if hit and not rule.names("hardware_id"):
            what = f"it accepts {row.generation}: {row.why} ({row.source}, {row.date})"
            yield Remark(
                "revoked-generation", rule.id, rule.line, what, "refuse it, or list the chips in hardware_id", rule.file
            )


def _broken(policy: Policy, rule: Rule, left: list[World]) -> Iterator[Remark]:
    for row in knowledge.advisories():
        for world in left:
            if world["tee"] != row.tee or world["cpu"].get("generation") not in row.generations:
                continue
            broken = _with(world, row.path, row.bad)
            places = row.processors or ((None, None),)
            if any(_accepts(policy, rule, _stepping(broken, *place)) for place in places):
                on = world["cpu"]["generation"] + row.on
                what = f"it accepts firmware open to {row.name} ({row.id}) on {on}"
                hint = f'refuse {on} unless "{row.path}" = {canonical.value(row.cured)}'
                yield Remark("known-bad", rule.id, rule.line, what, hint, rule.file)
                break


def _accepts(policy: Policy, rule: Rule, world: World) -> bool:
    return _may_hold(rule, world) and not _refused(policy, world)


def _stepping(world: World, model: int | None, stepping: int | None) -> World:
    if model is None:
        return world
    return {**world, "cpu": {**world["cpu"], "model": model, "stepping": stepping}}


def _with(world: World, path: str, value: Any) -> World:
    """``world`` with one more claim."""
    first, _, rest = path.partition(".")
    return {**world, first: _with(world.get(first, {}), rest, value) if rest else value}


def _may_hold(rule: Rule, world: World) -> bool:
    return all(_free(item, world) or item.ask(world, _AT)[0] is Told.YES for item in (*rule.when, *rule.require))


def _refused(policy: Policy, world: World) -> bool:
    """Whether a refusing rule surely holds: the world answers all it asks, and no to what would lift it."""
    return any(rule.effect == "refuse" and _surely(rule, world) for rule in policy.rules)


def _surely(rule: Rule, world: World) -> bool:
    if any(item.ask(world, _AT)[0] is not Told.YES for item in rule.when):
        return False
    return not rule.unless or any(_never(item, world) for item in rule.unless)


def _never(item: Condition, world: World) -> bool:
    """Whether a condition cannot hold in a world: it says no, or is about a claim that its TEE does not have."""
    return item.ask(world, _AT)[0] is Told.NO or not (_free(item, world) or item.ask(world, _AT)[0] is Told.YES)


def _free(item: Condition, world: World) -> bool:
    """Whether the world leaves this claim open."""
    if item.path in FOREIGN:
        return True
    top = item.path.partition(".")[0]
    if top == "cpu":
        return bool(world["cpu"]) and item.path in ("cpu.model", "cpu.stepping", "cpu.product", "cpu.source")
    if top in tees.NAMES and top != world["tee"]:
        return False
    return item.ask(world, _AT)[0] is Told.UNKNOWN
