"""Chains and revocation: a pinned key at the end, every link checked, certificates in any order; nothing else."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509 as certs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki import chain, crl, keys
from fastness.pki.anchors import Anchor, Anchors, from_certificate, from_key, vendor
from fastness.wire import der, pem, x509

AT = datetime(2026, 6, 1, tzinfo=UTC)
FROM, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


@dataclass
class Authority:
    name: str
    key: Any
    certificate: certs.Certificate

    @property
    def value(self) -> x509.Certificate:
        return x509.certificate(self.certificate.public_bytes(Encoding.DER))


def make(name: str, issuer: Authority | None = None, **options: Any) -> Authority:
    key = options.get("key") or ec.generate_private_key(ec.SECP384R1())
    subject = certs.Name([certs.NameAttribute(certs.NameOID.COMMON_NAME, name)])
    parent = certs.Name([certs.NameAttribute(certs.NameOID.COMMON_NAME, issuer.name if issuer else name)])
    builder = (
        certs.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent)
        .public_key(key.public_key())
        .serial_number(options.get("serial", 5))
        .not_valid_before(options.get("start", FROM))
        .not_valid_after(options.get("end", UNTIL))
    )
    if options.get("ca", True):
        builder = builder.add_extension(
            certs.BasicConstraints(ca=True, path_length=options.get("length")), critical=True
        )
    if "usage" in options:
        builder = builder.add_extension(usage(options["usage"]), critical=True)
    if "points" in options:
        names = [certs.UniformResourceIdentifier(options["points"])]
        points = certs.CRLDistributionPoints([certs.DistributionPoint(names, None, None, None)])
        builder = builder.add_extension(points, critical=False)
    if "access" in options:
        builder = builder.add_extension(options["access"], critical=False)
    if "critical" in options:
        odd = certs.UnrecognizedExtension(certs.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        builder = builder.add_extension(odd, critical=options["critical"])
    signer = options.get("signer") or (issuer.key if issuer else key)
    return Authority(name, key, builder.sign(signer, hashes.SHA384(), **options.get("how", {})))


def usage(sign: str) -> certs.KeyUsage:
    flags = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)  # fmt: skip
    return certs.KeyUsage(**{**flags, sign: True})


ROOT = make("root")
MIDDLE = make("middle", ROOT, length=0)
LEAF = make("leaf", MIDDLE, ca=False)
ANCHORS = Anchors((from_key("snp", "root", ROOT.value.key),))
PINNED = Anchors((Anchor("snp", "root", keys.fingerprint(ROOT.value.key)),))


def build(leaf: Authority = LEAF, pool: list[Authority] | None = None, **options: Any) -> chain.Chain:
    given_pool = [MIDDLE, ROOT] if pool is None else pool
    anchors = options.pop("anchors", ANCHORS)
    return chain.build(
        leaf.value, [item.value for item in given_pool], anchors, "snp", at=options.pop("at", AT), **options
    )


def test_a_chain_in_any_order_with_strangers_among_it() -> None:
    stranger = make("stranger")
    for pool in ([MIDDLE, ROOT], [ROOT, MIDDLE], [stranger, ROOT, LEAF, MIDDLE, ROOT]):
        found = build(pool=pool)
        assert [item.subject_cn for item in found.certificates][:2] == ["leaf", "middle"]
        assert found.anchor.name == "root"


def test_the_root_certificate_may_be_left_out_when_its_key_or_certificate_is_the_anchor() -> None:
    assert build(pool=[MIDDLE]).anchor.name == "root"
    assert build(pool=[MIDDLE], anchors=Anchors((from_certificate("*", ROOT.value),))).anchor.name == "root"


def test_a_look_alike_root_is_not_pinned() -> None:
    root = make("root")
    middle = make("middle", root, length=0)
    with pytest.raises(NotGenuine, match="not pinned"):
        build(make("leaf", middle, ca=False), [middle, root])


def test_an_anchor_of_another_tee_does_not_count() -> None:
    with pytest.raises(NotGenuine, match="not pinned"):
        build(anchors=Anchors((from_key("tdx", "root", ROOT.value.key),)))
    with pytest.raises(NotGenuine, match="not pinned"):
        build(anchors=Anchors())


def test_a_missing_issuer_is_missing_collateral() -> None:
    with pytest.raises(MissingCollateral, match="middle") as caught:
        build(pool=[ROOT])
    assert (caught.value.where, caught.value.hint) == ("certificate leaf", "supply it next to the evidence")


AT_CA = "http://ca.example/middle.crt"


@pytest.mark.parametrize(("access", "address"), [
    ([("1.3.6.1.5.5.7.48.1", "http://ocsp.example"), ("1.3.6.1.5.5.7.48.2", AT_CA)], AT_CA),
    ([("1.3.6.1.5.5.7.48.1", "http://ocsp.example")], ""), ([("1.3.6.1.5.5.7.48.2", "ldap://ca.example")], ""),
    ([("1.3.6.1.5.5.7.48.2", "http://ca.example/\nerror: all is well")], ""),
    ([("1.3.6.1.5.5.7.48.2", "http://ca.example/" + "m" * 900)], "http://ca.example/" + "m" * 282),
    (b"\x30\x05\x30\x03\x06\x01\x2a", ""), (b"\x05\x00", ""),
    (b"\x30\x18\x30\x16" + bytes.fromhex("06082b06010505073002") + b"\x82\x0ahttp://a/b", ""),  # a name of a host
])  # fmt: skip
def test_a_certificate_says_where_its_issuers_is(access: list[tuple[str, str]] | bytes, address: str) -> None:
    extension: certs.ExtensionType = certs.UnrecognizedExtension(certs.ObjectIdentifier(chain.ISSUERS), bytes(access)) \
        if isinstance(access, bytes) else certs.AuthorityInformationAccess(
            [certs.AccessDescription(certs.ObjectIdentifier(kind), certs.UniformResourceIdentifier(name))
             for kind, name in access])  # fmt: skip
    with pytest.raises(MissingCollateral, match="middle") as caught:
        build(make("leaf", MIDDLE, ca=False, access=extension), pool=[ROOT])
    said = f"the certificate says that it is at {address}"
    assert caught.value.hint == (said if address else "supply it next to the evidence")


def test_a_certificate_its_issuer_did_not_sign() -> None:
    forged = make("leaf", MIDDLE, ca=False, signer=ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(NotGenuine, match="not signed by"):
        build(forged)


@pytest.mark.parametrize(("at", "good"), [
    (FROM, True), (UNTIL, True), (FROM - timedelta(seconds=1), False), (UNTIL + timedelta(seconds=1), False),
])  # fmt: skip
def test_validity_has_both_ends(at: datetime, good: bool) -> None:
    if good:
        assert build(at=at)
        return
    with pytest.raises(NotGenuine) as error:
        build(at=at)
    assert error.value.check == "snp.validity"


@pytest.mark.parametrize("which", ["middle", "root"])
def test_validity_of_every_certificate_counts(which: str) -> None:
    early = AT - timedelta(days=1)
    root = make("root", end=early) if which == "root" else ROOT
    middle = make("middle", root, length=0, **({"end": early} if which == "middle" else {}))
    # as vendors' roots are pinned: by digest alone, so that the root's certificate has to be there and is judged
    anchors = Anchors((Anchor("snp", "root", keys.fingerprint(root.value.key)),))
    with pytest.raises(NotGenuine) as error:
        build(make("leaf", middle, ca=False), [middle, root], anchors=anchors)
    assert error.value.check == "snp.validity"


def test_an_issuer_must_be_a_ca_within_its_path_length_and_usage() -> None:
    plain = make("middle", ROOT, ca=False)
    with pytest.raises(NotGenuine, match="is not a CA"):
        build(make("leaf", plain, ca=False), [plain, ROOT])
    sub = make("sub", MIDDLE)
    with pytest.raises(NotGenuine, match="allows 0 CAs below"):
        build(make("leaf", sub, ca=False), [sub, MIDDLE, ROOT])
    right = make("middle", ROOT, usage="key_cert_sign")
    assert build(make("leaf", right, ca=False), [right, ROOT])
    wrong = make("middle", ROOT, usage="crl_sign")
    with pytest.raises(NotGenuine, match="may not sign certificates"):
        build(make("leaf", wrong, ca=False), [wrong, ROOT])


def test_an_unknown_critical_extension_is_refused_and_an_uncritical_one_is_not() -> None:
    assert build(make("leaf", MIDDLE, ca=False, critical=False))
    odd = make("leaf", MIDDLE, ca=False, critical=True)
    with pytest.raises(NotGenuine, match="unknown critical extension"):
        build(odd)
    assert build(odd, extra_critical=["1.2.3.4"])


def test_a_chain_has_an_end() -> None:
    authorities = [ROOT]
    for number in range(8):
        authorities.append(make(f"ca{number}", authorities[-1]))
    with pytest.raises(NotGenuine, match="longer than"):
        build(make("leaf", authorities[-1], ca=False), authorities)


def test_a_loop_ends() -> None:
    one_key, other_key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    one = make("one", Authority("other", other_key, ROOT.certificate), key=one_key)
    other = make("other", Authority("one", one_key, ROOT.certificate), key=other_key)
    with pytest.raises(NotGenuine):
        build(make("leaf", one, ca=False), [one, other])


def crl_of(
    issuer: Authority,
    *serials: int,
    start: datetime = FROM,
    end: datetime = UNTIL,
    signer: Any = None,
    extension: certs.ExtensionType | None = None,
    since: datetime = FROM,
) -> x509.Crl:
    builder = (
        certs.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(start)
        .next_update(end)
    )
    for serial in serials:
        row = certs.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        builder = builder.add_revoked_certificate(row)
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    made = builder.sign(signer or issuer.key, hashes.SHA384())
    return x509.crl(made.public_bytes(Encoding.DER))


def look_up(*lists: x509.Crl, at: datetime = AT) -> crl.Lookup:
    return crl.look_up(MIDDLE.value, ROOT.value, lists, "snp", at=at)


def test_revocation() -> None:
    assert look_up(crl_of(ROOT, 77)).checked
    with pytest.raises(NotGenuine, match="is revoked"):
        look_up(crl_of(ROOT, MIDDLE.value.serial))
    assert not look_up().checked
    assert not look_up(crl_of(LEAF, 5)).checked
    stale = look_up(crl_of(ROOT, 77, end=AT - timedelta(days=1)))
    assert not stale.checked
    assert "does not cover" in stale.why
    assert not look_up(crl_of(ROOT, start=AT + timedelta(days=1))).checked
    with pytest.raises(NotGenuine, match="not signed by it") as error:
        look_up(crl_of(ROOT, signer=ec.generate_private_key(ec.SECP384R1())))
    assert error.value.where == "CRL of root"


@pytest.mark.parametrize(
    ("other", "revoking"),
    [
        ({}, {"start": FROM + timedelta(days=9)}),
        ({"start": FROM + timedelta(days=9)}, {}),
        ({}, {"end": AT - timedelta(days=1)}),
    ],
    ids=["newer", "older", "run out"],
)
def test_revoked_on_one_list_is_revoked(other: dict[str, Any], revoking: dict[str, Any]) -> None:
    revoked = crl_of(ROOT, MIDDLE.value.serial, **revoking)
    for lists in ((revoked,), (revoked, crl_of(ROOT, **other)), (crl_of(ROOT, **other), revoked)):
        with pytest.raises(NotGenuine, match="is revoked"):
            look_up(*lists)


def test_a_made_up_list_beside_a_signed_one_says_nothing() -> None:
    signed, forged = crl_of(ROOT, 77), crl_of(ROOT, MIDDLE.value.serial, signer=LEAF.key)
    for lists in ((signed, forged), (forged, signed)):
        assert look_up(*lists).checked
    with pytest.raises(NotGenuine, match="is not signed by it"):
        look_up(forged)
    with pytest.raises(NotGenuine, match="is revoked"):
        look_up(crl_of(ROOT, MIDDLE.value.serial), crl_of(ROOT, 77, signer=LEAF.key))


def test_a_list_from_after_the_time_asked_about_says_what_was_revoked_before_it() -> None:
    later = {"start": AT + timedelta(days=2)}
    since = AT + timedelta(days=1)
    revoked = crl_of(ROOT, MIDDLE.value.serial, since=since, **later)
    assert look_up(crl_of(ROOT), revoked).checked
    for lists in ((revoked,), (crl_of(ROOT), revoked)):
        with pytest.raises(NotGenuine, match="is revoked"):
            look_up(*lists, at=since)


def test_a_pinned_root_is_signed_by_its_own_key_whatever_issuer_it_names() -> None:
    """The key alone is pinned: an altered issuer must not pass for the root's own certificate."""
    dressed = make("root", ROOT, key=ROOT.key, signer=LEAF.key)
    renamed = make("root", Authority("raat", ROOT.key, ROOT.certificate), key=ROOT.key, signer=LEAF.key)
    named = Anchors((from_certificate("snp", ROOT.value),))
    for other in (dressed, renamed):
        with pytest.raises(NotGenuine, match="not signed by its own key"):
            build(LEAF, [MIDDLE, other], anchors=PINNED)
        assert build(LEAF, [MIDDLE, other], anchors=named).certificates[-1] == ROOT.value


