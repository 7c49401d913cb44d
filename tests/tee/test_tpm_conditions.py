"""TPM: for single conditions of the verifier, the smallest evidence that tells whether they stand."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from cryptography import x509 as builder
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm_parts import around, blob

import vectors
from fastness.claims.finding import Finding, Outcome
from fastness.claims.genuine import vouch
from fastness.errors import MissingCollateral, NotGenuine
from fastness.forge import tpm as forge
from fastness.forge.model import Forged
from fastness.pki import anchors as pins
from fastness.pki import keys
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, Document, tpm
from fastness.tee.tpm import credential, structures
from fastness.tee.tpm import layout as at
from fastness.wire import cbor, x509

verifying = import_module("fastness.tee.tpm.verify")


def run(forged: Forged, within: tuple[Any, ...] = ()) -> dict[str, Finding]:
    evidence = tpm.parse(forged.evidence)
    genuine = tpm.verify(
        evidence, tpm.enclosed(evidence) + forged.collateral, forged.anchors, at=forged.at, within=within
    )
    return {item.check: item for item in genuine.findings} | {"way": genuine.evidence.way}


def refused(forged: Forged) -> str:
    with pytest.raises((NotGenuine, MissingCollateral)) as error:
        run(forged)
    return str(error.value.check)


def edited(forged: Forged, **parts: Any) -> Forged:
    """``forged`` with other parts; None takes one out."""
    fields = cbor.decode(forged.evidence)
    for name, value in parts.items():
        fields.pop(at.KEYS[name], None)
        if value is not None:
            fields[at.KEYS[name]] = value
    return replace(forged, evidence=cbor.encode(dict(sorted(fields.items()))))


def part(forged: Forged, name: str) -> bytes:
    found = cbor.decode(forged.evidence)[at.KEYS[name]]
    assert isinstance(found, bytes)
    return found


def bare(forged: Forged) -> bytes:
    return structures.public(part(forged, "ak")).spki.raw


# the signature


def test_a_signature_is_made_with_the_hash_it_names() -> None:
    forged = forge.make({"trust": "key"})
    named = part(forged, "signature")
    assert named[:4] == struct.pack(">HH", at.ALG_ECDSA, 0x000B)
    other = named[:2] + struct.pack(">H", 0x000C) + named[4:]
    for ak in (part(forged, "ak"), bare(forged)):
        assert run(edited(forged, ak=ak))
        assert refused(edited(forged, ak=ak, signature=other)) == "tpm.signature"


def test_a_key_without_a_scheme_takes_the_signatures() -> None:
    forged = forge.make({"trust": "key"})
    public = part(forged, "ak")
    told = struct.pack(">HHHHH", at.ALG_NULL, at.ALG_ECDSA, 0x000B, 0x0003, at.ALG_NULL)
    assert told in public
    plain = public.replace(told, struct.pack(">HHHH", at.ALG_NULL, at.ALG_NULL, 0x0003, at.ALG_NULL))
    assert run(edited(forged, ak=plain))


def test_an_ecdsa_signature_is_called_one() -> None:
    forged = forge.make({"trust": "key"})
    halves = structures.signature(part(forged, "signature")).value
    for scheme in (at.ALG_RSASSA, at.ALG_RSAPSS):
        named = struct.pack(">HHH", scheme, 0x000B, len(halves)) + halves
        assert refused(edited(forged, ak=bare(forged), signature=named)) == "tpm.signature"


def test_an_ecdsa_signature_has_halves_of_one_length() -> None:
    """A zero between them would leave the two numbers as they are."""
    forged = forge.make({"trust": "key"})
    halves = structures.signature(part(forged, "signature")).value
    assert run(edited(forged, ak=bare(forged), signature=halves))
    assert refused(edited(forged, ak=bare(forged), signature=halves[:32] + b"\0" + halves[32:])) == "tpm.signature"


def test_a_key_that_is_neither_rsa_nor_on_a_curve_of_ecdsa_signs_no_quote() -> None:
    forged = forge.make({"trust": "key"})
    key = ed25519.Ed25519PrivateKey.generate()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = key.sign(part(forged, "quote"))
    assert refused(edited(forged, ak=spki, signature=signed)) == "tpm.signature"


def test_who_answers_for_the_attributes() -> None:
    forged = forge.make({"trust": "key"})
    for ak, said in ((part(forged, "ak"), "the public area says so"), (bare(forged), "the bare key came along")):
        assert said in run(edited(forged, ak=ak))["tpm.ak-attributes"].actual


# registers and log


def test_of_quoted_banks_the_strongest_is_evaluated() -> None:
    evidence = tpm.parse(forge.make({"trust": "key"}).evidence)
    banks = {0x0004: 20, 0x000B: 32, 0x000C: 48}
    for chosen, name in (((0x000B,), "sha256"), ((0x0004, 0x000B), "sha256"), ((0x000C, 0x000B, 0x0004), "sha384")):
        quote = replace(evidence.quote, selection=tuple((bank, (0,)) for bank in chosen))
        values = {bank: {0: bytes(banks[bank])} for bank in chosen}
        assert verifying._selection(replace(evidence, quote=quote, pcrs=values)) == name


def test_what_was_quoted_and_what_was_supplied_is_told() -> None:
    forged = forge.make({"trust": "key", "pcrs": [0, 7]})
    for values, told in (({0x000B: {}}, "no register"), ({0x000B: {0: bytes(32), 8: bytes(32)}}, "sha256 0,8")):
        with pytest.raises(NotGenuine, match=f"the quote is over sha256 0,7; the values supplied are of {told}"):
            run(edited(forged, pcrs=values))


def test_a_log_that_explains_every_register_is_not_called_silent() -> None:
    """Register 16 rests at zero: nothing was measured that the log would have to explain."""
    assert "tpm.unmeasured" not in run(forge.make({}))
    assert run(forge.make({"lie": "unmeasured"}))["tpm.unmeasured"].actual.startswith("PCR 16 ")


# who vouches


def test_what_is_wanted_is_what_is_missing() -> None:
    def hint(forged: Forged) -> str:
        with pytest.raises((NotGenuine, MissingCollateral)) as error:
            run(forged)
        assert error.value.check == "tpm.ak-trust"
        return error.value.hint

    assert "SNP report in the HCL report" in hint(forge.make({"trust": "hardware-report"}))
    assert "`deploy` has the TPM open a credential for it; here, name the key" in hint(
        edited(forge.make({"trust": "credential"}), activation=None)
    )
    assert "the key's certificate" in hint(forge.make({"trust": "key", "lie": "ak-trust"}))


@vectors.needs_vectors
def test_an_hcl_report_of_a_td_wants_its_quote() -> None:
    """Whatever other evidence was verified does not stand for the quote that is missing."""
    evidence = tpm.parse(blob(vectors.case("tpm/azure-tdx-vtpm-live")))
    evidence = replace(evidence, td_quote=None)
    other = vouch(object(), anchors=(), at=forge.AT)
    for within in ((), (other,), (around(b""),)):
        with pytest.raises(MissingCollateral) as error:
            tpm.verify(evidence, Collateral(), Anchors(), at=forge.AT, within=within)
        assert "supply the TDX quote" in error.value.hint


def test_runtime_data_that_names_the_key_says_who_would_vouch() -> None:
    forged, other = (forge.make({"trust": "hardware-report", "scheme": "rsassa"}) for _ in range(2))
    named, foreign = (tpm.parse(item.evidence).hcl for item in (forged, other))
    assert named is not None and foreign is not None
    bare = edited(forged, hcl_report=None)

    def asked(of: Forged, *runtimes: bytes) -> MissingCollateral | NotGenuine:
        documents = tuple(Document("runtime_data", item) for item in runtimes)
        with pytest.raises((MissingCollateral, NotGenuine)) as error:
            run(replace(of, collateral=Collateral(documents=documents), anchors=Anchors()))
        assert error.value.check == "tpm.ak-trust"
        return error.value

    assert isinstance(asked(bare), NotGenuine)
    assert isinstance(asked(bare, foreign.runtime, b"{}"), NotGenuine)
    wanted = asked(bare, foreign.runtime, named.runtime)
    assert isinstance(wanted, MissingCollateral) and "hash of the runtime data" in wanted.hint
    around = asked(forged, named.runtime)
    assert isinstance(around, MissingCollateral) and "in the HCL report" in around.hint


def test_a_missing_issuer_is_fetched_where_the_certificate_says_so() -> None:
    for issuers, kind in ((False, NotGenuine), (True, MissingCollateral)):
        forged = forge.make({})
        key = structures.public(part(forged, "ak")).spki
        _, above, leaf = hierarchy(key, issuers=issuers)
        with pytest.raises(kind) as error:
            run(edited(forged, ak_certificate=leaf.raw))
        assert error.value.check == "tpm.chain"  # type: ignore[attr-defined]
        assert above.subject == leaf.issuer


def hierarchy(key: x509.PublicKey, *, issuers: bool = False) -> tuple[Any, x509.Certificate, x509.Certificate]:
    """(the root's authority, an intermediate CA, a leaf for ``key``)."""
    root, middle = forge._Authority(""), forge._Authority("")
    middle.name = builder.Name([builder.NameAttribute(builder.oid.NameOID.COMMON_NAME, "Forged TPM intermediate")])
    above = root._sign(root._draft(middle.name, middle.key.public_key(), ca=True))
    if not issuers:
        return (root, middle), above, middle.issue(key, at.AK_USAGE)
    place = builder.AccessDescription(
        builder.oid.AuthorityInformationAccessOID.CA_ISSUERS, builder.UniformResourceIdentifier("http://ca.invalid/")
    )
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    draft = middle._draft(root.name, load_der_public_key(key.raw), ca=False)
    leaf = middle._sign(draft.add_extension(builder.AuthorityInformationAccess([place]), critical=False))
    return (root, middle), above, leaf


def revoking(authority: Any) -> x509.Crl:
    """A list of ``authority`` that names the CA below it."""
    entry = builder.RevokedCertificateBuilder().serial_number(1).revocation_date(forge.AT - timedelta(days=2)).build()
    draft = builder.CertificateRevocationListBuilder(
        authority.name, forge.AT - timedelta(days=1), forge.AT + timedelta(days=30), [], [entry]
    )
    return x509.crl(draft.sign(authority.key, SHA256()).public_bytes(Encoding.DER))


def test_a_ca_under_a_root_named_by_its_bare_key_is_looked_up_too() -> None:
    forged = forge.make({})
    (root, middle), above, leaf = hierarchy(structures.public(part(forged, "ak")).spki)
    named = edited(
        replace(forged, anchors=Anchors((pins.from_key("tpm", "root", root.root.key),))), ak_certificate=leaf.raw
    )

    def judged(certificates: tuple[x509.Certificate, ...], *lists: x509.Crl) -> Outcome:
        return run(replace(named, collateral=Collateral((above, *certificates), lists)))["tpm.revocation"].outcome

    assert judged((), middle.crl(), root.crl()) is Outcome.UNKNOWN
    assert judged((root.root,), middle.crl()) is Outcome.UNKNOWN
    assert judged((root.root,), middle.crl(), root.crl()) is Outcome.HELD
    with pytest.raises(NotGenuine) as error:
        judged((root.root,), middle.crl(), revoking(root))
    assert error.value.check == "tpm.revocation"


def test_nobody_above_a_named_ca_is_looked_up() -> None:
    forged = forge.make({})
    (_, middle), above, leaf = hierarchy(structures.public(part(forged, "ak")).spki)
    named = edited(replace(forged, anchors=Anchors((pins.from_certificate("tpm", above),))), ak_certificate=leaf.raw)
    found = run(replace(named, collateral=Collateral((above,), (middle.crl(),))))
    assert found["tpm.revocation"].outcome is Outcome.HELD


def test_a_root_may_be_on_its_own_list() -> None:
    forged = forge.make({})
    authority = forge._Authority("")
    leaf = authority.issue(structures.public(part(forged, "ak")).spki, at.AK_USAGE)
    named = replace(
        forged, anchors=Anchors((pins.from_certificate("tpm", authority.root),)),
        collateral=Collateral((), (revoking(authority),)),
    )  # fmt: skip
    assert run(edited(named, ak_certificate=leaf.raw))["tpm.revocation"].outcome is Outcome.HELD


def with_key(forged: Forged) -> Forged:
    """Whoever asks names the attestation key, too."""
    key = structures.public(part(forged, "ak")).spki
    return replace(forged, anchors=forged.anchors + Anchors((pins.from_key("tpm", "AK", key),)))


def test_a_named_key_needs_no_certificate_and_a_bad_one_counts_all_the_same() -> None:
    assert run(with_key(forge.make({"lie": "chain"})))["way"] == "key"
    assert run(with_key(forge.make({})))["way"] == "certificate"
    for lie in ("revocation", "validity", "ak-certificate"):
        assert refused(with_key(forge.make({"lie": lie}))) == f"tpm.{lie}"


def test_of_certificates_for_one_key_eight_are_tried() -> None:
    """Anybody may write a certificate for a key that is known."""
    forged = forge.make({})
    own = x509.certificate(part(forged, "ak_certificate"))
    _, _, leaf = hierarchy(structures.public(part(forged, "ak")).spki)
    alike = [leaf._replace(raw=leaf.raw + bytes(count)) for count in range(8)]
    for count, holds in ((7, True), (8, False)):
        pool = (*alike[:count], own, *forged.collateral.certificates)
        evidence = replace(tpm.parse(forged.evidence), ak_certificate=None)
        given = forged.collateral._replace(certificates=pool)
        if holds:
            assert tpm.verify(evidence, given, forged.anchors, at=forged.at).evidence.way == "certificate"
        else:
            with pytest.raises(NotGenuine):
                tpm.verify(evidence, given, forged.anchors, at=forged.at)


# activated credentials


def test_a_credential_needs_certificate_answer_and_record() -> None:
    forged = forge.make({"trust": "credential"})
    assert run(forged)["way"] == "credential"
    none = forged.collateral._replace(documents=())
    for lacking in (
        edited(forged, ek_certificate=None), edited(forged, activation=None), replace(forged, collateral=none),
    ):  # fmt: skip
        assert refused(lacking) == "tpm.ak-trust"
    assert refused(edited(forged, ak=bare(forged))) == "tpm.activation"


def recorded(forged: Forged, **changed: bytes) -> Forged:
    """``forged`` with another record of what was asked."""
    document = forged.collateral.documents[0]
    asked = replace(credential.transcript(document.data), **changed)
    return replace(forged, collateral=forged.collateral._replace(documents=(document._replace(data=asked.encode()),)))


@pytest.mark.parametrize("change", [{"ek": bytes(32)}, {"ak_name": b"\0\x0b" + bytes(32)}, {"secret": bytes(32)}])
def test_a_credential_is_for_one_key_in_one_tpm(change: dict[str, bytes]) -> None:
    forged = forge.make({"trust": "credential"})
    assert run(recorded(forged))["way"] == "credential"
    assert refused(recorded(forged, **change)) == "tpm.activation"


def test_an_attestation_keys_certificate_is_not_one_of_an_endorsement_key() -> None:
    forged = forge.make({"trust": "credential"})
    authority, secret = forge._Authority(""), os.urandom(32)
    holder = forge._key_of(ec.generate_private_key(ec.SECP384R1()))
    name = structures.public(part(forged, "ak")).name
    asked = credential.Transcript(bytes.fromhex(keys.fingerprint(holder)), name, secret)
    document = forged.collateral.documents[0]._replace(data=asked.encode())
    for usage, holds in ((at.EK_USAGE, True), (at.AK_USAGE, False)):
        given = replace(
            edited(forged, ek_certificate=authority.issue(holder, usage).raw, activation=secret),
            collateral=Collateral((authority.root,), (), (document,)),
            anchors=Anchors((pins.from_certificate("tpm", authority.root),)),
        )
        if holds:
            assert run(given)["way"] == "credential"
        else:
            assert refused(given) == "tpm.activation"


def of_one_authority(monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], **extension: Any) -> Forged:
    """Evidence of ``spec`` beside another certificate that the same authority made for the same key."""
    made: list[Any] = []
    issue = forge._Authority.issue

    def noted(self: Any, *args: Any) -> Any:
        made.append((self, args))
        return issue(self, *args)

    monkeypatch.setattr(forge._Authority, "issue", noted)
    forged = forge.make(spec)
    authority, args = made[0]
    draft = authority._draft

    def other(*words: Any, **named: Any) -> Any:
        found = draft(*words, **named)
        found._serial_number = 77
        return found

    monkeypatch.setattr(authority, "_draft", other)
    pool = (issue(authority, *args), *forged.collateral.certificates)
    return replace(forged, collateral=forged.collateral._replace(certificates=pool))


def test_another_certificate_of_a_revoked_key_does_not_make_up_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = of_one_authority(monkeypatch, {"crl": True})
    assert run(honest)["tpm.revocation"].outcome is Outcome.HELD
    assert refused(of_one_authority(monkeypatch, {"crl": True, "lie": "revocation"})) == "tpm.revocation"


def test_a_strangers_certificate_that_cannot_be_read_harms_no_key() -> None:
    forged = forge.make({})
    evidence = tpm.parse(forged.evidence)
    assert evidence.ak_certificate is not None
    stranger = evidence.ak_certificate._replace(
        raw=b"stranger", extensions=(x509.Extension(x509.EXTENDED_KEY_USAGE, False, b"\x04\x01\x00", 9),)
    )
    pool = (stranger, evidence.ak_certificate, *forged.collateral.certificates)
    bared = tpm.unparse(replace(evidence, ak_certificate=None))
    for certificates in (pool, pool[::-1]):
        given = replace(forged, evidence=bared, collateral=forged.collateral._replace(certificates=certificates))
        assert run(given)
