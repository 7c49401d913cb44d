"""``fastness collateral``: fetch what evidence needs, bundle it for later, show what is cached and until when.

Base addresses come from options or the environment: FASTNESS_KDS_URL, FASTNESS_PCS_URL (Intel's or a PCCS),
FASTNESS_RIM_URL, FASTNESS_OCSP_URL. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, printable, say
from fastness.errors import MissingCollateral, RemoteError, UsageError
from fastness.wire.der import zulu

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from fastness.collateral.gather import Gathered
    from fastness.collateral.wanted import Wanted
    from fastness.tee import Collateral

MAX_TIMEOUT, MAX_ATTEMPTS = 600, 20
FETCHED, CACHED = "fastness/fetched/v1", "fastness/cache/v1"
_BASES = {"kds": "FASTNESS_KDS_URL", "pcs": "FASTNESS_PCS_URL", "rim": "FASTNESS_RIM_URL", "ocsp": "FASTNESS_OCSP_URL"}


def configure(parser: argparse.ArgumentParser) -> None:
    """The options."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="fetch|bundle|show")
    fetch = commands.add_parser("fetch", help="fetch what the evidence needs into the cache")
    bundle = commands.add_parser("bundle", help="one file with evidence and all collateral, to verify offline later")
    for command in (fetch, bundle):
        command.add_argument("paths", metavar="PATH", nargs="+", help="evidence, and collateral that is there already")
        for name, variable in _BASES.items():
            command.add_argument(f"--{name}", metavar="URL", help=f"base address instead of {variable}")
        command.add_argument("--timeout", metavar="SECONDS", type=float, default=10.0, help="without a byte (10)")
        command.add_argument("--attempts", metavar="N", type=int, default=4, help="tries for each request (4)")
        command.add_argument("--json", action="store_true", help="one JSON document on stdout")
    bundle.add_argument("--offline", action="store_true", help="from the inputs and the cache only")
    bundle.add_argument("--at", metavar="TIME", help="the time the bundle is good at (default: now)")
    bundle.add_argument("--output", metavar="FILE", default="-", help="where to write it (default: stdout)")
    show = commands.add_parser("show", help="what is cached, and until when it may be used")
    show.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Runs one action."""
    if options.action == "show":
        return _show(options)
    if not 0 < options.timeout <= MAX_TIMEOUT:
        raise UsageError(f"a timeout is more than 0 and at most {MAX_TIMEOUT} seconds", where="--timeout", hint="10")
    if not 1 <= options.attempts <= MAX_ATTEMPTS:
        raise UsageError(f"attempts are 1 to {MAX_ATTEMPTS}", where="--attempts", hint="4")
    for name, variable in _BASES.items():
        if getattr(options, name):
            os.environ[variable] = getattr(options, name)
    return _fetch(options) if options.action == "fetch" else _bundle(options)


def _fetch(options: argparse.Namespace) -> int:
    from fastness.collateral.store import Store, folder

    gathered = _gathered(options.paths)
    Store(folder()).writable()  # asked before the vendors are: what they answer would be lost
    _, rows = _obtain(gathered, options, offline=False, at=None)
    failed = [row for row in rows if row["error"]]
    if options.json:
        emit({"schema": FETCHED, "wanted": rows})
    say(f"{len(rows) - len(failed)} of {len(rows)} in the cache")
    return RemoteError.exit_code if failed else 0


def _gathered(paths: list[str]) -> Gathered:
    from fastness.collateral.gather import absent, gather

    gathered = gather(paths)
    if not gathered.evidence:
        raise gathered.problem or absent(gathered)
    return gathered


def _evidence(gathered: Gathered) -> Iterator[tuple[str, Any, Collateral]]:
    """Every piece of evidence, those inside others too, with the collateral there is."""
    from fastness import tee as tees

    todo = [(item.tee, item.data) for item in gathered.evidence]
    while todo:
        name, data = todo.pop()
        module = tees.load(name)
        evidence = module.parse(data)
        todo += module.embedded(evidence)
        yield name, evidence, gathered.collateral + module.enclosed(evidence)


def _obtain(
    gathered: Gathered, options: argparse.Namespace, *, offline: bool, at: str | None
) -> tuple[Collateral, list[dict[str, str]]]:
    from datetime import UTC, datetime
    from urllib.parse import urlsplit

    from fastness.cli.values import when
    from fastness.collateral import fetch
    from fastness.collateral.store import store as cache
    from fastness.tee import Collateral

    network = None if offline else fetch.client(timeout=options.timeout, attempts=options.attempts, progress=say)
    moment = when(at) or datetime.now(UTC)
    store, whole, rows = cache(), Collateral(), dict[str, dict[str, str]]()
    had, absent, dead = set[str](), dict[str, str](), set[str]()

    def get(wanted: Wanted) -> Collateral | None:
        if wanted.key in rows:
            return None
        row = rows[wanted.key] = {"key": wanted.key, "url": wanted.url, "error": ""}
        try:
            host = urlsplit(wanted.url).netloc
            more = fetch.obtain(wanted, store, None if host in dead else network, at=moment)
        except RemoteError as error:
            if error.kind == "unreachable":  # nobody waits for the same silence again
                dead.add(host)
            say(f"failed: {error.what}" + (f"\n  hint {error.hint}" if error.hint else ""))
            row["error"] = error.what
            if error.kind == "not-there":
                absent[wanted.key] = wanted.alternative
            return None
        if more:
            had.add(wanted.alternative)
            if network is not None and store.get(wanted.key, moment) is None:
                say(f"of no use at {zulu(moment)}: {wanted.url} gave what has run out, or names no end")
        row["error"] = "" if more else f"{host} cannot be reached" if host in dead else "not in the cache"
        return more

    for name, evidence, collateral in _evidence(gathered):
        whole += fetch.follow(name, evidence, collateral + whole, get)
    return whole, [row for key, row in rows.items() if not (absent.get(key) and absent[key] in had)]


def _bundle(options: argparse.Namespace) -> int:
    import json
    from datetime import UTC, datetime
    from pathlib import Path

    from fastness.attestation import answer, question
    from fastness.cli import files
    from fastness.cli.values import when
    from fastness.collateral import bundle
    from fastness.result import exit_code

    gathered = _gathered(options.paths)
    at = when(options.at) or datetime.now(UTC)
    more, _ = _obtain(gathered, options, offline=options.offline, at=options.at)
    whole = gathered._replace(collateral=gathered.collateral + more)
    text = json.dumps(bundle.make(whole, at), indent=1) + "\n"
    if options.output == "-":
        sys.stdout.write(text)
    else:
        files.write(Path(options.output), text.encode(), 0o644)
    code = exit_code(answer(whole, question(at, None, None, None, None, offline=True)))
    if code == MissingCollateral.exit_code:
        say("this bundle does not verify at its time: collateral is missing")
        return code
    return 0


def _show(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from fastness.collateral.store import Store, folder

    now = datetime.now(UTC)
    rows = [
        {"key": item.key, "url": item.url, "fetched": item.fetched, "valid_until": item.valid_until,
         "usable": item.valid(now), "size": sum(map(len, item.pieces))}
        for item in Store(folder()).entries()
    ]  # fmt: skip
    if options.json:
        emit({"schema": CACHED, "folder": str(folder()), "entries": rows})
        return 0
    for row in rows:
        print(f"{'usable' if row['usable'] else 'stale ':<7} until {row['valid_until']}  {printable(str(row['key']))}")
    say(f"{len(rows)} in {folder()}")
    return 0
