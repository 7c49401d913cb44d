"""Forged quotes: every check catches its lie, every generation, version and status is understood."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from dcap_tools import FORGES, judge, made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastness.claims.finding import Outcome, table
from fastness.errors import FastnessError, MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import dcap_vendor, sgx, tdx
from fastness.forge import tpm as forge_tpm
from fastness.forge.dcap import Maker
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchors, from_key
from fastness.tee import Collateral, Document, load
from fastness.tee.dcap import cpu, layout, pck
from fastness.wire import cbor, x509

BOTH = ("sgx", "tdx")
LIES = {
    "signature": (NotGenuine, "signature"),
    "qe-binding": (NotGenuine, "qe-binding"),
    "qe-signature": (NotGenuine, "qe-signature"),
    "qe-identity": (NotGenuine, "qe-identity"),
    "pck": (NotGenuine, "pck"),
    "pck-absent": (NotGenuine, "pck"),
    "pck-curve": (NotGenuine, "pck"),
    "chain": (NotGenuine, "chain"),
    "validity": (NotGenuine, "validity"),
    "revocation": (NotGenuine, "revocation"),
    "revocation-ca": (NotGenuine, "revocation"),
    "revocation-signer": (NotGenuine, "revocation"),
    "crl-signer": (NotGenuine, "revocation"),
    "tcb-signature": (NotGenuine, "tcb-signature"),
    "identity-signature": (NotGenuine, "identity-signature"),
    "tcb-info": (MissingCollateral, "tcb-info"),
    "other-fmspc": (MissingCollateral, "tcb-info"),
    "other-pce": (MissingCollateral, "tcb-info"),
    "identity": (MissingCollateral, "identity"),
}
FOUND = {
    "stale-crl": ("revocation", Outcome.UNKNOWN),
    "crl-missing": ("revocation", Outcome.UNKNOWN),
    "tcb-level": ("tcb-level", Outcome.FAILED),
}
STATUSES = (
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "Revoked",
)  # fmt: skip


@pytest.mark.parametrize("tee", BOTH)
@pytest.mark.parametrize("lie", LIES)
def test_lie_is_refused(tee: str, lie: str) -> None:
    kind, check = LIES[lie]
    with pytest.raises(kind) as caught:
        made(tee, lie=lie)
    assert caught.value.check == f"{tee}.{check}"  # type: ignore[attr-defined]
    assert caught.value.hint
    assert f"{tee}.{check}" in table()


@pytest.mark.parametrize("tee", BOTH)
@pytest.mark.parametrize("lie", FOUND)
def test_lie_is_found(tee: str, lie: str) -> None:
    check, outcome = FOUND[lie]
    claims, checks = made(tee, lie=lie)
    assert checks == {f"{tee}.{check}": outcome}
    assert (claims.tcb_status is None) == (lie == "tcb-level")


@pytest.mark.parametrize("tee", BOTH)
def test_b04_look_alike_hierarchy(tee: str) -> None:
    """Equal names everywhere, other keys: the signer's chain is refused as the PCK's is."""
    forged = FORGES[tee].make({})
    other = dcap_vendor.vendor(1)
    maker = Maker(tee, {})
    maker.vendor = other
    body = FORGES[tee].body({})
    theirs = maker.collateral(body)
    mixed = Collateral(theirs.certificates + forged.collateral.certificates, forged.collateral.crls, theirs.documents)
    with pytest.raises(NotGenuine) as caught:
        judge(Forged(tee, forged.evidence, mixed, forged.anchors, forged.at))
    assert caught.value.check == f"{tee}.chain"


@pytest.mark.parametrize("tee", BOTH)
def test_b10_dates_are_half_open(tee: str) -> None:
    forged = FORGES[tee].make({})
    for days, good in ((-5, True), (-5.001, False), (24.99, True), (25, False)):
        when = Forged(tee, forged.evidence, forged.collateral, forged.anchors, forged.at + timedelta(days=days))
        if good:
            assert judge(when)[0].tcb_status == "UpToDate"
        else:
            with pytest.raises(MissingCollateral):
                judge(when)


@pytest.mark.parametrize("tee", BOTH)
@pytest.mark.parametrize("status", STATUSES)
def test_status_is_a_claim(tee: str, status: str) -> None:
    claims, checks = made(tee, status=status)
    assert (claims.tcb_status, checks) == (status, {})
    assert claims.advisory_ids == (() if status == "UpToDate" else ("INTEL-SA-00001",))


@pytest.mark.parametrize("report", ["1.5", "1.5-extended"])
@pytest.mark.parametrize("status", ["TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"])
def test_relaunch(report: str, status: str) -> None:
    assert made("tdx", status=status, td_report=report)[0].tcb_status == status
    late = made("tdx", status=status, td_report=report, qe_status="OutOfDate")[0].tcb_status
    assert late == status.replace("TDRelaunchAdvised", "OutOfDate")


def test_relaunch_needs_the_second_svn() -> None:
    assert made("tdx", status="OutOfDate", module_status="OutOfDate", td_report="1.5")[0].tcb_status == "OutOfDate"


@pytest.mark.parametrize("tee", BOTH)
@pytest.mark.parametrize("generation", [row["generation"] for row in cpu.table().values()])
def test_generation(tee: str, generation: str) -> None:
    claims, _ = made(tee, generation=generation)
    assert claims.cpu.generation == generation
    assert claims.cpu.vendor == "intel"
    assert claims.cpu.source == "pck"


def test_every_listed_fmspc_decodes_to_its_row() -> None:
    for (family, model), row in cpu.table().items():
        for text in row["fmspcs"]:
            found = cpu.from_fmspc(bytes.fromhex(text))
            assert (found.family, found.model, found.generation) == (family, model, row["generation"])
        assert set(row["tdx"]) <= set(row["fmspcs"])


def test_unknown_model_is_told_by_number_and_not_named() -> None:
    claims, _ = made("tdx", fmspc="00F06F000000")
    assert (claims.cpu.family, claims.cpu.model, claims.cpu.generation) == (6, 0xFF, None)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_sgx_versions(version: int) -> None:
    claims, checks = made("sgx", version=version, order="reversed", padding=700, debug=True)
    assert (claims.extra["quote_version"], claims.debug, checks) == (version, True, {"sgx.padding": Outcome.NOTE})


@pytest.mark.parametrize("tee", BOTH)
def test_certification_types(tee: str) -> None:
    for kind in (1, 2, 3, 4):
        assert made(tee, certification=kind)[0].tcb_status == "UpToDate"
    for kind in (1, 2, 3):
        with pytest.raises(MissingCollateral, match="PCK certificate") as caught:
            made(tee, certification=kind, no_pck=True)
        assert "pckcert" in caught.value.source and caught.value.where == f"certification data of type {kind}"
        assert ("encrypted PPID" in caught.value.missing) == (kind != 1)


def test_tcb_info_version_2() -> None:
    claims, _ = made("sgx", tcb_info_version=2, status="OutOfDate")
    assert (claims.tcb_status, claims.collateral["tcb_info_version"]) == ("OutOfDate", 2)


def test_platform_traits_are_absent_on_the_processor_ca() -> None:
    claims, _ = made("sgx", ca="processor")
    assert not {"platform_instance_id", "dynamic_platform", "smt_enabled"} & set(claims.extra)
    claims, _ = made("sgx", smt_enabled=False)
    assert claims.extra["smt_enabled"] is False
    assert claims.hardware_id == "a5" * 16


@pytest.mark.parametrize("field", ["1", "2", "2.5", "2.17", "2.18", "3", "4", "5"])
def test_b06_missing_field_of_the_sgx_extension(field: str) -> None:
    with pytest.raises(NotGenuine) as caught:
        made("sgx", without=field)
    assert caught.value.check == "sgx.pck"


def test_td_report_15_extended() -> None:
    claims, checks = made("tdx", td_report="1.5-extended", lie="migrated", fields={"mr_servicetd": "7e" * 48})
    assert checks == {"tdx.migrated": Outcome.NOTE}
    assert claims.measurements["mr_servicetd"] == "7e" * 48
    assert claims.extra["init_generation"] == "granite-rapids"


@pytest.mark.parametrize("bit", range(8))
def test_b15_any_tud_bit_is_debug(bit: int) -> None:
    word = (1 << 28 | 1 << bit).to_bytes(8, "little").hex()
    claims, checks = made("tdx", fields={"td_attributes": word})
    assert (claims.debug, checks) == (True, {})


def test_module_and_attributes() -> None:
    with pytest.raises(NotGenuine) as caught:
        made("tdx", lie="module")
    assert caught.value.check == "tdx.module"
    with pytest.raises(NotGenuine):
        made("tdx", fields={"seam_attributes": "01" + "00" * 7})
    assert made("tdx", lie="attributes")[1] == {"tdx.attributes": Outcome.UNKNOWN}


@pytest.mark.parametrize("version", [0, 1, 3, 10, 16, 255])
@pytest.mark.parametrize("case", ["upper", "lower"])
def test_b13_module_identity_is_hexadecimal_in_any_case(version: int, case: str) -> None:
    svn = bytes((6, version, 3)) + bytes(13)
    claims, checks = made("tdx", fields={"tee_tcb_svn": svn.hex()}, module_case=case, module_status="OutOfDate")
    assert claims.tcb_status == ("OutOfDate" if version else "UpToDate")
    assert checks == {}


def test_event_log() -> None:
    assert made("tdx", event_log=True)[1] == {"tdx.event-log": Outcome.HELD}
    for lie in ("event-log", "event-text"):  # as of a TPM's: what was altered is nobody's evidence
        with pytest.raises(NotGenuine) as caught:
            made("tdx", lie=lie)
        assert caught.value.check == "tdx.event-log"


def test_the_log_of_a_tpm_beside_it_says_nothing_of_a_td() -> None:
    """Azure and Google hand out a vTPM's log too: it does not lead to RTMRs, and need not."""
    forged = tdx.make({"event_log": True})
    tpms = forge_tpm.make({"trust": "key"})
    log = Document("event-log", cbor.decode(tpms.evidence)[6])
    beside = Collateral(documents=(log,))
    both = Forged("tdx", forged.evidence, forged.collateral + beside, forged.anchors, forged.at)
    evidence = load("tdx").parse(both.evidence)
    found = load("tdx").verify(evidence, both.collateral, both.anchors, at=both.at).findings
    assert [item.outcome for item in found if item.check == "tdx.event-log"] == [Outcome.HELD, Outcome.NOTE]


