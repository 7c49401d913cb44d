"""The command line on a machine without silicon: refusals with the right codes, the self-test and its report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from e2e.conftest import Home
from fastness.cli import expected, self_test
from fastness.cli.main import main
from fastness.errors import NotGenuine
from fastness.host import machine as facts
from fastness.host import survey as surveyed
from fastness.host.launch.qemu import Settings
from fastness.host.machine import Need


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.mark.parametrize("name", ["snp", "tdx", "sev", "nitro", "sgx"])
def test_a_host_without_the_silicon_does_not_serve(name: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not set(facts.Machine().flags()).isdisjoint({"sev_snp", "sev_es", "tdx_host_platform", "sgx"}):
        pytest.skip("this machine has some")
    assert main(["host", "serve", "--listen", "127.0.0.1:0", "--platform", name]) == 7
    said = capsys.readouterr().err
    assert f"{name} cannot be launched here" in said
    assert "hint" in said
    assert "listening" not in said
    assert main(["host", "anchors", "--platform", name]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "leads to its vendor's roots" in told.err


def test_an_option_of_another_platform_is_wrong_use(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "serve", "--platform", "tdx", "--host-data", "00" * 32]) == 2
    assert "tdx has no --host-data" in capsys.readouterr().err
    assert main(["host", "serve", "--platform", "snp", "--policy", "many"]) == 2


def test_a_tenant_gets_the_platform_asked_for_or_none(tmp_path: Path) -> None:
    place = Home(tmp_path)
    host = place.serve("--spare", "0")
    try:
        done = place.deploy("hello", "--platform", "snp", "--policy", "development")
        assert done.code == 106
        assert "runs 'nil', not 'snp'" in done.err
    finally:
        host.terminate()
        host.communicate(timeout=30)


def test_the_report_of_what_runs_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = home / "report.json"
    words = ["platforms", "--self-test", "--platform", "nil", "--offline", "--report", str(place), "--json"]
    assert main(words) == 0
    report = json.loads(place.read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert report["schema"] == "fastness/self-test/v1"
    nil = report["platforms"]["nil"]
    assert [(step["name"], step["outcome"]) for step in nil["steps"]] == [
        ("launch", "passed"), ("challenge", "passed"), ("measurement", "passed"), ("workload", "passed"),
    ]  # fmt: skip
    assert nil["claims"]["simulated"] is True
    assert set(nil["claims"]) <= set(self_test.CLAIMS)
    for name in ("vm", "snp", "sev", "tdx", "sgx", "nitro"):
        assert [step["outcome"] for step in report["platforms"][name]["steps"]] == ["skipped"]
    assert {item["name"] for item in report["survey"]} == set(report["platforms"])


def test_a_measurement_that_is_another_fails_the_test(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(expected.COMPUTED, "nil", lambda *_: [{"launch": ("00" * 48,)}])
    place = home / "report.json"
    assert main(["platforms", "--self-test", "--platform", "nil", "--offline", "--report", str(place)]) == 7
    said = capsys.readouterr().err
    assert "none of 1 values computed from the image" in said
    assert "failed: nil" in said
    steps = json.loads(place.read_text())["platforms"]["nil"]["steps"]
    assert [step["outcome"] for step in steps] == ["passed", "passed", "failed", "passed"]


def test_what_is_missing_is_the_reason_in_the_report(home: Path) -> None:
    record = self_test._platform(
        surveyed.Platform("snp", "", True, True, (Need("cpu flag sev_snp", False, "absent", "another machine"),)),
        None, type("Options", (), {"platform": None, "offline": True}),  # type: ignore[arg-type]
    )  # fmt: skip
    assert [step.to_json()["detail"] for step in record.steps] == ["missing cpu flag sev_snp: absent"]
    assert not record.failed


def test_evidence_that_is_not_genuine_fails_and_a_tpm_is_its_owners_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, data: bytes, *, offline: bool) -> dict[str, object]:
        raise NotGenuine("x.chain", "no root vouches")

    monkeypatch.setattr(self_test, "_collected", refuse)
    monkeypatch.setattr("fastness.devices.find", lambda: ("tsm", "tpm"))
    record = self_test._own(bytes(32), offline=True)
    assert [step.outcome for step in record.steps] == ["failed", "skipped"]


def test_evidence_of_this_machine_is_collected_fresh_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastness import attestation, devices
    from fastness.forge import snp

    made = {}

    def collect(data: bytes, name: str) -> devices.Quote:
        made["forged"] = snp.make({"generation": "turin", "table": True, "report_data": data.ljust(64, b"\0").hex()})
        return devices.Quote("snp", made["forged"].evidence)

    real = attestation.verify
    monkeypatch.setattr(devices, "collect", collect)
    monkeypatch.setattr(
        attestation, "verify",
        lambda folder, **more: real(folder, **more, at=made["forged"].at, anchors=made["forged"].anchors),
    )  # fmt: skip
    with pytest.raises(NotGenuine, match=r"nonce|report_data"):
        monkeypatch.setattr(devices, "collect", lambda _, name: collect(b"stale", name))
        self_test._collected("tsm", b"\5" * 32, offline=True)
    monkeypatch.setattr(devices, "collect", collect)
    claims = self_test._collected("tsm", b"\5" * 32, offline=True)
    assert claims["tee"] == "snp"
    assert "hardware_id" not in claims
    assert "report_data" not in claims


def test_a_machine_is_described_and_not_named(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name\t: A CPU\nmicrocode\t: 0x1\nserial\t: 42\n\nmodel name\t: B\n")
    found = self_test.machine(tmp_path)
    assert found["model_name"] == "A CPU"
    assert set(found) == {"kernel", "architecture", "model_name", "microcode"}


def test_what_would_be_better_is_said_before_it_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    needs = (Need("kernel", True, "Debian's", "name another"), Need("driver", False, "none", "load it"))
    options = argparse.Namespace(platform=None, offline=True)
    item = surveyed.Platform("nitro", "an enclave", True, True, needs)
    record = self_test._platform(item, Settings(), options)
    assert [(step.outcome, step.detail) for step in record.steps] == [("skipped", "missing driver: none")]
    assert "note     kernel: Debian's; name another" in capsys.readouterr().err
