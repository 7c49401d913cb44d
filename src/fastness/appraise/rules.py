"""What a policy is made of: rules and waivers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastness import tee as tees
from fastness.appraise.conditions import Condition
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
