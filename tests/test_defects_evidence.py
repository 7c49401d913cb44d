"""Defects found in existing verifiers, by number, over every TEE at once: what one table of lies holds for all of them.

``docs/defects.md`` names the tests of each number.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509 as builder
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from fastness import tee as tees
from fastness import verify as ask
from fastness.collateral.gather import gather
from fastness.errors import FastnessError, MalformedEvidence, MissingCollateral, NotGenuine, UsageError
from fastness.forge import dcap_vendor, nitro, sgx, snp, tdx
from fastness.forge.model import Forged
from fastness.pki import anchors as pins
from fastness.pki import chain
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, Document
from fastness.tee.dcap import tcb
from fastness.wire import x509
from forgeries import MAKERS, against, judge, make, plain, verify

TEES = sorted(MAKERS)
REFUSALS = (NotGenuine, MissingCollateral, MalformedEvidence)
ACCEPT = '[[rule]]\nid = "r"\neffect = "accept"\nwhen = {}\nrequire = {}\n'


def refused(forged: Forged, *checks: str, **changed: Any) -> None:
    with pytest.raises((NotGenuine, MissingCollateral)) as error:
        verify(forged, **changed)
    assert getattr(error.value, "check", "") in checks


@pytest.mark.parametrize("tee", TEES)
def test_b03_evidence_without_a_good_signature_never_passes(tee: str) -> None:
    assert verify(plain(tee)).anchors
    forged = make(tee, lie="signature") if tee not in ("sev", "cca") else None
    if forged is not None:
        with pytest.raises(NotGenuine):
            verify(forged)
    data = plain(tee).evidence
    for end in (len(data) // 4, len(data) // 2, len(data) - 200, len(data) - 64, len(data) - 1):
        with pytest.raises(REFUSALS):
            verify(plain(tee), evidence=data[:end])


@pytest.mark.parametrize("tee", TEES)
def test_b04_no_tee_takes_its_root_from_the_evidence(tee: str) -> None:
    """The same evidence under another fake vendor with the same names, under the real vendors, and under nobody."""
    forged, other = plain(tee), MAKERS[tee]({"lie": "root"}) if tee in ("snp", "sev") else None
    for anchors in (Anchors(), pins.vendor()):
        with pytest.raises((NotGenuine, MissingCollateral)):
            verify(forged, anchors=anchors)
    if other is not None:
        with pytest.raises(NotGenuine):
            verify(other)


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
@pytest.mark.parametrize("lie", ["revocation", "revocation-ca", "revocation-signer", "crl-signer"])
def test_b08_every_certificate_of_intels_is_looked_up(tee: str, lie: str) -> None:
    refused(make(tee, lie=lie), f"{tee}.revocation")


@pytest.mark.parametrize("tee", ["snp", "sgx", "tdx", "nitro"])
def test_b08_a_list_that_is_stale_or_absent_is_not_an_answer(tee: str) -> None:
    specs: dict[str, list[dict[str, Any]]] = {
        "snp": [{"crl": "stale"}, {"crl": "none"}], "nitro": [{"crls": False}],
        "sgx": [{"lie": "stale-crl"}, {"lie": "crl-missing"}], "tdx": [{"lie": "stale-crl"}, {"lie": "crl-missing"}],
    }  # fmt: skip
    for spec in specs[tee]:
        forged = make(tee, **spec)
        outcomes = {item.check: item.outcome.value for item in verify(forged).findings}
        assert outcomes[f"{tee}.revocation"] == "not-checked"
        if tee != "nitro":  # the default profile waives what AWS does not publish, by name
            assert f"{tee}.revocation" in against(judge(forged, "default"))


@pytest.mark.parametrize("tee", ["snp", "sgx", "tdx", "nitro", "nvgpu", "tpm"])
def test_b10_dates_are_judged_at_the_time_asked_about(tee: str) -> None:
    forged = plain(tee)
    for at in (datetime(2015, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)):
        with pytest.raises((NotGenuine, MissingCollateral)) as error:
            verify(forged, at=at)
        assert "validity" in getattr(error.value, "check", "") or "timestamp" in getattr(error.value, "check", "")


def test_b10_an_snp_leaf_ends_to_the_second() -> None:
    forged = plain("snp")
    crls = forged.collateral._replace(crls=())
    verify(forged, at=snp.DIES, collateral=crls)
    verify(forged, at=snp.BORN, collateral=crls)
    refused(forged, "snp.validity", at=snp.DIES + timedelta(seconds=1), collateral=crls)
    refused(forged, "snp.validity", at=snp.BORN - timedelta(seconds=1), collateral=crls)


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
@pytest.mark.parametrize("kind", ["tcb-info", "qe-identity"])
def test_b12_collateral_is_signed_byte_by_byte(tee: str, kind: str) -> None:
    """The same JSON with other white space, or in another order, is another document."""
    forged = plain(tee)
    for change in (
        lambda data: data.replace(b'":', b'": ', 2),
        lambda data: json.dumps(json.loads(data), sort_keys=True).encode(),
    ):
        documents = tuple(
            item._replace(data=change(item.data)) if item.kind == kind else item for item in forged.collateral.documents
        )
        with pytest.raises(REFUSALS):
            verify(forged, collateral=forged.collateral._replace(documents=documents))


def test_b13_every_component_counts_and_is_compared_as_a_number() -> None:
    for count in (16, 18):
        level = tuple(range(1, count + 1))
        assert tcb.reaches(level, level)
        for index in range(count):
            for have, reaches in ((0, False), (level[index] - 1, False), (level[index] + 1, True), (255, True)):
                mine = (*level[:index], have, *level[index + 1 :])
                assert tcb.reaches(mine, level) is reaches
    assert tcb.reaches((10,), (9,))
    assert not tcb.reaches((2,), (16,))


@pytest.mark.parametrize("svn", [0, 1, 10, 16])
def test_b13_the_tdx_module_is_found_by_its_hexadecimal_version(svn: int) -> None:
    tdx_svn = bytes((6, svn, 3)) + bytes(13)
    forged = tdx.make({"fields": {"tee_tcb_svn": tdx_svn.hex()}})
    assert tees.load("tdx").claims(verify(forged)).tcb_status == "UpToDate"


DEBUGGED: dict[str, dict[str, Any]] = {
    "snp": {"policy": {"debug": True}}, "sgx": {"debug": True}, "tdx": {"debug": True}, "nitro": {"debug": True},
    "cca": {"lifecycle": 0x4000},
}  # fmt: skip


@pytest.mark.parametrize("tee", ["snp", "sgx", "tdx", "nitro", "cca"])
@pytest.mark.parametrize("profile", ["default", "strict"])
def test_b15_debug_is_told_and_refused(tee: str, profile: str) -> None:
    forged = make(tee, **DEBUGGED[tee])
    assert tees.load(tee).claims(verify(forged)).debug is True
    verdict = judge(forged, profile)
    assert not verdict.accepted
    assert any("debug" in f"{item.expected} {item.check}" for item in verdict.against)


def test_b15_a_sev_guest_in_debug_is_told_and_refused() -> None:
    forged = make("sev", launch={}, guest={"policy": 0x6})
    with pytest.raises(NotGenuine):
        verify(forged)  # a launch without debugging beside a report with it: two guests
    alone = MAKERS["sev"]({"guest": {"policy": 0x6}})
    rule = ACCEPT.format('{ tee = "sev" }', "{ debug = false }") + '[[waive]]\ncheck = "*.*"\nwhy = "test"\n'
    assert tees.load("sev").claims(verify(alone)).debug is True
    assert not judge(alone, rule).accepted


@pytest.mark.parametrize("tee", TEES)
def test_b17_a_wrong_report_data_or_nonce_is_fatal(tee: str) -> None:
    forged = plain(tee)
    claims = tees.load(tee).claims(verify(forged))
    # what the evidence of this TEE calls its report data; a SEV launch has none, which is no match either
    have = bytes.fromhex(claims.report_data or "") or bytes(16)
    wrong = bytes((have[0] ^ 1,)) + have[1:]
    sources = [forged.evidence, *(item.raw for item in forged.collateral.certificates)]
    sources += [item.raw for item in forged.collateral.crls]
    sources += [item.data for item in forged.collateral.documents if item.kind in ("tcb-info", "qe-identity")]
    for question in ({"report_data": wrong}, {"nonce": wrong}):
        result = ask(*sources, at=forged.at, anchors=forged.anchors, **question)
        assert result.genuine is False, result.error
        assert getattr(result.error, "check", "") == "binding.nonce"
    if claims.report_data:
        assert ask(*sources, at=forged.at, anchors=forged.anchors, report_data=have).genuine


OPTIMISED = """
import sys
sys.path[:0] = sys.argv[1:]
if __debug__:
    raise SystemExit("not optimised")
