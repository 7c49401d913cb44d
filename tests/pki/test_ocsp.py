"""OCSP responses, field by field: read strictly, and believed from those alone who may speak."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from fastness.errors import MalformedEvidence, NotGenuine
from fastness.forge import nvgpu_vendor as vendor
from fastness.pki import ocsp
from fastness.wire import x509
from pki.test_chain import AT, FROM, LEAF, MIDDLE, ROOT, UNTIL


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    count = (size.bit_length() + 7) // 8
    head = bytes((size,)) if size < 0x80 else bytes((0x80 | count,)) + size.to_bytes(count, "big")
    return bytes((tag,)) + head + body


def time(text: str) -> bytes:
    return tlv(0x18, text.encode())


SHA256 = tlv(0x30, bytes.fromhex("0609608648016503040201"))
BASIC, OTHER = bytes.fromhex("06092b0601050507300101"), bytes.fromhex("06092b0601050507300102")
ECDSA = bytes.fromhex("06082a8648ce3d040303")
START, END = time("20260101000000Z"), time("20270101000000Z")
GOOD, UNKNOWN = b"\x80\x00", b"\x82\x00"
EXTENSIONS = tlv(0xA1, tlv(0x30))
NAMED, KEYED = tlv(0xA1, MIDDLE.value.subject), tlv(0xA2, tlv(4, hashlib.sha1(MIDDLE.value.key.bits).digest()))


def certid(hashing: bytes = SHA256) -> bytes:
    name, key = (hashlib.sha256(data).digest() for data in (MIDDLE.value.subject, MIDDLE.value.key.bits))
    return tlv(0x30, hashing, tlv(4, name), tlv(4, key), tlv(2, bytes((LEAF.value.serial,))))


def single(
    *, state: bytes = GOOD, identity: bytes | None = None, start: bytes = START,
    more: tuple[bytes, ...] = (tlv(0xA0, END),),
) -> bytes:  # fmt: skip
    return tlv(0x30, identity or certid(), state, start, *more)


def data(*singles: bytes, first: tuple[bytes, ...] = (), who: bytes = NAMED, last: tuple[bytes, ...] = ()) -> bytes:
    return tlv(0x30, *first, who, START, tlv(0x30, *(singles or (single(),))), *last)


def whole(
    told: bytes | None = None, *, status: bytes = b"\x0a\x01\x00", kind: bytes = BASIC,
    algorithm: bytes = ECDSA, certs: tuple[bytes, ...] | None = None, more: tuple[bytes, ...] = (),
) -> bytes:  # fmt: skip
    listed = () if certs is None else (tlv(0xA0, tlv(0x30, *certs)),)
    basic = tlv(0x30, told or data(), tlv(0x30, algorithm), b"\x03\x02\x00\x00", *listed, *more)
    return tlv(0x30, status, tlv(0xA0, tlv(0x30, kind, tlv(4, basic))))


def test_a_response_is_read() -> None:
    found = ocsp.read(whole())
    assert (found.by_key, found.responder, found.certificates) == (False, MIDDLE.value.subject, ())
    assert (found.algorithm.oid, found.algorithm.parameters) == ("1.2.840.10045.4.3.3", b"")
    only = found.singles[0]
    assert only.names(LEAF.value, MIDDLE.value)
    assert (only.state, only.since, only.this_update, only.next_update) == (ocsp.State.GOOD, None, FROM, UNTIL)


@pytest.mark.parametrize(
    "good",
    [
        data(who=KEYED), data(first=(tlv(0xA0, b"\x02\x01\x00"),)), data(last=(EXTENSIONS,)),
        data(first=(tlv(0xA0, b"\x02\x01\x00"),), last=(EXTENSIONS,)), data(single(more=())),
        data(single(more=(EXTENSIONS,))), data(single(more=(tlv(0xA0, END), EXTENSIONS))), data(single(), single()),
    ],
)  # fmt: skip
def test_what_may_be_left_out_or_be_there(good: bytes) -> None:
    assert ocsp.read(whole(good)).singles


def test_parameters_of_the_algorithm_are_kept() -> None:
    assert ocsp.read(whole(algorithm=ECDSA + b"\x05\x00")).algorithm.parameters == b"\x05\x00"


@pytest.mark.parametrize(
    ("state", "read"),
    [
        (GOOD, ocsp.State.GOOD), (UNKNOWN, ocsp.State.UNKNOWN), (tlv(0xA1, START), ocsp.State.REVOKED),
        (tlv(0xA1, START, tlv(0xA0, b"\x0a\x01\x01")), ocsp.State.REVOKED),
        (tlv(0xA1, START, tlv(0xA0, b"\x0a\x01\x06")), ocsp.State.HOLD),
    ],
)  # fmt: skip
def test_states(state: bytes, read: ocsp.State) -> None:
    assert ocsp.read(whole(data(single(state=state)))).singles[0].state is read


BAD: dict[str, bytes] = {
    "tryLater": whole(status=b"\x0a\x01\x03"), "another type": whole(kind=OTHER),
    "too many certificates": whole(certs=(LEAF.value.raw,) * 7), "more of it": whole(certs=(), more=(b"\x05\x00",)),
    "no parts": whole(tlv(0x30, START, tlv(0x30), tlv(0x30))),
    "version 2": whole(data(first=(tlv(0xA0, b"\x02\x01\x01"),))),
    "version alone": whole(tlv(0x30, tlv(0xA0, b"\x02\x01\x00"), NAMED, START)),
    "five parts": whole(data(last=(EXTENSIONS, EXTENSIONS))), "other extensions": whole(data(last=(tlv(0xA2, b""),))),
    "no responder": whole(data(who=tlv(0xA3, b""))), "MD5": whole(data(single(identity=certid(tlv(0x30, OTHER))))),
    "next update twice": whole(data(single(more=(tlv(0xA0, END), tlv(0xA0, END))))),
    "something else behind it": whole(data(single(more=(tlv(0xA2, END),)))),
    "good with a value": whole(data(single(state=b"\x80\x01\x00"))),
    "unknown with a value": whole(data(single(state=b"\x82\x01\x00"))),
    "no certificate id": whole(data(single(identity=tlv(0x30, SHA256)))),
    "parameters twice": whole(algorithm=ECDSA + b"\x05\x00\x05\x00"), "no algorithm": whole(algorithm=b""),
    "revoked at no time": whole(data(single(state=tlv(0xA1)))),
    "revoked for two reasons": whole(data(single(state=tlv(0xA1, START, *[tlv(0xA0, b"\x0a\x01\x01")] * 2)))),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_responses_are_read_strictly(name: str) -> None:
    with pytest.raises(MalformedEvidence):
        ocsp.read(BAD[name])


def test_as_many_certificates_as_a_chain_has() -> None:
    assert len(ocsp.read(whole(certs=(LEAF.value.raw,) * 6)).certificates) == 6


def test_a_response_has_64_kib_at_most() -> None:
    def filled(room: int) -> bytes:
        return whole(data(last=(tlv(0xA1, tlv(0x30, tlv(4, bytes(room)))),)))

    room = 64 * 1024 - (len(filled(60000)) - 60000)
    assert len(filled(room)) == 64 * 1024
    assert ocsp.read(filled(room)).singles
    with pytest.raises(MalformedEvidence, match="at most 65536 bytes"):
        ocsp.read(filled(room + 1))


# who may speak, and when


def signed(response: ocsp.Response, by: Any) -> ocsp.Response:
    return replace(response, signature=by.key.sign(response.tbs, ec.ECDSA(hashes.SHA384())))


def asked(*responses: ocsp.Response, at: Any = AT) -> ocsp.Lookup:
    return ocsp.look_up(LEAF.value, MIDDLE.value, responses, "snp", at=at)


PLAIN = signed(ocsp.read(whole()), MIDDLE)


def of(told: bytes) -> ocsp.Response:
    return signed(ocsp.read(whole(told)), MIDDLE)


def test_a_response_holds_from_its_first_moment_to_its_last() -> None:
    second = timedelta(seconds=1)
    for at, holds in ((FROM, True), (UNTIL, True), (FROM - second, False), (UNTIL + second, False)):
        assert asked(PLAIN, at=at).checked is holds
    assert asked(PLAIN).until == UNTIL
    endless = asked(of(data(single(more=()))))
    assert not endless.checked
    assert "no nextUpdate" in endless.why


def test_a_revocation_holds_from_its_first_moment_on() -> None:
    revoked = of(data(single(state=tlv(0xA1, START))))
    for at in (FROM, AT, UNTIL + timedelta(days=1)):
        with pytest.raises(NotGenuine, match="is revoked"):
            asked(revoked, at=at)
    assert not asked(revoked, at=FROM - timedelta(seconds=1)).checked


@pytest.mark.parametrize("reason", [(), (tlv(0xA0, b"\x0a\x01\x06"),)])
def test_a_later_word_says_what_was_withdrawn_before_the_time_asked_about(reason: tuple[bytes, ...]) -> None:
    second = timedelta(seconds=1)
    later = time(f"{AT + 2 * second:%Y%m%d%H%M%SZ}")
    for since in (AT, AT - second):
        told = of(data(single(state=tlv(0xA1, time(f"{since:%Y%m%d%H%M%SZ}"), *reason), start=later)))
        with pytest.raises(NotGenuine, match=f"since {since:%Y-%m-%dT%H:%M:%SZ}"):
            asked(PLAIN, told)
    told = of(data(single(state=tlv(0xA1, time(f"{AT + second:%Y%m%d%H%M%SZ}"), *reason), start=later)))
    assert asked(PLAIN, told).checked
    assert "does not cover the time" in asked(told).why


def test_a_hold_counts_until_its_word_has_run_out() -> None:
    held = of(data(single(state=tlv(0xA1, START, tlv(0xA0, b"\x0a\x01\x06")))))
    for at in (FROM, UNTIL):
        with pytest.raises(NotGenuine, match="is on hold"):
            asked(held, at=at)
    assert not asked(held, at=UNTIL + timedelta(seconds=1)).checked
    endless = of(data(single(state=tlv(0xA1, START, tlv(0xA0, b"\x0a\x01\x06")), more=())))
    with pytest.raises(NotGenuine, match="is on hold"):
        asked(endless, at=FROM)
    assert not asked(endless, at=AT).checked


def test_what_is_revoked_is_so_from_its_word_on_whatever_date_it_names() -> None:
    told = of(data(single(state=tlv(0xA1, END), more=(tlv(0xA0, START),))))
    with pytest.raises(NotGenuine, match="is revoked"):
        asked(told, at=AT)


def test_what_one_response_says_another_does_not_take_back() -> None:
    unknown, revoked = of(data(single(state=UNKNOWN))), of(data(single(state=tlv(0xA1, START))))
    for order in ((PLAIN, revoked), (revoked, PLAIN), (unknown, revoked), (revoked, unknown)):
        with pytest.raises(NotGenuine, match="is revoked"):
            asked(*order)
    for order in ((PLAIN, unknown), (unknown, PLAIN)):
        assert not asked(*order).checked
    assert asked(PLAIN, of(data(single(more=())))).checked


def test_the_issuer_speaks_by_name_or_key() -> None:
    assert asked(of(data(who=KEYED))).checked
    for wrong in (data(who=tlv(0xA1, ROOT.value.subject)), data(who=tlv(0xA2, tlv(4, bytes(20))))):
        with pytest.raises(NotGenuine, match="not signed by its issuer"):
            asked(of(wrong))
    with pytest.raises(NotGenuine, match="not signed by its issuer"):
        asked(signed(PLAIN, ROOT))


ISSUER = vendor.issue("issuer", None, FROM, UNTIL)
SUBJECT = vendor.issue("subject", ISSUER, FROM, UNTIL, ca=False)


def spoken(by: Any, without: str = "") -> ocsp.Lookup:
    """What ``by`` says of the subject; its certificate comes along, ``without`` an extension."""
    response = ocsp.read(vendor.response(SUBJECT, ISSUER, AT, responder=by))
    own = response.certificates[0]
    cut = own._replace(extensions=tuple(item for item in own.extensions if item.oid != without))
    return ocsp.look_up(SUBJECT.read, ISSUER.read, [replace(response, certificates=(cut,))], "snp", at=AT)


def responder(issuer: Any = ISSUER, **options: Any) -> Any:
    return vendor.issue("responder", issuer, FROM, UNTIL, ca=False, **{"purpose": Purpose.OCSP_SIGNING, **options})


def test_a_responder_is_certified_by_the_issuer_for_nothing_else() -> None:
    assert spoken(responder()).checked
    assert spoken(responder(), x509.KEY_USAGE).checked
    other, namesake = vendor.issue("other", None, FROM, UNTIL), vendor.issue("issuer", None, FROM, UNTIL)
    for wrong in (
        responder(signs=False), responder(purpose=Purpose.SERVER_AUTH), responder(purpose=None), responder(other),
        responder(namesake),
    ):  # fmt: skip
        with pytest.raises(NotGenuine, match="not signed by its issuer"):
            spoken(wrong)


def test_a_made_up_response_beside_one_that_counts_harms_nothing() -> None:
    forged = signed(PLAIN, ROOT)
    assert asked(forged, PLAIN).checked and asked(PLAIN, forged).checked
    assert "no nextUpdate" in asked(forged, of(data(single(more=())))).why
    assert "unknown to the responder" in asked(forged, of(data(single(state=UNKNOWN)))).why
    with pytest.raises(NotGenuine, match="not signed by its issuer"):
        asked(forged, forged)


def test_a_revocation_without_an_end_holds_from_its_first_moment() -> None:
    revoked = of(data(single(state=tlv(0xA1, START), more=())))
    with pytest.raises(NotGenuine, match="is revoked"):
        asked(revoked, at=FROM)


def test_whether_the_issuer_is_valid_is_the_chains_to_ask() -> None:
    later = of(data(single(more=(tlv(0xA0, time("20280101000000Z")),))))
    assert asked(later, at=UNTIL + timedelta(days=1)).checked


def test_a_responder_names_its_issuer() -> None:
    other = vendor.issue("other", None, FROM, UNTIL)
    with pytest.raises(NotGenuine, match="not signed by its issuer"):
        spoken(responder(vendor.Link(ISSUER.key, other.certificate)))
