"""``fastness keep status``: is what was accepted then still accepted now, and what does it do?

A keep is challenged anew and judged by today's policy, collateral and knowledge of advisories. One that was accepted
and is not any more is told, with the verdict; with ``--enforce`` it is ended: its workload is told first (by the end of
its stdin, within the grace of its manifest), and keys and secrets go with the keep's process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, printable, say
from fastness.errors import FastnessError, UsageError
from fastness.language import current

if TYPE_CHECKING:
    from fastness.appraise.policy import Policy
    from fastness.tenant.deliver import Attested
    from fastness.tenant.records import Record
    from fastness.tenant.remote import Host

DEFAULT_HOST = "http://127.0.0.1:7300"
SCHEMA = "fastness/keep-status/v1"
FAREWELL = 10.0
"""Seconds beyond its grace that a keep has to say that it ends."""


async def status(options: argparse.Namespace) -> int:
    """Challenges every keep that was named, or every one on record; the worst exit code of them."""
    from fastness.tenant import records

    names = options.id or records.names()
    if not names:
        raise UsageError("no keep of yours is on record", hint="fastness deploy --detach, or name a keep")
    rows, worst = [], 0
    for name in names:
        row, code = await _one(options, name)
        rows.append(row)
        worst = max(worst, code)
    if options.json:
        emit(rows[0] if len(options.id) == 1 else {"schema": "fastness/keep-statuses/v1", "keeps": rows})
    return worst


def host_of(options: argparse.Namespace, record: Record | None, name: str = "") -> Host:
    """The host of a keep: the one that is named, that of its record, or the default, which is said of ``name``."""
    from fastness.tenant.remote import Host

    if not options.host and record is None and name:
        say(
            current().fill(
                "keep {0} is not on record here: {1} is asked; --host names another host", name, DEFAULT_HOST
            )
        )
    return Host(options.host or (record.host if record else DEFAULT_HOST))


def _policy(options: argparse.Namespace, record: Record | None) -> Policy:
    """The one that is named, or the one of the deployment, signed by the owners it was signed by then."""
    from fastness.appraise import policy

    if options.policy or record is None:
        return policy.load(options.policy or "default", options.owners)
    return policy.load(record.policy, options.owners or record.owners or None)


async def challenge(options: argparse.Namespace, name: str, *, offline: bool) -> tuple[Attested, Record | None]:
    """Challenges the keep ``name``, by the policy it was accepted by or the one named now."""
    from fastness import tee as tees
    from fastness.cli import delivery
    from fastness.collateral import anchors_file
    from fastness.collateral.supply import Supply
    from fastness.tenant import records
    from fastness.tenant.launch import decode

    record = records.read(name)
    chosen = _policy(options, record)
    named = [*options.anchors, *(record.anchors if record else ())]
    host = host_of(options, record, name)
    wishes = delivery.Wishes(chosen, delivery.roots(chosen, named), supply=Supply(offline=offline))
    if record is not None:  # ours: what it has is judged, not only what the policy of today would ask for
        wishes.accepts = frozenset(tees.NAMES)
        wishes.anchors += anchors_file.nil()
        if record.launched:
            wishes.remember(decode(record.launched))
    try:
        return await delivery.attest(await host.channel(name), wishes), record
    finally:
        host.close()


async def _one(options: argparse.Namespace, name: str) -> tuple[dict[str, Any], int]:
    from fastness.appraise.explain import text
    from fastness.cli import delivery
    from fastness.cli.words import tell
    from fastness.tenant.deliver import Refused

    if len(options.id) != 1 and not options.json:
        print(f"{_label('keep')}{printable(name)}")
    try:
        attested, record = await challenge(options, name, offline=options.offline)
    except Refused as refusal:
        row = {"schema": SCHEMA, "id": name, "state": None, "verdict": refusal.verdict.to_json()}
        if not options.json:
            print(printable(text(refusal.verdict, current())))
        return await _refused(options, name, row, refusal.keep, delivery.REFUSED)
    except FastnessError as error:
        if len(options.id) == 1 and not options.enforce:
            raise
        tell(error)
        row = {"schema": SCHEMA, "id": name, "state": None, "verdict": None,
               "error": {"kind": error.kind, "message": error.what, "hint": error.hint}}  # fmt: skip
        if error.kind == "remote":  # unreachable: nothing can be said of it, and nothing be done to it
            return row, error.exit_code
        return await _refused(options, name, row, None, error.exit_code)
    return await _accepted(options, name, attested, record), 0


async def _accepted(
    options: argparse.Namespace, name: str, attested: Attested, record: Record | None
) -> dict[str, Any]:
    from fastness.appraise.explain import text
    from fastness.seal.challenger import decode_ended
    from fastness.tenant import deliver

    # a keep that was given nothing yet has no owner
    owned = record is not None and attested.statement.workload
    found = await deliver.status(attested, bytes.fromhex(record.owner) if record and owned else b"")
    await attested.transport.close()
    workload = attested.statement.workload.hex()
    ours = bool(record and record.workload == workload)
    ended = decode_ended(found.ended) if found.ended else None
    if not options.json:
        spoken = current()
        shown = workload or spoken.fill("none yet")
        print(f"{_label('state')}{printable(found.state)}")
        if ended is not None:
            print(f"{_label('ended')}{printable(ended.outcome)} {ended.code} {printable(ended.what)}".rstrip())
        print(f"{_label('workload')}{spoken.fill('{0} (the one you deployed)', shown) if ours else shown}")
        print(printable(text(attested.decision.verdict, spoken)))
    return {
        "schema": SCHEMA,
        "id": name,
        "state": found.state,
        "ended": {"outcome": ended.outcome, "code": ended.code, "what": ended.what} if ended else None,
        "workload": workload or None,
        "workload_is_ours": ours if record else None,
        "clock": {"ms": attested.statement.clock_ms, "source": attested.statement.clock_source},
        "verdict": attested.decision.verdict.to_json(),
    }


def _label(word: str) -> str:
    spoken = current()
    return spoken.column(spoken.label(word), 10)


async def _refused(
    options: argparse.Namespace, name: str, row: dict[str, Any], keep: Attested | None, code: int
) -> tuple[dict[str, Any], int]:
    """A keep that is not accepted any more: ended, if that was wished."""
    if not options.enforce:
        say(current().fill("keep {0} is not accepted any more; --enforce ends it", name))
        return {**row, "ended_by_us": False}, code
    how = await _end(options, name, keep)
    say(current().fill("keep {0} is not accepted any more: {1}", name, how))
    return {**row, "ended_by_us": True, "how": how}, code


async def _end(options: argparse.Namespace, name: str, keep: Attested | None) -> str:
    """Ends a keep: by its owner's word where it is still the keep it says, and in any case by its host."""
    from fastness.tenant import deliver, records
    from fastness.workload.limits import MAX_GRACE

    record = records.read(name)
    told = False
    if keep is not None and record is not None:
        with contextlib.suppress(FastnessError, TimeoutError):
            async with asyncio.timeout(MAX_GRACE + FAREWELL):
                await deliver.attach(keep, bytes.fromhex(record.owner), "end")
                told = (await deliver.status_word(keep)) == "stopping"
                await deliver.gone(keep)
    host = host_of(options, record)
    with contextlib.suppress(FastnessError):
        await host.stop(name)
    host.close()
    records.forget(name)
    return "its workload was told and has ended" if told else "its host was asked to end it"
