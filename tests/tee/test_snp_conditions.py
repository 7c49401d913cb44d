"""SNP: for single conditions of the verifier, the smallest evidence that tells whether they stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509 as builder
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from fastness.claims.finding import Outcome
from fastness.errors import NotGenuine
from fastness.forge import snp as forge
from fastness.forge.model import Forged
from fastness.pki import anchors as pins
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, Document, snp
from fastness.tee.snp import identity, layout
from fastness.wire import x509


def verify(forged: Forged, **changed: Any) -> Any:
    given = replace(forged, **changed)
    evidence = snp.parse(given.evidence)
    return snp.verify(evidence, snp.enclosed(evidence) + given.collateral, given.anchors, at=given.at)


def outcome(forged: Forged, check: str) -> Outcome | None:
    return next((item.outcome for item in verify(forged).findings if item.check == check), None)


def refused(forged: Forged, **changed: Any) -> str:
    with pytest.raises(NotGenuine) as error:
        verify(forged, **changed)
    return error.value.check


def beside(forged: Forged, *leaves: x509.Certificate) -> Collateral:
    """The collateral of ``forged`` with other leaves before it."""
    return forged.collateral._replace(certificates=(*leaves, *forged.collateral.certificates))


def altered(forged: Forged) -> bytes:
    data = forged.evidence
    return data[:0x50] + bytes((data[0x50] ^ 1,)) + data[0x51:]


def with_rsa(forged: Forged) -> x509.Certificate:
    """The leaf of ``forged`` issued for an RSA key."""
    leaf = builder.load_der_x509_certificate(forged.collateral.certificates[0].raw)
    made = builder.CertificateBuilder(
        leaf.issuer, leaf.subject, rsa.generate_private_key(65537, 2048).public_key(), leaf.serial_number,
        leaf.not_valid_before_utc, leaf.not_valid_after_utc, list(leaf.extensions),
    )  # fmt: skip
    return x509.certificate(made.sign(forge.vendor("genoa")[1].key, SHA384()).public_bytes(Encoding.DER))


def test_a_leaf_with_an_rsa_key_is_none() -> None:
    forged = forge.make({})
    other = with_rsa(forged)
    pool = (other, *forged.collateral.certificates[1:])
    assert refused(forged, collateral=forged.collateral._replace(certificates=pool)) == "snp.leaf"
    assert verify(forged, collateral=beside(forged, other))


def test_of_leaves_none_of_which_signed_the_signature_is_refused() -> None:
    forged, other = forge.make({"key": "vlek", "lie": "signature"}), forge.make({"key": "vlek"})
    assert refused(forged, collateral=beside(forged, other.collateral.certificates[0])) == "snp.signature"


def test_an_altered_report_is_judged_by_the_leaf_of_its_chip_and_firmware() -> None:
    """What is wrong with it is the signature, not that leaves of other machines lie beside its own."""
    forged = forge.make({"chip_id": "ab" * 64})
    for spec in ({"chip_id": "cd" * 64}, {"chip_id": "ab" * 64, "tcb": {"microcode": 60}}):
        other = forge.make(spec).collateral.certificates[0]
        assert refused(forged, evidence=altered(forged), collateral=beside(forged, other)) == "snp.signature"


def test_a_leaf_of_an_unknown_product_does_not_stand_in_the_way() -> None:
    forged = forge.make({})
    assert verify(forged, collateral=beside(forged, forge.make({"lie": "product"}).collateral.certificates[0]))


def test_of_256_leaves_that_fit_alike_each_is_tried_and_no_more() -> None:
    forged, other = forge.make({"key": "vlek"}), forge.make({"key": "vlek"}).collateral.certificates[0]
    alike = [other._replace(raw=other.raw + bytes(count)) for count in range(256)]
    assert verify(forged, collateral=beside(forged, *alike[:255]))
    assert refused(forged, collateral=beside(forged, *alike)) == "snp.signature"


def copies(forged: Forged, count: int, **changed: Any) -> list[x509.Certificate]:
    """Certificates of the leaf's key, chip and firmware that nobody signed."""
    leaf = forged.collateral.certificates[0]
    return [leaf._replace(raw=leaf.raw + bytes(number + 1), signature=bytes(103), **changed) for number in range(count)]


