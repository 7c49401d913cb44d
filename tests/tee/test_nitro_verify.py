"""Nitro: every check catches what it is for; real documents give what AWS signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest

import vectors
from fastness.claims.finding import Outcome, table
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import nitro as forge
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchors, from_key, vendor
from fastness.tee import Collateral, load, nitro
from fastness.wire import cbor, cose, x509

verifying = import_module("fastness.tee.nitro.verify")


def run(forged: Forged, **change):
    parts = {"collateral": forged.collateral, "anchors": forged.anchors, "at": forged.at} | change
    return nitro.verify(nitro.parse(forged.evidence), parts["collateral"], parts["anchors"], at=parts["at"])


def refused(check: str, forged: Forged, **change) -> NotGenuine:
    with pytest.raises(NotGenuine) as caught:
        run(forged, **change)
    assert caught.value.check == check
    assert str(caught.value)
    return caught.value


GENUINE = [name for name in vectors.names("nitro") if "--" not in name]


@pytest.mark.parametrize("name", GENUINE)
def test_real_documents_are_genuine_and_say_what_was_signed(name):
    case = vectors.case(name)
    data = case.files["document"]
    evidence = nitro.parse(data)
    assert nitro.recognise(data)
    assert nitro.unparse(evidence) == data
    claims = nitro.claims(nitro.verify(evidence, Collateral(), vendor(), at=case.at))
    facts = case.facts
    assert claims.debug is case.expected["debug"]
    assert claims.measurements == {f"pcr{index}": value for index, value in facts["pcrs"].items()}
    assert claims.extra["module_id"] == facts["module_id"]
    assert claims.extra["kind"] == "enclave"
    assert claims.extra["age_seconds"] == 59
    assert claims.report_data == (facts["user_data"] or None)
    for field in ("nonce", "public_key", "user_data"):
        assert claims.extra.get(field) == facts[field]
    assert claims.tree()["cpu"] == {"source": "none"}
    assert not claims.simulated
    for path, value in claims.measurements.items():
        span = claims.spans[f"measurements.{path}"]
        assert data[span.offset : span.offset + span.size].hex() == value


@pytest.mark.parametrize("name", [name for name in vectors.names("nitro") if "--" in name])
def test_altered_real_documents_are_refused(name):
    case = vectors.case(name)
    with pytest.raises((MalformedEvidence, NotGenuine)) as caught:
        nitro.verify(nitro.parse(case.files["document"]), Collateral(), vendor(), at=case.at)
    stage = {"time": "nitro.validity", "signature": "nitro.signature"}.get(case.expected["stage"])
    assert stage is None or caught.value.check == stage


def test_b04_look_alike_of_a_real_chain_is_refused_under_the_vendor_root():
    refused("nitro.chain", forge.make({}), anchors=vendor())


def test_no_anchor_at_all_is_refused():
    refused("nitro.chain", forge.make({}), anchors=Anchors())


@pytest.mark.parametrize("kind", ["enclave", "nitrotpm"])
def test_the_honest_forgery_is_genuine(kind):
    forged = forge.make({"kind": kind, "crls": True, "user_data": "abcd", "nonce": "01", "region": "us-gov-west-1"})
    genuine = run(forged)
    claims = nitro.claims(genuine)
    assert claims.simulated
    assert claims.extra["kind"] == kind
    assert claims.extra["region"] == "us-gov-west-1"
    assert claims.extra["instance_id"] == "i-0fa57e55fa57e55fa"
    assert claims.report_data == "abcd"
    assert claims.debug is (False if kind == "enclave" else None)
    assert [(item.check, item.outcome) for item in genuine.findings] == [("nitro.revocation", Outcome.HELD)]
    assert claims.collateral["valid_until"] == "2026-06-01T14:59:00Z"


@pytest.mark.parametrize(("lie", "check"), forge.LIES.items())
def test_one_lie_one_check(lie, check):
    error = refused(check, forge.make({"lie": lie}))
    assert error.hint or table()[check].hint


def test_n01_algorithm_header_is_exactly_es384():
    refused("nitro.algorithm", forge.make({"lie": "algorithm"}))
    forged = forge.make({})
    message = nitro.parse(forged.evidence).message
    for protected in ({}, {1: -35, 4: b"kid"}, {1: -8}, {1: "ES384"}, {1: [-35]}):
        raw = message._replace(protected=cbor.encode(protected)).unparse()
        refused("nitro.algorithm", replace(forged, evidence=raw))


def test_n02_root_of_the_bundle_never_counts_by_itself():
    refused("nitro.chain", forge.make({"lie": "root"}))


def test_n03_order_of_the_bundle_does_not_matter_but_completeness_does():
    forged = forge.make({})
    evidence = nitro.parse(forged.evidence)
    mixed = evidence._replace(bundle=evidence.bundle[::-1])
    assert nitro.verify(mixed, Collateral(), forged.anchors, at=forged.at)
    short = evidence._replace(bundle=(evidence.bundle[0], *evidence.bundle[2:]))
    with pytest.raises(MissingCollateral):
        nitro.verify(short, Collateral(), forged.anchors, at=forged.at)
    assert nitro.verify(short, Collateral(certificates=evidence.bundle), forged.anchors, at=forged.at)


def test_n04_signature_of_a_p256_leaf_is_refused_even_though_it_holds():
    refused("nitro.leaf", forge.make({"lie": "leaf-curve"}))


@pytest.mark.parametrize("index", range(5))
def test_n05_mandatory_registers(index):
    registers = {number: b"\x01" * 48 for number in range(16) if number != index}
    refused("nitro.registers", forge.make({"fields": {"pcrs": registers}}))
    instance = forge.make({"kind": "nitrotpm", "fields": {"nitrotpm_pcrs": registers}})
    assert f"pcr{index}" not in nitro.claims(run(instance)).measurements


def test_n06_b15_debug_is_a_claim_and_a_note():
    genuine = run(forge.make({"debug": True}))
    assert nitro.claims(genuine).debug is True
    assert ("nitro.debug", Outcome.NOTE) in [(item.check, item.outcome) for item in genuine.findings]
    almost = run(forge.make({"debug": True, "pcrs": {"2": "01" * 48}}))
    assert nitro.claims(almost).debug is False


def test_n07_n08_n10_what_a_policy_needs_is_in_the_claims():
    tree = nitro.claims(run(forge.make({"nonce": "aa", "public_key": "bb", "user_data": "cc"}))).tree()
    assert tree["nitro"]["nonce"] == "aa"
    assert tree["nitro"]["public_key"] == "bb"
    assert tree["report_data"] == "cc"
    assert {"pcr0", "pcr3", "pcr4", "pcr8"} <= tree["measurements"].keys()
    assert "nonce" not in nitro.claims(run(forge.make({}))).extra


def test_n09_time_of_the_document():
    forged = forge.make({"age_seconds": 7200})
    assert nitro.claims(run(forged)).extra["age_seconds"] == 7200
    refused("nitro.timestamp", forge.make({"lie": "timestamp"}))
    refused("nitro.timestamp", forge.make({"lie": "timestamp-future"}))
    ahead = int((forged.at + timedelta(minutes=4)).timestamp() * 1000)
    assert nitro.claims(run(forge.make({"fields": {"timestamp": ahead}}))).extra["age_seconds"] == -240


def test_b10_validity_is_judged_to_the_second():
    forged = forge.make({"age_seconds": 0})
    leaf = nitro.parse(forged.evidence).certificate
    assert run(forged, at=leaf.not_before)
    assert run(forged, at=leaf.not_after)
    refused("nitro.validity", forged, at=leaf.not_before - timedelta(seconds=1))
    refused("nitro.validity", forged, at=leaf.not_after + timedelta(seconds=1))


def test_n12_module_of_the_leaf():
    refused("nitro.module-id", forge.make({"lie": "module-id"}))
    evidence = nitro.parse(forge.make({}).evidence)
    assert verifying.place(evidence) == ("i-0fa57e55fa57e55fa-enc0190aaaabbbbcccc", "eu-central-1")


def test_n12_leaf_with_another_form_of_name_is_not_checked():
    genuine = run(forge.make({"region": "x.y"}))
    assert ("nitro.module-id", Outcome.UNKNOWN) in [(item.check, item.outcome) for item in genuine.findings]
    assert "region" not in nitro.claims(genuine).extra


def test_b08_crls_missing_stale_or_forged():
    forged = forge.make({"crls": True})
    outcome = {item.check: item.outcome for item in run(forged, collateral=Collateral()).findings}
    assert outcome["nitro.revocation"] is Outcome.UNKNOWN
    late = forged.at + timedelta(minutes=30)
    assert run(forged, at=late).findings[0].outcome is Outcome.HELD
    stale = forged.collateral.crls[0]._replace(next_update=forged.at - timedelta(days=1), raw=b"stale")
    old = Collateral(crls=(stale, forged.collateral.crls[1]))
    assert run(forged, collateral=old).findings[0].outcome is Outcome.UNKNOWN
    crl = forged.collateral.crls[0]
    bad = crl._replace(signature=crl.signature[:-1] + bytes((crl.signature[-1] ^ 1,)), raw=b"bad")
    refused("nitro.revocation", forged, collateral=Collateral(crls=(bad,)))


def test_unknown_signed_fields_are_told_and_kept():
    genuine = run(forge.make({"fields": {"novelty": 1}}))
    assert ("nitro.unknown-fields", Outcome.NOTE) in [(item.check, item.outcome) for item in genuine.findings]
    assert nitro.claims(genuine).extra["unknown_fields"] == ["'novelty'"]


def test_a_certificate_nobody_can_use_is_not_genuine():
    forged = forge.make({})
    evidence = nitro.parse(forged.evidence)
    point = evidence.certificate.key
    broken = evidence.certificate._replace(key=x509.PublicKey(point.algorithm, point.bits[:-1], point.raw[:-1]))
    with pytest.raises(NotGenuine):
        nitro.verify(evidence._replace(certificate=broken), Collateral(), forged.anchors, at=forged.at)


def test_a_leaf_whose_name_cannot_be_read_is_not_genuine():
    """Its chain holds: nothing reads the name before revocation is looked up."""
    forged = forge.make({})
    evidence = nitro.parse(forged.evidence)
    nameless = evidence.certificate._replace(subject=b"\x30\x02\x31\x01")
    with pytest.raises(NotGenuine) as caught:
        nitro.verify(evidence._replace(certificate=nameless), Collateral(), forged.anchors, at=forged.at)
    assert caught.value.check == "nitro.chain"


def test_the_same_answer_twice_and_a_memo_that_never_covers_the_document():
    one, two = forge.many({}, 2)
    assert run(one) and run(two)
    message = nitro.parse(two.evidence).message
    swapped = message._replace(signature=nitro.parse(one.evidence).message.signature).unparse()
    refused("nitro.signature", replace(two, evidence=swapped))


def test_checks_table_and_code_name_the_same_checks():
    rows = {name for name in table() if name.startswith("nitro.")}
    raised = set(forge.LIES.values()) | {"nitro.debug", "nitro.unknown-fields"}
    assert rows == raised


def test_the_contract():
    assert load("nitro").NAME == "nitro"
    evidence = nitro.parse(forge.make({}).evidence)
    assert nitro.embedded(evidence) == ()
    assert len(nitro.enclosed(evidence).certificates) == 4
    names = [row[0] for row in nitro.show(evidence)]
    assert names[0] == "protected"
    assert names[-1] == "signature"
    assert evidence.message.headers == {cose.ALG: cose.ES384}
    assert datetime(2026, 6, 1, 11, 59, tzinfo=UTC) == verifying.made_at(evidence)


def test_a_remembered_path_speaks_for_no_other_time_root_or_bundle():
    forged = forge.make({})
    assert run(forged)
    refused("nitro.validity", forged, at=forged.at + timedelta(hours=4))
    refused("nitro.chain", forged, anchors=Anchors())
    refused("nitro.chain", forged, anchors=forge.make({}).anchors)
    evidence = nitro.parse(forged.evidence)
    with pytest.raises(MissingCollateral):
        nitro.verify(evidence._replace(bundle=evidence.bundle[:1]), Collateral(), forged.anchors, at=forged.at)
    real = Anchors(tuple(item._replace(simulated=False) for item in forged.anchors.items))
    assert run(forged).simulated
    assert not run(forged, anchors=real).simulated


def test_paths_too_large_are_judged_but_not_remembered(monkeypatch):
    endorse = import_module("fastness.tee.nitro.endorse")
    endorse.paths.clear()
    monkeypatch.setattr(endorse, "MAX_REMEMBERED", 1)
    assert run(forge.make({}))
    assert len(endorse.paths) == 0
    monkeypatch.undo()
    assert run(forge.make({}))
    assert len(endorse.paths) == 1


def test_an_altered_bundle_is_refused_not_missing():
    """With an issuer's name altered nothing of that name is there; but the document is altered too."""
    data = forge.make({}).evidence
    evidence = nitro.parse(data)
    instance = evidence.bundle[3]
    start = data.find(instance.raw) + instance.raw.find(instance.subject)
    altered = data[: start + len(instance.subject) - 1] + b"_" + data[start + len(instance.subject) :]
    refused("nitro.signature", replace(forge.make({}), evidence=altered))


def test_a_root_named_by_its_key_alone_has_lists_too():
    """The list of the root speaks of the regional CA: without the root's certificate it cannot be looked up."""
    forged = forge.make({"crls": True})
    evidence = nitro.parse(forged.evidence)
    root = evidence.bundle[0]
    bare = Anchors((from_key("nitro", "root", root.key),))
    assert findings(forged, anchors=bare)["nitro.revocation"] is Outcome.HELD
    without = tuple(item for item in forged.collateral.crls if item.issuer != root.subject)
    assert findings(forged, anchors=bare, collateral=Collateral(crls=without))["nitro.revocation"] is Outcome.UNKNOWN
    short = evidence._replace(bundle=evidence.bundle[1:])
    genuine = nitro.verify(short, forged.collateral, bare, at=forged.at)
    assert {item.check: item.outcome for item in genuine.findings}["nitro.revocation"] is Outcome.UNKNOWN


def findings(forged: Forged, **change):
    return {item.check: item.outcome for item in run(forged, **change).findings}
