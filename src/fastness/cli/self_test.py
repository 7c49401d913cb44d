"""``fastness platforms --self-test``: runs what can be run here, and writes a report that an owner can send back.

1. The survey, as ``fastness platforms`` shows it.
2. This machine's own evidence, if it is a guest: collected over fresh bytes, then verified.
3. On every platform that is ready: a keep is launched and challenged, its measurement compared with what was computed
   from the image before, and a workload of 151 bytes run in it.

The report, ``fastness/self-test/v1``, holds no key, no evidence and nothing that names the chip: of claims only those
in :data:`CLAIMS`. What was not run is in it with the reason: a cell that nobody filled stays empty.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform as system
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness import __version__
from fastness.cli import expected
from fastness.cli.words import emit, paint, printable, say
from fastness.errors import FastnessError, KeepFailed, MissingCollateral, NotGenuine, UsageError
from fastness.wire.der import zulu

if TYPE_CHECKING:
    import argparse

    from fastness.claims.model import Claims
    from fastness.host.launch import Launcher
    from fastness.host.launch.qemu import Settings
    from fastness.host.survey import Platform
    from fastness.pki.anchors import Anchors
    from fastness.tenant.deliver import Attested

SCHEMA = "fastness/self-test/v1"
CLAIMS = ("tee", "cpu", "debug", "simulated", "tcb", "tcb_status", "tcb_date", "advisory_ids", "measurements")
BOOT_TIMEOUT = 180.0
WORK_TIMEOUT = 120.0
WORDS = b"self-test\n"
WORKLOAD = bytes.fromhex(
    "0061736d01000000010c0260047f7f7f7f017f60000002230116776173695f736e617073686f745f70726576696577310866"
    "645f77726974650000030201010503010001071302066d656d6f72790200065f737461727400010a1d011b00410041083602"
    "004104410a360200410141004101412810001a0b0b10010041080b0a73656c662d746573740a000b046e616d650104010001"
    "77"
)
"""A WASI preview 1 command that writes :data:`WORDS` to its standard output with one fd_write, and ends."""

UNTRIED = {
    "sev": "a launch needs a tenant: try `fastness host serve --platform sev`, then `fastness deploy --platform sev`",
}
"""Platforms that the test leaves alone though they may be ready, and why."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried: ``passed``, ``failed`` or ``skipped``."""

    name: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """For the report."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Record:
    """What came of one platform, or of this machine's own evidence."""

    steps: list[Step] = field(default_factory=list)
    claims: Mapping[str, Any] = field(default_factory=dict)

    def add(self, name: str, outcome: str, detail: str = "", since: float | None = None) -> None:
        """Notes and shows one step."""
        step = Step(name, outcome, detail, 0.0 if since is None else time.monotonic() - since)
        self.steps.append(step)
        colour = {"passed": "green", "failed": "red", "skipped": "yellow"}[outcome]
        say(f"  {paint(f'{outcome:<8}', colour)} {name}" + (f": {printable(detail)}" if detail else ""))

    @property
    def failed(self) -> bool:
        """Whether something that was tried did not work."""
        return any(step.outcome == "failed" for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {"steps": [step.to_json() for step in self.steps], "claims": dict(self.claims)}


def run(options: argparse.Namespace) -> int:
    """Tests, writes the report; 0 if nothing that was tried failed, 7 otherwise."""
    from fastness.cli.values import hexadecimal
    from fastness.host.launch.guard import Guard
    from fastness.host.launch.qemu import Settings
    from fastness.host.survey import survey

    # one image for launch, comparison and report, whatever is built meanwhile
    image, guard = _image(options.image), Guard(cpu=options.cpu)
    settings = Settings(image or options.image, firmware=options.firmware, vcpus=options.vcpus, guard=guard).checked()
    say("survey")
    found = survey(settings=settings, tell=say)
    data = hexadecimal("--report-data", options.report_data) or secrets.token_bytes(32)
    own = _own(data, offline=options.offline)
    records = {item.name: _platform(item, settings, options) for item in found}
    report = {
        "schema": SCHEMA,
        "fastness": __version__,
        "at": zulu(datetime.now(UTC)),
        "machine": machine(),
        "image": image,
        "survey": [_needs(item) for item in found],
        "report_data": data.hex(),
        "own_evidence": own.to_json(),
        "platforms": {name: record.to_json() for name, record in records.items()},
    }
    _write(Path(options.report), report)
    if options.json:
        emit(report)
    failed = [name for name, record in (("own evidence", own), *records.items()) if record.failed]
    say(f"the report is in {options.report}; read it before you send it")
    if failed:
        raise KeepFailed(f"failed: {', '.join(failed)}", where=options.report, hint="docs/self-test.md")
    return 0


def machine(root: Path = Path("/")) -> dict[str, object]:
    """What processor and kernel this is; nothing that tells this machine from another of its kind."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode")
    found: dict[str, object] = {"kernel": system.release(), "architecture": system.machine()}
    try:
        lines = (root / "proc/cpuinfo").read_text("utf-8", "replace").partition("\n\n")[0].splitlines()
    except OSError:
        lines = []
    pairs = ((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return found | {name.replace(" ", "_"): value for name, value in pairs if name in wanted}


def _image(name: str) -> str | None:
    from fastness.image.store import load

    try:
        return load(name).digest
    except UsageError:
        return None


def _needs(item: Platform) -> dict[str, Any]:
    rows = [{"name": n.name, "there": n.there, "seen": n.seen, "remedy": n.remedy} for n in item.needs]
    return {"name": item.name, "ready": item.ready, "needs": rows}


def _own(data: bytes, *, offline: bool) -> Record:
    """Evidence over ``data`` of the machine that this runs on, by each interface that it has."""
    from fastness import devices

    say("this machine's own evidence")
    record = Record()
    names = devices.find()
    if not names:
        record.add("collect", "skipped", "no interface: this machine is no guest of a TEE, or its driver is not loaded")
    for name in names:
        since = time.monotonic()
        try:
            record.claims = _collected(name, data, offline=offline)
        except (MissingCollateral, NotGenuine) as error:
            # whose root a TPM's maker is, only its owner can say
            outcome = "skipped" if name == "tpm" or isinstance(error, MissingCollateral) else "failed"
            record.add(f"{name}: collect and verify", outcome, _words(error), since)
        except FastnessError as error:
            record.add(f"{name}: collect and verify", "failed", _words(error), since)
        else:
            record.add(f"{name}: collect and verify", "passed", "genuine and fresh", since)
    return record


def _collected(name: str, nonce: bytes, *, offline: bool) -> Mapping[str, Any]:
    """Claims of evidence over ``nonce`` by the interface ``name``; raises what verification raises."""
    from fastness import attestation, devices

    quote = devices.collect(nonce, name)
    with tempfile.TemporaryDirectory(prefix="fastness-self-test-") as folder:
        first = "quote" if quote.tee == "tpm" else quote.tee
        for kind, data in ((first, quote.evidence), *quote.endorsements):
            (Path(folder) / f"{kind}.bin").write_bytes(data)
        result = attestation.verify(folder, nonce=nonce, offline=offline)
    if result.error is not None:
        raise result.error
    return {name: value for name, value in (result.claims or {}).items() if name in CLAIMS}


def _platform(item: Platform, settings: Settings, options: argparse.Namespace) -> Record:
    """One platform: skipped with the reason, or tried to the end."""
    record = Record()
    say(item.name)
    for need in item.needs:
        if need.there and need.remedy:
            say(f"  note     {need.name}: {printable(need.seen)}; {printable(need.remedy)}")
    missing = next((need for need in item.needs if not need.there), None)
    if options.platform and item.name not in options.platform:
        record.add("launch", "skipped", "not asked for")
    elif missing is not None:
        record.add("launch", "skipped", f"missing {missing.name}: {missing.seen}")
    elif item.name in UNTRIED:
        record.add("launch", "skipped", UNTRIED[item.name])
    else:
        asyncio.run(_try(item.name, settings, record, offline=options.offline))
    return record


async def _try(name: str, settings: Settings, record: Record, *, offline: bool) -> None:
    from fastness.host import launch

    launcher = launch.load(name, None if name == "nil" else settings)
    since, step = time.monotonic(), "launch"
    running = None
    try:
        await asyncio.to_thread(launcher.check)
        running = await launcher.launch()
        await running.ready(BOOT_TIMEOUT)
        record.add("launch", "passed", "takes connections", since)
        since, step = time.monotonic(), "challenge"
        attested = await _challenge(running.connect(), launcher, offline=offline)
        claims = attested.decision.claims
        record.claims = {key: value for key, value in claims.tree().items() if key in CLAIMS}
        record.add("challenge", "passed", f"{claims.tee} evidence is genuine, of this session", since)
        _compare(name, settings, claims, record)
        since, step = time.monotonic(), "workload"
        await asyncio.wait_for(_work(attested), WORK_TIMEOUT)
        record.add("workload", "passed", "ran, and its output came back", since)
    except TimeoutError:
        record.add(step, "failed", "no end in sight", since)
    except FastnessError as error:
        record.add(step, "failed", _words(error), since)
    except OSError as error:  # a broken connection is a finding too; what was found before must not be lost
        record.add(step, "failed", (error.strerror or "the connection broke").lower(), since)
    finally:
        if running is not None:
            await running.stop(2)


async def _challenge(sock: Any, launcher: Launcher, *, offline: bool) -> Attested:
    """The keep behind ``sock``, genuine and of this session; development's rules, so that nothing else decides."""
    from fastness.appraise import policy
    from fastness.collateral.supply import Supply
    from fastness.seal.challenger import client_channel
    from fastness.seal.transport import Transport
    from fastness.tenant import deliver

    chosen = policy.load("development")
    transport = Transport(sock, client_channel())
    try:
        return await deliver.challenge(
            transport, chosen, _anchors(launcher), stages=deliver.Stages(), supply=Supply(offline=offline)
        )
    except deliver.Refused as refusal:
        raise KeepFailed(f"even policy development refuses: {refusal.verdict.decided_by}") from None


def _anchors(launcher: Launcher) -> Anchors:
    """The vendors' roots, and this machine's own where it makes the evidence itself."""
    from fastness.collateral import anchors_file
    from fastness.pki import anchors
    from fastness.wire import x509

    if launcher.name == "nil":
        return anchors.vendor() + anchors_file.nil()
    local = (anchors.from_certificate("tpm", x509.certificate(root.der)) for root in launcher.anchors())
    return anchors.vendor() + anchors.Anchors(tuple(local))


async def _work(attested: Attested) -> None:
    from fastness.seal.messages import Workload
    from fastness.tenant.deliver import Delivery, Ending, Stages
    from fastness.workload.manifest import Manifest

    heard = bytearray()

    async def hear(_: object, data: bytes) -> None:
        heard.extend(data)

    given = Workload(WORKLOAD, Manifest().to_cbor(), {}, {}, secrets.token_bytes(32))
    try:
        ended = await (await Delivery.release(attested, given, Stages())).carry(hear)
    except Ending as ending:
        ended = ending.ended
    if (ended.outcome, ended.code, bytes(heard)) != ("exit", 0, WORDS):
        raise KeepFailed(f"the workload ended by {ended.outcome} with {bytes(heard[:40])!r}: {ended.what}")
    await attested.transport.close()


def _compare(name: str, settings: Settings, claims: Claims, record: Record) -> None:
    """Whether the machine reports what was computed from the image beforehand."""
    try:
        rows = expected.COMPUTED[name](name, settings)
    except FastnessError as error:
        record.add("measurement", "skipped", _words(error))
        return
    for row in rows:
        if all(claims.measurements.get(key) in values for key, values in row.items()):
            record.add("measurement", "passed", f"as computed: {', '.join(sorted(row))}")
            return
    record.add("measurement", "failed", f"none of {len(rows)} values computed from the image is what it reports")


def _words(error: FastnessError) -> str:
    return error.what + (f" ({error.where})" if error.where else "")


def _write(place: Path, report: Mapping[str, Any]) -> None:
    new = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(report, indent=1, ensure_ascii=True) + "\n", "utf-8")
        new.replace(place)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UsageError(f"the report cannot be written: {error.strerror}", where=str(place)) from None
