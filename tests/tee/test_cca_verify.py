"""CCA: every check catches what it is for; real and reference tokens give what was signed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vectors
from fastness.claims.finding import Outcome, table
from fastness.errors import FastnessError, MalformedEvidence, NotGenuine
from fastness.forge import cca as forge
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchors, from_key, vendor
from fastness.tee import Collateral, cca, load
from fastness.tee.cca import layout, places
from fastness.wire import cbor, cose, pem, x509

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LEGACY, CURRENT = {"profile": "legacy"}, {"profile": "2.0"}


def run(forged: Forged, anchors: Anchors | None = None):
    return cca.verify(cca.parse(forged.evidence), forged.collateral, anchors or forged.anchors, at=forged.at)


def refused(check: str, forged: Forged, anchors: Anchors | None = None) -> NotGenuine:
    with pytest.raises(NotGenuine) as caught:
        run(forged, anchors)
    assert caught.value.check == check
    return caught.value


def bad(data: bytes) -> MalformedEvidence:
    with pytest.raises(MalformedEvidence) as caught:
        cca.parse(data)
    return caught.value


def named(case: vectors.Case) -> Anchors:
    der = pem.unarmour(case.files["cpak_pub"])[0][1]
    return Anchors((from_key("cca", "CPAK", x509.parse_public_key(der)),))


@pytest.mark.parametrize("name", [name for name in vectors.names("cca") if "--" not in name])
def test_reference_tokens_are_genuine_and_say_what_was_signed(name):
    case = vectors.case(name)
    data, facts = case.files["token"], case.facts
    evidence = cca.parse(data)
    assert cca.recognise(data)
    assert cca.unparse(evidence) == data
    claims = cca.claims(cca.verify(evidence, Collateral(), named(case), at=NOW))
    assert claims.report_data == facts["realm_challenge"]
    assert claims.measurements["rim"] == facts["rim"]
    assert [claims.measurements[f"rem{index}"] for index in range(4)] == facts["rem"]
    assert claims.hardware_id == claims.extra["instance_id"] == facts["instance_id"]
    assert claims.extra["implementation_id"] == facts["implementation_id"]
    assert claims.extra["platform_config"] == facts["config"]
    assert claims.extra["profile"] == facts["platform_profile"]
    assert claims.extra.get("realm_profile") == facts.get("realm_profile")
    assert claims.extra["lifecycle"] == {"name": "secured", "number": facts["lifecycle"]}
    assert claims.extra["personalisation"] == facts["personalization"]
    assert claims.debug is False
    assert claims.tree()["cpu"] == {"source": "none"}
    names = {"1": "type", "2": "measurement", "4": "version", "5": "signer", "6": "hash_algorithm"}
    for mine, theirs in zip(claims.extra["sw_components"], facts["sw_components"], strict=True):
        assert mine == {"hash_algorithm": "sha-256"} | {names[key]: value for key, value in theirs.items()}
    for register, value in (("rim", facts["rim"]), *((f"rem{index}", text) for index, text in enumerate(facts["rem"]))):
        span = claims.spans[f"measurements.{register}"]
        assert data[span.offset : span.offset + span.size].hex() == value
    assert len({span.offset for span in claims.spans.values()}) == len(claims.spans)


@pytest.mark.parametrize("name", [name for name in vectors.names("cca") if "--" not in name])
def test_every_claim_is_shown_where_it_stands(name):
    data = vectors.case(name).files["token"]
    evidence = cca.parse(data)
    rows = {row: (data[offset : offset + size], meaning) for row, offset, size, meaning in cca.show(evidence)}
    assert rows["platform.lifecycle"][1] == f"0x{evidence.platform.lifecycle:04x} secured"
    for index, component in enumerate(evidence.platform.components):
        for part, value in component.items():
            shown = rows[f"platform.sw_components[{index}].{part}"][0]
            assert shown == (value.encode() if isinstance(value, str) else value)
    held = [evidence.realm.hash_algorithm.encode(), *evidence.realm.rem]
    assert [rows[row][0] for row in ("realm.hash_algorithm", *(f"realm.rem[{n}]" for n in range(4)))] == held
    assert rows["realm.signature"][0] == evidence.realm_message.signature


def test_device_claims_and_unknown_ones_are_shown():
    forged = forge.make(CURRENT | {"devices": "a1", "realm": {"9": 1}})
    shown = {row[0]: row for row in cca.show(cca.parse(forged.evidence))}
    assert shown["devices"][2] > 0
    assert shown["realm.claim 9"][2:] == (1, "1")
    assert shown["realm.mec_policy"][3] in layout.MEC_POLICIES


@pytest.mark.parametrize("name", [name for name in vectors.names("cca") if "--" in name])
def test_altered_reference_tokens_are_refused(name):
    case = vectors.case(name)
    with pytest.raises(NotGenuine) as caught:
        cca.verify(cca.parse(case.files["token"]), Collateral(), named(case), at=NOW)
    assert caught.value.check == {"signature": "cca.realm-signature", "binding": "cca.binding"}[case.expected["stage"]]


@pytest.mark.parametrize("profile", ["legacy", "1.0", "2.0"])
@pytest.mark.parametrize("shape", ["399", "907", "untagged"])
def test_every_shape_of_every_profile(profile, shape):
    forged = forge.make({"profile": profile, "shape": shape})
    assert cca.recognise(forged.evidence)
    evidence = cca.parse(forged.evidence)
    assert cca.unparse(evidence) == forged.evidence
    assert not evidence.irregular
    genuine = run(forged)
    assert genuine.simulated
    assert genuine.findings == ()
    extra = cca.claims(genuine).extra
    assert ("mec_policy" in extra) == (profile == "2.0")


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_a01_the_key_says_the_algorithm(curve):
    for realm in ("P-256", "P-384", "P-521"):
        assert run(forge.make({"curve": curve, "realm_curve": realm}))
    refused("cca.platform-signature", forge.make({"curve": curve, "lie": "platform-algorithm"}))
    error = forge.make({"realm_curve": curve, "lie": "algorithm"})
    refused("cca.algorithm", error)


@pytest.mark.parametrize(("lie", "check"), forge.LIES.items())
def test_one_lie_one_check(lie, check):
    refused(check, forge.make({"lie": lie, "profile": "2.0"}))
    forged = forge.make({"lie": lie})
    error = refused(check, forged)
    assert error.hint or table()[check].hint
    assert cca.unparse(cca.parse(forged.evidence)) == forged.evidence


def test_a02_binding_uses_the_hash_the_realm_token_names():
    for name in layout.HASHES:
        assert run(forge.make({"hash": name}))
        assert run(forge.make({"hash": name} | LEGACY))
    refused("cca.binding", forge.make({"lie": "binding-hash"}))


def test_a03_anchors():
    forged = forge.make({})
    refused("cca.anchor", forged, vendor())
    refused("cca.platform-signature", forged, forge.make({}).anchors)
    assert run(forged, forge.make({}).anchors + forged.anchors)
    both = "f0" * 32 + "/01" + "fa" * 32
    assert run(forge.make({"for": "F0" * 32}))
    assert run(forge.make({"for": both}))
    refused("cca.implementation", forge.make({"for": both[:-2] + "00"}))


def test_a03_an_anchor_of_a_kind_that_cannot_sign_is_passed_over():
    forged = forge.make({})
    good = forged.anchors.items[0]
    key = good.key
    odd = good._replace(key=x509.PublicKey(x509.Algorithm("1.2.3", b""), key.bits, key.raw))
    assert run(forged, Anchors((odd, good)))
    refused("cca.platform-signature", forged, Anchors((odd,)))
    refused("cca.anchor", forged, Anchors((good._replace(key=None),)))


def test_a04_profiles():
    refused("cca.profile", forge.make({"lie": "profile"}))
    refused("cca.profile", forge.make({"lie": "profile", "realm": {265: None}}))
    refused("cca.profile", forge.make({"lie": "realm-profile"}))
    assert run(forge.make({"profile": "legacy", "realm": {265: "tag:arm.com,2023:realm#1.0.0"}}))
    assert run(forge.make({"profile": "2.0", "realm": {265: None}}))


@pytest.mark.parametrize("label", [265, 10, 2396, 256, 2401, 2395, 2399, 2402])
def test_a04_mandatory_platform_claims(label):
    assert "platform." in bad(forge.make({"platform": {label: None}}).evidence).field


@pytest.mark.parametrize("label", [10, 44235, 44238, 44239, 44236, 44237, 44240])
def test_a04_mandatory_realm_claims(label):
    forged = {"lie": "platform-signature", "realm": {label: 0}}
    if label not in (44237, 44240):
        forged["realm"] = {label: None}
        assert "realm." in bad(forge.make(forged).evidence).field
    body = rebuilt_realm(label, None)
    assert "realm." in bad(body).field


def rebuilt_realm(label, value) -> bytes:
    whole = cbor.decode(forge.make({}).evidence)
    message = cose.parse(whole.value[44241], "realm")
    claims = cbor.decode(message.payload)
    claims.pop(label, None)
    if value is not None:
        claims[label] = value
    whole.value[44241] = message._replace(payload=cbor.encode(claims)).unparse()
    return cbor.encode(whole)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (10, bytes(31)), (2396, bytes(33)), (256, b"\x01" + bytes(31)), (256, b"\x02" + bytes(32)), (2401, "text"),
        (2401, bytes(4097)), (2395, 0x3100), (2395, 0x7000), (2395, -1), (2395, True), (2395, 1 << 40), (2395, [1]),
        (2399, []), (2399, [1]), (2399, [{2: bytes(32)}]), (2399, [{5: bytes(32)}]),
        (2399, [{2: bytes(20), 5: bytes(32)}]),
        (2399, [{1: 1, 2: bytes(32), 5: bytes(32)}]), (2399, [{2: bytes(32), 5: bytes(32), 7: 1}]),
        (2399, [{2: bytes(32), 5: bytes(32), 8: []}]), (2402, "md5"), (2402, 1), (2400, 1), (265, 1), (2394, 2),
    ],
)  # fmt: skip
def test_a04_platform_claims_of_the_wrong_kind_or_size(label, value):
    bad(forge.make({"platform": {label: value}}).evidence)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (10, bytes(32)), (44235, bytes(63)), (44238, bytes(20)), (44239, [bytes(32)] * 3), (44239, [bytes(32)] * 5),
        (44239, [bytes(31)] * 4), (44236, "sha-1"), (44240, "sha-1"), (44240, [1]), (44237, b""), (44237, bytes(97)),
        (44237, cbor.encode({1: 1, -1: 6, -2: bytes(32)})), (44237, cbor.encode({1: 2, -1: [2], -2: b"", -3: b""})),
        (44237, cbor.encode({1: 2, -1: 2, -2: bytes(32), -3: bytes(48)})),
        (44237, cbor.encode({1: 2, -1: 2, -2: bytes(48), -3: True})),
        (44237, cbor.encode({1: 2, -1: 2, -2: bytes(48), -3: bytes(48), -4: bytes(48)})),
        (44237, cbor.encode({1: 2, 3: -7, -1: 2, -2: bytes(48), -3: bytes(48)})),
        (265, 3), (256, bytes(33)), (44243, 2), (44243, True), (44244, 2), (44257, bytes(5)),
    ],
)  # fmt: skip
def test_a04_realm_claims_of_the_wrong_kind_or_size(label, value):
    assert bad(rebuilt_realm(label, value)).offset


def test_a04_what_only_profile_2_demands():
    bad(forge.make({"profile": "2.0", "platform": {2394: None}}).evidence)
    bad(forge.make({"profile": "2.0", "realm": {256: None}}).evidence)
    bad(forge.make({"profile": "2.0", "realm": {44243: None}}).evidence)


@pytest.mark.parametrize(
    ("value", "said"), [(0, "shared"), (1, "private"), ("shared", "shared"), ("private", "private")]
)
def test_memory_encryption_policy_as_number_and_as_word(value, said):
    forged = forge.make(CURRENT | {"realm": {str(layout.MEC_POLICY): value}})
    assert cca.claims(run(forged)).extra["mec_policy"] == said
    for wrong in ("Private", "", 2, True):
        error = bad(forge.make(CURRENT | {"realm": {str(layout.MEC_POLICY): wrong}}).evidence)
        assert error.field == "realm.mec_policy"


@pytest.mark.parametrize("number", [0x0000, 0x10FF, 0x2001, 0x3000, 0x30FF, 0x4000, 0x5000, 0x60FF])
def test_a05_b15_lifecycle_is_a_claim(number):
    genuine = run(forge.make({"lifecycle": number}))
    claims = cca.claims(genuine)
    secured = number >> 8 == 0x30
    assert claims.debug is (not secured)
    assert claims.extra["lifecycle"]["number"] == number
    assert [(item.check, item.outcome) for item in genuine.findings] == (
        [] if secured else [("cca.lifecycle", Outcome.NOTE)]
    )


def test_a06_a08_a09_a10_what_a_policy_needs_is_in_the_claims():
    spec = {"challenge": "11" * 64, "rim": "22" * 32, "personalisation": "33" * 64, "config": "44"}
    tree = cca.claims(run(forge.make(spec))).tree()
    assert tree["report_data"] == "11" * 64
    assert tree["measurements"]["rim"] == "22" * 32
    assert tree["cca"]["personalisation"] == "33" * 64
    assert tree["cca"]["platform_config"] == "44"
    assert tree["cca"]["implementation_id"] == "f0" * 32
    assert "generation" not in tree["cpu"] and "vendor" not in tree["cpu"]


def test_a07_software_components():
    first, second = cca.claims(run(forge.make({}))).extra["sw_components"]
    assert (first["type"], first["version"], first["hash_algorithm"]) == ("RMM", "1.0.0", "sha-256")
    assert second == {"measurement": "00" * 32, "signer": "00" * 32, "hash_algorithm": "sha-384"}
    more = [{2: bytes(48), 5: bytes(64), 7: True, 8: [bytes(32)], 99: 1}]
    genuine = run(forge.make({"platform": {2399: more}}))
    assert cca.claims(genuine).extra["sw_components"][0]["countersigners"] == ["00" * 32]
    assert genuine.findings[0].check == "cca.unknown-claims"


def test_devices():
    assert cca.claims(run(forge.make({"devices": "a0"}))).extra["devices_hash"]
    for lie in ("devices", "devices-added", "devices-removed"):
        refused("cca.devices", forge.make({"lie": lie}))
    nothing = hashlib.sha256().digest()
    refused("cca.devices", forge.make({"realm": {str(layout.DEVICES_HASH): nothing}}))


def test_unknown_claims_are_told():
    genuine = run(forge.make({"platform": {70000: 1}, "realm": {70001: b""}}))
    assert [(item.check, item.outcome) for item in genuine.findings] == [("cca.unknown-claims", Outcome.NOTE)]
    assert cca.claims(genuine).extra["unknown_claims"] == ["70000", "70001"]


def test_shapes_that_are_none():
    forged = forge.make({})
    whole = cbor.decode(forged.evidence)
    parts = whole.value
    record = {label: [263, data] for label, data in parts.items()}
    wrong = [
        cbor.Tag(400, parts), cbor.Tag(399, record), cbor.Tag(907, parts), [parts], {44234: parts[44234]},
        parts | {1: b""}, parts | {"__cmwc_t": 1}, record | {44234: [264, parts[44234]]},
        record | {44234: [[], parts[44234]]}, record | {44234: [263, 1]}, record | {44234: [263]},
        parts | {44258: 1}, parts | {44234: cbor.encode(cbor.decode(parts[44234]).value)}, parts | {44234: b"\x00"},
    ]  # fmt: skip
    for value in wrong:
        bad(cbor.encode(value))
    bad(forged.evidence + b"\x00")
    bad(bytes(70_000))
    typed = {label: ['application/eat+cwt; profile="x"', data] for label, data in parts.items()} | {"__cmwc_t": "tag:x"}
    data = cbor.encode(cbor.Tag(907, typed))
    assert run(replace(forged, evidence=data))
    odd = b"\xd9\x01\x8f\xbf" + cbor.encode(parts)[1:] + b"\xff"
    assert cca.unparse(cca.parse(odd)) == odd


@pytest.mark.parametrize("algorithm", [None, -8, 5, "ES384", [1], True, -35.0])
def test_algorithms_that_are_none(algorithm):
    whole = cbor.decode(forge.make({}).evidence)
    message = cose.parse(whole.value[44234], "platform")
    whole.value[44234] = message._replace(protected=cbor.encode({1: algorithm})).unparse()
    bad(cbor.encode(whole))
    short = message._replace(signature=message.signature[:-1]).unparse()
    bad(cbor.encode(cbor.Tag(399, whole.value | {44234: short})))


@pytest.mark.parametrize("spec", [LEGACY, {}, CURRENT])
def test_truncated_at_every_byte(spec):
    data = forge.make(spec).evidence
    for size in range(len(data)):
        bad(data[:size])


def test_b21_single_byte_changes_never_pass_and_never_fail_otherwise():
    chance = random.Random(12)
    forged = forge.make({})
    for offset in [*range(60), *chance.sample(range(60, len(forged.evidence)), 500)]:
        changed = bytearray(forged.evidence)
        changed[offset] ^= 1 << chance.randrange(8)
        with pytest.raises(FastnessError):
            evidence = cca.parse(bytes(changed))
            assert cca.unparse(evidence) == changed
            cca.verify(evidence, Collateral(), forged.anchors, at=forged.at)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_raise_our_own_error(data):
    cca.recognise(data)
    bad(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.binary(max_size=99) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-4, 8), inner, max_size=3),
    max_leaves=6,
)
BASE = forge.make(CURRENT).evidence
LABELS = [10, 256, 265, 2394, 2395, 2396, 2399, 2401, 44235, 44236, 44237, 44238, 44239, 44240, 44243, 44257]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([44234, 44241]), st.dictionaries(st.sampled_from(LABELS), VALUES, min_size=1, max_size=3))
def test_any_values_in_any_claim_parse_or_raise_our_own_error(which, changes):
    whole = cbor.decode(BASE)
    message = cose.parse(whole.value[which][1], "token")
    body = cbor.decode(message.payload) | changes
    whole.value[which] = [263, message._replace(payload=cbor.encode(body)).unparse()]
    data = cbor.encode(whole)
    try:
        assert cca.unparse(cca.parse(data)) == data
    except MalformedEvidence as error:
        assert error.field


def test_checks_table_and_code_name_the_same_checks():
    rows = {name for name in table() if name.startswith("cca.")}
    assert rows == set(forge.LIES.values()) | {"cca.lifecycle", "cca.unknown-claims"}


def test_the_contract():
    assert load("cca").NAME == "cca"
    evidence = cca.parse(forge.make({}).evidence)
    assert cca.embedded(evidence) == ()
    assert cca.enclosed(evidence) == Collateral()
    names = [row[0] for row in cca.show(evidence)]
    assert names.index("platform.signature") < names.index("realm.signature")
    assert len(names) == len(set(names)) == 27


@given(st.dictionaries(st.integers(0, 300), st.binary(max_size=40), max_size=9), st.lists(st.text(max_size=9)))
def test_members_say_where_they_stand(table, row):
    for value in (table, row):
        data = b"\0\0" + cbor.encode(value)
        found = list(places.members(data, 2))
        assert [(key, item) for key, item, _, _ in found] == (
            sorted(table.items()) if value is table else list(enumerate(row))
        )
        assert all(cbor.decode(data[start:end]) == item for _, item, start, end in found)


def test_members_of_indefinite_length_of_nothing_and_cut():
    assert [item[:2] for item in places.members(bytes.fromhex("bf0102ff"))] == [(1, 2)]
    assert [item[:2] for item in places.members(bytes.fromhex("9f0102ff"))] == [(0, 1), (1, 2)]
    assert list(places.members(b"\x01")) == list(places.members(b"")) == list(places.members(b"\xa0")) == []
    for data in ("a201", "bf01", "9801", "8201"):
        with pytest.raises(MalformedEvidence):
            list(places.members(bytes.fromhex(data)))
    assert len(list(places.members(cbor.encode([0] * 5000)))) == places.MAX_MEMBERS