def test_bits_without_a_name_are_told() -> None:
    claims, _ = made("tdx", lie="attributes")
    assert claims.extra["attributes"]["unknown"] == hex(1 << 40)
    assert "unknown" not in made("tdx")[0].extra["attributes"]


@pytest.mark.parametrize("tee", BOTH)
def test_truncated_anywhere(tee: str) -> None:
    raw = FORGES[tee].make({"td_report": "1.5"}).evidence
    parse = load(tee).parse
    for size in range(len(raw)):
        with pytest.raises(MalformedEvidence):
            parse(raw[:size])
    with pytest.raises(MalformedEvidence):
        parse(raw + b"\x01")
    assert parse(raw + bytes(99)).quote.padding == bytes(99)


def test_b36_one_tee_refuses_the_other() -> None:
    for made_by, read_by in (("sgx", "tdx"), ("tdx", "sgx")):
        raw = FORGES[made_by].make({"version": 5}).evidence
        assert not load(read_by).recognise(raw)
        with pytest.raises(MalformedEvidence):
            load(read_by).parse(raw)


@pytest.mark.parametrize(("offset", "value"), [(0, 2), (0, 6), (2, 3), (4, 0x81), (12, 0), (68, 1), (310, 1)])
def test_header_and_reserved_bytes(offset: int, value: int) -> None:
    raw = bytearray(sgx.make({}).evidence)
    raw[offset] = value
    with pytest.raises(MalformedEvidence):
        load("sgx").parse(bytes(raw))


