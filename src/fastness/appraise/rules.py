"""A policy, and what it is made of: rules and waivers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from fastness import tee as tees
from fastness.appraise.conditions import Condition
from fastness.appraise.sets import NamedSet
from fastness.claims.model import NOT_WHAT_RUNS

HARDWARE = frozenset(tees.NAMES) - {"nil"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``effect`` is ``refuse`` or ``accept``; a refusing rule has no ``require``, only it has ``unless``."""

    id: str
    effect: str
    why: str
    when: tuple[Condition, ...]
    require: tuple[Condition, ...]
    line: int
    unless: tuple[Condition, ...] = ()
    file: str = ""

    def names(self, path: str) -> bool:
        """Whether a condition of this rule is about ``path`` or something inside it."""
        return any(item.path == path or item.path.startswith(f"{path}.") for item in (*self.when, *self.require))

    @property
    def names_nil(self) -> bool:
        """Whether the rule writes ``nil`` itself: ``{ not = "snp" }`` would hold for it and does not mean it."""
        asked = [item for item in (*self.when, *self.require) if item.path == "tee"]
        return any("nil" in (item.written if isinstance(item.written, list) else [item.written]) for item in asked)

    @property
    def says_what_runs(self) -> bool:
        """Whether a condition names measurements that may run. The host's own word (``host_data``, ``mrconfigid`` …)
        and the TDX module do not say, and what a measurement is *not* leaves everything else."""
        asked = [item for item in (*self.when, *self.require) if item.path.partition(".")[0] == "measurements"]
        return any(
            item.path.removeprefix("measurements.") not in NOT_WHAT_RUNS and _names_values(item.written)
            for item in asked
        )

    def admits(self, tee: str) -> bool:
        """Whether this rule could hold for evidence of ``tee``; ``nil`` only where the rule writes it."""
        asked = [item for item in (*self.when, *self.require) if item.path == "tee"]
        if tee not in HARDWARE and not self.names_nil:
            return False
        return all(item.ask({"tee": tee}, datetime.min)[0].value == "yes" for item in asked)


def _names_values(written: Any) -> bool:
    if isinstance(written, list):
        return all(map(_names_values, written))
    if isinstance(written, dict) and isinstance(cases := written.get("by_generation"), dict):
        return all(map(_names_values, cases.values()))
    return isinstance(written, str) and written[:1] not in ("!", "<", ">")


@dataclass(frozen=True, slots=True)
class Waiver:
    """A check that may stay unanswered (``*`` stands for any part of the id), and why."""

    check: str
    why: str
    line: int
    file: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. ``digest`` is the SHA-256 of ``canonical``, its canonical form; ``text`` is what was read.

    ``signed`` says who signed it, where owners were asked for; ``sets`` are those its rules name by ``@name``.
    """

    name: str
    file: str
    text: str
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    digest: str
    canonical: str = ""
    signed: tuple[str, ...] = ()
    sets: tuple[NamedSet, ...] = ()
    types: frozenset[str] = frozenset()
    """What :meth:`evidence_types` answers."""

    def waiver(self, check: str) -> Waiver | None:
        """The waiver of ``check``, if there is one."""
        return next((item for item in self.waivers if fnmatchcase(check, item.check)), None)

    def evidence_types(self) -> frozenset[str]:
        """The TEEs an accepting rule could accept; ``nil`` only where one names it."""
        return self.types