def test_a_stranger_of_an_issuers_name_does_not_stand_in_its_way() -> None:
    """Same name: another key, no key at all, the same key in a certificate nobody signed or that may not issue."""
    other = make("middle", ROOT, signer=LEAF.key)
    unsigned = make("middle", ROOT, key=MIDDLE.key, signer=LEAF.key)
    no_issuer = make("middle", ROOT, key=MIDDLE.key, ca=False)
    keyless = MIDDLE.value._replace(key=MIDDLE.value.key._replace(bits=b"\4", raw=b"\4"), raw=b"keyless")
    for stranger in (other.value, unsigned.value, no_issuer.value, keyless):
        for pool in ([stranger, MIDDLE.value, ROOT.value], [MIDDLE.value, ROOT.value, stranger]):
            found = chain.build(LEAF.value, pool, PINNED, "snp", at=AT)
            assert found.certificates == (LEAF.value, MIDDLE.value, ROOT.value)
    with pytest.raises(NotGenuine, match="not signed by"):
        chain.build(LEAF.value, [other.value, keyless, ROOT.value], PINNED, "snp", at=AT)


def test_under_a_bare_key_the_signed_one_of_two_certificates_counts() -> None:
    bare = Anchors((from_key("snp", "root", ROOT.value.key),))
    unsigned = make("middle", ROOT, key=MIDDLE.key, signer=LEAF.key)
    for pool in ([unsigned, MIDDLE], [MIDDLE, unsigned]):
        assert build(LEAF, pool, anchors=bare).certificates[1] == MIDDLE.value