@given(st.binary(max_size=600))
def test_parsers_raise_only_ours(data: bytes) -> None:
    for tee in BOTH:
        load(tee).recognise(data)
        with pytest.raises(MalformedEvidence):
            load(tee).parse(data)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_mutated_documents_raise_only_ours(data: Any) -> None:
    forged = _FORGED
    kinds = list(forged.collateral.documents)
    index = data.draw(st.integers(0, 1))
    raw = bytearray(kinds[index].data)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    kinds[index] = Document(kinds[index].kind, bytes(raw))
    bad = Collateral(forged.collateral.certificates, forged.collateral.crls, tuple(kinds))
    try:
        judge(Forged("tdx", forged.evidence, bad, forged.anchors, forged.at))
    except FastnessError:
        return
    assert bytes(raw) == forged.collateral.documents[index].data or raw.strip() != raw


_FORGED = tdx.make({})


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[" * 9999, b'{"tcbInfo":{},"signature":""}', b'{"tcbInfo":' + b'{"a":' * 5000, b"\xff\xfe"],
)
def test_b37_hostile_documents(text: bytes) -> None:
    bad = Collateral(_FORGED.collateral.certificates, _FORGED.collateral.crls, (Document("tcb-info", text),))
    with pytest.raises((MissingCollateral, NotGenuine)):
        judge(Forged("tdx", _FORGED.evidence, bad, _FORGED.anchors, _FORGED.at))


