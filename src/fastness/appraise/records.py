"""Keeps on record, judged again: JSON lines in, what would change out, in constant memory.

One record a line, ``fastness/verdict/v1`` as `verify --json` and every verdict write it, with an optional ``id``.
``claims``, ``genuine``, ``findings`` and ``verdict`` are read; findings of the policy of that time are left out and
its waivers undone, so that only what the verifier saw is carried over. A record is as good as the place it was kept in:
it holds no signature of ours. What cannot be read is a record as well, refused by :data:`UNREADABLE`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from fastness.appraise.policy import Policy
from fastness.appraise.verdict import Verdict, appraise
from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims, Cpu
from fastness.errors import FastnessError, Malformed

MAX_LINE = 1 << 20
"""Longest record, in characters; of a file, in bytes."""
UNREADABLE = "policy.unreadable"
"""What decides where there is nothing to judge; never waived."""
_TEXT = ("tcb_status", "tcb_date", "report_data", "hardware_id", "cloud")
_TREES = ("tcb", "measurements", "collateral", "composite")
_CPU = {name: int if name in ("family", "model", "stepping") else str for name in Cpu._fields}


@dataclass(frozen=True, slots=True)
class Record:
    """A keep as it was verified. ``claims`` is empty unless it was genuine; ``accepted`` is None if nobody judged.

    ``tee``, ``genuine`` and ``error`` are the record's own words where there are no claims.
    """

    id: str
    claims: tuple[Claims, ...]
    observed: tuple[Finding, ...]
    accepted: bool | None
    tee: str | None = None
    genuine: bool | None = None
    error: Mapping[str, Any] | None = None

    @property
    def readable(self) -> bool:
        """Whether there is something to judge."""
        return not (self.observed and self.observed[0].check == UNREADABLE)


@dataclass(frozen=True, slots=True)
class Change:
    """One record before and after. ``by`` is what decides now; the rest is of the first finding against it."""

    id: str
    before: bool | None
    after: bool
    by: str
    check: str = ""
    expected: str = ""
    actual: str = ""
    hint: str = ""

    @property
    def why(self) -> str:
        """The finding in words; empty for an acceptance."""
        return f"{self.check}: expected {self.expected}, found {self.actual}" if self.check else ""

    def to_json(self) -> dict[str, Any]:
        """Words for machines."""
        return {name: getattr(self, name) for name in ("id", "before", "after", "by", "why", "hint")}


class Move(NamedTuple):
    """What became of one record; ``change`` where its verdict changes, or it cannot be read."""

    before: bool | None
    after: bool
    by: str
    change: Change | None


def lines(text: bytes, place: str, number: int) -> Iterator[Record]:
    """The records in ``text``: lines of the file ``place``, the first its ``number``-th. Empty ones are none."""
    for count, line in enumerate(text.split(b"\n"), number):
        if line.strip():
            where = f"{place}:{count}"
            try:
                value = _parsed(line, where)
            except Malformed as error:
                yield unreadable(error, where)
            else:
                yield from several(value, where)


def several(value: Any, where: str) -> Iterator[Record]:
    """The records in a parsed document: one, or the ``results`` of several; what is wrong with one is told of it."""
    results = value.get("results") if isinstance(value, dict) else value if isinstance(value, list) else None
    if isinstance(results, list) and not results:
        yield unreadable(Malformed("a document of no results", where=where), where)
        return
    if isinstance(results, list):
        items = [(item, f"{where}#{index}") for index, item in enumerate(results)]
    else:
        items = [(value, where)]
    for item, place in items:
        try:
            yield record(item, place)
        except Malformed as error:
            yield unreadable(error, place)


def read(line: str | bytes, where: str) -> Record:
    """The record in one line of JSON.

    Raises:
        Malformed: it is none.
    """
    return record(_parsed(line, where), where)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


parse = json.JSONDecoder(parse_constant=_no_number).decode
"""JSON; ``ValueError`` or ``RecursionError`` for what is none."""


def _parsed(line: str | bytes, where: str) -> Any:
    if len(line) > MAX_LINE:
        raise Malformed(f"a record has at most {MAX_LINE} bytes", where=where, hint="one record a line")
    try:
        return parse(line if isinstance(line, str) else line.decode())
    except (ValueError, RecursionError):
        raise Malformed("a record that is not JSON", where=where, hint="one record a line") from None


def record(value: Any, where: str) -> Record:
    """The record in a parsed document.

    Raises:
        Malformed: it is none.
    """
    try:
        told = value["genuine"] if "error" not in value else value.get("genuine")
        held = (claims(value["claims"]),) if told is True else ()
        observed = tuple(_finding(item) for item in value.get("findings", ()))
        accepted = {"accept": True, "refuse": False, None: None}[value.get("verdict")]
        seen = () if held else _trouble(value)
        known = {item.check for item in seen}  # what we wrote has its error among the findings as well
        seen += tuple(item for item in observed if item is not None and item.check not in known)
        name = str(value.get("id") or value.get("source") or where)
        if held:
            return Record(name, held, seen, accepted)
        tee, error = value.get("tee"), value.get("error")
        return Record(
            name, held, seen, accepted, tee if isinstance(tee, str) else None, False if told is False else None,
            error if isinstance(error, dict) else None,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"a record that cannot be read: {type(error).__name__} {error}"
        raise Malformed(what, where=where, hint="fastness verify --json writes records") from None


def unreadable(error: FastnessError, name: str) -> Record:
    """What stands for something that cannot be judged because of ``error``: every policy refuses it, and says why."""
    place = f" ({error.where})" if error.where and error.where != name else ""
    hint = error.hint or "look at it, or leave it out"
    finding = Finding(UNREADABLE, Outcome.FAILED, "a record, or evidence", f"{error.what}{place}", hint=hint)
    told = {"kind": error.kind, "check": UNREADABLE, "message": error.what, "where": error.where or name, "hint": hint}
    return Record(name, (), (finding,), None, error=told)


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
    records: Iterable[Record], policy: Policy, *, at: datetime, old: Policy | None = None, measured: bool = True
) -> Iterator[Move]:
    """What becomes of each record under ``policy``, one by one, in their order.

    Before is the verdict of ``old``, or without it the recorded one; a record nobody judged changes, and what cannot be
    read has no before.
    """
    for item in records:
        if old is not None and item.readable:
            before: bool | None = judge(item, old, at=at, measured=measured).accepted
        else:
            before = item.accepted
        verdict = judge(item, policy, at=at, measured=measured)
        change = _change(item, before, verdict) if before is not verdict.accepted else None
        yield Move(before, verdict.accepted, verdict.decided_by, change)


def _change(item: Record, before: bool | None, verdict: Verdict) -> Change:
    against = verdict.against
    said = (against[0].check, against[0].expected, against[0].actual, against[0].hint) if against else ()
    return Change(item.id, before, verdict.accepted, verdict.decided_by, *said)