def test_the_name_of_a_certificate_of_the_chain_can_be_read() -> None:
    nameless = LEAF.value._replace(subject=b"\x30\x02\x31\x01")
    with pytest.raises(NotGenuine, match="unusable") as caught:
        chain.build(nameless, [MIDDLE.value, ROOT.value], PINNED, "snp", at=AT)
    assert caught.value.check == "snp.chain"


def test_an_intermediate_that_somebody_named_ends_a_chain() -> None:
    named = Anchors((from_certificate("snp", MIDDLE.value),))
    again = make("middle", Authority("another", LEAF.key, LEAF.certificate), key=MIDDLE.key, serial=9)
    for pool in ([], [MIDDLE], [again]):
        assert build(LEAF, pool, anchors=named).anchor.certificate == MIDDLE.value


def test_an_intermediate_that_somebody_named_counts_as_it_was_named() -> None:
    """Its key in another certificate, with other dates or fewer constraints, is not what was named."""
    short = make("middle", ROOT, key=MIDDLE.key, end=AT - timedelta(days=1))
    narrow = make("middle", ROOT, key=MIDDLE.key, usage="crl_sign")
    for named, check in ((short, "snp.validity"), (narrow, "snp.chain")):
        for pool in ([], [MIDDLE], [MIDDLE, ROOT]):
            with pytest.raises(NotGenuine) as caught:
                build(LEAF, pool, anchors=Anchors((from_certificate("snp", named.value),)))
            assert caught.value.check == check
    other = Authority("middle", MIDDLE.key, make("other", ROOT, key=MIDDLE.key).certificate)
    with pytest.raises(NotGenuine, match="another certificate than was named"):
        build(LEAF, [MIDDLE], anchors=Anchors((from_certificate("snp", other.value),)))
    both = (from_certificate("snp", other.value), from_certificate("snp", MIDDLE.value))
    assert build(LEAF, [MIDDLE], anchors=Anchors(both)).anchor == both[1]
    key = from_key("snp", "middle", MIDDLE.value.key)
    assert build(LEAF, [MIDDLE], anchors=Anchors((both[0], key))).anchor == key


