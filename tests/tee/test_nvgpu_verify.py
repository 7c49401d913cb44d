"""NVIDIA reports: every check catches what it is for; real reports give what NVIDIA's devices signed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256, sha384, sha512
from importlib import import_module

import pytest

import vectors
from fastness.claims.finding import Outcome, table
from fastness.claims.genuine import vouch
from fastness.errors import MissingCollateral, NotGenuine, UsageError
from fastness.forge import nvgpu as forge
from fastness.forge.model import Forged
from fastness.pki import ocsp
from fastness.pki.anchors import Anchors, vendor
from fastness.tee import Collateral, Document, load, nvgpu
from fastness.tee.nvgpu import layout
from fastness.tee.nvgpu.composite import bound_nonce
from fastness.wire import pem, x509

endorse = import_module("fastness.tee.nvgpu.endorse")
HONEST = forge.make({})


def run(forged: Forged, **change):
    parts = {"collateral": forged.collateral, "anchors": forged.anchors, "at": forged.at, "within": ()} | change
    return nvgpu.verify(
        nvgpu.parse(forged.evidence), parts["collateral"], parts["anchors"], at=parts["at"], within=parts["within"]
    )


def refused(check: str, forged: Forged, **change) -> NotGenuine:
    with pytest.raises(NotGenuine) as caught:
        run(forged, **change)
    assert caught.value.check == check
    assert str(caught.value)
    return caught.value


def outcomes(genuine) -> dict[str, Outcome]:
    return {item.check: item.outcome for item in genuine.findings}


def only(collateral: Collateral, *kinds: str) -> Collateral:
    return collateral._replace(documents=tuple(item for item in collateral.documents if item.kind in kinds))


def real(name: str) -> Forged:
    case = vectors.case(name)
    chain = tuple(x509.certificate(block) for _, block in pem.unarmour(case.files["cert_chain"]))
    rims = tuple(Document("rim", data, role) for role, data in case.files.items() if role.endswith("_rim"))
    return Forged("nvgpu", case.files["report"], Collateral(chain, documents=rims), vendor(), case.at)


@pytest.mark.parametrize("name", [name for name in vectors.names("nvgpu") if "--" not in name])
@pytest.mark.parametrize("step", [1, -1])
def test_real_reports_are_genuine_and_say_what_was_signed(name, step):
    forged, facts = real(name), vectors.case(name).facts
    mixed = forged.collateral._replace(certificates=forged.collateral.certificates[::step])
    genuine = run(forged, collateral=mixed)
    assert [item.subject_cn for item in genuine.evidence.path] == facts["chain_cn"]
    assert genuine.anchors[0].name == "NVIDIA Device Identity CA"
    claims = nvgpu.claims(genuine)
    assert claims.report_data == facts["nonce"]
    assert claims.measurements["m00"] == facts["measurement_1"]
    assert len(claims.measurements) == facts["measurement_blocks"]
    assert sum(any(bytes.fromhex(value)) for value in claims.measurements.values()) == facts["measurements_present"]
    assert outcomes(genuine)["nvgpu.revocation"] is Outcome.UNKNOWN
    assert claims.debug is None
    assert not claims.simulated
    assert claims.tree()["cpu"] == {"source": "none"}
    for path, value in claims.measurements.items():
        span = claims.spans[f"measurements.{path}"]
        assert forged.evidence[span.offset : span.offset + span.size].hex() == value


def test_real_hopper_claims():
    claims = nvgpu.claims(run(real("nvgpu/hopper-sample")))
    assert claims.hardware_id == "41431d480fe5e87274"
    expected = {
        "kind": "gpu", "chip": "GH100", "driver_version": "550.90.07", "vbios_version": "96.00.9F.00.01",
        "project": "1010", "project_sku": "0200", "chip_sku": "882", "nvdec0": False, "protected_pcie": False,
        "ueid": "478176379286082186618948445787393647364802107249",
    }  # fmt: skip
    assert expected.items() <= claims.extra.items()


def test_real_switch_names_itself():
    claims = nvgpu.claims(run(real("nvgpu/switch-ls10")))
    assert claims.extra["kind"] == "switch"
    assert claims.extra["vbios_version"] == "96.10.55.00.01"
    assert claims.hardware_id.endswith(claims.extra["switch_pdi"])
    assert "driver_version" not in claims.extra


def test_real_report_whose_manifests_are_for_other_versions_stays_genuine():
    genuine = run(real("nvgpu/hopper-sample"))
    finding = next(item for item in genuine.findings if item.check == "nvgpu.rim")
    assert finding.outcome is Outcome.UNKNOWN
    assert "550.90.07" in finding.expected
    assert "545.00" in finding.actual


def test_real_report_with_a_flipped_measurement_is_refused():
    refused("nvgpu.signature", real("nvgpu/hopper-sample--flip-measurement"))


def test_g4_real_report_over_another_nonce_says_so():
    case = vectors.case("nvgpu/hopper-sample--wrong-nonce")
    assert nvgpu.claims(run(real(case.name))).report_data != case.document["inputs"]["expected_nonce"]


def test_real_chain_of_another_device_does_not_sign_this_report():
    forged = real("nvgpu/hopper-sample")
    refused("nvgpu.signature", forged, collateral=real("nvgpu/blackwell").collateral)
    both = forged.collateral + real("nvgpu/blackwell").collateral + real("nvgpu/switch-ls10").collateral
    assert nvgpu.claims(run(forged, collateral=both)).extra["chip"] == "GH100"


@pytest.mark.parametrize(
    "spec",
    [
        {}, {"kind": "switch"}, {"chip": "GB100", "fwid_form": "tcb-info", "feature": "mpt"}, {"nvdec0": True},
        {"driver_version": "575.32", "vbios_version": "97.00.88.00.0F", "padding": 4096},
        {"driver_version": "620.12", "header": True, "feature": "ppcie"},
    ],
)  # fmt: skip
def test_the_honest_forgery_is_genuine(spec):
    genuine = run(forge.make(spec))
    held = {name for name, outcome in outcomes(genuine).items() if outcome is Outcome.HELD}
    assert held == {"nvgpu.rim", "nvgpu.measurements", "nvgpu.revocation"}
    assert all(item.outcome in (Outcome.HELD, Outcome.NOTE) for item in genuine.findings)
    claims = nvgpu.claims(genuine)
    assert claims.simulated
    assert claims.debug is False
    assert claims.extra.get("feature") == spec.get("feature")
    assert len(claims.extra["manifests"]) == (1 if spec.get("kind") == "switch" else 2)


@pytest.mark.parametrize(("lie", "check"), forge.LIES.items())
def test_one_lie_one_check(lie, check):
    error = refused(check, forge.make({"lie": lie}))
    assert error.hint or table()[check].hint


@pytest.mark.parametrize(("lie", "check"), forge.DOUBTS.items())
def test_one_doubt_one_finding(lie, check):
    genuine = run(forge.make({"lie": lie}))
    open_ones = [item for item in genuine.findings if item.outcome in (Outcome.FAILED, Outcome.UNKNOWN)]
    assert [item.check for item in open_ones] == [check]
    if check != "nvgpu.revocation":
        assert nvgpu.claims(genuine).debug is None


def test_b04_look_alike_is_refused_under_the_vendor_roots_and_under_none():
    refused("nvgpu.chain", HONEST, anchors=vendor())
    refused("nvgpu.chain", HONEST, anchors=Anchors())


def test_g1_the_root_in_the_chain_never_counts_by_itself():
    refused("nvgpu.chain", forge.make({"lie": "root"}))


def test_g1_each_root_speaks_for_its_own_line():
    refused("nvgpu.chain", forge.make({"lie": "rim-root-for-device"}))
    refused("nvgpu.rim-chain", forge.make({"lie": "device-root-for-rim"}))


def test_missing_chain_is_missing_collateral_also_beside_other_certificates():
    with pytest.raises(MissingCollateral):
        run(HONEST, collateral=Collateral())
    chain = HONEST.collateral.certificates
    with pytest.raises(MissingCollateral):
        run(HONEST, collateral=Collateral(tuple(item for item in chain if item.is_ca)))
    for gone in chain[1:4]:
        with pytest.raises(MissingCollateral):
            run(HONEST, collateral=Collateral(tuple(item for item in chain if item is not gone)))


@pytest.mark.parametrize("form", ["device-id", "tcb-info"])
def test_g6_firmware_of_the_leaf(form):
    refused("nvgpu.fwid", forge.make({"lie": "fwid", "fwid_form": form}))
    refused("nvgpu.fwid", forge.make({"lie": "fwid-absent"}))
    assert "cannot be read" in refused("nvgpu.fwid", forge.make({"lie": "fwid-unreadable", "fwid_form": form})).what
    leaf = run(forge.make({"fwid_form": form})).evidence.path[0]
    assert len(endorse.fwids(leaf)) == 1


def test_g6_a_digest_of_nothing_is_no_firmware():
    refused("nvgpu.fwid", forge.make({"fwid": "00" * 48}))


def test_manifest_of_another_chip_with_the_same_driver_version_is_not_used():
    other = forge.make({"chip": "GB100", "lie": "rim-index"})  # its driver's and VBIOS's manifests are in conflict
    drivers = (other.collateral.of("rim")[0], *HONEST.collateral.of("rim"))
    collateral = HONEST.collateral._replace(documents=drivers)
    genuine = run(HONEST, collateral=collateral, anchors=HONEST.anchors + other.anchors)
    assert [path.anchor for path in _judged(HONEST, drivers, HONEST.anchors + other.anchors)] == [
        HONEST.anchors.items[1]
    ] * 2
    assert outcomes(genuine)["nvgpu.measurements"] is Outcome.HELD


def _judged(forged, documents, anchors):
    compare = import_module("fastness.tee.nvgpu.compare").compare
    return compare(nvgpu.parse(forged.evidence), "GH100", documents, anchors, forged.at).chains


def test_each_certificate_between_leaf_and_root_needs_a_word():
    responses = HONEST.collateral.of("ocsp")
    assert len(responses) == 5
    for gone in responses:
        documents = tuple(item for item in HONEST.collateral.documents if item is not gone)
        genuine = run(HONEST, collateral=HONEST.collateral._replace(documents=documents))
        assert outcomes(genuine)["nvgpu.revocation"] is Outcome.UNKNOWN


def test_b29_every_part_of_a_cert_id_counts_and_the_responder_is_who_it_says():
    response = ocsp.read(HONEST.collateral.of("ocsp")[0].data)
    rom, provisioner = run(HONEST).evidence.path[1:3]
    single = response.singles[0]
    assert single.names(rom, provisioner)
    assert ocsp.look_up(rom, provisioner, [response], "nvgpu", at=HONEST.at).checked
    for change in ({"issuer_name": bytes(32)}, {"issuer_key": bytes(32)}, {"serial": 1}, {"digest": "sha384"}):
        assert not replace(single, **change).names(rom, provisioner)
    with pytest.raises(NotGenuine):
        ocsp.look_up(rom, provisioner, [replace(response, responder=b"somebody")], "nvgpu", at=HONEST.at)


def test_missing_manifests_are_not_checked():
    for documents in ((), HONEST.collateral.of("rim")[:1], HONEST.collateral.of("rim")[1:]):
        collateral = HONEST.collateral._replace(documents=(*documents, *HONEST.collateral.of("ocsp")))
        genuine = run(HONEST, collateral=collateral)
        assert outcomes(genuine)["nvgpu.rim"] is Outcome.UNKNOWN
        assert "nvgpu.measurements" not in outcomes(genuine)
        assert nvgpu.claims(genuine).debug is None


def test_half_the_manifests_still_catch_a_lie():
    forged = forge.make({"lie": "measurement"})
    driver = Collateral(forged.collateral.certificates, documents=forged.collateral.of("rim")[:1])
    assert outcomes(run(forged, collateral=driver))["nvgpu.measurements"] is Outcome.FAILED


def test_manifests_of_a_fleet_lie_beside_and_the_right_ones_are_used():
    # other devices of the same fake vendor: same versions under another root would be a lie, so use expired ones
    other = forge.make({"driver_version": "1.2", "vbios_version": "01.02.03.04.05"})
    anchors = HONEST.anchors + other.anchors
    collateral = HONEST.collateral + other.collateral
    genuine = run(HONEST, collateral=collateral, anchors=anchors)
    assert nvgpu.claims(genuine).extra["manifests"] == ["forged-550.90.07", "forged-96.00.9F.00.01"]


def test_g8_nvdec0_counts_only_where_it_is_on():
    off, on = forge.make({"nvdec0": False}), forge.make({"nvdec0": True})
    assert outcomes(run(off))["nvgpu.measurements"] is Outcome.HELD
    # the manifest of a device where it is off allows another value only: for one where it is on, that is a failure
    mixed = on.collateral._replace(documents=off.collateral.of("rim"))
    anchors = on.anchors + off.anchors
    finding = next(item for item in run(on, collateral=mixed, anchors=anchors).findings if "measure" in item.check)
    assert finding.outcome is Outcome.FAILED
    assert [place.field for place in finding.where] == [f"m{layout.NVDEC0_INDEX}"]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("good", Outcome.HELD), ("revoked", None), ("hold", None), ("ocsp-unknown", Outcome.UNKNOWN)],
)
def test_b28_states_of_ocsp(state, outcome):
    forged = forge.make({} if state == "good" else {"lie": state})
    if outcome is None:
        refused("nvgpu.revocation", forged)
    else:
        assert outcomes(run(forged))["nvgpu.revocation"] is outcome


def test_b29_response_on_another_certificate_from_no_responder_or_of_another_time():
    assert outcomes(run(forge.make({"lie": "ocsp-other"})))["nvgpu.revocation"] is Outcome.UNKNOWN
    refused("nvgpu.revocation", forge.make({"lie": "ocsp-usage"}))
    refused("nvgpu.revocation", forge.make({"lie": "ocsp-signer"}))
    for at in (HONEST.at - timedelta(hours=2), HONEST.at + timedelta(hours=24)):
        assert outcomes(run(HONEST, at=at))["nvgpu.revocation"] is Outcome.UNKNOWN


def test_b30_without_any_response_nothing_is_assumed():
    genuine = run(HONEST, collateral=only(HONEST.collateral, "rim"))
    assert outcomes(genuine)["nvgpu.revocation"] is Outcome.UNKNOWN


def test_an_outdated_response_still_revokes_but_no_longer_holds():
    revoked, held = forge.make({"lie": "revoked"}), forge.make({"lie": "hold"})
    refused("nvgpu.revocation", revoked, at=revoked.at + timedelta(days=5))
    assert outcomes(run(held, at=held.at + timedelta(days=5)))["nvgpu.revocation"] is Outcome.UNKNOWN


def test_unreadable_responses_are_none():
    junk = tuple(Document("ocsp", data) for data in (b"", b"\x30\x03\x0a\x01\x03", b"\x30\x80", b"junk"))
    collateral = HONEST.collateral._replace(documents=(*junk, *HONEST.collateral.documents))
    assert outcomes(run(HONEST, collateral=collateral))["nvgpu.revocation"] is Outcome.HELD


def test_b31_two_devices_in_parallel_do_not_know_of_each_other():
    specs = [{}, {"lie": "measurement"}, {"kind": "switch"}, {"lie": "rim-version"}]
    made = [forge.make(spec) for spec in specs]
    alone = [(outcomes(run(item)), nvgpu.claims(run(item))) for item in made]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, made * 8))
    for number, genuine in enumerate(together):
        assert (outcomes(genuine), nvgpu.claims(genuine)) == alone[number % 4]


@dataclass(frozen=True)
class Cpu:
    report_data: bytes


def test_security_versions_at_or_above_what_the_manifest_asks_for():
    for stated in (5, 6, 65535):
        found = outcomes(run(forge.make({"svns": {"37": stated}, "floors": {"37": 5}})))
        assert found["nvgpu.measurements"] is Outcome.HELD and "nvgpu.unknown-fields" not in found
    assert outcomes(run(forge.make({"floors": {"40": 0}})))["nvgpu.measurements"] is Outcome.FAILED


def test_b32_g12_binding_to_the_evidence_of_a_cpu():
    nonce = nvgpu.parse(HONEST.evidence).nonce
    assert bound_nonce(run(HONEST)) == nonce
    assert "nvgpu.binding" not in outcomes(run(HONEST))

    def cpu(data: bytes):
        return vouch(Cpu(data), anchors=(), at=HONEST.at)

    digests = [digest(HONEST.evidence).digest().ljust(64, b"\0") for digest in (sha256, sha384, sha512)]
    for data in (nonce + bytes(32), nonce + b"\x07" * 32, b"\x07" * 32 + nonce, *digests):
        mine, other = cpu(data), cpu(bytes(64))
        genuine = run(HONEST, within=(other, mine))
        assert outcomes(genuine)["nvgpu.binding"] is Outcome.HELD
        assert genuine.within == (mine,)
    for data in (
        bytes(64),
        b"",
        b"\x01" + nonce[1:] + bytes(32),
        bytes(16) + nonce + bytes(16),
        nonce[1:] + nonce[:33],
    ):
        genuine = run(HONEST, within=(cpu(data),))
        assert outcomes(genuine)["nvgpu.binding"] is Outcome.UNKNOWN
        assert genuine.within == ()


def test_a_nonce_of_zeros_binds_no_gpu():
    """It is the padding of every digest in report_data."""
    nobody = forge.make({"nonce": "00" * 32})
    for data in (bytes(64), b"\x07" * 32 + bytes(32)):
        genuine = run(nobody, within=(vouch(Cpu(data), anchors=(), at=nobody.at),))
        assert outcomes(genuine)["nvgpu.binding"] is Outcome.UNKNOWN


def test_a_nonce_with_a_zero_in_it_binds():
    asked = forge.make({"nonce": "00" + "5a" * 31})
    genuine = run(asked, within=(vouch(Cpu(bytes.fromhex("00" + "5a" * 31) + bytes(32)), anchors=(), at=asked.at),))
    assert outcomes(genuine)["nvgpu.binding"] is Outcome.HELD


def test_padding_and_undocumented_fields_are_kept_and_told():
    forged = forge.make({"padding": 7, "opaque": {"4660": "abcd"}})
    genuine = run(forged)
    assert outcomes(genuine)["nvgpu.padding"] is Outcome.NOTE
    assert outcomes(genuine)["nvgpu.unknown-fields"] is Outcome.NOTE
    assert nvgpu.unparse(genuine.evidence) == forged.evidence


def test_anchors_named_without_a_line_count_for_both():
    bare = Anchors(tuple(item._replace(line="") for item in HONEST.anchors.items))
    assert outcomes(run(HONEST, anchors=bare))["nvgpu.rim"] is Outcome.HELD


def test_checks_table_and_code_name_the_same_checks():
    rows = {name for name in table() if name.startswith("nvgpu.")}
    other = {"nvgpu.binding", "nvgpu.padding", "nvgpu.unknown-fields"}
    assert rows == set(forge.LIES.values()) | set(forge.DOUBTS.values()) | other


def test_the_contract():
    assert load("nvgpu").NAME == "nvgpu"
    evidence = nvgpu.parse(HONEST.evidence)
    assert nvgpu.recognise(HONEST.evidence)
    assert nvgpu.embedded(evidence) == ()
    assert nvgpu.enclosed(evidence) == Collateral()
    rows = nvgpu.show(evidence)
    assert rows[4][0] == "nonce"
    assert rows[-1][0] == "signature"
    with pytest.raises(UsageError):
        forge.make({"lie": "no such"})


def test_these_too_have_a_lie_or_a_doubt() -> None:
    assert {"nvgpu.validity", "nvgpu.leaf", "nvgpu.indices"} <= {*forge.LIES.values(), *forge.DOUBTS.values()}
