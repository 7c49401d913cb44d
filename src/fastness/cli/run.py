"""``fastness run``: the whole path, with host and keep on this machine. SIMULATED: nothing is protected."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastness.cli.parsing import workload_options
from fastness.cli.words import say

if TYPE_CHECKING:
    from fastness.host.launch.spawn import Spawned


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``run``."""
    workload_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs a workload in a local keep; its exit code."""
    from fastness.host.launch.spawn import spawn

    spawned = spawn()  # the keep boots while we load and read what it will run
    try:
        import asyncio

        return asyncio.run(_run(options, spawned))
    finally:
        spawned.process.kill()
        spawned.process.wait()


async def _run(options: argparse.Namespace, spawned: Spawned) -> int:
    from fastness.host.launch.nil import Launcher

    launcher = Launcher()
    starting = launcher.adopt(spawned)
    try:
        from fastness.appraise import policy
        from fastness.cli import delivery
        from fastness.tenant.deliver import Refused

        prepared = delivery.prepared(options)
        say("SIMULATED: platform nil, policy development: nothing is protected from this machine")
        launcher.anchors()  # the software root is made on first use
        chosen = policy.load("development", owners="")  # a rehearsal: owners guard what is real
        wishes = delivery.wishes(options, chosen, delivery.roots(chosen, []))
        await starting.ready(30)
        wishes.stages.mark("keep ready")
        try:
            attested = await delivery.attest(starting.connect(), wishes)
        except Refused as refusal:
            return delivery.refuse(refusal.verdict)
        code = await delivery.carry_out(attested, prepared, wishes)
        await attested.transport.close()
        if options.timings:
            delivery.timings(wishes.stages)
        return code
    finally:
        await starting.stop(0.5)