def test_of_a_ca_certificate_issued_anew_the_valid_one_counts() -> None:
    old = make("middle", ROOT, key=MIDDLE.key, end=AT - timedelta(days=1))
    for pool in ([old, MIDDLE, ROOT], [MIDDLE, old, ROOT]):
        assert build(LEAF, pool).certificates[1] == MIDDLE.value


def _point(*, users: bool = False, name: bool = True) -> certs.IssuingDistributionPoint:
    place = [certs.UniformResourceIdentifier("https://example.test/crl")] if name else None
    return certs.IssuingDistributionPoint(place, None, users, False, None, False, False)


@pytest.mark.parametrize(
    ("extension", "whole"),
    [(_point(), True), (_point(users=True), False), (_point(users=True, name=False), False),
     (certs.DeltaCRLIndicator(3), False),
     (certs.UnrecognizedExtension(certs.ObjectIdentifier("1.2.3.4"), b"\5\0"), False)],
)  # fmt: skip
def test_a_list_of_some_certificates_clears_none(extension: certs.ExtensionType, whole: bool) -> None:
    """RFC 5280 section 5.2: a critical extension limits a list, or is unknown; what it lists is revoked."""
    assert look_up(crl_of(ROOT, 77, extension=extension)).checked is whole
    assert look_up(crl_of(ROOT, 77, extension=extension), crl_of(ROOT, 77)).checked
    with pytest.raises(NotGenuine, match="is revoked"):
        look_up(crl_of(ROOT, MIDDLE.value.serial, extension=extension))


