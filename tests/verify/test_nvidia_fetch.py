"""NVIDIA's manifests and certificate status, fetched by ``verify`` from a server that speaks their interfaces."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from service import Reply, Service, serving

from fastness import verify as ask
from fastness.cli.main import main
from fastness.collateral import fetch
from fastness.collateral.http import Client
from fastness.collateral.store import Store, folder
from fastness.collateral.supply import Supply
from fastness.forge import nvgpu as forge
from fastness.forge.model import Forged
from fastness.pki import ocsp
from fastness.result import Result
from fastness.tee import Collateral, nvgpu
from fastness.tee.nvgpu import rim

UNAVAILABLE = bytes.fromhex("30030a0103")
"""OCSPResponse: tryLater, without a body."""


@dataclass
class Nvidia:
    """The services, and what they know of one forged device."""

    service: Service
    forged: Forged

    def files(self, folder_: Path) -> str:
        """Report and chain as a driver gives them out."""
        folder_.mkdir(exist_ok=True)
        (folder_ / "report").write_bytes(self.forged.evidence)
        for index, item in enumerate(self.forged.collateral.certificates):
            (folder_ / str(index)).write_bytes(item.raw)
        return str(folder_)

    def ask(self, folder_: Path, **options: Any) -> Result:
        given: dict[str, Any] = {
            "at": self.forged.at, "anchors": self.forged.anchors, "policy": "strict", "offline": False
        }  # fmt: skip
        return ask(self.files(folder_), **(given | options))


def serve(service: Service, forged: Forged) -> Nvidia:
    names = {"550.90.07": "NV_GPU_DRIVER_GH100_550.90.07", "96.00.9F.00.01": "NV_GPU_VBIOS_1010_0200_882_96009F0001"}
    for item in forged.collateral.of("rim"):
        name = names[rim.read(item.data).version]
        body = {
            "id": name,
            "rim": base64.b64encode(item.data).decode(),
            "sha256": hashlib.sha256(item.data).hexdigest(),
        }
        service.say(f"/v1/rim/{name}", json.dumps(body).encode())
    known = {ocsp.read(item.data).singles[0].serial: item.data for item in forged.collateral.of("ocsp")}

    def answer(request: bytes) -> Reply:
        """The response on the certificate whose serial number ends the request's CertID."""
        told = (data for serial, data in known.items() if request.endswith(_integer(serial)))
        return Reply(next(told, UNAVAILABLE))

    service.answer = answer
    return Nvidia(service, forged)


def _integer(value: int) -> bytes:
    body = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes((2, len(body))) + body


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        for name in ("FASTNESS_RIM_URL", "FASTNESS_OCSP_URL"):
            monkeypatch.setenv(name, running.url)
        yield running


def outcomes(result: Result) -> dict[str, str]:
    return {item.check: item.outcome.value for item in result.findings if item.check.startswith("nvgpu.")}


GOOD = {"nvgpu.rim": "held", "nvgpu.measurements": "held", "nvgpu.revocation": "held"}


def test_manifests_and_status_are_fetched_where_a_policy_asks(service: Service, tmp_path: Path) -> None:
    nvidia = serve(service, forge.make({}))
    offline = nvidia.ask(tmp_path / "in", offline=True)
    assert offline.genuine
    assert outcomes(offline)["nvgpu.rim"] == outcomes(offline)["nvgpu.revocation"] == "not-checked"
    assert not service.asked
    result = nvidia.ask(tmp_path / "in")
    assert {name: value for name, value in outcomes(result).items() if name in GOOD} == GOOD
    assert [path for path in service.asked if path.startswith("/v1/rim/")]
    # boot ROM, provisioner and identity of the device; signer of the manifests and its issuer
    assert len(service.bodies) == 5


def test_what_was_fetched_serves_until_its_signed_end(service: Service, tmp_path: Path) -> None:
    nvidia = serve(service, forge.make({}))
    nvidia.ask(tmp_path / "in")
    count = len(service.asked)
    again = nvidia.ask(tmp_path / "in", offline=True)
    assert {name: value for name, value in outcomes(again).items() if name in GOOD} == GOOD
    nvidia.ask(tmp_path / "in")
    assert len(service.asked) == count
    ends = {item.next_update for found in nvidia.forged.collateral.of("ocsp") for item in ocsp.read(found.data).singles}
    later = nvidia.ask(tmp_path / "in", offline=True, at=max(end for end in ends if end) + timedelta(seconds=1))
    assert outcomes(later)["nvgpu.revocation"] == "not-checked"
    assert outcomes(later)["nvgpu.rim"] == "held"


@pytest.mark.parametrize("lie", ["revoked", "hold", "rim-revoked", "ocsp-signer", "rim-altered"])
def test_what_the_services_say_counts(service: Service, tmp_path: Path, lie: str) -> None:
    result = serve(service, forge.make({"lie": lie})).ask(tmp_path / "in")
    assert result.genuine is False
    assert getattr(result.error, "check", "") == forge.LIES[lie]


