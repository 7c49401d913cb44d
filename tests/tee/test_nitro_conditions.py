"""Nitro: for single conditions of the verifier, the smallest evidence that tells whether they stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509 as pyca
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from fastness.claims.finding import Finding, Outcome
from fastness.errors import NotGenuine
from fastness.forge import nitro as forge
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchor, Anchors, from_certificate, from_key
from fastness.pki.keys import fingerprint
from fastness.tee import Collateral, nitro
from fastness.tee.nitro import layout
from fastness.wire import cbor, x509

MADE = datetime(2026, 6, 1, 11, 59, tzinfo=UTC)
AT = MADE + timedelta(minutes=1)
MODULE, REGION = "i-0fa57e55fa57e55fa-enc0190aaaabbbbcccc", "eu-central-1"
LINKS = forge._pki(MODULE, REGION, MADE, AT, None)
ROOT = LINKS[0]


def run(forged: Forged) -> dict[str, Finding]:
    genuine = nitro.verify(nitro.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    return {item.check: item for item in genuine.findings}


def refused(forged: Forged) -> str:
    with pytest.raises(NotGenuine) as error:
        run(forged)
    return error.value.check


def anchors(link: Any) -> Anchors:
    root = x509.certificate(link.der)
    return Anchors((Anchor("nitro", "root", fingerprint(root.key), simulated=True, certificate=root),))


def document(links: list[Any] = LINKS, bundle: list[Any] | None = None, **spec: Any) -> Forged:
    """A document signed by the last of ``links``, with the others, or ``bundle``, beside it."""
    body = forge._body(spec, "enclave", MODULE, MADE, links)
    if bundle is not None:
        body[layout.CABUNDLE] = [link.der for link in bundle]
    key = links[-1].key
    signer = key if isinstance(key, ec.EllipticCurvePrivateKey) else ec.generate_private_key(ec.SECP384R1())
    return Forged("nitro", forge._sign(cbor.encode(body), signer, None), Collateral(), anchors(links[0]), AT)


def leaf(name: str = f"{MODULE}.{REGION}.aws", key: Any = None, usage: bool = True) -> list[Any]:
    """The chain with a leaf of another name, key, or without a key usage."""
    issuer, private = LINKS[-2], key or ec.generate_private_key(ec.SECP384R1())
    builder = pyca.CertificateBuilder(
        issuer.certificate.subject, pyca.Name([pyca.NameAttribute(pyca.NameOID.COMMON_NAME, name)]),
        private.public_key(), 9, MADE - timedelta(seconds=3), MADE + timedelta(hours=3),
    )  # fmt: skip
    if usage:
        signs = pyca.KeyUsage(True, False, False, False, False, False, False, False, False)
        builder = builder.add_extension(signs, critical=True)
    return [*LINKS[:-1], forge._Link(private, builder.sign(issuer.key, SHA384()))]


def test_a_leaf_with_an_rsa_key_signs_no_documents() -> None:
    assert refused(document(leaf(key=rsa.generate_private_key(65537, 2048)))) == "nitro.leaf"


def test_a_leaf_need_not_say_what_its_key_is_for() -> None:
    assert "nitro.revocation" in run(document(leaf(usage=False)))


@pytest.mark.parametrize("name", ["leaf", f"{MODULE}.aws", f"{MODULE}..aws", f".{REGION}.aws"])
def test_a_leaf_of_another_name_tells_no_module(name: str) -> None:
    assert run(document(leaf(name)))["nitro.module-id"].outcome is Outcome.UNKNOWN
    assert "nitro.module-id" not in run(document(leaf(f"{MODULE}.{REGION}.aws")))


def at(moment: datetime, judged: datetime) -> Forged:
    return replace(document(fields={layout.TIMESTAMP: round(moment.timestamp() * 1000)}), at=judged)


def test_the_time_of_a_document_lies_within_its_leafs() -> None:
    born, dies = MADE - timedelta(seconds=3), MADE + timedelta(hours=3)
    millisecond = timedelta(milliseconds=1)
    assert run(at(born, AT))
    assert refused(at(born - millisecond, AT)) == "nitro.timestamp"
    assert run(at(dies + timedelta(seconds=1) - millisecond, dies))
    assert refused(at(dies + timedelta(seconds=1), dies)) == "nitro.timestamp"


def test_clocks_may_differ_by_five_minutes() -> None:
    assert run(at(AT + timedelta(minutes=5), AT))
    assert refused(at(AT + timedelta(minutes=5, milliseconds=1), AT)) == "nitro.timestamp"


@pytest.mark.parametrize("pcrs", [{0: "00" * 48}, {0: "00" * 47 + "01", 1: "00" * 48, 2: "00" * 48}])
def test_one_measured_byte_is_no_debug_mode(pcrs: dict[int, str]) -> None:
    assert "nitro.debug" not in run(document(pcrs=pcrs))
    assert "nitro.debug" in run(document(pcrs=dict.fromkeys(range(3), "00" * 48)))


def lists(*revoked: Any) -> Collateral:
    """Lists of the root and the regional CA, with the root's naming ``revoked``."""
    first, second = forge._crls(LINKS, MADE, None)
    builder = pyca.CertificateRevocationListBuilder(
        ROOT.certificate.subject, MADE - timedelta(hours=1), AT + timedelta(1)
    )
    for link in revoked:
        row = pyca.RevokedCertificateBuilder(link.certificate.serial_number, MADE - timedelta(hours=1)).build()
        builder = builder.add_revoked_certificate(row)
    own = x509.crl(builder.sign(ROOT.key, SHA384()).public_bytes(Encoding.DER))
    return Collateral(crls=(own, second) if revoked else (first, second))