def test_an_issuer_that_may_not_sign_lists_revokes_and_clears_nobody() -> None:
    root = make("root", usage="key_cert_sign")
    with pytest.raises(NotGenuine, match="not signed by it"):
        crl.look_up(make("middle", root).value, root.value, [crl_of(root, 77)], "snp", at=AT)


def test_a_list_whose_entries_cannot_be_read_clears_nobody() -> None:
    """Its entries are read when a serial number seems to be among them."""
    good = crl_of(ROOT, MIDDLE.value.serial)
    assert good.entries is not None
    odd = good._replace(entries=good.entries._replace(value=b"\x30\x03\x02\x01" + bytes((MIDDLE.value.serial,))))
    with pytest.raises(NotGenuine, match="unusable") as error:
        look_up(odd)
    assert error.value.check == "snp.revocation"


@pytest.mark.parametrize(("place", "checked"), [("https://example.test/crl", True), ("https://example.test/cr", False)])
def test_a_list_of_another_place_clears_none(place: str, checked: bool) -> None:
    """RFC 5280 section 6.3.3 (b) (2) (i): a CA may have several lists, each for the certificates that name it."""
    certificate, listed = make("middle", ROOT, points=place), crl_of(ROOT, 77, extension=_point())
    found = crl.look_up(certificate.value, ROOT.value, (listed,), "snp", at=AT)
    assert found.checked is checked
    assert checked or "some certificates" in found.why
    assert crl.look_up(certificate.value, ROOT.value, (crl_of(ROOT, 77),), "snp", at=AT).checked
    with pytest.raises(NotGenuine, match="is revoked"):
        crl.look_up(certificate.value, ROOT.value, (crl_of(ROOT, 5, extension=_point()),), "snp", at=AT)