def test_nobody_there(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia = serve(service, forge.make({}))
    for name in ("FASTNESS_RIM_URL", "FASTNESS_OCSP_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    supply = Supply(offline=False, network=Client(attempts=1, timeout=0.3))
    evidence = nvgpu.parse(nvidia.forged.evidence)
    chain = Collateral(nvidia.forged.collateral.certificates)
    assert supply.of("nvgpu", evidence, chain, at=nvidia.forged.at) is None
    assert len(supply.notes) == 1, "a host that cannot be reached is asked once"


def test_one_service_down_does_not_silence_the_other(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia = serve(service, forge.make({}))
    monkeypatch.setenv("FASTNESS_RIM_URL", "http://127.0.0.1:9")
    supply = Supply(offline=False, network=Client(attempts=1, timeout=0.3))
    chain = Collateral(nvidia.forged.collateral.certificates)
    found = supply.of("nvgpu", nvgpu.parse(nvidia.forged.evidence), chain, at=nvidia.forged.at)
    assert found is not None
    assert len(found.of("ocsp")) == 3
    assert not found.of("rim")


def test_a_report_that_names_no_manifest_wants_none(tmp_path: Path) -> None:
    """What is not signed yet must not end the question: a version may hold anything that prints."""
    forged = forge.make({"opaque": {"17": b"1 /../x".hex()}})
    result = ask(forged.evidence, at=forged.at, offline=True)
    assert result.genuine is None
    assert result.exit_code == 5


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>please log in</html>", "something else"),
        (b'{"id": "x"}', "something else"),
        (b"", "something else"),
        (b'{"rim": "***"}', "something else"),
    ],
)
def test_wrong_manifests_are_refused_and_not_kept(service: Service, tmp_path: Path, body: bytes, says: str) -> None:
    nvidia = serve(service, forge.make({}))
    (driver,) = (path for path in service.routes if "DRIVER" in path)
    service.say(driver, body)
    result = nvidia.ask(tmp_path / "in")
    assert outcomes(result)["nvgpu.rim"] == "not-checked"
    assert result.genuine


def test_the_manifest_of_another_version_is_not_kept(service: Service, tmp_path: Path) -> None:
    """A faulty mirror must not poison the cache: the entry would be valid for ever, and of no use."""
    nvidia = serve(service, forge.make({}))
    (driver,), (vbios,) = ([path for path in service.routes if part in path] for part in ("DRIVER", "VBIOS"))
    honest, service.routes[driver] = service.routes[driver], service.routes[vbios]
    assert outcomes(nvidia.ask(tmp_path / "in"))["nvgpu.rim"] == "not-checked"
    service.routes[driver] = honest
    assert outcomes(nvidia.ask(tmp_path / "in"))["nvgpu.rim"] == "held"


@pytest.mark.parametrize("reply", [Reply(UNAVAILABLE), Reply(b"<html>"), Reply(b"", 404)])
def test_no_status_is_said_and_not_kept(service: Service, tmp_path: Path, reply: Reply) -> None:
    nvidia = serve(service, forge.make({}))
    honest, service.answer = service.answer, lambda _: reply
    assert outcomes(nvidia.ask(tmp_path / "in"))["nvgpu.revocation"] == "not-checked"
    service.answer = honest
    assert outcomes(nvidia.ask(tmp_path / "in"))["nvgpu.revocation"] == "held"


def test_fetch_on_the_command_line_follows_what_manifests_want(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia = serve(service, forge.make({}))
    assert main(["collateral", "fetch", nvidia.files(tmp_path / "in"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["wanted"]
    assert [row["error"] for row in rows] == [""] * 7
    assert len(list(Store(folder()).entries())) == 7
    held = nvidia.ask(tmp_path / "in", offline=True)
    assert {name: value for name, value in outcomes(held).items() if name in GOOD} == GOOD


def test_a_switch(service: Service, tmp_path: Path) -> None:
    forged = forge.make({"kind": "switch"})
    evidence = nvgpu.parse(forged.evidence)
    wanted = fetch.plan("nvgpu", evidence, Collateral(forged.collateral.certificates))
    assert [item.key for item in wanted if item.kinds == ("rim",)] == [
        "rim/v1/rim/NV_SWITCH_BIOS_5612_0002_890_9610550001"
    ]
    assert len([item for item in wanted if item.kinds == ("ocsp",)]) == 3


def test_the_command_fetches_by_itself(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both roots named on the command line, nothing but report and chain given, a policy that wants to know."""
    forged = forge.make({})
    nvidia = serve(service, forged)
    signer = rim.read(forged.collateral.of("rim")[0].data).signed.certificates
    root = next(item for item in signer if item.issuer == item.subject)
    (tmp_path / "rim-root").write_bytes(root.raw)
    device = next(item for item in forged.collateral.certificates if item.issuer == item.subject)
    (tmp_path / "device-root").write_bytes(device.raw)
    words = ["verify", nvidia.files(tmp_path / "in"), "--at", forged.at.isoformat(), "--policy", "default", "--json"]
    words += ["--anchors", str(tmp_path / "rim-root"), str(tmp_path / "device-root")]
    main(words)
    told = json.loads(capsys.readouterr().out)
    assert told["genuine"] is True
    found = {item["check"]: item["outcome"] for item in told["findings"]}
    assert {name: found[name] for name in GOOD} == GOOD
    assert service.asked
