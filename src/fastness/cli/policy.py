"""``fastness policy``: check, show, try, diff and plan. Exit code 1: refusals or remarks."""

from __future__ import annotations

import contextlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, one_line, paint, printable, say
from fastness.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from fastness.appraise.policy import Policy
    from fastness.appraise.records import Change, Move, Record
    from fastness.appraise.verdict import Verdict
    from fastness.claims.finding import Finding
    from fastness.cli.tally import Tally
    from fastness.language import Language


def configure(parser: argparse.ArgumentParser) -> None:
    """The commands and their options."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="what is wrong in a policy, or hardly meant")
    check.add_argument("policy", metavar="NAME|FILE")
    show = commands.add_parser("show", help="print a policy, or what is known of processors")
    show.add_argument("policy", metavar="NAME|FILE", nargs="?")
    show.add_argument("--canonical", action="store_true", help="the form the digest is of, includes flattened")
    show.add_argument("--cpus", action="store_true", help="processors, attacks with their cures, revoked generations")
    attempt = commands.add_parser("try", help="the verdict on each piece of evidence")
    attempt.add_argument("policy", metavar="NAME|FILE")
    diff = commands.add_parser("diff", help="which verdicts differ between two policies, and by which rule")
    diff.add_argument("old", metavar="A")
    diff.add_argument("policy", metavar="B")
    plan = commands.add_parser("plan", help="what a policy would refuse or accept of what is on record")
    plan.add_argument("policy", metavar="NAME|FILE")
    for each in (attempt, diff, plan):
        each.add_argument(
            "records",
            metavar="PATH",
            nargs="*" if each is plan else "+",
            help="evidence: files and folders; or `verify --json`, JSON lines; -"
            + (" (default: the keeps that run detached from here)" if each is plan else ""),
        )
        each.add_argument("--anchors", metavar="FILE", action="append", default=[], help="further roots, for evidence")
        each.add_argument("--at", metavar="TIME", help="the time to judge at, ISO 8601 (now)")
    for each in (check, show, attempt, diff, plan):
        each.add_argument("--owners", metavar="FILE", help="the policy must be signed by enough of these keys")
        each.add_argument("--json", action="store_true", help="one JSON document on stdout")
    from fastness.cli import policy_sign

    policy_sign.configure(commands)


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code."""
    commands = {"check": _check, "show": _show, "try": _try, "diff": _plan, "plan": _plan}
    if options.command not in commands:
        from fastness.cli import policy_sign

        return policy_sign.run(options)
    return commands[options.command](options)


