"""SEV: for single conditions of the verifier, the smallest evidence that tells whether they stand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from fastness.claims.finding import Outcome
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.forge import sev as forge
from fastness.forge.model import Forged
from fastness.tee import Collateral, sev
from fastness.tee.sev import endorse, launch, layout

FIRST, SECOND = layout.SLOTS
"""Where a certificate's signatures begin: usage 4, algorithm 4, signature 512 bytes. Nobody signed these."""


def verify(forged: Forged, **changed: Any) -> Any:
    given = replace(forged, **changed)
    return sev.verify(sev.parse(given.evidence), Collateral(), given.anchors, at=given.at)


def edited(forged: Forged, name: str, offset: int, value: bytes) -> bytes:
    start = sev.parse(forged.evidence).offsets[name] + offset
    return forged.evidence[:start] + value + forged.evidence[start + len(value) :]


@pytest.mark.parametrize(
    ("name", "offset", "value"),
    [
        ("cek", FIRST, 0x1004), ("pek", FIRST, 0x1003), ("pdh", FIRST, 0x1004),  # by a key of another usage
        ("cek", FIRST + 4, layout.ECDSA_SHA256),  # RSA that is called ECDSA
        ("cek", FIRST + 8 + 256, 1), ("cek", FIRST + 8 + 508, 1 << 24),  # something behind the signature
        ("pek", FIRST + 8 + 144, 1), ("pek", FIRST + 8 + 508, 1 << 24),
    ],
)  # fmt: skip
def test_a_signature_is_what_its_slot_says(name: str, offset: int, value: int) -> None:
    forged = forge.make({})
    with pytest.raises(NotGenuine) as error:
        verify(forged, evidence=edited(forged, name, offset, value.to_bytes(4, "little")))
    assert error.value.check == f"sev.{name}"


def signature(key: ec.EllipticCurvePrivateKey, hashing: SHA256 | SHA384, data: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashing)))
    return r.to_bytes(72, "little") + s.to_bytes(72, "little")


def test_a_key_signs_with_the_hash_of_its_certificate_alone() -> None:
    pek, key = sev.parse(forge.make({}).evidence).pek, forge.ec_key("pek")
    assert endorse.ecdsa(pek, layout.ECDSA_SHA256, signature(key, SHA256(), b"data"), b"data")
    assert not endorse.ecdsa(pek, layout.ECDSA_SHA384, signature(key, SHA384(), b"data"), b"data")


def test_a_diffie_hellman_key_signs_nothing() -> None:
    pdh, key = sev.parse(forge.make({}).evidence).pdh, forge.ec_key("pdh")
    assert pdh is not None
    for algorithm in (layout.ECDH_SHA256, layout.ECDSA_SHA256):
        assert not endorse.ecdsa(pdh, algorithm, signature(key, SHA256(), b"data"), b"data")


def test_a_platform_without_an_owners_certificate_is_told() -> None:
    for spec, notes in (({}, []), ({"without": "oca"}, [Outcome.NOTE])):
        found = verify(forge.make(spec)).findings
        assert [item.outcome for item in found if item.check == "sev.no-oca"] == notes


MEASURED = launch.encode((1, 55), 24, 0x3, bytes(48))


def record(**changed: Any) -> bytes:
    held = json.loads(launch.Record(bytes(32), 0x3, bytes(16), bytes(16), (b"\x3e" * 32,)).encode())
    return json.dumps({**held, **changed}).encode()


def test_a_record_holds_up_to_256_digests_in_a_list() -> None:
    digests = [bytes((number, *bytes(31))).hex() for number in range(256)]
    assert len(launch.record(record(digests=digests)).digests) == 256
    for wrong in ([*digests, "ff" * 32], [], {"3e" * 32: 1}):
        with pytest.raises(MalformedEvidence, match="256 digests"):
            launch.record(record(digests=wrong))


def test_documents_have_a_largest_size() -> None:
    assert launch.measurement(MEASURED.ljust(2048)).build == 24
    with pytest.raises(MalformedEvidence, match="2048 bytes"):
        launch.measurement(MEASURED.ljust(2049))
    assert launch.record(record().ljust(64 * 1024)).policy == 0x3
    with pytest.raises(MalformedEvidence, match="65536 bytes"):
        launch.record(record().ljust(64 * 1024 + 1))