from fastness.errors import MissingCollateral, NotGenuine
from fastness.forge import cca, nitro, nvgpu, sev, snp, tpm
from forgeries import make, verify
count = 0
for module in (cca, nitro, nvgpu, sev, snp, tpm):
    tee = module.__name__.rpartition(".")[2]
    for lie in module.LIES:
        generation = {"generation": "turin"} if (tee, lie) == ("snp", "fmc") else {}
        try:
            genuine = verify(make(tee, lie=lie, **generation))
        except (NotGenuine, MissingCollateral):
            count += 1
            continue
        told = {item.check for item in genuine.findings if item.outcome.value != "held"}
        if f"{tee}.{lie}" not in told:  # not a matter of genuineness, but told
            raise SystemExit(f"{tee}: {lie} was believed")
print(count)
"""


def test_b20_optimised_python_refuses_every_lie() -> None:
    """Nothing that decides is an assertion: with assertions removed, every forgery is refused all the same."""
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-O", "-c", OPTIMISED, str(here.parent / "src"), str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 90


@pytest.mark.parametrize("tee", TEES)
def test_b21_nothing_but_our_errors_escapes(tee: str) -> None:
    """Cut at every 97th byte, and 120 single bytes changed, at places drawn from a fixed seed."""
    forged, draw = plain(tee), random.Random(tee)
    data = forged.evidence
    changed = [data[:end] for end in range(0, len(data), max(97, len(data) // 60))]
    for _ in range(120):
        place = draw.randrange(len(data))
        changed.append(data[:place] + bytes((data[place] ^ draw.randrange(1, 256),)) + data[place + 1 :])
    for item in changed:
        try:
            verify(forged, evidence=item)
        except REFUSALS as error:
            assert error.what
            assert error.hint or getattr(error, "check", "")


@pytest.mark.parametrize("tee", TEES)
def test_b22_what_was_parsed_is_written_again_as_it_came(tee: str) -> None:
    module, data = tees.load(tee), plain(tee).evidence
    assert module.unparse(module.parse(data)) == data


def test_b33_known_bad_firmware_is_named_and_refused() -> None:
    forged = snp.make({"generation": "genoa", "tcb": {"snp": 22}})
    verdict = judge(forged, "strict")
    assert not verdict.accepted
    assert any("EntrySign" in item.because for item in verdict.against)
    assert not judge(snp.make({"platform": {"alias_check_complete": False}}), "strict").accepted


def test_b34_milan_is_refused_by_strict_and_a_chip_can_be_excepted() -> None:
    chip = "ab" * 64
    forged = snp.make({"generation": "milan", "chip_id": chip})
    verdict = judge(forged, "strict")
    assert not verdict.accepted
    assert any("Milan" in item.because for item in verdict.against)
    assert "no-milan" in verdict.decided_by
    policy = (
        '[sets]\nours = ["%s"]\n'
        '[[rule]]\nid = "no-milan"\neffect = "refuse"\nwhy = "root seed"\n'
        'when = { tee = "snp", "cpu.generation" = "milan", hardware_id = { not = "@ours" } }\n'
        '[[rule]]\nid = "snp"\neffect = "accept"\nwhen = { tee = "snp" }\nrequire = { debug = false }\n'
    )
    assert "no-milan" in judge(forged, policy % ("cd" * 64)).decided_by
    assert "no-milan" not in judge(forged, policy % chip).decided_by


@pytest.mark.parametrize("tee", TEES)
def test_b36_no_tee_takes_the_evidence_of_another(tee: str) -> None:
    data = plain(tee).evidence
    assert [found.tee for found in gather([data]).evidence][:1] == [tee]
    for other in TEES:
        if other == tee:
            continue
        module = tees.load(other)
        assert not module.recognise(data), other
        with pytest.raises(MalformedEvidence):
            module.parse(data)


@pytest.mark.parametrize("tee", [*TEES, "nil"])
def test_b37_evidence_is_bounded_in_size_depth_and_time(tee: str) -> None:
    module = tees.load(tee)
    start = plain(tee).evidence if tee != "nil" else b""
    started = time.process_time()
    for data in (
        start + bytes(8 << 20),
        b"\x81" * 200_000,
        b"\xa1\x01" * 100_000,
        b"\x9f" * 100_000,
        b"\x30\x80" * 100_000,
        b"[" * 200_000,
        b"{" * 200_000,
        b"-----BEGIN CERTIFICATE-----\n" * 20_000,
        start[: len(start) // 2] + b"\xff" * 100_000,
    ):
        module.recognise(data)
        with pytest.raises(MalformedEvidence):
            module.parse(data)
    assert time.process_time() - started < 3


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 50_000, b"-----BEGIN X-----\n" * 50_000, b"<a>" * 100_000])
def test_b37_inputs_of_verify_are_bounded(text: bytes) -> None:
    started = time.process_time()
    result = ask(text)
    assert result.genuine is False
    assert time.process_time() - started < 3
    with pytest.raises(UsageError):
        gather([bytes(9 << 20)])


def _issued(purpose: str | None, *, critical: bool = False) -> tuple[x509.Certificate, Anchors]:
    """A leaf and its root; the leaf's extended key usage says ``purpose``."""
    at = dcap_vendor.AT
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(2)]
    names = [builder.Name([builder.NameAttribute(builder.NameOID.COMMON_NAME, text)]) for text in ("root", "leaf")]
    found = []
    for index in (0, 1):
        made = (
            builder.CertificateBuilder()
            .subject_name(names[index])
            .issuer_name(names[0])
            .public_key(keys[index].public_key())
            .serial_number(5 + index)
            .not_valid_before(at - timedelta(days=1))
            .not_valid_after(at + timedelta(days=1))
            .add_extension(builder.BasicConstraints(ca=not index, path_length=None), critical=True)
        )
        if index and purpose:
            usage = builder.ExtendedKeyUsage([builder.ObjectIdentifier(purpose)])
            made = made.add_extension(usage, critical=critical)
        found.append(x509.certificate(made.sign(keys[0], SHA256()).public_bytes(Encoding.DER)))
    return found[1], Anchors((pins.from_certificate("snp", found[0]),))


