"""``fastness keep``: list, question, read and stop the keeps of a host."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from fastness.cli.keep_status import DEFAULT_HOST, challenge, host_of, status
from fastness.cli.words import emit, printable, say
from fastness.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the commands of ``keep``."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("list", "what the host says it runs"),
        ("status", "challenge a keep: is it still the one that was accepted, and what does it do?"),
        ("logs", "output of a detached workload of yours"),
        ("stop", "end a keep"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--host", metavar="URL", help=f"the host (default {DEFAULT_HOST}, or where it was deployed)"
        )
        command.add_argument("--json", action="store_true", help="one JSON document on stdout")
        if name == "list":
            continue
        many = "*" if name == "status" else None
        command.add_argument("id", metavar="ID", nargs=many, help="its id" + (" (all of yours)" if many else ""))
        if name in ("status", "logs"):
            command.add_argument(
                "--policy", metavar="NAME|FILE", help="judge by this policy (default: the one it was deployed by)"
            )
            command.add_argument("--owners", metavar="FILE", help="the policy must be signed by enough of these keys")
            command.add_argument(
                "--anchors", metavar="FILE", action="append", default=[], help="further roots to trust"
            )
        if name == "status":
            command.add_argument("--offline", action="store_true", help="do not fetch collateral from the vendors")
            command.add_argument(
                "--enforce", action="store_true", help="end a keep that is not accepted any more, after its grace"
            )
        if name == "logs":
            command.add_argument("--follow", action="store_true", help="go on until the workload ends")


def run(options: argparse.Namespace) -> int:
    """Runs one command of ``keep``.

    Raises:
        UsageError: what is named is no id of a keep; nobody is asked.
    """
    from fastness.tenant.remote import is_identifier

    named = getattr(options, "id", ())
    for name in [named] if isinstance(named, str) else named:
        if not is_identifier(name):
            raise UsageError(f"not a keep's id: {name[:80]!r}", where="ID", hint="see `fastness keep list`")
    command = {"list": _list, "status": status, "logs": _logs, "stop": _stop}[options.command]
    return asyncio.run(command(options))


async def _list(options: argparse.Namespace) -> int:
    from fastness.tenant.remote import Host

    host = Host(options.host or DEFAULT_HOST)
    keeps = await host.keeps()
    capacity = await host.capacity()
    host.close()
    if options.json:
        emit({"schema": "fastness/keeps/v1", "host": host.url, "capacity": capacity, "keeps": keeps})
        return 0
    for item in keeps:
        print(printable(_row(item)))
    free, limit, platform = (capacity.get(name) for name in ("free", "limit", "platform"))
    say(f"{len(keeps)} keeps; room for {free} more of {limit} on {platform}")
    return 0


def _row(item: dict[str, Any]) -> str:
    started = item.get("started")
    age = int(time.time() - started) if isinstance(started, int) else 0
    row = f"{str(item.get('id'))[:32]:<18}{str(item.get('platform'))[:8]:<8}{str(item.get('state'))[:8]:<9}{age:>7} s"
    idle = item.get("idle")
    told = (
        f"no connection for {idle} s" if isinstance(idle, int) and item.get("state") == "running" else item.get("why")
    )
    return f"{row}  {str(told)[:80]}" if told else row


async def _logs(options: argparse.Namespace) -> int:
    from fastness.cli import delivery, streams
    from fastness.tenant import deliver
    from fastness.tenant.deliver import Refused

    try:
        attested, record = await challenge(options, options.id, offline=True)
    except Refused as refusal:
        delivery.refuse(refusal.verdict)
        return delivery.REFUSED
    if record is None:
        await attested.transport.close()
        raise UsageError(
            f"keep {options.id} was not deployed from here", hint="logs are for the owner of the workload only"
        )
    await deliver.attach(attested, bytes.fromhex(record.owner), "logs", follow=options.follow)
    streams.widen(1)
    ended = await deliver.carry(attested.transport, streams.show)
    await attested.transport.close()
    if ended.outcome == "running":
        say(f"the workload is {printable(ended.what)}")
    elif ended.outcome == "exit":
        say(f"the workload ended with code {ended.code}")
    else:
        delivery.finish(ended)
    return 0


async def _stop(options: argparse.Namespace) -> int:
    from fastness.tenant import records

    host = host_of(options, records.read(options.id), options.id)
    await host.stop(options.id)
    host.close()
    records.forget(options.id)
    if options.json:
        emit({"schema": "fastness/keep-stop/v1", "id": options.id, "stopped": True})
    else:
        say(f"keep {options.id} has ended")
    return 0