def _entries(serial: bytes) -> der.Node:
    """Revoked certificates with one entry."""
    return der.Node(der.SEQUENCE, _element(0x30, _element(2, serial) + b"\x17\x0d260101000000Z"), b"", 0)


def _element(tag: int, value: bytes) -> bytes:
    size = len(value)
    head = (size,) if size < 0x80 else (0x81, size) if size < 0x100 else (0x82, *divmod(size, 256))
    return bytes((tag, *head)) + value


@pytest.mark.parametrize("serial", [-1, -128, -129, -(2**15), 1 << 1100, 1 << 2100], ids=int.bit_length)
def test_a_serial_that_no_authority_should_give_is_found_all_the_same(serial: int) -> None:
    size = next(size for size in range(1, 400) if -(1 << 8 * size - 1) <= serial < 1 << 8 * size - 1)
    listed = crl_of(ROOT, 9)._replace(entries=_entries(serial.to_bytes(size, "big", signed=True)))
    assert listed.revocation(serial) == FROM
    assert listed.revocation(serial + 1) is None


@pytest.mark.parametrize("serial", [1, 127, 128, 255, 256, 2**63, 2**159 - 1])
def test_a_serial_is_found_whatever_its_length(serial: int) -> None:
    listed = crl_of(ROOT, 9, serial, 300)
    assert listed.revocation(serial) == FROM
    assert listed.revocation(serial + 1) is None
    assert set(listed.revoked) == {9, serial, 300}


def test_rsa_pss_as_amd_signs() -> None:
    key = rsa.generate_private_key(65537, 4096)
    how = {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA384()), 48)}
    root = make("ark", key=key, how=how)
    leaf = make("vcek", root, ca=False, how=how, serial=1)
    anchors = Anchors((from_key("snp", "ark", root.value.key),))
    assert build(leaf, [root], anchors=anchors).anchor.name == "ark"
    assert keys.common_bits(keys.load(root.value.key)) == "RSA-4096"


_SHA384, _MGF1 = "300b0609608648016503040202", "06092a864886f70d010108"


@pytest.mark.parametrize("parameters", [
    "", "3100", "3000", f"3025a0023000a11a3018{_MGF1}{_SHA384}a203020130",
    f"3023a00d{_SHA384}a10d300b{_MGF1}a203020130", f"3025a00d{_SHA384}a10f300d{_MGF1}3000a203020130",
], ids=["nothing", "a set", "empty", "no hash", "no hash of the mask", "an empty hash of the mask"])  # fmt: skip
def test_parameters_of_pss_that_cannot_be_read_never_hold(parameters: str) -> None:
    """Of an algorithm in a certificate or list that anybody may have made."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    algorithm = x509.Algorithm(keys.RSA_PSS, bytes.fromhex(parameters))
    assert keys.verify(key, algorithm, bytes(256), b"signed") is False


def test_small_keys_and_unknown_curves_are_refused() -> None:
    weak = make("weak", key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(MalformedEvidence, match="2048"):
        keys.load(weak.value.key)
    odd = make("odd", key=ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(MalformedEvidence, match="P-256"):
        keys.load(odd.value.key)
    with pytest.raises(NotGenuine, match="unusable"):
        build(make("leaf", weak, ca=False, signer=weak.key), [weak])


@pytest.mark.parametrize(
    ("modulus", "exponent"), [(-(1 << 2100) - 1, 65537), ((1 << 2100) + 1, -3)], ids=int.bit_length
)
def test_a_negative_number_in_an_rsa_key_is_malformed(modulus: int, exponent: int) -> None:
    numbers = b"".join(
        _element(2, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)) for number in (modulus, exponent)
    )
    name = bytes.fromhex("300d06092a864886f70d0101010500")
    raw = _element(0x30, name + _element(3, b"\0" + _element(0x30, numbers)))
    with pytest.raises(MalformedEvidence):
        keys.load(x509.parse_public_key(raw))
    with pytest.raises(MalformedEvidence):
        keys.rsa_key(abs(modulus), -3)


@pytest.mark.parametrize("hashing", [b"", bytes.fromhex("0609608648016503040202")])
def test_pss_parameters_short_of_an_identifier_hold_nothing(hashing: bytes) -> None:
    mask = bytes.fromhex("06092a864886f70d010108")
    fields = (_element(0xA0, _element(0x30, hashing)), _element(0xA1, _element(0x30, mask)), b"\xa2\3\2\1\x30")
    algorithm = x509.Algorithm(keys.RSA_PSS, _element(0x30, b"".join(fields)))
    assert not keys.verify(rsa.generate_private_key(65537, 2048).public_key(), algorithm, bytes(256), b"")


def test_hashlib_is_used_only_once_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be in the middle of importing it."""
    monkeypatch.setitem(sys.modules, "hashlib", types.ModuleType("hashlib"))
    assert keys.sha256(b"").hex().startswith("e3b0c442")


