"""Every real SGX and TDX quote does what is known of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dcap_tools import collateral

from fastness.claims.finding import Outcome
from fastness.errors import FastnessError, MissingCollateral, NotGenuine
from fastness.pki.anchors import Anchors, vendor
from fastness.tee import Collateral, Document, load
from fastness.wire.x509 import Crl
from vectors import case, names

ALL = names("sgx") + names("tdx")
GENUINE = [name for name in ALL if "--" not in name]
GENERATIONS = {
    "00a067110000": "rocket-lake", "00606a000000": "ice-lake", "50806f000000": "sapphire-rapids",
    "00806f050000": "sapphire-rapids", "00a06d080000": "granite-rapids", "b0c06f000000": "emerald-rapids",
    "90c06f000000": "emerald-rapids",
}  # fmt: skip
REFUSED = {
    "sgx/v3-swhardening-icelake--flip-quote-signature": (NotGenuine, "sgx.signature"),
    "sgx/v3-swhardening-icelake--tcb-status-edited": (NotGenuine, "sgx.tcb-signature"),
    "tdx/v4-uptodate--collateral-expired": (MissingCollateral, "tdx.tcb-info"),
    "tdx/v4-uptodate--flip-mrtd": (NotGenuine, "tdx.signature"),
    "tdx/v4-uptodate--tcb-info-of-other-fmspc": (MissingCollateral, "tdx.tcb-info"),
}


@pytest.mark.parametrize("name", GENUINE)
def test_genuine(name: str) -> None:
    found = case(name)
    tee = load(name[:3])
    raw = found.files["quote"]
    assert tee.recognise(raw)
    assert not load("sgx" if name[:3] == "tdx" else "tdx").recognise(raw)
    evidence = tee.parse(raw)
    assert tee.unparse(evidence) == raw
    genuine = tee.verify(evidence, collateral(found), vendor(), at=found.at)
    claims, facts, expected = tee.claims(genuine), found.facts, found.expected
    assert claims.debug == facts["debug"] == expected["debug"]
    assert claims.report_data == facts["report_data"]
    assert claims.extra["fmspc"] == facts["fmspc"]
    assert claims.cpu.generation == GENERATIONS[facts["fmspc"]]
    assert claims.tcb["qe_isvsvn"] == facts["qe_isvsvn"]
    for register in ("mrenclave", "mrsigner", "mrtd", "mrseam", "mrconfigid", "rtmr0", "rtmr1", "rtmr2", "rtmr3"):
        assert claims.measurements.get(register) == facts.get(register)
    if expected["peer_error"] is None:
        assert claims.tcb_status == expected["tcb_status"]
        assert list(claims.advisory_ids or ()) == expected["advisory_ids"]
        assert claims.collateral["evaluation_number"] == facts["collateral"]["tcb_evaluation_data_number"]
    checks = {item.check: item.outcome for item in genuine.findings}
    assert checks.get("tdx.revocation") is None
    assert checks.get("sgx.revocation") is None
    if name.endswith("notcb"):
        assert claims.tcb_status is None
        assert checks == {"tdx.tcb-level": Outcome.FAILED}
    assert {span.field for span in claims.spans.values()}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    found, tee = case(name), load(name[:3])
    kind, check = REFUSED[name]
    with pytest.raises(kind) as caught:
        tee.verify(tee.parse(found.files["quote"]), collateral(found), vendor(), at=found.at)
    assert caught.value.check == check  # type: ignore[attr-defined]


def test_missing_crl_is_not_checked_and_stays_genuine() -> None:
    found, tee = case("tdx/v4-uptodate--crl-missing"), load("tdx")
    genuine = tee.verify(tee.parse(found.files["quote"]), collateral(found), vendor(), at=found.at)
    assert [(item.check, item.outcome) for item in genuine.findings] == [("tdx.revocation", Outcome.UNKNOWN)]


def test_ccel_leads_to_the_registers() -> None:
    found, tee = case("tdx/v4-gcp-ccel-uptodate"), load("tdx")
    material = collateral(found)
    evidence = tee.parse(found.files["quote"])
    genuine = tee.verify(evidence, material, vendor(), at=found.at)
    assert {item.check: item.outcome for item in genuine.findings} == {"tdx.event-log": Outcome.HELD}
    log = bytearray(found.files["ccel"])
    log[0x60] ^= 1  # a digest
    others = tuple(item for item in material.documents if item.kind != "event-log")
    altered = Collateral(material.certificates, material.crls, (*others, Document("event-log", bytes(log))))
    with pytest.raises(NotGenuine) as caught:
        tee.verify(evidence, altered, vendor(), at=found.at)
    assert caught.value.check == "tdx.event-log"
    both = material + Collateral(documents=altered.of("event-log"))
    told = [
        item for item in tee.verify(evidence, both, vendor(), at=found.at).findings if item.check == "tdx.event-log"
    ]
    assert [item.outcome for item in told] == [Outcome.HELD, Outcome.NOTE]


@pytest.mark.parametrize("name", ["sgx/v3-swhardening-icelake", "tdx/v5-td15-uptodate"])
def test_nothing_is_trusted_without_an_anchor(name: str) -> None:
    found, tee = case(name), load(name[:3])
    with pytest.raises(NotGenuine, match="not pinned"):
        tee.verify(tee.parse(found.files["quote"]), collateral(found), Anchors(), at=found.at)


@pytest.mark.parametrize("name", ["sgx/v3-swhardening-icelake", "tdx/v4-uptodate"])
def test_a_mutation_is_refused(name: str) -> None:
    """Single bits up to the end of the PCK certificate; its issuers behind it also come with the collateral."""
    found, tee = case(name), load(name[:3])
    raw, material = found.files["quote"], collateral(found)
    for position in range(0, raw.index(b"-----END"), 23):
        bad = bytearray(raw)
        bad[position] ^= 1 << position % 8
        try:
            tee.verify(tee.parse(bytes(bad)), material, vendor(), at=found.at)
        except FastnessError:
            continue
        pytest.fail(f"byte {position} is not covered")


@pytest.mark.parametrize("name", ["sgx/v3-swhardening-icelake", "tdx/v4-uptodate"])
def test_b12_collateral_written_anew_is_refused(name: str) -> None:
    import json

    found, tee = case(name), load(name[:3])
    material = collateral(found)
    for kind, check in (("tcb-info", "tcb-signature"), ("qe-identity", "identity-signature")):
        again = tuple(
            Document(kind, json.dumps(json.loads(item.data)).encode()) if item.kind == kind else item
            for item in material.documents
        )
        with pytest.raises(NotGenuine) as caught:
            tee.verify(
                tee.parse(found.files["quote"]),
                Collateral(material.certificates, material.crls, again),
                vendor(),
                at=found.at,
            )
        assert caught.value.check == f"{name[:3]}.{check}"


def test_b42_what_is_remembered_is_keyed_by_everything_and_dates_are_checked_each_time() -> None:
    found, tee = case("tdx/v4-uptodate"), load("tdx")
    evidence, material = tee.parse(found.files["quote"]), collateral(found)
    assert found.at is not None
    for _ in range(2):
        tee.verify(evidence, material, vendor(), at=found.at)
        with pytest.raises(NotGenuine):
            tee.verify(evidence, material, Anchors(), at=found.at)
        with pytest.raises(MissingCollateral):
            tee.verify(evidence, material, vendor(), at=found.at + timedelta(days=16))
        with pytest.raises(MissingCollateral):
            tee.verify(evidence, material, vendor(), at=found.at - timedelta(days=20))
        none: tuple[Crl, ...] = ()
        bare = Collateral(material.certificates, none, material.documents)
        assert tee.verify(evidence, bare, vendor(), at=found.at).findings