@pytest.mark.parametrize(("api", "enough"), [((1, 54), False), ((1, 55), True), ((1, 56), True), ((0, 99), False)])
def test_firmware_of_the_very_version_that_the_policy_asks_for_will_do(api: tuple[int, int], enough: bool) -> None:
    policy = 0x3 | 1 << 16 | 55 << 24
    held = launch.Record(bytes(32), policy, bytes(16), bytes(16), (bytes(32),))
    assert launch.kept(held, launch.measurement(launch.encode(api, 24, policy, bytes(48)))) is enough


PARTS = {name: getattr(sev.parse(forge.make({}).evidence), name).raw for name in layout.PARTS[:6]}
UNSIGNED = PARTS["pek"][: layout.SEV_SIGNED] + 2 * (layout.NO_USAGE.to_bytes(4, "little") + bytes(516))
"""A request for a PEK's certificate."""


def chosen(kind: str, *others: bytes, own: tuple[str, ...] = ("cek",)) -> bytes:
    """Which certificate of ``kind`` is taken of ``others``, beside the platform's ``own``."""
    return endorse.choose([*((name, PARTS[name]) for name in own), *((kind, data) for data in others)])[kind]


def test_of_peks_the_signed_one_counts_with_nothing_but_a_cek_beside_it() -> None:
    assert chosen("pek", PARTS["pek"], UNSIGNED) == PARTS["pek"]
    assert chosen("pek", UNSIGNED, UNSIGNED) == UNSIGNED


def test_of_certificates_of_one_kind_eight_are_looked_at() -> None:
    assert chosen("pek", *[UNSIGNED] * 7, PARTS["pek"], UNSIGNED) == PARTS["pek"]
    assert chosen("pek", *[UNSIGNED] * 8, PARTS["pek"], UNSIGNED) == UNSIGNED


def test_a_pek_that_a_stranger_signed_is_not_left_aside() -> None:
    """It is refused when it is verified, for a platform is not said to be what another certificate says."""
    stranger = forge._sev("pek", ((0x1004, forge.ec_key("stranger")),))
    for order in ((stranger, PARTS["pek"]), (PARTS["pek"], stranger)):
        assert chosen("pek", *order) == stranger


def test_of_arks_the_one_that_the_ask_names_counts() -> None:
    renamed = PARTS["ark"][:4] + bytes(16) + PARTS["ark"][20:]
    for order in ((renamed, PARTS["ark"]), (PARTS["ark"], renamed)):
        assert chosen("ark", *order, own=("cek", "pek", "ask")) == PARTS["ark"]


def test_without_several_of_a_kind_or_without_a_platform_nothing_is_looked_through() -> None:
    """What cannot be read is told when the whole is put together."""
    assert chosen("pdh", b"junk", own=("cek", "pek")) == b"junk"
    assert chosen("ask", PARTS["ask"], b"junk", own=("ark",)) == b"junk"
    assert chosen("pek", UNSIGNED, b"junk", own=()) == b"junk"


def test_of_ceks_the_one_that_amd_signed_counts_beside_asks_of_other_lines() -> None:
    other = sev.parse(forge.make({"line": "milan"}).evidence).ask.raw
    place = layout.SEV_SIGNED + 20  # inside the signature
    copy = PARTS["cek"][:place] + bytes((PARTS["cek"][place] ^ 1,)) + PARTS["cek"][place + 1 :]
    parts = [(name, PARTS[name]) for name in layout.PARTS[:6]]
    for asks in ([("ask", other), *parts], [*parts, ("ask", other)]):
        assert endorse.choose([("cek", copy), *asks])["cek"] == PARTS["cek"]
        assert endorse.choose([*asks, ("cek", copy)])["cek"] == PARTS["cek"]


def test_of_peks_the_one_that_an_owner_signed_counts_beside_other_owners() -> None:
    slot = 4 + 4 + 512
    first, second = layout.SEV_SIGNED, layout.SEV_SIGNED + slot
    usages = [int.from_bytes(PARTS["pek"][place : place + 4], "little") for place in (first, second)]
    place = (first, second)[usages.index(0x1001)]
    free = layout.NO_USAGE.to_bytes(4, "little") + bytes(slot - 4)
    unowned = PARTS["pek"][:place] + free + PARTS["pek"][place + slot :]
    stranger = sev.parse(forge.make({"large": True}).evidence).oca.raw
    parts = [(name, PARTS[name]) for name in layout.PARTS[:6]]
    assert endorse.choose([("pek", unowned), ("oca", stranger), *parts])["pek"] == PARTS["pek"]