def _check(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from fastness.appraise import policy
    from fastness.appraise.lint import lint

    chosen = policy.load(options.policy, options.owners)
    remarks = lint(chosen)
    if options.json:
        rows = [asdict(item) for item in remarks]
        emit({"schema": "fastness/policy-check/v1", **_named(chosen), "remarks": rows})
        return int(bool(remarks))
    for item in remarks:
        print(printable(f"{item.file or chosen.file}:{item.line}: {item.kind}: {item.rule or 'policy'}: {item.what}"))
        print(printable(f"    hint {item.hint}"))
    say(f"{len(chosen.rules)} rules, {len(remarks)} remarks; sha-256 {chosen.digest}")
    return int(bool(remarks))


def _named(policy: Policy) -> dict[str, Any]:
    return {"policy": {"name": policy.name, "sha256": policy.digest}}


def _show(options: argparse.Namespace) -> int:
    if options.cpus:
        return _cpus(as_json=options.json)
    if options.policy is None:
        raise UsageError("no policy was named", hint="fastness policy show NAME|FILE, or --cpus")
    from fastness.appraise import policy

    chosen = policy.load(options.policy, options.owners)
    if options.json:
        types = sorted(chosen.evidence_types())
        text = {"text": chosen.text, "canonical": chosen.canonical, "signed_by": list(chosen.signed)}
        emit({"schema": "fastness/policy/v1", **_named(chosen), "evidence_types": types, **text})
    else:
        sys.stdout.write(printable(chosen.canonical if options.canonical else chosen.text))
    return 0


def _cpus(*, as_json: bool) -> int:
    from dataclasses import asdict

    from fastness.appraise import knowledge

    cpus, attacks, revoked = knowledge.processors(), knowledge.advisories(), knowledge.revoked()
    if as_json:
        emit(
            {
                "schema": "fastness/cpus/v1",
                "cpus": [asdict(row) for row in cpus],
                "advisories": [asdict(row) for row in attacks],
                "revoked": [asdict(row) for row in revoked],
            }
        )
        return 0
    for cpu in cpus:
        where = f"family {cpu.family:#04x} model {cpu.models}"
        print(f"{cpu.vendor:<7}{cpu.generation:<18}{where:<46}{cpu.product}  ({cpu.source}, {cpu.date})")
    for row in attacks:
        cure = str(row.cured).lower()
        on = ", ".join(row.generations) + row.on
        print(f"{row.id:<14}{row.name:<13}{row.cve:<16}{row.tee} {on}: cured by {row.path} {cure}")
        print(f"{'':<14}{row.source}, {row.date}")
    for item in revoked:
        print(f"revoked       {item.tee} {item.generation}: {item.why} ({item.source}, {item.date})")
    return 0


def _try(options: argparse.Namespace) -> int:
    from fastness.appraise import policy, records
    from fastness.cli.collection import judged

    chosen, at = policy.load(options.policy, options.owners), _when(options.at)
    found = judged(options.records, at=at, anchors=options.anchors)
    counts = {"accepted": 0, "refused": 0, "unreadable": 0}

    def judged_one_by_one() -> Iterator[tuple[Record, Verdict]]:
        for item in found:
            verdict = records.judge(item, chosen, at=at, measured=False)
            counts["accepted" if verdict.accepted else "refused" if item.readable else "unreadable"] += 1
            yield item, verdict

    if options.json:
        document = {"schema": "fastness/policy-try/v1", **_named(chosen)}
        _stream(document, "results", itertools.starmap(_attempt, judged_one_by_one()), lambda: counts)
    else:
        _table(judged_one_by_one())
        say(", ".join(f"{count} {name}" for name, count in counts.items()))
    return int(bool(counts["refused"] or counts["unreadable"]))


def _attempt(item: Record, verdict: Verdict) -> dict[str, Any]:
    """``fastness/verdict/v1`` with an id; where there are no claims, the record's own words say why."""
    own = {} if item.claims else {"tee": item.tee, "genuine": item.genuine, "error": item.error}
    return {"id": item.id, **verdict.to_json(), **own}


def _table(results: Iterable[tuple[Record, Verdict]]) -> None:
    """One row a verdict: what, of which TEE, where it lies, what decided, and why with what would help."""
    from fastness.language import current

    spoken = current()
    rows = [("verdict", "tee", "evidence", "decided by", "found")]
    for item, verdict in results:
        tee = verdict.claims[0].tee if verdict.claims else item.tee
        why = "" if verdict.accepted else _why(verdict.against[0], spoken)
        rows.append(("accept" if verdict.accepted else "refuse", tee or "-", item.id, verdict.decided_by, why))
    widths = [max(len(one_line(cell)) for cell in column) for column in zip(*rows, strict=True)]
    colours = {"accept": "green", "refuse": "red"}
    for number, row in enumerate(rows):
        said = map(spoken.label, row) if number == 0 else row
        first, *rest = (
            spoken.column(one_line(cell), width) for cell, width in zip(said, (*widths[:-1], 0), strict=True)
        )
        word = paint(first, colours[row[0]], sys.stdout) if number else first
        print("  ".join((word, *rest)).rstrip())


def _why(first: Finding, spoken: Language) -> str:
    """What was found, and what would help."""
    found, hint = spoken.say(first.actual or first.expected), spoken.advice(first.check, first.hint)
    return f"{found}  {spoken.label('hint')} {hint}"


def _plan(options: argparse.Namespace) -> int:
    from fastness.cli import crew
    from fastness.cli.collection import batches
    from fastness.cli.tally import Tally

    diff, at, tally = options.command == "diff", _when(options.at), Tally()
    asked = crew.Question(options.policy, options.old if diff else None, options.owners, at, measured=not diff)
    judge = asked.load()
    found = batches(options.records, at=at, anchors=options.anchors, tally=tally)
    with contextlib.closing(crew.judged(found, judge)) as judged:
        changes = _changes(judged, tally)
        if options.json:
            document = {"schema": f"fastness/policy-{options.command}/v1", **_named(judge.policy)}
            _stream(document, "changes", (change.to_json() for change in changes), tally.summary)
        else:
            from fastness.language import current

            for change in changes:
                print(_row(change, current()))
    if not options.json:
        tally.end()
        moves = ", ".join(f"{count} {name.replace('-', ' ')}" for name, count in tally.moves.items())
        say(f"{tally.total} records: {moves}")
        for by, count in sorted(tally.by.items(), key=lambda item: -item[1])[:20]:
            say(f"  {count:>7}  {by}")
    return int(tally.refused)


def _changes(judged: Iterable[tuple[int, list[Move]]], tally: Tally) -> Iterator[Change]:
    """The changes among the moves; ``tally`` hears of all."""
    for size, moves in judged:
        tally.read += size
        for move in moves:
            tally(move.before, move.after, move.by)
            if move.change is not None:
                yield move.change


def _row(change: Change, spoken: Language) -> str:
    words = {True: "accept", False: "refuse", None: "none"}
    reason = ""
    if change.check:
        found = spoken.fill("{0}: expected {1}, found {2}", change.check, change.expected, change.actual)
        reason = f"  {found}  {spoken.label('hint')} {spoken.advice(change.check, change.hint)}"
    return one_line(f"{words[change.before]} -> {words[change.after]}  {change.id}  {change.by}{reason}")


def _stream(
    document: dict[str, Any], name: str, rows: Iterator[dict[str, Any]], summary: Callable[[], dict[str, Any]]
) -> None:
    """One document, its ``rows`` under ``name`` and then the summary, written as they come: memory does not grow."""
    import json

    first = next(rows, None)  # where there is nothing to judge, there is no document
    sys.stdout.write(f'{json.dumps(document)[:-1]}, "{name}": [')
    for index, row in enumerate(() if first is None else itertools.chain((first,), rows)):
        sys.stdout.write((",\n" if index else "\n") + json.dumps(row))
    sys.stdout.write(f'], "summary": {json.dumps(summary())}}}\n')


def _when(text: str | None) -> datetime:
    from datetime import UTC, datetime

    from fastness.cli.values import when

    return when(text) or datetime.now(UTC)
