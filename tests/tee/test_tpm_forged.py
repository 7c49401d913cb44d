"""Forged TPM evidence: each lie trips exactly the check it is named after, and the truth passes."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tpm_parts import around, certificate

from fastness.claims import finding
from fastness.claims.finding import Outcome
from fastness.claims.genuine import Genuine
from fastness.errors import MissingCollateral, NotGenuine
from fastness.forge import tpm as forge
from fastness.forge.model import Forged
from fastness.pki import anchors as pins
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, tpm
from fastness.tee.tpm import endorse, structures
from fastness.tee.tpm import layout as at
from fastness.tee.tpm.verify import Proven
from fastness.wire import cbor, eventlog, x509

TRUSTS = ["certificate", "key", "credential", "hardware-report"]


def judge(forged: Forged) -> Genuine[Proven]:
    evidence = tpm.parse(forged.evidence)
    within = tuple(around(data) for _, data in tpm.embedded(evidence))
    return tpm.verify(evidence, forged.collateral, forged.anchors, at=forged.at, within=within)


def outcomes(genuine: Genuine[Proven]) -> dict[str, Outcome]:
    return {item.check: item.outcome for item in genuine.findings}


@pytest.mark.parametrize("trust", TRUSTS)
def test_truth(trust: str) -> None:
    forged = forge.make({"trust": trust, "nonce": "abcd"})
    assert tpm.recognise(forged.evidence)
    genuine = judge(forged)
    claims = tpm.claims(genuine)
    assert claims.report_data == "abcd"
    assert claims.extra["ak_trust"] == trust
    assert claims.extra["secure_boot"] is True
    assert claims.extra["command_lines"] == ["ro quiet"]
    assert claims.simulated is (trust != "hardware-report")
    assert claims.debug is None
    assert Outcome.UNKNOWN not in outcomes(genuine).values()
    for span in claims.spans.values():
        assert 0 <= span.offset <= span.offset + span.size <= len(forged.evidence)
    start = claims.spans["report_data"]
    assert forged.evidence[start.offset : start.offset + start.size].hex() == "abcd"
    assert [row for row in tpm.show(tpm.parse(forged.evidence)) if row[0] == "digest"]


@pytest.mark.parametrize("scheme", ["ecdsa", "rsassa", "rsapss"])
@pytest.mark.parametrize("bank", ["sha256", "sha384", "sha512"])
def test_schemes_and_banks(scheme: str, bank: str) -> None:
    genuine = judge(forge.make({"scheme": scheme, "bank": bank, "trust": "key"}))
    assert tpm.claims(genuine).extra["bank"] == bank


@pytest.mark.parametrize("lie", [lie for lie in forge.LIES if lie not in ("unmeasured", "clock", "ak-trust")])
def test_lie(lie: str) -> None:
    with pytest.raises(NotGenuine) as caught:
        judge(forge.make({"lie": lie}))
    assert caught.value.check == f"tpm.{lie}"
    assert caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("trust", ["certificate", "key"])
def test_b25_own_key(trust: str) -> None:
    with pytest.raises(NotGenuine) as caught:
        judge(forge.make({"lie": "ak-trust", "trust": trust}))
    assert caught.value.check == "tpm.ak-trust"


@pytest.mark.parametrize("lie", ["unmeasured", "clock"])
def test_said_but_no_lack_of_genuineness(lie: str) -> None:
    assert outcomes(judge(forge.make({"lie": lie})))[f"tpm.{lie}"] is Outcome.NOTE


def test_b24_selection_is_the_signed_one() -> None:
    """A quote over PCR 16 alone, with values of 0 to 7 beside it."""
    forged = forge.make({"pcrs": [16], "trust": "key"})
    fields = cbor.decode(forged.evidence)
    fields[5][0x0B] |= {index: bytes(32) for index in range(8)}
    with pytest.raises(NotGenuine) as caught:
        judge(Forged("tpm", cbor.encode(fields), forged.collateral, forged.anchors, forged.at))
    assert caught.value.check == "tpm.pcr-selection"


def test_a_log_that_cannot_be_replayed_is_refused() -> None:
    forged = forge.make({"trust": "key"})
    fields = cbor.decode(forged.evidence)
    said = eventlog.STARTUP_LOCALITY + b"\x03"  # too late: PCR 0 has been extended by then
    fields[6] += struct.pack("<IIIH32sI", 0, eventlog.EV_NO_ACTION, 1, 0x0B, bytes(32), len(said)) + said
    with pytest.raises(NotGenuine, match="cannot be replayed") as caught:
        judge(Forged("tpm", cbor.encode(fields), forged.collateral, forged.anchors, forged.at))
    assert caught.value.check == "tpm.event-log"


def test_a_certificate_whose_usages_cannot_be_read_is_refused() -> None:
    forged = forge.make({})
    evidence = tpm.parse(forged.evidence)
    root, leaf = certificate(evidence.key)
    odd = x509.certificate(leaf.raw.replace(b"\x06\x05\x67\x81\x05\x08\x01", b"\x02\x05\x67\x81\x05\x08\x01"))
    anchors = Anchors((pins.from_certificate("tpm", root),))
    with pytest.raises(NotGenuine, match="cannot be read") as caught:
        tpm.verify(replace(evidence, ak_certificate=odd), Collateral(), anchors, at=forged.at)
    assert caught.value.check == "tpm.chain"


def test_an_endorsement_key_whose_usages_cannot_be_read_is_refused() -> None:
    forged = forge.make({"trust": "credential"})
    evidence = tpm.parse(forged.evidence)
    assert evidence.ek_certificate is not None
    odd = x509.certificate(
        evidence.ek_certificate.raw.replace(bytes.fromhex("0605678105"), bytes.fromhex("0205678105"))
    )
    with pytest.raises(NotGenuine, match="cannot be read") as caught:
        tpm.verify(replace(evidence, ek_certificate=odd), forged.collateral, forged.anchors, at=forged.at)
    assert caught.value.check == "tpm.chain"


def test_another_bank_is_not_the_signed_one() -> None:
    forged = forge.make({"trust": "key"})
    fields = cbor.decode(forged.evidence)
    fields[5][0x0C] = {0: bytes(48)}
    with pytest.raises(NotGenuine) as caught:
        judge(Forged("tpm", cbor.encode(fields), forged.collateral, forged.anchors, forged.at))
    assert caught.value.check == "tpm.pcr-selection"


def test_missing_crl_is_a_finding() -> None:
    assert outcomes(judge(forge.make({"crl": False})))["tpm.revocation"] is Outcome.UNKNOWN
    assert outcomes(judge(forge.make({})))["tpm.revocation"] is Outcome.HELD


def test_bare_signature_and_bare_key() -> None:
    forged = forge.make({"trust": "key", "scheme": "rsapss"})
    fields = cbor.decode(forged.evidence)
    fields[3] = fields[3][6:]
    fields[4] = structures.public(fields[4]).spki.raw
    bare = Forged("tpm", cbor.encode(fields), forged.collateral, forged.anchors, forged.at)
    assert outcomes(judge(bare))["tpm.ak-attributes"] is Outcome.NOTE
    assert "ak_name" not in tpm.claims(judge(bare)).extra


def test_signature_scheme_is_the_key_s() -> None:
    forged = forge.make({"trust": "key", "scheme": "rsapss"})
    fields = cbor.decode(forged.evidence)
    fields[3] = struct.pack(">HH", at.ALG_RSASSA, 0x000B) + fields[3][4:]
    with pytest.raises(NotGenuine) as caught:
        judge(Forged("tpm", cbor.encode(fields), forged.collateral, forged.anchors, forged.at))
    assert caught.value.check == "tpm.signature"


def test_a_key_that_also_decrypts_is_no_attestation_key() -> None:
    """Whoever vouches for the bare key says nothing of its attributes."""
    forged = forge.make({"trust": "key"})
    fields = cbor.decode(forged.evidence)
    attributes = int.from_bytes(fields[4][4:8], "big") | 1 << at.ATTRIBUTES["decrypt"]
    fields[4] = fields[4][:4] + attributes.to_bytes(4, "big") + fields[4][8:]
    with pytest.raises(NotGenuine, match="also decrypts") as caught:
        judge(Forged("tpm", cbor.encode(fields), forged.collateral, forged.anchors, forged.at))
    assert caught.value.check == "tpm.ak-attributes"


@pytest.mark.parametrize("bare", [False, True])
def test_sha1_signature_is_refused(bare: bool) -> None:
    """Said so, also where the key's public area alone names the hash."""
    forged = forge.make({"trust": "key", "scheme": "rsassa"})
    fields = cbor.decode(forged.evidence)
    scheme = struct.pack(">HH", at.ALG_RSASSA, 0x000B)
    weak = struct.pack(">HH", at.ALG_RSASSA, at.ALG_SHA1)
    if bare:
        fields[3], fields[4] = structures.signature(fields[3]).value, fields[4].replace(scheme, weak, 1)
    else:
        fields[3] = fields[3].replace(scheme, weak, 1)
    with pytest.raises(NotGenuine) as refused:
        judge(replace(forged, evidence=cbor.encode(fields)))
    assert refused.value.check == "tpm.signature" and "SHA-1" in refused.value.what and refused.value.hint


