"""Keeps on record, judged again: JSON lines in, what would change out, in constant memory.

One record a line, ``fastness/verdict/v1`` as `verify --json` and every verdict write it, with an optional ``id``.
``claims``, ``genuine``, ``findings`` and ``verdict`` are read; findings of the policy of that time are left out and
its waivers undone, so that only what the verifier saw is carried over. A record is as good as the place it was kept in:
it holds no signature of ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastness.appraise.policy import Policy
from fastness.appraise.verdict import Verdict, appraise
from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims, Cpu
from fastness.errors import Malformed

MAX_LINE = 1 << 20
"""Longest record, in characters."""
_TEXT = ("tcb_status", "tcb_date", "report_data", "hardware_id", "cloud")
_TREES = ("tcb", "measurements", "collateral", "composite")
_CPU = {name: int if name in ("family", "model", "stepping") else str for name in Cpu._fields}


@dataclass(frozen=True, slots=True)
class Record:
    """A keep as it was verified. ``claims`` is empty unless it was genuine; ``accepted`` is None if nobody judged."""

    id: str
    claims: tuple[Claims, ...]
    observed: tuple[Finding, ...]
    accepted: bool | None


@dataclass(frozen=True, slots=True)
class Change:
    """One record before and after. ``by`` is what decides now, ``why`` the first finding against it."""

    id: str
    before: bool | None
    after: bool
    by: str
    why: str
    hint: str

    def to_json(self) -> dict[str, Any]:
        """Words for machines."""
        return {name: getattr(self, name) for name in ("id", "before", "after", "by", "why", "hint")}


def read(line: str, where: str) -> Record:
    """The record in one line of JSON.

    Raises:
        Malformed: it is none.
    """
    if len(line) > MAX_LINE:
        raise Malformed(f"a record has at most {MAX_LINE} characters", where=where)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise Malformed("a record that is not JSON", where=where, hint="one record a line") from None
    return record(value, where)


def record(value: Any, where: str) -> Record:
    """The record in a parsed document."""
    try:
        held = (claims(value["claims"]),) if value.get("genuine") is True else ()
        observed = tuple(_finding(item) for item in value.get("findings", ()))
        accepted = {"accept": True, "refuse": False, None: None}[value.get("verdict")]
        seen = () if held else _trouble(value)
        seen += tuple(item for item in observed if item is not None)
        return Record(str(value.get("id") or where), held, seen, accepted)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"a record that cannot be read: {type(error).__name__} {error}"
        raise Malformed(what, where=where, hint="fastness verify --json writes records") from None


def claims(tree: dict[str, Any]) -> Claims:
    """The claims of which ``tree`` is :meth:`Claims.tree`; ``ValueError`` or ``TypeError`` for what is not one."""
    tee = _is(tree["tee"], str)
    simulated = _is(tree["simulated"], bool)
    debug = tree.get("debug")
    cpu = {name: _is(value, _CPU[name]) for name, value in _is(tree.get("cpu", {}), dict).items()}
    ids = tree.get("advisory_ids")
    texts = {name: _is(tree[name], str) for name in _TEXT if name in tree}
    trees = {name: _is(tree.get(name, {}), dict) for name in _TREES}
    return Claims(
        tee=tee,
        cpu=Cpu(**cpu),
        debug=None if debug is None else _is(debug, bool),
        simulated=simulated,
        advisory_ids=None if ids is None else tuple(_is(item, str) for item in _is(ids, list)),
        extra=_is(tree.get(tee, {}), dict),
        **texts,
        **trees,
    )


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"need {kind.__name__}, have {type(value).__name__}")
    return value


def _finding(value: dict[str, Any]) -> Finding | None:
    check = _is(value["check"], str)
    if check.startswith("policy."):
        return None
    outcome = Outcome(value["outcome"])
    if outcome is Outcome.WAIVED:
        outcome = Outcome.UNKNOWN  # the waiver was that policy's; this one has its own
    expected, actual, because = (str(value.get(name, "")) for name in ("expected", "actual", "because"))
    return Finding(check, outcome, expected, actual, because=because, hint=_hint(value))


def _trouble(value: dict[str, Any]) -> tuple[Finding, ...]:
    """Why evidence is not genuine, or why it cannot be told, where the record says."""
    error = value.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("check"), str):
        return ()
    outcome = Outcome.FAILED if value.get("genuine") is False else Outcome.UNKNOWN
    check = error["check"] or "policy.no-claims"
    return (Finding(check, outcome, "genuine evidence", str(error.get("message", "")), hint=_hint(error)),)


def _hint(value: dict[str, Any]) -> str:
    return str(value.get("hint") or "verify the evidence again: this was not checked")


def judge(item: Record, policy: Policy, *, at: datetime, measured: bool) -> Verdict:
    """What ``policy`` says of a record now."""
    return appraise(item.claims, item.observed, policy, at=at, measured=measured)


def plan(
    records: Iterable[Record],
    policy: Policy,
    *,
    at: datetime,
    old: Policy | None = None,
    measured: bool = True,
    tell: Callable[[bool | None, bool, str], None] | None = None,
) -> Iterator[Change]:
    """The records whose verdict ``policy`` changes, one by one; ``tell`` hears (before, after, by) of every record.

    Before is the verdict of ``old``, or without it the recorded one; a record nobody judged changes.
    """
    for item in records:
        before = judge(item, old, at=at, measured=measured).accepted if old else item.accepted
        verdict = judge(item, policy, at=at, measured=measured)
        if tell is not None:
            tell(before, verdict.accepted, verdict.decided_by)
        if before is not verdict.accepted:
            yield _change(item, before, verdict)


def _change(item: Record, before: bool | None, verdict: Verdict) -> Change:
    first = verdict.against[0] if verdict.against else None
    why = f"{first.check}: expected {first.expected}, found {first.actual}" if first else ""
    return Change(item.id, before, verdict.accepted, verdict.decided_by, why, first.hint if first else "")
