"""``fastness deploy``: run a workload in a keep on a host nobody trusts, once the keep has proved itself."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.cli.parsing import workload_options
from fastness.cli.words import say
from fastness.errors import KeepFailed, UsageError
from fastness.wire.der import zulu

if TYPE_CHECKING:
    from fastness.tenant.deliver import Attested
    from fastness.tenant.launch import Launched
    from fastness.tenant.prepare import Prepared

ATTENDED = "sev"
"""The platform whose keeps have no evidence unless their tenant attends the launch."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``deploy``."""
    workload_options(parser)
    parser.add_argument("--host", metavar="URL", required=True, help="http://NAME:PORT of a host")
    parser.add_argument(
        "--policy", metavar="NAME|FILE", default="default", help="strict, default, development, or a file"
    )
    parser.add_argument("--owners", metavar="FILE", help="the policy must be signed by enough of these keys")
    parser.add_argument("--anchors", metavar="FILE", action="append", default=[], help="further roots to trust")
    parser.add_argument("--platform", metavar="NAME", help="the platform to ask the host for")
    parser.add_argument(
        "--collateral", metavar="PATH", action="append", default=[], help="what is here of the vendors: files, a bundle"
    )
    parser.add_argument("--offline", action="store_true", help="do not fetch missing collateral from the vendors")
    parser.add_argument(
        "--detach", action="store_true", help="leave the workload running; read it with `fastness keep`"
    )


def run(options: argparse.Namespace) -> int:
    """Deploys a workload; its exit code, or ours plus 100."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    from fastness.appraise import policy
    from fastness.cli import delivery
    from fastness.collateral.gather import gather
    from fastness.collateral.supply import Supply
    from fastness.errors import FastnessError
    from fastness.tenant.deliver import Refused
    from fastness.tenant.launch import launch
    from fastness.tenant.remote import Host

    if options.detach and options.stdin:
        raise UsageError(
            "a detached workload has no input", where="--stdin", hint="give it a file as an asset or a secret"
        )
    chosen = policy.load(options.policy, options.owners)
    prepared = delivery.prepared(options)
    wishes = delivery.wishes(
        options,
        chosen,
        delivery.roots(chosen, options.anchors),
        supply=Supply(offline=options.offline),
        collateral=gather(options.collateral).collateral if options.collateral else None,
        announce=lambda attested: say(summary(attested)),
    )
    host = Host(options.host)
    begun: list[str] = []
    kept, launched = False, None
    try:
        if options.platform == ATTENDED:
            keep, launched = await launch(host, wishes.anchors, at=datetime.now(UTC), kept=begun.append)
            wishes.remember(launched)
        else:
            keep = await host.launch(options.platform)
            begun.append(keep)
        wishes.stages.mark("keep launched")
        sock = await host.channel(keep)
        wishes.stages.mark("channel")
        try:
            attested = await delivery.attest(sock, wishes)
        except Refused as refusal:
            return delivery.refuse(refusal.verdict)
        finally:
            host.close()
        if options.detach:
            await _detach(attested, prepared, options, keep, launched)
            kept, code = True, 0
        else:
            code = await delivery.carry_out(attested, prepared, wishes)
        await attested.transport.close()
        if options.timings:
            delivery.timings(wishes.stages)
        return code
    finally:
        if begun and not kept:  # whatever happened, no keep of ours stays behind
            with contextlib.suppress(FastnessError, OSError):
                last = Host(options.host)
                await asyncio.shield(asyncio.wait_for(last.stop(begun[0]), 5))
                last.close()


async def _detach(
    attested: Attested, prepared: Prepared, options: argparse.Namespace, keep: str, launched: Launched | None
) -> None:
    """Delivers a workload that outlives this command, and remembers how to reach it."""
    from fastness.language import current
    from fastness.tenant import records
    from fastness.tenant.deliver import Delivery, Ending, Stages

    now = zulu(datetime.now(UTC))
    release = prepared.workload(attached=False)
    # the record first: a workload nobody could own again would be lost
    place = records.write(
        records.Record(
            keep,
            options.host,
            _lasting(options.policy),
            tuple(map(_lasting, options.anchors)),
            release.digest.hex(),
            now,
            prepared.owner.hex(),
            launched.encode() if launched is not None else "",
            _lasting(options.owners or os.environ.get("FASTNESS_OWNERS", "")),
        )
    )
    try:
        await Delivery.release(attested, release, Stages())
    except Ending as ending:
        records.forget(keep)
        raise KeepFailed(ending.ended.what, where=ending.ended.where, hint=ending.ended.hint) from None
    except BaseException:
        records.forget(keep)
        raise
    records.remember(keep, attested.decision.verdict.to_json())
    say(current().fill("running in keep {0}; its owner token is in {1}", keep, place))
    print(keep)


def _lasting(name: str) -> str:
    """A name that means the same from another folder: the absolute path where it is a file's."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def summary(attested: Attested) -> str:
    """One line on what was accepted and why."""
    from fastness.language import current

    claims, verdict = attested.decision.claims, attested.decision.verdict
    mark = "SIMULATED " if claims.simulated else ""
    return current().fill("{0} keep accepted by {1}", f"{mark}{claims.tee}", verdict.decided_by)
