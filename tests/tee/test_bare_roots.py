"""A root that is named by its bare key: its lists are looked up by a certificate of it that lies beside."""

from __future__ import annotations

from dataclasses import replace

import pytest

import forgeries
from fastness.claims.finding import Outcome
from fastness.errors import NotGenuine
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchors
from fastness.tee import tpm

REVOKED = [("snp", "revocation"), ("sgx", "revocation-ca"), ("tdx", "revocation-ca"), ("tdx", "revocation-signer"),
           ("nitro", "revocation"), ("tpm", "revocation"), ("nvgpu", "revoked"), ("nvgpu", "rim-revoked")]  # fmt: skip


def bare(forged: Forged) -> Forged:
    """The same under roots that are keys alone."""
    items = forged.anchors.items
    named = [item._replace(key=item.certificate and item.certificate.key, certificate=None) for item in items]
    return replace(forged, anchors=Anchors(tuple(named)))


def rootless(forged: Forged) -> Forged:
    """The same without the certificates of the roots."""
    kept = tuple(item for item in forged.collateral.certificates if item.issuer != item.subject)
    return replace(forged, collateral=forged.collateral._replace(certificates=kept))


def revocation(forged: Forged) -> Outcome | None:
    found = {item.check: item.outcome for item in forgeries.verify(forged).findings}
    return found.get(f"{forged.tee}.revocation")


@pytest.mark.parametrize(("tee", "lie"), REVOKED)
def test_its_lists_are_looked_up(tee, lie):
    forged = forgeries.plain(tee)
    assert revocation(bare(forged)) is revocation(forged)
    with pytest.raises(NotGenuine) as caught:
        forgeries.verify(bare(forgeries.make(tee, lie=lie)))
    assert caught.value.check == f"{tee}.revocation"


@pytest.mark.parametrize("tee", ["snp", "nvgpu"])
def test_without_a_certificate_of_it_nothing_was_looked_up(tee):
    assert revocation(rootless(bare(forgeries.plain(tee)))) is Outcome.UNKNOWN
    assert revocation(rootless(forgeries.plain(tee))) is Outcome.HELD


def test_without_a_certificate_of_a_tpms_root_nothing_was_looked_up():
    forged = rootless(bare(forgeries.plain("tpm")))
    evidence = replace(tpm.parse(forged.evidence), certificates=())
    genuine = tpm.verify(evidence, forged.collateral, forged.anchors, at=forged.at)
    assert {item.check: item.outcome for item in genuine.findings}["tpm.revocation"] is Outcome.UNKNOWN