def test_what_cannot_be_read_beside_what_can_harms_nothing() -> None:
    """A folder holds a QE identity of version 1, too; alone it is refused."""
    info, identity = _FORGED.collateral.documents
    older = Document("qe-identity", identity.data.replace(b'"version":2', b'"version":1'))
    for documents, good in (((info, older, identity), True), ((info, older), False)):
        found = Collateral(_FORGED.collateral.certificates, _FORGED.collateral.crls, documents)
        again = Forged("tdx", _FORGED.evidence, found, _FORGED.anchors, _FORGED.at)
        if good:
            assert judge(again)[0].tcb_status == "UpToDate"
        else:
            with pytest.raises(NotGenuine) as caught:
                judge(again)
            assert caught.value.check == "tdx.identity-signature"


def test_every_field_is_shown_once_and_in_order() -> None:
    for tee, spec in (("sgx", {}), ("tdx", {}), ("tdx", {"td_report": "1.5-extended"})):
        raw = FORGES[tee].make({**spec, "padding": 8}).evidence
        rows = load(tee).show(load(tee).parse(raw))
        assert [row[1] for row in rows] == sorted(row[1] for row in rows)
        assert max(row[1] + row[2] for row in rows) == len(raw)
        names = [row[0] for row in rows]
        assert len(names) == len(set(names))
    assert layout.HEADER_SIZE == 48


def test_fields_are_shown_with_their_values() -> None:
    raw = FORGES["tdx"].make({"td_report": "1.5", "debug": True, "pcesvn": 13}).evidence
    told = {row[0]: row[3] for row in load("tdx").show(load("tdx").parse(raw))}
    assert told["version"].endswith(" = 5") and told["tee_type"].endswith(" = 0x81")
    assert told["td_attributes"].endswith(" = 0x10000001 (debug, sept_ve_disable)")
    assert told["qe.isv_svn"].endswith(" = 6") and "XFRM 0xe7" in told["qe.attributes"]
    assert "FMSPC 90c06f000000" in told["certification"] and "PCESVN 13" in told["certification"]
    raw = FORGES["sgx"].make({"debug": True, "isv_svn": 9}).evidence
    told = {row[0]: row[3] for row in load("sgx").show(load("sgx").parse(raw))}
    assert "(init, debug, mode64bit)" in told["attributes"] and told["isv_svn"].endswith(" = 9")


