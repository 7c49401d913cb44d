"""Platform vm from end to end: the image boots in a machine with a TPM, proves itself by a real quote, runs, ends.

One boot takes about ten seconds where the processor is emulated.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e2e import stalled_tenant
from e2e.conftest import Home, eventually, runs
from fastness.appraise import policy as policies
from fastness.errors import FastnessError, KeepFailed, UsageError
from fastness.host.launch import kvm, qemu, vm
from fastness.image import cpio, store
from fastness.image.build import compress
from fastness.image.store import Image
from fastness.pki.anchors import Anchors, from_certificate
from fastness.seal.challenger import client_channel
from fastness.seal.transport import Transport
from fastness.tenant import deliver
from fastness.wire import x509
from fastness.workload import tcb
from images import keep_image, machines

POLICY = """
[[rule]]
id = "measured"
effect = "accept"
when = {{ tee = "tpm" }}
require = {{ debug = false, "measurements.pcr4" = "{pcr4}", "measurements.pcr9" = "{pcr9}" }}
[[waive]]
check = "tpm.revocation"
why = "a host's own authority publishes no list"
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A host that serves ``vm``, and what a tenant needs to trust it."""
    machines()
    image = keep_image()
    home = Home(tmp_path_factory.mktemp("vm"))
    home.serve("--platform", "vm", "--image", image.folder, "--accelerator", "tcg", "--spare", "1", "--max-keeps", "3")
    (home.path / "anchor.pem").write_bytes(home.do("host", "anchors", "--platform", "vm").out)
    (home.path / "ours.toml").write_text(policy(image))
    yield home
    for host in home.hosts:
        host.terminate()
        host.communicate(timeout=30)


def policy(image: Image) -> str:
    """What a tenant requires of the image, computed from its parts and not from a machine that ran it."""
    from fastness.image.measure import Machine, Parts, tpm

    parts = Parts(image.kernel.read_bytes(), image.initrd.read_bytes(), image.cmdline)
    row = tpm.rows(parts, Machine(memory=512, qemu=qemu.program().version))[0]
    return POLICY.format(pcr4=row.measurements["pcr4"][0], pcr9=row.measurements["pcr9"][0])


def test_a_measured_machine_is_accepted_runs_and_ends(stand: Home) -> None:
    record = stand.path / "verdict.json"
    done = stand.deploy("hello", "--policy", stand.path / "ours.toml", "--anchors", stand.path / "anchor.pem",
                        "--verdict", record)  # fmt: skip
    assert (done.code, done.out) == (7, b"hello from a keep\n"), done.err
    told = json.loads(record.read_text())
    assert told["verdict"] == "accept"
    assert told["claims"]["tee"] == "tpm"
    assert told["claims"]["tpm"]["ak_trust"] == "credential"
    assert told["claims"]["debug"] is False
    assert any("root of trust for nobody but its owner" in text for text in told["not_checked"])


def test_without_the_hosts_anchor_its_tpm_is_not_genuine(stand: Home) -> None:
    done = stand.deploy("hello", "--policy", stand.path / "ours.toml")
    assert done.code == 104
    assert done.out == b""
    assert "--anchors" in done.err


def test_the_default_policy_wants_no_machine_of_a_host(stand: Home) -> None:
    done = stand.deploy("hello", "--anchors", stand.path / "anchor.pem")
    assert done.code == 101
    assert "tee tpm" in done.err


def test_a_workload_goes_on_alone_is_found_in_the_register_and_is_stopped(stand: Home) -> None:
    config = stand.path / "timed.toml"
    config.write_text('clock = "tenant"\n')
    done = stand.deploy("spin", "--policy", stand.path / "ours.toml", "--anchors", stand.path / "anchor.pem",
                        "--config", config, "--detach")  # fmt: skip
    assert done.code == 0, done.err
    keep = done.out.decode().strip()
    status = stand.do("keep", "status", keep, "--json")
    assert status.code == 0, status.err
    assert "running" in status.out.decode()
    listed = json.loads(stand.do("keep", "list", "--host", stand.url, "--json").out)
    pid = next(item["pid"] for item in listed["keeps"] if item["id"] == keep)
    assert runs(pid)
    assert stand.do("keep", "stop", keep).code == 0
    assert eventually(lambda: not runs(pid))
    listed = json.loads(stand.do("keep", "list", "--host", stand.url, "--json").out)
    assert next(item["state"] for item in listed["keeps"] if item["id"] == keep) == "ended"


def test_the_machine_of_a_tenant_that_was_killed_before_its_release_ends_and_says_why(stand: Home) -> None:
    command = [
        sys.executable,
        stalled_tenant.__file__,
        stand.url,
        "attested",
        stand.path / "ours.toml",
        stand.path / "anchor.pem",
    ]
    tenant = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**stand.environment, "PYTHONPATH": str(tcb.package_folder().parent)}
    )
    if tenant.stdout is None:
        raise AssertionError
    keep = tenant.stdout.readline().decode().strip()
    assert keep, "the tenant did not get so far"
    tenant.kill()
    tenant.communicate()

    def told() -> tuple[str, str]:
        listed = json.loads(stand.do("keep", "list", "--host", stand.url, "--json").out)
        return next((item["state"], item["why"]) for item in listed["keeps"] if item["id"] == keep)

    assert eventually(lambda: told() != ("running", ""), 90)
    assert told() == ("ended", "its tenant left, and gave it no workload")


def altered(image: Image, folder: Path, what: str) -> Image:
    """A copy of ``image`` of which a host has altered one part, past the check that a sound host makes."""
    shutil.copytree(image.folder, folder)
    copy = replace(image, folder=folder)
    if what == "kernel":
        data = bytearray(copy.kernel.read_bytes())
        place = data.index(b"Debian")  # the version that `file` shows: read by nobody on the way up
        data[place] ^= 0x20
        copy.kernel.write_bytes(data)
    elif what == "kernel code":
        data = bytearray(copy.kernel.read_bytes())
        data[len(data) // 2] ^= 1
        copy.kernel.write_bytes(data)
    elif what == "initramfs":
        data = bytearray(copy.initrd.read_bytes())
        data[len(data) // 2] ^= 1
        copy.initrd.write_bytes(data)
    elif what == "command line":
        (folder / store.CMDLINE).write_text(f"{image.cmdline} nosmp")
    else:  # a file of the runtime, in an archive that is sound in itself
        import zstandard

        archive = zstandard.ZstdDecompressor().decompress(image.initrd.read_bytes(), max_output_size=1 << 30)
        entries = [
            replace(entry, data=entry.data + b"\n# altered\n") if entry.path.endswith("fastness/errors.py") else entry
            for entry in cpio.read(archive)
        ]
        copy.initrd.write_bytes(compress(cpio.write(tuple(entries), image.manifest["epoch"])))
    return copy


async def outcome(image: Image, rules: str, patience: float = 180) -> str:
    """What comes of a machine with ``image``, challenged under ``rules``; it has ``patience`` seconds to start."""

    class Launcher(vm.Launcher):
        _image = image  # type: ignore[assignment]

    launcher = Launcher(qemu.Settings(accelerator="tcg"))
    keep = await launcher.launch()
    try:
        await keep.ready(patience)
        anchors = Anchors((from_certificate("tpm", x509.certificate(launcher.anchors()[0].der)),))
        transport = Transport(keep.connect(), client_channel())
        attested = await deliver.challenge(
            transport, policies.parse(rules, "ours.toml"), anchors, stages=deliver.Stages()
        )
        return f"accepted {attested.decision.verdict.decided_by}"
    except KeepFailed as error:
        return f"did not start: {error.where}"
    except deliver.Refused as refusal:
        return "refused " + " ".join(item.where[-1].field for item in refusal.verdict.against)
    finally:
        await keep.stop(2)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("kernel", r"refused .*pcr4"),
        ("kernel code", "did not start"),
        ("initramfs", "did not start"),
        ("command line", r"refused .*pcr9"),
        ("runtime", r"refused .*pcr9"),
    ],
)
def test_one_byte_altered_does_not_start_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: str
) -> None:
    machines()
    image = keep_image()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    copy = altered(image, tmp_path / "image", what)
    with pytest.raises(UsageError):
        store.check(copy.folder)
    patience = 30 if told == "did not start" else 180  # one that hangs is waited for in full
    assert re.search(told, asyncio.run(outcome(copy, policy(image), patience)))


def test_a_debug_build_attests_as_debug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    image = keep_image(debug=True)
    assert asyncio.run(outcome(image, policy(image))) == "refused debug"


def test_kvm_is_found_out_by_trying_within_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machines()
    image = keep_image()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kvm, "PATIENCE", 5.0)
    found = qemu.program()
    trouble = kvm.trouble(found, image.kernel, image.initrd)
    monkeypatch.setattr(kvm, "_try", lambda *_: pytest.fail("tried again in one boot of the host"))
    assert kvm.trouble(found, image.kernel, image.initrd) == trouble
    launcher = vm.Launcher(qemu.Settings(image=str(image.folder), accelerator="kvm"))
    if trouble:
        with pytest.raises(FastnessError, match="KVM runs no guest here"):
            launcher.command(3, 4)
    else:
        assert "kvm" in launcher.command(3, 4)
