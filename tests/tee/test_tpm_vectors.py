"""Real TPM evidence: quotes of Azure, Google and swtpm, and event logs."""

from __future__ import annotations

import json

import pytest
from tpm_parts import NAMES, WHEN, around, blob, owner

from fastness.errors import MissingCollateral, NotGenuine
from fastness.tee import Collateral, tpm
from fastness.wire import eventlog
from vectors import case

QUOTES = ["azure-snp-vtpm", "azure-tdx-vtpm-live", "azure-vtpm-quote", "gce-cos85-nonce", "keylime-swtpm"]


@pytest.mark.parametrize("name", QUOTES)
def test_quote_is_genuine_under_a_named_key(name: str) -> None:
    found = case(f"tpm/{name}")
    data = blob(found)
    assert tpm.recognise(data)
    evidence = tpm.parse(data)
    assert tpm.unparse(evidence) == data
    genuine = tpm.verify(evidence, Collateral(), owner(data), at=WHEN)
    claims = tpm.claims(genuine)
    facts = found.facts
    assert claims.report_data == facts["extra_data"]
    assert claims.extra["clock"] == facts["clock"]
    assert claims.extra["firmware_version"] == facts["firmware"]
    assert claims.extra["ak_trust"] == "key"
    assert set(claims.measurements) == {f"pcr{index}" for _, some in facts["pcr_selection"] for index in some}
    assert any("vTPM run by the host" in text for text in claims.not_checked)


@pytest.mark.parametrize("name", QUOTES)
def test_b25_a_key_that_nobody_vouches_for(name: str) -> None:
    evidence = tpm.parse(blob(case(f"tpm/{name}")))
    told = MissingCollateral if evidence.hcl is not None else NotGenuine
    with pytest.raises(told) as caught:
        tpm.verify(evidence, Collateral(), tpm_vendors(), at=WHEN)
    assert caught.value.check == "tpm.ak-trust"
    assert caught.value.hint


def tpm_vendors():  # type: ignore[no-untyped-def]
    from fastness.pki.anchors import vendor

    return vendor()


@pytest.mark.parametrize(
    ("name", "check"),
    [("gce-cos85-nonce--pcr-edited", "tpm.pcr-digest"), ("gce-cos85-nonce--log-digest-flipped", "tpm.event-content")],
)
def test_altered(name: str, check: str) -> None:
    data = blob(case(f"tpm/{name}"))
    with pytest.raises(NotGenuine) as caught:
        tpm.verify(tpm.parse(data), Collateral(), owner(data), at=WHEN)
    assert caught.value.check == check


@pytest.mark.parametrize(("name", "kind", "role"), [
    ("azure-snp-vtpm", "snp", "snp_report"), ("azure-tdx-vtpm-live", "tdx", "td_quote")])  # fmt: skip
def test_hardware_report_vouches(name: str, kind: str, role: str) -> None:
    found = case(f"tpm/{name}")
    evidence = tpm.parse(blob(found))
    assert tpm.embedded(evidence) == ((kind, found.files[role]),)
    assert evidence.hcl is not None
    assert evidence.hcl.runtime == found.files["runtime_data"]
    genuine = tpm.verify(evidence, Collateral(), tpm_vendors(), at=WHEN,
                         within=(around(found.files[role]),))  # fmt: skip
    claims = tpm.claims(genuine)
    assert claims.extra["ak_trust"] == "hardware-report"
    assert claims.extra["hardware"] == kind
    assert claims.extra["azure"]["secure_boot"] is True
    assert claims.extra["azure"]["user_data"] == json.loads(found.files["runtime_data"])["user-data"].lower()
    assert any("VMPL 0" in text for text in claims.not_checked)
    assert claims.cpu.vendor is None
    assert not any("run by the host" in text for text in claims.not_checked)


def test_log_replays_and_speaks() -> None:
    data = blob(case("tpm/gce-cos85-nonce"))
    genuine = tpm.verify(tpm.parse(data), Collateral(), owner(data), at=WHEN)
    extra = tpm.claims(genuine).extra
    assert extra["replayed"] == [f"pcr{index}" for index in range(10)]
    assert extra["secure_boot"] is True
    assert "dm_verity" in extra["command_lines"][0]


@pytest.mark.parametrize("name", ["log-debian10", "log-gce-ubuntu2404-snp"])
def test_logs_replay(name: str) -> None:
    found = case(f"tpm/{name}")
    log = eventlog.parse(found.files["event_log"])
    assert len(log.events) + log.crypto_agile == found.facts["event_count"]
    assert log.used == found.facts["bytes_used"]
    for bank, registers in found.facts["replayed"].items():
        assert {str(i): value.hex() for i, value in eventlog.replay(log, bank).items()} == registers


def test_ccel_of_a_trust_domain() -> None:
    log = eventlog.parse(case("tdx/v4-gcp-ccel-uptodate").files["ccel"])
    assert (log.algorithms, log.padding > 0) == (("sha384",), True)
    assert len(log.events) + 1 == 44


def test_parts_are_told_apart() -> None:
    for name in QUOTES:
        found = case(f"tpm/{name}")
        for role, data in found.files.items():
            if role in NAMES and role != "td_quote":
                assert tpm.recognise_part(data) == NAMES[role], (name, role)
            elif role in ("ak_pub", "ak_public"):
                assert tpm.recognise_part(data) == "ak"
            elif role == "pcr_blob":
                assert tpm.recognise_part(data) == "pcrs"


def test_dump_of_tpm2_tools_is_the_same_values() -> None:
    from fastness.tee.tpm.parts import pcrs

    found = case("tpm/keylime-swtpm")
    assert pcrs(found.files["pcr_blob"]) == pcrs(found.files["pcrs"])
