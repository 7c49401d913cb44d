"""``fastness policy``: check, show, try, diff and plan. Exit code 1: refusals or remarks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, paint, printable, say
from fastness.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from datetime import datetime

    from fastness.appraise.policy import Policy
    from fastness.appraise.records import Change
    from fastness.appraise.verdict import Verdict
    from fastness.cli.tally import Tally


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
    results = [(item.id, records.judge(item, chosen, at=at, measured=False)) for item in found]
    if options.json:
        rows = [{"id": name, **verdict.to_json()} for name, verdict in results]
        emit({"schema": "fastness/policy-try/v1", **_named(chosen), "results": rows})
    else:
        _table(results)
        accepted = sum(verdict.accepted for _, verdict in results)
        say(f"{accepted} accepted, {len(results) - accepted} refused")
    return int(not all(verdict.accepted for _, verdict in results))


def _table(results: list[tuple[str, Verdict]]) -> None:
    """One row a verdict: what, of which TEE, where it lies, what decided, and what would help."""
    rows = [("verdict", "tee", "evidence", "decided by", "hint")]
    for name, verdict in results:
        tee = verdict.claims[0].tee if verdict.claims else "-"
        hint = "" if verdict.accepted else verdict.against[0].hint
        rows.append(("accept" if verdict.accepted else "refuse", tee, name, verdict.decided_by, hint))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    colours = {"accept": "green", "refuse": "red"}
    for number, row in enumerate(rows):
        first, *rest = (printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        word = paint(first, colours[row[0]], sys.stdout) if number else first
        print("  ".join((word, *rest)).rstrip())


def _plan(options: argparse.Namespace) -> int:
    from fastness.appraise import policy, records
    from fastness.cli.collection import judged
    from fastness.cli.tally import Tally

    chosen = policy.load(options.policy, options.owners)
    old = policy.load(options.old, options.owners) if options.command == "diff" else None
    tally, at = Tally(), _when(options.at)
    found = judged(options.records, at=at, anchors=options.anchors, tally=tally)
    changes = records.plan(found, chosen, at=at, old=old, measured=old is None, tell=tally)
    if options.json:
        _stream(chosen, changes, tally, options.command)
    else:
        for change in changes:
            print(printable(_row(change)))
        tally.end()
        moves = ", ".join(f"{count} {name.replace('-', ' ')}" for name, count in tally.moves.items())
        say(f"{tally.total} records: {moves}")
        for by, count in sorted(tally.by.items(), key=lambda item: -item[1])[:20]:
            say(f"  {count:>7}  {by}")
    return int(bool(tally.moves["now-refused"]))


def _row(change: Change) -> str:
    words = {True: "accept", False: "refuse", None: "none"}
    reason = f"  {change.why}  hint {change.hint}" if change.why else ""
    return f"{words[change.before]} -> {words[change.after]}  {change.id}  {change.by}{reason}"


def _stream(policy: Policy, changes: Iterator[Change], tally: Tally, command: str) -> None:
    """One document, written as it comes, so that memory does not grow with the records."""
    import json

    head = json.dumps({"schema": f"fastness/policy-{command}/v1", **_named(policy)})
    sys.stdout.write(f'{head[:-1]}, "changes": [')
    for index, change in enumerate(changes):
        sys.stdout.write((",\n" if index else "\n") + json.dumps(change.to_json()))
    tally.end()
    summary = {"records": tally.total, **tally.moves, "decided_by": tally.by}
    sys.stdout.write(f'], "summary": {json.dumps(summary)}}}\n')


def _when(text: str | None) -> datetime:
    from datetime import UTC, datetime

    from fastness.cli.values import when

    return when(text) or datetime.now(UTC)