def test_every_check_raised_has_a_row_and_the_reverse() -> None:
    import re
    from pathlib import Path

    import fastness.tee

    root = Path(fastness.tee.__file__).parent
    shared = "".join(path.read_text() for path in (root / "dcap").glob("*.py"))
    # the chain and the CRLs are judged in pki, for every TEE alike
    common = set(re.findall(r'\{tee\}\.([a-z-]+)"', shared)) | {"chain", "validity", "revocation", "identity"}
    common |= {"tcb-info", "tcb-signature", "identity-signature"}
    for tee in BOTH:
        own = "".join(path.read_text() for path in (root / tee).glob("*.py"))
        raised = (
            common
            | set(re.findall(rf'"{tee}\.([a-z-]+)",?\n', own))
            | set(re.findall(rf'CHECK = "{tee}\.([a-z-]+)"', own))
        )
        rows = {name.removeprefix(f"{tee}.") for name in table() if name.startswith(f"{tee}.")}
        assert raised == rows


def test_b21_unreadable_key_in_the_pool_is_refused_with_our_error() -> None:
    forged = tdx.make({})
    raw = bytearray(forged.collateral.certificates[0].raw)
    point = raw.index(b"\x03\x42\x00\x04") + 10
    raw[point] ^= 0xFF
    odd = x509.certificate(bytes(raw))
    bad = Collateral((odd, *forged.collateral.certificates[1:]), forged.collateral.crls, forged.collateral.documents)
    with pytest.raises((NotGenuine, MissingCollateral)):
        judge(Forged("tdx", forged.evidence, bad, forged.anchors, forged.at))


def test_a_name_that_cannot_be_read_in_the_pool_is_passed_over() -> None:
    stranger = dcap_vendor.issue("stranger").certificate
    odd = x509.certificate(stranger.raw.replace(b"\x31\x11\x30\x0f", b"\x31\x11\x31\x0f"))
    bad = _FORGED.collateral + Collateral((odd,))
    assert judge(Forged("tdx", _FORGED.evidence, bad, _FORGED.anchors, _FORGED.at)) == judge(_FORGED)


@pytest.mark.parametrize("tee", BOTH)
def test_the_certificate_that_signs_documents_is_missing(tee: str) -> None:
    forged = FORGES[tee].make({})
    kept = tuple(item for item in forged.collateral.certificates if item.subject_cn != pck.TCB_SIGNING)
    with pytest.raises(MissingCollateral, match=pck.TCB_SIGNING) as caught:
        judge(Forged(tee, forged.evidence, forged.collateral._replace(certificates=kept), forged.anchors, forged.at))
    assert caught.value.check == f"{tee}.chain"


@pytest.mark.parametrize("tee", BOTH)
def test_a_named_ca_key_does_not_stand_for_the_pck_chain(tee: str) -> None:
    """With the PCK CA's bare key as an anchor the chain is the leaf alone: nobody looked up whether it is revoked."""
    forged = FORGES[tee].make({})
    ca = next(item for item in forged.collateral.certificates if item.subject_cn == pck.PLATFORM_CA)
    anchors = Anchors((*forged.anchors.items, from_key(tee, "the CA", ca.key)))
    with pytest.raises(NotGenuine, match="not PCK < PCK CA < root") as caught:
        judge(Forged(tee, forged.evidence, forged.collateral, anchors, forged.at))
    assert caught.value.check == f"{tee}.pck"


def test_document_forms() -> None:
    """White space around, the signature first: the same bytes are signed. A bare object has no signature."""
    info, identity = _FORGED.collateral.documents
    inner, _, signature = info.data.rpartition(b',"signature":')
    body = inner.removeprefix(b'{"tcbInfo":')
    forms = {
        b" " + info.data + b"\n": True,
        b'{"signature":' + signature.removesuffix(b"}") + b',\n "tcbInfo" : ' + body + b"}": True,
        body: False,
        info.data + b"x": False,
        info.data[:-1] + b',"more":1}': False,
    }
    for text, good in forms.items():
        found = Collateral(
            _FORGED.collateral.certificates, _FORGED.collateral.crls, (Document("tcb-info", text), identity)
        )
        again = Forged("tdx", _FORGED.evidence, found, _FORGED.anchors, _FORGED.at)
        if good:
            assert judge(again)[0].tcb_status == "UpToDate"
        else:
            with pytest.raises(MissingCollateral):
                judge(again)
