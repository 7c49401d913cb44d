"""What is legal in a policy and hardly meant: rules that can never hold, firmware known to be broken, any code at all.

A policy is tried in *worlds*: every TEE with every processor generation it can name. A claim a world does not fix is
free, unless that TEE can never have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from fastness import tee as tees
from fastness.appraise import knowledge
from fastness.appraise.conditions import Condition, Told
from fastness.appraise.policy import Policy
from fastness.appraise.rules import Rule

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


@cache
def worlds() -> tuple[World, ...]:
    """Every TEE with every generation its evidence can name."""
    found: list[World] = [{"tee": name, "cpu": {}} for name in knowledge.SILENT]
    for row in knowledge.processors():
        cpu = {"vendor": row.vendor, "family": row.family, "generation": row.generation}
        found += [{"tee": name, "cpu": cpu} for name in (knowledge.AMD if row.vendor == "amd" else knowledge.INTEL)]
    return tuple(found)


def lint(policy: Policy) -> tuple[Remark, ...]:
    """The remarks on ``policy``, by line."""
    remarks = [*_nothing(policy)]
    for rule in policy.rules:
        possible = [world for world in worlds() if _may_hold(rule, world)]
        if not possible:
            remarks.append(
                Remark("contradiction", rule.id, rule.line, "its conditions can never hold together",
                       "no TEE known to this version has such claims; see `fastness policy show --cpus`")
            )  # fmt: skip
        elif rule.effect == "accept":
            remarks += _accepting(policy, rule, possible)
    return tuple(sorted(remarks, key=lambda item: item.line))


def _nothing(policy: Policy) -> Iterator[Remark]:
    if not any(rule.effect == "accept" for rule in policy.rules):
        yield Remark("accepts-nothing", "", 1, "no rule accepts anything", 'add a rule with effect = "accept"')


def _accepting(policy: Policy, rule: Rule, possible: list[World]) -> Iterator[Remark]:
    left = [world for world in possible if not _refused(policy, world)]
    if not left:
        what = "everything it could accept is refused by another rule"
        yield Remark("unreachable", rule.id, rule.line, what, "refusals override: remove one of the two")
        return
    if not rule.names("measurements") and any(world["tee"] != "nil" for world in left):
        hint = 'require a measurement, for example "measurements.launch" = "@keep-images"'
        yield Remark("no-measurement", rule.id, rule.line, "it accepts any code at all; delivery will refuse it", hint)
    yield from _revoked(rule, left)
    yield from _broken(policy, rule, left)


def _revoked(rule: Rule, left: list[World]) -> Iterator[Remark]:
    for row in knowledge.revoked():
        hit = any(world["tee"] == row.tee and world["cpu"].get("generation") == row.generation for world in left)
        if hit and not rule.names("hardware_id"):
            what = f"it accepts {row.generation}: {row.why} ({row.source}, {row.date})"
            yield Remark("revoked-generation", rule.id, rule.line, what, "refuse it, or list the chips in hardware_id")


def _broken(policy: Policy, rule: Rule, left: list[World]) -> Iterator[Remark]:
    for row in knowledge.advisories():
        for world in left:
            if world["tee"] != row.tee or world["cpu"].get("generation") not in row.generations:
                continue
            broken = _with(world, row.path, row.bad)
            if _may_hold(rule, broken) and not _refused(policy, broken):
                cured = str(row.cured).lower()
                what = f"it accepts firmware open to {row.name} ({row.id}) on {world['cpu']['generation']}"
                yield Remark("known-bad", rule.id, rule.line, what, f'require "{row.path}" = {cured!r}')
                break


def _with(world: World, path: str, value: Any) -> World:
    """``world`` with one more claim."""
    first, _, rest = path.partition(".")
    return {**world, first: _with(world.get(first, {}), rest, value) if rest else value}


def _may_hold(rule: Rule, world: World) -> bool:
    return all(_free(item, world) or item.ask(world, _AT)[0] is Told.YES for item in (*rule.when, *rule.require))


def _refused(policy: Policy, world: World) -> bool:
    """Whether a refusing rule surely holds: one whose conditions the world answers, all of them."""
    return any(
        rule.effect == "refuse" and all(item.ask(world, _AT)[0] is Told.YES for item in rule.when)
        for rule in policy.rules
    )


def _free(item: Condition, world: World) -> bool:
    """Whether the world leaves this claim open."""
    top = item.path.partition(".")[0]
    if top == "cpu":
        return bool(world["cpu"]) and item.path in ("cpu.model", "cpu.stepping", "cpu.product", "cpu.source")
    if top in tees.NAMES and top != world["tee"]:
        return False
    return item.ask(world, _AT)[0] is Told.UNKNOWN