@pytest.mark.parametrize("purpose", [None, "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "2.23.133.8.3", "1.2.3.4"])
def test_b38_extended_key_usage_of_tls_neither_helps_nor_hinders(purpose: str | None) -> None:
    leaf, anchors = _issued(purpose)
    assert chain.build(leaf, (), anchors, "snp", at=dcap_vendor.AT).anchor == anchors.items[0]
    with pytest.raises(MissingCollateral):
        chain.build(leaf, (), Anchors((anchors.items[0]._replace(tee="tdx"),)), "snp", at=dcap_vendor.AT)


def test_b39_versions_are_told_as_they_are() -> None:
    """A guest that was launched on newer firmware than the machine it moved to: two facts, and no judgement of ours."""
    genuine = verify(snp.make({"launch": {"snp": 30}}))
    told = tees.load("snp").claims(genuine)
    assert told.tcb["launch"]["snp"] == 30
    assert told.tcb["committed"]["snp"] == 23
    assert "snp.tcb-order" not in {item.check for item in genuine.findings}


def test_b42_every_dimension_of_a_tcb_is_a_key_of_its_own() -> None:
    from fastness.collateral import kds, pcs

    chip = hashlib.sha512(b"chip").digest()
    tcbs = [bytes(8), *(bytes(index) + b"\1" + bytes(7 - index) for index in (0, 1, 2, 3, 7))]
    keys = [kds.vcek(line, chip, value).key for line in ("Turin", "Venice") for value in tcbs]
    keys += [kds.vcek(line, chip, bytes(index) + b"\1" + bytes(7 - index)).key for line in ("Milan", "Genoa")
             for index in (0, 1, 6, 7)]  # fmt: skip
    keys += [pcs.tcb_info(tee, fmspc).key for tee in ("sgx", "tdx") for fmspc in ("00" * 6, "01" * 6)]
    assert len(set(keys)) == len(keys)


def test_b42_chains_are_remembered_by_their_anchors_and_time() -> None:
    for forged in (sgx.make({}), tdx.make({}), snp.make({}), nitro.make({})):
        verify(forged)
        for changed in ({"anchors": Anchors()}, {"anchors": pins.vendor()}, {"at": datetime(2099, 1, 1, tzinfo=UTC)}):
            with pytest.raises((NotGenuine, MissingCollateral)):
                verify(forged, **changed)
        verify(forged)


def test_b27_what_a_policy_asks_and_evidence_cannot_say_refuses() -> None:
    forged = make("tdx")
    for require in ('{ "measurements.nowhere" = "00" }', '{ "tdx.nowhere" = true }', '{ "tcb.reported.snp" = ">=1" }'):
        assert not judge(forged, ACCEPT.format('{ tee = "tdx" }', require)).accepted
    with pytest.raises(FastnessError):
        judge(forged, ACCEPT.format('{ tee = "tdx" }', '{ "measurements.mrtd" = "@absent" }'))


def test_b01_identity_of_another_enclave_does_not_serve() -> None:
    """Signed by Intel, for SGX's quoting enclave, beside a TDX quote."""
    quote, other = tdx.make({}), sgx.make({})
    documents = (*quote.collateral.of("tcb-info"), *other.collateral.of("qe-identity"))
    with pytest.raises((NotGenuine, MissingCollateral)):
        verify(quote, collateral=quote.collateral._replace(documents=documents))


def test_b02_body_key_and_signature_of_our_own_are_not_the_quoting_enclaves() -> None:
    """All that anyone can make is made anew around a genuine QE report: header, body, key and signature."""
    forged = sgx.make({})
    data = forged.evidence
    key = dcap_vendor.key()
    body = data[:48] + data[48:432].replace(b"\xe1" * 32, b"\xe2" * 32)
    made = body + data[432:436] + dcap_vendor.sign(key, body) + dcap_vendor.point(key) + data[436 + 128 :]
    refused(forged, "sgx.qe-binding", evidence=made)


def test_b24_values_nobody_signed_are_not_claimed() -> None:
    forged = make("tpm", pcrs=[0, 1, 2, 3, 4, 5, 6, 7])
    told = tees.load("tpm").claims(verify(forged)).measurements
    assert {name for name in told if name.startswith("pcr")} == {f"pcr{index}" for index in range(8)}
    refused(make("tpm", lie="pcr-selection"), "tpm.pcr-selection")


def test_b41_a_mirror_supplies_signed_bytes_only() -> None:
    forged = tdx.make({})
    for kind, old, new in (("tcb-info", b"UpToDate", b"OutOfDat"), ("qe-identity", b'"isvsvn":6', b'"isvsvn":5')):
        documents = tuple(
            Document(item.kind, item.data.replace(old, new), item.source) if item.kind == kind else item
            for item in forged.collateral.documents
        )
        assert documents != forged.collateral.documents
        with pytest.raises(NotGenuine):
            verify(forged, collateral=forged.collateral._replace(documents=documents))
    with pytest.raises(MissingCollateral):
        verify(forged, collateral=Collateral())