def _as_an_ek(*bits: str, usage: str = at.EK_USAGE) -> str:
    """How a quote ends whose key has a certificate with the usage of an EK's and these bits of KeyUsage."""
    forged = forge.make({})
    evidence = tpm.parse(forged.evidence)
    root, leaf = certificate(evidence.key, usage, bits)
    fields = cbor.decode(forged.evidence)
    fields[7] = leaf.raw
    swapped = tpm.parse(cbor.encode(fields))
    trusted = Anchors((pins.from_certificate("tpm", root),))
    try:
        return tpm.verify(swapped, Collateral(), trusted, at=forged.at).evidence.way
    except NotGenuine as error:
        return error.check


def test_endorsement_key_certificate_is_not_an_attestation_key_certificate() -> None:
    encryption = ("key_encipherment",), ("data_encipherment",), ("key_agreement",)
    for bits in ((), *encryption, *(("digital_signature", *bits) for bits in encryption)):
        assert _as_an_ek(*bits) == "tpm.ak-certificate", bits


def test_a_certificate_for_something_else_is_not_an_attestation_key_certificate() -> None:
    """One who named a CA for TPMs did not name it for every server that it issues to."""
    assert _as_an_ek("digital_signature", usage="1.3.6.1.5.5.7.3.1") == "tpm.ak-certificate"
    for usage in (at.AK_USAGE, at.ANY_USAGE):
        assert _as_an_ek("digital_signature", usage=usage) == "certificate"


