"""``fastness demo``: the whole flow on this machine: a host, a keep, a tenant; one deployment accepted, one refused.

Leaves nothing behind: the host, its software root and every file live in a temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.cli.words import paint, printable
from fastness.errors import KeepFailed

if TYPE_CHECKING:
    from fastness.tenant.deliver import Attested
    from fastness.tenant.prepare import Prepared

START_TIMEOUT = 30
OTHER_IMAGE = "00" * 47 + "01"

OURS = """\
# The tenant's own policy: one keep, measured before this demo began.
id = "ours"

[sets]
keep-images = ["{launch}"]

[[rule]]
id = "our-keep"
effect = "accept"
why = "a demo: nil is named on purpose, it protects nothing"
when = {{ tee = "nil" }}
require = {{ debug = false, "measurements.launch" = "@keep-images" }}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The demo has no options."""


def run(options: argparse.Namespace) -> int:
    """Shows the flow, step by step."""
    with tempfile.TemporaryDirectory(prefix="fastness-demo-") as place:
        os.environ["XDG_DATA_HOME"] = place
        with _host(place) as url:
            return asyncio.run(_show(url, Path(place)))


def example() -> Path:
    """The folder of the example: in the package when installed, beside the sources in a clone."""
    installed = Path(__file__).parent / "demo_files"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "examples" / "risk"


@contextlib.contextmanager
def _host(place: str) -> Iterator[str]:
    """A host process of its own; its address."""
    command = [sys.executable, "-m", "fastness", "host", "serve", "--listen", "127.0.0.1:0", "--spare", "2"]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and package
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "XDG_DATA_HOME": place}, text=True
    )
    try:
        _step("host", f"an untrusted host starts (process {process.pid}), platform nil")
        yield _address(process)
    finally:
        process.terminate()
        process.communicate(timeout=START_TIMEOUT)


def _address(process: subprocess.Popen[str]) -> str:
    lines = []
    for line in process.stderr or ():
        if match := re.search(r"listening on (\S+)", line):
            return match[1]
        lines.append(line.strip())
    raise KeepFailed("the demo's host did not start", where="; ".join(lines)[:300])


def _step(name: str, text: str) -> None:
    print(f"{paint(f'{name:>9}', 'bold', sys.stdout)}  {printable(text)}")


def _more(text: str) -> None:
    for line in text.splitlines():
        print(f"{'':9}  {printable(line)}")


async def _show(url: str, place: Path) -> int:
    from fastness.appraise import policy
    from fastness.tenant.deliver import Refused
    from fastness.tenant.prepare import prepare
    from fastness.workload import tcb

    print(
        paint("SIMULATED: no TEE here. Platform nil shows the flow; it protects nothing from this machine.", "yellow")
    )
    files = example()
    prepared = prepare(files / "risk.wasm", config=files / "fastness.toml", secret=[f"weights=@{files / 'weights'}"])
    records = (files / "records.csv").read_bytes()
    _step("tenant", "wants a risk score over private records with a secret model, and nobody to see either")
    _more(f"workload {len(prepared.wasm)} bytes of WebAssembly, records {len(records)} bytes, 1 secret")
    accepted = policy.parse(OURS.format(launch=tcb.launch_digest().hex()), str(place / "ours.toml"))
    code = await _deploy(url, accepted, prepared, records)
    print()
    _step("tenant", "changes their mind: only a keep with another measurement will do")
    refused = policy.parse(OURS.format(launch=OTHER_IMAGE), str(place / "ours.toml"))
    try:
        await _deploy(url, refused, prepared, records)
    except Refused as refusal:
        from fastness.appraise.explain import text

        _step("verdict", "refused: nothing of the workload left the tenant")
        _more(text(refusal.verdict))
        return code
    raise KeepFailed("the demo's refusal did not happen")


async def _deploy(url: str, policy: object, prepared: Prepared, records: bytes) -> int:
    from fastness.appraise.policy import Policy
    from fastness.cli import delivery
    from fastness.tenant.remote import Host

    if not isinstance(policy, Policy):
        raise TypeError("policy")
    host = Host(url)
    keep = await host.launch("nil")
    _step("keep", f"{keep} was launched by the host; it has made its keys and waits")
    try:
        wishes = delivery.Wishes(policy, delivery.roots(policy, []), announce=_attested)
        attested = await delivery.attest(await host.channel(keep), wishes)
        return await _result(url, keep, attested, prepared, records)
    finally:
        last = Host(url)
        await last.stop(keep)
        last.close()


def _attested(attested: Attested) -> None:
    statement, claims = attested.statement, attested.decision.claims
    _step("evidence", f"{len(statement.evidence)} bytes, bound to this TLS session, the keep's keys and our nonce")
    _step("claims", f"tee {claims.tee} (SIMULATED), debug {str(claims.debug).lower()}")
    for name, value in claims.measurements.items():
        _more(f"measurements.{name} {value[:32]}…")
    _step("verdict", f"accepted by {attested.decision.verdict.decided_by}")
    for finding in attested.decision.verdict.findings:
        _more(f"{finding.check}: {finding.outcome.value} {finding.expected or finding.actual}"[:110])


async def _result(url: str, keep: str, attested: Attested, prepared: Prepared, records: bytes) -> int:
    from fastness.tenant.deliver import Delivery, Stages
    from fastness.tenant.remote import Host

    delivered = await Delivery.release(attested, prepared.workload(attached=True), Stages())
    _step("delivery", "workload, configuration and secret, sealed to the attested key (HPKE) inside the channel")
    _more("the keep measured them before the first instruction, and says so in every later challenge")

    async def source() -> object:
        yield records

    async def show(_: object, data: bytes) -> None:
        _more(data.decode("utf-8", "replace").rstrip())

    _step("result", "")
    feeding = asyncio.create_task(delivered.feed(source()))  # type: ignore[arg-type]
    ended = await delivered.carry(show)
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    counter = Host(url)
    seen = next((item for item in await counter.keeps() if item.get("id") == keep), {})
    counter.close()
    await attested.transport.close()
    _step("host", f"carried {seen.get('bytes_to_keep')} bytes in and {seen.get('bytes_from_keep')} out, all ciphertext")
    return ended.code