def test_of_eight_copies_of_a_leaf_the_chain_of_each_is_tried_and_no_more() -> None:
    forged = forge.make({})
    assert verify(forged, collateral=beside(forged, *copies(forged, 7)))
    assert refused(forged, collateral=beside(forged, *copies(forged, 8))) == "snp.chain"


def test_of_copies_of_a_leaf_those_that_are_valid_come_first() -> None:
    forged = forge.make({})
    old = copies(forged, 20, not_after=forged.collateral.certificates[0].not_before)
    assert verify(forged, collateral=beside(forged, *old))


def test_a_named_ask_alone_vouches_for_its_leaves() -> None:
    """Nothing is above it that could have revoked it."""
    forged = forge.make({})
    leaf, ask, *_ = forged.collateral.certificates
    anchors = Anchors((pins.from_key("snp", "ask", ask.key),))
    for certificates in ((leaf,), (leaf, ask)):
        given = replace(forged, anchors=anchors, collateral=Collateral(certificates, forged.collateral.crls))
        assert outcome(given, "snp.revocation") is Outcome.UNKNOWN


def test_an_unknown_processor_is_of_no_line() -> None:
    assert refused(forge.make({"cpuid": (0x1B, 0, 0)})) == "snp.line"


@pytest.mark.parametrize("name", ["reported", "committed"])
def test_firmware_may_be_behind_and_never_ahead(name: str) -> None:
    behind = {"reported": {"reported": {"microcode": 80}}, "committed": {"current": {"microcode": 90}}}[name]
    assert outcome(forge.make(behind), "snp.tcb-order") is None
    ahead = {"reported": {"reported": {"microcode": 90}}, "committed": {"current": {"microcode": 80}}}[name]
    assert outcome(forge.make(ahead), "snp.tcb-order") is Outcome.FAILED


def test_a_revocation_list_in_the_table_counts() -> None:
    forged = forge.make({"table": True, "crl": "revoked"})
    entries = [(entry.kind, entry.data) for entry in snp.parse(forged.evidence).table]
    listed = forge._table([*entries, ("crl", forged.collateral.crls[0].raw)])
    alone = Collateral(forged.collateral.certificates)
    assert outcome(replace(forged, collateral=alone), "snp.revocation") is Outcome.UNKNOWN
    report = forged.evidence[: layout.REPORT_SIZE]
    assert refused(forged, evidence=report + listed, collateral=alone) == "snp.revocation"


def test_of_id_blocks_the_first_eight_count() -> None:
    forged = forge.make({"id_block": {}})
    block, proof = forged.collateral.documents
    other = Document(identity.BLOCK, forge.make({"lie": "id-svn"}).collateral.documents[0].data)
    many = forged.collateral._replace(documents=(*[other] * 7, block, proof))
    assert outcome(replace(forged, collateral=many), "snp.id-block") is Outcome.HELD
    assert refused(forged, collateral=many._replace(documents=(*[other] * 8, block, proof))) == "snp.id-signature"


@pytest.mark.parametrize(("generation", "index"), [("milan", 2), ("genoa", 5), ("turin", 4), ("turin", 6)])
def test_a_reported_tcb_has_no_component_that_no_leaf_is_for(generation: str, index: int) -> None:
    maker = forge.Maker({"generation": generation})
    raw = maker.tcbs["reported"]
    assert verify(maker.forged())
    maker.tcbs["reported"] = raw[:index] + b"\1" + raw[index + 1 :]
    assert refused(maker.forged()) == "snp.leaf-tcb"
