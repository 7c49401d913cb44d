"""What ``run``, ``deploy`` and ``demo`` share: one keep challenged, decided upon, given a workload, carried out."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness.appraise.policy import Policy
from fastness.appraise.verdict import Verdict
from fastness.cli import streams
from fastness.cli.words import paint, printable, say
from fastness.collateral import anchors_file
from fastness.collateral.supply import Supply
from fastness.errors import KeepFailed
from fastness.pki import anchors
from fastness.pki.anchors import Anchors
from fastness.seal.challenger import client_channel
from fastness.seal.messages import Ended
from fastness.seal.transport import Transport
from fastness.tee import Collateral
from fastness.tenant import deliver
from fastness.tenant.deliver import Attested, Delivery, Ending, Refused, Stages

if TYPE_CHECKING:
    import argparse

    from fastness.tenant.launch import Launched
    from fastness.tenant.prepare import Prepared

MOVED = 100
"""What ``run`` and ``deploy`` add to our own exit codes."""

REFUSED = 1
KEEP_FAILED = KeepFailed.exit_code


@dataclass
class Wishes:
    """What the person asked for, besides the workload."""

    policy: Policy
    anchors: Anchors
    stdin: str | None = None
    verdict: Path | None = None
    timings: bool = False
    accepts: frozenset[str] | None = None
    supply: Supply | None = None
    collateral: Collateral | None = None
    known: tuple[bytes, ...] = ()
    announce: Callable[[Attested], None] = lambda _: None
    stages: Stages = field(default_factory=Stages)

    def remember(self, launched: Launched) -> None:
        """Judges by what is known of a launch that was attended, too."""
        self.known = launched.sources
        self.anchors += launched.anchors()


def prepared(options: argparse.Namespace) -> Prepared:
    """The workload that the options of ``run`` and ``deploy`` describe, read and checked."""
    from fastness.tenant.prepare import prepare

    config = Path(options.config) if options.config else None
    found = prepare(Path(options.app), config=config, args=options.args, env=options.env, secret=options.secret)
    streams.check_source(options.stdin)
    return found


def wishes(options: argparse.Namespace, policy: Policy, anchors: Anchors, **more: Any) -> Wishes:
    """What the options of ``run`` and ``deploy`` ask for besides."""
    return Wishes(policy, anchors, options.stdin, Path(options.verdict) if options.verdict else None, **more)


def roots(policy: Policy, named: list[str]) -> Anchors:
    """The vendors' roots, those the person named, and this machine's software root if the policy names ``nil``."""
    local = anchors_file.nil() if "nil" in policy.evidence_types() else Anchors()
    return anchors.vendor() + anchors_file.load(named) + local


async def attest(sock: socket.socket, wishes: Wishes) -> Attested:
    """Challenges the keep behind ``sock``; says and records the verdict; raises :class:`Refused` if it is one."""
    try:
        transport = Transport(sock, client_channel())
        attested = await deliver.challenge(
            transport,
            wishes.policy,
            wishes.anchors,
            stages=wishes.stages,
            supply=wishes.supply,
            collateral=wishes.collateral,
            accepts=wishes.accepts,
            known=wishes.known,
        )
    except Refused as refusal:
        record(refusal.verdict, wishes.verdict)
        raise
    record(attested.decision.verdict, wishes.verdict)
    wishes.announce(attested)
    return attested


async def carry_out(attested: Attested, prepared: Prepared, wishes: Wishes) -> int:
    """Delivers ``prepared`` and carries its streams; the exit code for the shell."""
    stages = wishes.stages
    try:
        delivery = await Delivery.release(attested, prepared.workload(attached=True), stages)
    except Ending as ending:
        return finish(ending.ended)
    seen = False

    async def show(kind: object, data: bytes) -> None:
        nonlocal seen
        if not seen:
            stages.mark("first output")
            seen = True
        await streams.show(kind, data)  # type: ignore[arg-type]

    streams.widen(1)
    gc.freeze()  # from here on it may take long
    gc.enable()
    ended = await _both(delivery, streams.source(wishes.stdin), show)
    stages.mark("end")
    return finish(ended)


async def _both(delivery: Delivery, source: AsyncIterator[bytes], show: Callable[..., Awaitable[None]]) -> Ended:
    """Feeds and carries at once; the end of the workload ends the feeding, whatever is left of the input."""
    feeding = asyncio.create_task(delivery.feed(source))
    carrying = asyncio.create_task(delivery.carry(show))
    try:
        await asyncio.wait({feeding, carrying}, return_when=asyncio.FIRST_COMPLETED)
        failed = feeding.exception() if feeding.done() and not carrying.done() else None
        if failed is not None and getattr(failed, "kind", "") != "remote":  # a keep that is gone says so itself
            raise failed
        return await carrying
    finally:
        feeding.cancel()
        carrying.cancel()
        await asyncio.gather(feeding, carrying, return_exceptions=True)


def finish(ended: Ended) -> int:
    """Says how a workload ended, if there is anything to say; the exit code for the shell."""
    if ended.outcome == "exit":
        return ended.code & 0xFF
    what = {"trap": "the workload trapped", "limit": "the workload hit a limit"}.get(ended.outcome, "the keep")
    print(f"{paint('error:', 'red')} {what}: {printable(ended.what)}", file=sys.stderr)
    if ended.where:
        lead, *frames = ended.where.splitlines()
        print(f"  where {printable(lead)}", file=sys.stderr)
        for frame in frames:
            print(f"        {printable(frame)}", file=sys.stderr)
    if ended.hint:
        print(f"  hint {printable(ended.hint)}", file=sys.stderr)
    refused = ended.outcome == "refused" and 0 < ended.code < MOVED
    return MOVED + (ended.code if refused else KEEP_FAILED)


def refuse(verdict: Verdict) -> int:
    """Says why the policy refused; the exit code of `run` and `deploy`."""
    from fastness.appraise.explain import text
    from fastness.language import current

    spoken = current()
    said = spoken.fill("refused by policy: nothing of the workload left this machine")
    print(printable(text(verdict, spoken)), file=sys.stderr)
    print(f"{paint(spoken.label('error:'), 'red')} {said}", file=sys.stderr)
    return MOVED + REFUSED


def record(verdict: Verdict, place: Path | None) -> None:
    """Writes the verdict as JSON to ``place`` by temporary file and rename."""
    if place is None:
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(verdict.to_json(), indent=2) + "\n", "utf-8")
        temporary.replace(place)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        say(f"warning: the verdict was not written to {place}: {error.strerror}")


def timings(stages: Stages) -> None:
    """Prints how long each stage took."""
    for name, seconds in stages.spent():
        say(f"{name:>14} {seconds * 1000:8.1f} ms")
