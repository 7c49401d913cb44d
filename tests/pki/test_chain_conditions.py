"""Chains, lists and keys: for single conditions, the smallest input that tells whether they stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509 as certs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine, UsageError
from fastness.pki import anchors as pins
from fastness.pki import chain, crl, keys
from fastness.pki.anchors import Anchor, Anchors, from_certificate, from_key
from fastness.pki.memory import window
from fastness.wire import der, x509
from pki.test_chain import ANCHORS, AT, LEAF, MIDDLE, ROOT, UNTIL, Authority, build, crl_of, look_up, make


def spki(key: Any) -> x509.PublicKey:
    return x509.parse_public_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


# chains


def line(length: int) -> tuple[Authority, list[Authority]]:
    """A leaf and the CAs above it, ``length`` certificates in all, under :data:`ROOT`."""
    above = [ROOT]
    for number in range(length - 2):
        above.append(make(f"ca {number}", above[-1]))
    return make("leaf", above[-1], ca=False), above


def test_a_chain_has_six_certificates_at_most() -> None:
    named = Anchors((from_certificate("snp", ROOT.value),))
    leaf, above = line(6)
    assert len(build(leaf, above, anchors=named).certificates) == 6
    leaf, above = line(7)
    with pytest.raises(NotGenuine, match="longer than 6"):
        build(leaf, above, anchors=named)


def test_a_root_may_stand_for_itself_and_a_leaf_may_not() -> None:
    for named in (from_certificate("snp", ROOT.value), from_key("snp", "root", ROOT.value.key)):
        assert build(ROOT, [], anchors=Anchors((named,))).certificates == (ROOT.value,)
    for named in (from_certificate("snp", LEAF.value), from_key("snp", "leaf", LEAF.value.key)):
        with pytest.raises(NotGenuine, match="not pinned"):
            build(anchors=Anchors((named,)))
        with pytest.raises(MissingCollateral):
            build(pool=[], anchors=Anchors((named,)))


def test_a_root_that_stands_for_itself_is_signed_by_itself() -> None:
    altered = make("root", key=ROOT.key, signer=ec.generate_private_key(ec.SECP384R1()))
    for named in (from_certificate("snp", ROOT.value), from_key("snp", "root", ROOT.value.key)):
        with pytest.raises(NotGenuine, match="not signed by its own key"):
            build(altered, [], anchors=Anchors((named,)))


def test_a_root_issued_anew_is_the_root_that_was_named() -> None:
    again = make("root", key=ROOT.key, serial=9)
    named, bare = from_certificate("snp", ROOT.value), from_key("snp", "bare", ROOT.value.key)
    assert build(again, [], anchors=Anchors((named,))).anchor == named
    for order in ((named, bare), (bare, named)):
        assert build(again, [], anchors=Anchors(order)).anchor == bare
        assert build(ROOT, [], anchors=Anchors(order)).anchor == order[0]


def test_the_certificate_of_an_anchor() -> None:
    other_name, other_key = make("other", key=ROOT.key).value, make("root").value
    below = (LEAF.value, MIDDLE.value)
    bare = chain.Chain(below, from_key("snp", "root", ROOT.value.key))
    assert bare.anchor_certificate([other_name, other_key, ROOT.value]) == ROOT.value
    assert bare.anchor_certificate([other_name, other_key]) is None
    assert chain.Chain(below, from_certificate("snp", ROOT.value)).anchor_certificate([]) == ROOT.value
    pinned = Anchor("snp", "root", keys.fingerprint(ROOT.value.key))
    assert chain.Chain((*below, ROOT.value), pinned).anchor_certificate([ROOT.value]) is None


def test_of_issuers_of_one_name_64_are_tried() -> None:
    stranger = make("middle", ROOT).value
    alike = [stranger._replace(raw=stranger.raw + bytes(count)) for count in range(64)]
    for count, holds in ((63, True), (64, False)):
        pool = [*alike[:count], MIDDLE.value, ROOT.value]
        if holds:
            assert chain.build(LEAF.value, pool, ANCHORS, "snp", at=AT)
        else:
            with pytest.raises(NotGenuine, match="not signed by"):
                chain.build(LEAF.value, pool, ANCHORS, "snp", at=AT)


def test_of_issuers_with_one_key_one_that_may_issue_counts() -> None:
    good = make("middle", ROOT, key=MIDDLE.key, usage="key_cert_sign")
    for bad in (
        make("middle", ROOT, key=MIDDLE.key, usage="digital_signature"), make("middle", ROOT, key=MIDDLE.key, ca=False),
    ):  # fmt: skip
        for pool in ([bad, good, ROOT], [good, bad, ROOT]):
            assert build(pool=pool).certificates[1] == good.value
        with pytest.raises(NotGenuine):
            build(pool=[bad, ROOT])


def test_nothing_above_an_anchor_is_a_link() -> None:
    below = [(LEAF.value, MIDDLE.value)]
    for named, links in ((MIDDLE, below), (ROOT, [*below, (MIDDLE.value, ROOT.value)])):
        found = build(anchors=Anchors((from_certificate("snp", named.value),)))
        assert found.links([MIDDLE.value, ROOT.value]) == links


# lists


def test_a_list_holds_from_its_first_moment_to_its_last() -> None:
    moments = ((AT, UNTIL), (AT - timedelta(days=1), AT))
    for start, end in moments:
        assert look_up(crl_of(ROOT, 77, start=start, end=end)).checked
        with pytest.raises(NotGenuine, match="is revoked"):
            look_up(crl_of(ROOT, MIDDLE.value.serial, start=start, end=end))
    second = timedelta(seconds=1)
    for start, end in ((AT + second, UNTIL), (AT - timedelta(days=1), AT - second)):
        assert not look_up(crl_of(ROOT, 77, start=start, end=end)).checked


def test_a_list_without_an_end_clears_nobody() -> None:
    endless = crl_of(ROOT, 77)._replace(next_update=None)
    found = look_up(endless)
    assert not found.checked
    assert "no nextUpdate" in found.why
    with pytest.raises(NotGenuine, match="is revoked"):
        look_up(crl_of(ROOT, MIDDLE.value.serial)._replace(next_update=None))


def test_dates_of_lists_bound_what_is_remembered() -> None:
    soon = AT + timedelta(hours=1)
    listed = crl_of(ROOT, start=AT - timedelta(hours=1), end=soon)
    assert window(AT, [], [listed]) == (AT - timedelta(hours=1), soon)
    assert window(AT, [], [listed._replace(next_update=None)])[0] == AT - timedelta(hours=1)


def test_beside_a_list_of_later_nothing_is_remembered() -> None:
    """What it lists as revoked from some day on must be refused from that day on, whatever was asked before."""
    assert window(AT, [LEAF.value], [crl_of(ROOT, start=AT + timedelta(days=1))]) == (AT, AT)


def test_the_lists_of_the_chain_of_a_bare_root() -> None:
    found = build(anchors=ANCHORS, pool=[MIDDLE])
    assert [issuer for _, issuer in found.links([ROOT.value])][-1] == ROOT.value
    assert crl.look_up(MIDDLE.value, ROOT.value, [crl_of(ROOT)], "snp", at=AT).checked


# keys

EDWARDS = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)


def test_keys_of_every_kind_are_read_and_no_others() -> None:
    assert isinstance(keys.load(spki(EDWARDS.public_key())), ed25519.Ed25519PublicKey)
    assert keys.common_bits(keys.load(spki(RSA.public_key()))) == "RSA-2048"
    good = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(MalformedEvidence, match="a usable public key"):  # no point of the curve
        keys.load(x509.parse_public_key(good.raw[:-64] + bytes(63) + b"\1"))
    for bad in (
        x509.parse_public_key(spki(EDWARDS.public_key()).raw.replace(b"\x2b\x65\x70", b"\x2b\x65\x71")),  # Ed448
        x509.parse_public_key(good.raw.replace(b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x02")),
    ):
        with pytest.raises(MalformedEvidence, match="an EC, RSA or Ed25519 key"):
            keys.load(bad)


def test_an_rsa_key_has_2048_bits_at_least() -> None:
    assert keys.rsa_key(2**2047 + 1, 65537).key_size == 2048
    with pytest.raises(MalformedEvidence, match="at least 2048"):
        keys.rsa_key(2**2047 - 1, 65537)
    with pytest.raises(MalformedEvidence, match="usable"):
        keys.rsa_key(2**2047 + 1, 2)


def test_a_point_lies_on_its_curve() -> None:
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )  # fmt: skip
    assert keys.ec_point(ec.SECP256R1, point[1:], "key")
    for bad in (bytes(63) + b"\1", point[1:-1]):
        with pytest.raises(MalformedEvidence, match="a point of secp256r1"):
            keys.ec_point(ec.SECP256R1, bad, "key")


def test_an_edwards_key_signs_by_its_own_algorithm_alone() -> None:
    signature, key = EDWARDS.sign(b"data"), EDWARDS.public_key()
    assert keys.verify(key, x509.Algorithm(keys.ED25519, b""), signature, b"data")
    assert not keys.verify(key, x509.Algorithm("1.3.101.113", b""), signature, b"data")
    assert not keys.verify(key, x509.Algorithm(keys.ED25519, b""), signature, b"other")


_OIDS = {"sha1": "06052b0e03021a", "sha256": "0609608648016503040201", "sha384": "0609608648016503040202"}


def tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag, len(value))) + value


def pss(hashing: str, mask: str, salt: int = 32) -> x509.Algorithm:
    first, second = (tlv(0x30, bytes.fromhex(_OIDS[name])) for name in (hashing, mask))
    over = tlv(0x30, bytes.fromhex("06092a864886f70d010108") + second)
    body = tlv(0xA0, first) + tlv(0xA1, over) + tlv(0xA2, tlv(2, bytes((salt,))))
    return x509.Algorithm(keys.RSA_PSS, tlv(der.SEQUENCE, body))


def test_pss_takes_one_sha2_for_hash_and_mask() -> None:
    """What is said of the mask is held against what is signed, not passed over."""
    signature = RSA.sign(b"data", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    assert keys.verify(RSA.public_key(), pss("sha256", "sha256"), signature, b"data")
    assert not keys.verify(RSA.public_key(), pss("sha256", "sha384"), signature, b"data")
    old = RSA.sign(b"data", padding.PSS(padding.MGF1(hashes.SHA1()), 20), hashes.SHA1())
    assert not keys.verify(RSA.public_key(), pss("sha1", "sha1", 20), old, b"data")


# anchors


@pytest.mark.parametrize("digest", ["ab" * 31, "ab" * 33, "AB" * 32, "zz" * 32])
def test_a_row_of_anchors_pins_by_sha256(digest: str) -> None:
    assert pins._row({"tee": "snp", "name": "root", "spki": "ab" * 32, "source": "here"}).spki == "ab" * 32
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        pins._row({"tee": "snp", "name": "root", "spki": digest, "source": "here"})


def test_an_anchor_is_found_by_its_key_for_its_tee() -> None:
    own, every = from_key("snp", "own", ROOT.value.key), from_key("*", "every", MIDDLE.value.key)
    other = from_key("tdx", "other", LEAF.value.key)
    known = Anchors((other, own, every))
    assert known.find("snp", ROOT.value.key) == own
    assert known.find("snp", MIDDLE.value.key) == known.find("tdx", MIDDLE.value.key) == every
    assert known.find("snp", LEAF.value.key) is None
    assert known.find("tdx", ROOT.value.key) is None


def test_a_serial_is_looked_up_among_its_issuers_lists_alone() -> None:
    row = certs.RevokedCertificateBuilder().serial_number(MIDDLE.value.serial).revocation_date(AT).build()
    strange = certs.CertificateRevocationListBuilder(LEAF.certificate.subject, AT, UNTIL, [], [row])
    other = x509.crl(strange.sign(LEAF.key, hashes.SHA384()).public_bytes(Encoding.DER))
    assert look_up(crl_of(ROOT), other).checked