def test_a_root_is_no_matter_of_its_own_list() -> None:
    assert run(replace(document(), collateral=lists(ROOT)))["nitro.revocation"].outcome is Outcome.HELD
    assert refused(replace(document(), collateral=lists(LINKS[1]))) == "nitro.revocation"


def test_a_root_that_names_a_list_of_itself_needs_none() -> None:
    root = forge._issue(
        "aws.nitro-enclaves", None, MADE - timedelta(days=9), AT + timedelta(days=9), limit=None, crl=True
    )
    issued = forge._issue(
        f"{MODULE}.{REGION}.aws",
        root,
        MADE - timedelta(hours=1),
        AT + timedelta(hours=1),
        limit=None,
        ca=False,
        signs=False,
    )
    builder = pyca.CertificateRevocationListBuilder(
        root.certificate.subject, MADE - timedelta(hours=1), AT + timedelta(1)
    )
    own = Collateral(crls=(x509.crl(builder.sign(root.key, SHA384()).public_bytes(Encoding.DER)),))
    assert run(replace(document([root, issued]), collateral=own))["nitro.revocation"].outcome is Outcome.HELD


def test_where_no_list_was_looked_at_none_held() -> None:
    """Of an instance's CA that was named, no certificate names a list, and whoever issued it need not be there."""
    instance = LINKS[-2]
    named = Anchors((from_key("nitro", "zonal", x509.certificate(LINKS[-3].der).key),))
    found = run(replace(document(bundle=[instance]), anchors=named))["nitro.revocation"]
    assert found.outcome is Outcome.UNKNOWN
    assert found.actual == "no certificate names a CRL and none was supplied"


def test_a_ca_that_was_named_is_no_matter_of_a_list() -> None:
    """It ends the chain as it was named: neither its issuer's list nor its own is asked about it."""
    zonal = LINKS[-3]
    assert zonal.certificate.extensions.get_extension_for_class(pyca.CRLDistributionPoints)
    named = Anchors((from_certificate("nitro", x509.certificate(zonal.der)),))
    found = run(replace(document(bundle=[LINKS[-2], zonal]), anchors=named))["nitro.revocation"]
    assert found.actual == "no certificate names a CRL and none was supplied"