def test_extensions_come_once() -> None:
    raw, tbs = MIDDLE.value.raw, MIDDLE.value.tbs
    extensions, rest = tbs[tbs.rindex(b"\xa3") :], raw[raw.index(tbs) + len(tbs) :]
    assert x509.certificate(_element(0x30, tbs + rest)).raw == raw
    twice = _element(0x30, tbs[der.fills(tbs, der.SEQUENCE, "tbs") :] + extensions)
    with pytest.raises(MalformedEvidence, match="unique ids"):
        x509.certificate(_element(0x30, twice + rest))


def test_the_parser_agrees_with_cryptography() -> None:
    for authority in (ROOT, MIDDLE, LEAF):
        ours, theirs = authority.value, authority.certificate
        assert ours.serial == theirs.serial_number
        assert (ours.not_before, ours.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
        assert ours.tbs == theirs.tbs_certificate_bytes
        assert ours.signature == theirs.signature
        assert ours.subject == theirs.subject.public_bytes()
        assert ours.algorithm.oid == theirs.signature_algorithm_oid.dotted_string
        assert [item.oid for item in ours.extensions] == [item.oid.dotted_string for item in theirs.extensions]


def test_truncated_certificates_and_single_byte_changes() -> None:
    data = LEAF.value.raw
    for end in range(len(data)):
        with pytest.raises(MalformedEvidence):
            x509.certificate(data[:end])
    for index in range(len(data)):
        changed = data[:index] + bytes((data[index] ^ 0x41,)) + data[index + 1 :]
        try:
            certificate = x509.certificate(changed)
            chain.build(certificate, [MIDDLE.value], ANCHORS, "snp", at=AT)
        except (MalformedEvidence, NotGenuine, MissingCollateral):
            continue
        raise AssertionError(f"a change at byte {index} passes")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for parse in (x509.certificate, x509.crl, x509.parse_public_key):
        with pytest.raises(MalformedEvidence):
            parse(data)


def test_pem_in_and_out() -> None:
    blocks = [LEAF.value.raw, MIDDLE.value.raw]
    text = b"words\n" + pem.armour("CERTIFICATE", blocks) + b"more words"
    assert pem.unarmour(text, "CERTIFICATE") == [("CERTIFICATE", block) for block in blocks]
    assert pem.unarmour(text, "PUBLIC KEY") == []
    with pytest.raises(MalformedEvidence, match="at most"):
        pem.unarmour(bytes(pem.MAX_PEM + 1))


def test_vendor_anchors_are_complete() -> None:
    found = vendor()
    assert {item.tee for item in found.items} == {"snp", "sev", "sgx", "tdx", "nitro", "nvgpu", "tpm"}
    assert all(item.source for item in found.items)
    assert not any(item.simulated for item in found.items)
    assert not found.of("nil")
    assert not found.of("cca")