def test_a_signing_endorsement_key_may_quote() -> None:
    """Google's vTPMs have one beside the EK; up to 2022 its certificates had the usage of EKs, and KeyUsage to sign."""
    assert _as_an_ek("digital_signature") == "certificate"


def _hcl(change: str) -> tuple[bytes, bytes]:
    """Hardware-report evidence with one edit in the HCL report, the report data made to fit again."""
    forged = forge.make({"trust": "hardware-report"})
    fields = cbor.decode(forged.evidence)
    report = bytearray(fields[10])
    if change == "vmpl":
        report[32 + at.SNP_VMPL] = 2
    if change == "runtime":
        place = report.index(b"forged")
        report[place : place + 6] = b"edited"
    if change == "key":
        runtime = bytes(report[32 + 1184 + 20 :])
        document = json.loads(runtime)
        document["keys"][0]["n"] = document["keys"][0]["n"][:-4] + "AAAB"
        runtime = json.dumps(document).encode()
        report[32 + 1184 + 20 :] = runtime
        report[32 + at.SNP_REPORT_DATA : 32 + at.SNP_REPORT_DATA + 32] = hashlib.sha256(runtime).digest()
    if change == "tail":
        report[32 + at.SNP_REPORT_DATA + 40] = 1
    fields[10] = bytes(report)
    return cbor.encode(fields), bytes(report[32 : 32 + 1184])


@pytest.mark.parametrize("change", ["vmpl", "runtime", "key", "tail"])
def test_hardware_report_that_does_not_bind(change: str) -> None:
    data, report = _hcl(change)
    with pytest.raises(NotGenuine) as caught:
        tpm.verify(tpm.parse(data), Collateral(), Anchors(), at=forge.AT, within=(around(report),))
    assert caught.value.check == "tpm.hardware"


def test_hardware_report_that_nobody_verified() -> None:
    data, report = _hcl("none")
    for within in ((), (around(bytes(1184)),)):
        with pytest.raises(MissingCollateral):
            tpm.verify(tpm.parse(data), Collateral(), Anchors(), at=forge.AT, within=within)
    assert tpm.verify(tpm.parse(data), Collateral(), Anchors(), at=forge.AT, within=(around(report),))


def test_google_instance() -> None:
    claims = tpm.claims(judge(forge.make({"gce": True})))
    assert claims.extra["gce"] == {
        "zone": "europe-west4-a", "project_number": "42", "project_id": "project", "instance_id": "7",
        "instance_name": "keep-1", "security_version": 1, "is_production": True,
    }  # fmt: skip
    assert endorse.gce(forge._Authority("").root) == {}


def test_claims_only_from_registers_that_replay() -> None:
    """The log speaks of PCR 7 and 8; neither was quoted, so neither may be claimed from."""
    extra = tpm.claims(judge(forge.make({"pcrs": [0, 1, 16]}))).extra
    assert "secure_boot" not in extra
    assert "command_lines" not in extra


def test_every_check_has_a_row_and_the_reverse() -> None:
    folder = Path(tpm.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    rows = {name for name in finding.table() if name.startswith("tpm.")}
    from_chain = {"tpm.chain", "tpm.validity", "tpm.revocation"}
    assert {name for name in rows if f'"{name}"' in code} | from_chain == rows
    import re

    assert set(re.findall(r'"(tpm\.[a-z-]+)"', code)) <= rows


def test_a_log_of_another_bank_counts_as_none() -> None:
    """Nothing is claimed from a log that cannot lead to the quoted registers."""
    forged = forge.make({"trust": "key"})
    fields = cbor.decode(forged.evidence)
    text = b"boot"
    fields[6] = struct.pack("<II20sI", 4, 5, hashlib.sha1(text).digest(), len(text)) + text
    found = judge(replace(forged, evidence=cbor.encode(fields)))
    assert outcomes(found)["tpm.event-log"] is Outcome.NOTE
    claims = tpm.claims(found)
    assert claims.extra["replayed"] == [] and "secure_boot" not in claims.extra


def test_every_register_is_shown_where_it_stands() -> None:
    forged = forge.make({"trust": "key", "pcrs": [0, 7, 16, 23]})
    evidence = tpm.parse(forged.evidence)
    rows = {row[0]: row for row in tpm.show(evidence)}
    for index, value in evidence.pcrs[0x000B].items():
        _, start, size, _ = rows[f"pcr{index}.sha256"]
        assert forged.evidence[start : start + size] == value
    assert "restricted" in rows["ak"][3] and "ECDSA" in rows["signature"][3]
