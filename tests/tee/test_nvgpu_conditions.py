"""NVIDIA: for single conditions of the verifier, the smallest evidence that tells whether they stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from cryptography import x509 as pyca
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from fastness.claims.finding import Finding, Outcome
from fastness.claims.genuine import vouch
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import nvgpu as forge
from fastness.forge import nvgpu_vendor as vendor
from fastness.forge.model import Forged
from fastness.pki import chain, ocsp
from fastness.tee import Document, nvgpu
from fastness.tee.nvgpu import composite, layout, rim
from fastness.wire import x509

endorse = import_module("fastness.tee.nvgpu.endorse")
compare = import_module("fastness.tee.nvgpu.compare")
revocation = import_module("fastness.tee.nvgpu.revocation")
AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
START, END = AT - timedelta(days=30), AT + timedelta(days=30)


def run(forged: Forged) -> dict[str, Finding]:
    genuine = nvgpu.verify(nvgpu.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    return {item.check: item for item in genuine.findings}


def refused(forged: Forged) -> str:
    with pytest.raises((NotGenuine, MissingCollateral)) as error:
        run(forged)
    return str(error.value.check)


def pool(forged: Forged, *certificates: x509.Certificate) -> Forged:
    """``forged`` with these certificates in the place of its own."""
    return replace(forged, collateral=forged.collateral._replace(certificates=certificates))


HONEST, OTHER = forge.make({}), forge.make({})
OWN, STRANGER = HONEST.collateral.certificates, OTHER.collateral.certificates[-1]
SCENE = forge._Scene({}, None, AT, [], [])
SCENE.rim.extend(forge._rim_chain(None, AT))
SCENE.device.extend(forge._device_chain(SCENE))
LEAF, ROM = SCENE.device[:2]


def signed_by(link: Any) -> bytes:
    return forge._report(replace(SCENE, device=[link, *SCENE.device[1:]]))


def reported(link: Any, *beside: x509.Certificate) -> Forged:
    """A report by ``link``, which lies before its issuers, with others in front."""
    certificates = (*beside, *(item.read for item in [link, *SCENE.device[1:]]))
    return Forged("nvgpu", signed_by(link), HONEST.collateral._replace(certificates=certificates, documents=()),
                  forge._anchors(SCENE), AT)  # fmt: skip


def leaf(**changed: Any) -> Any:
    """A leaf of the device in the scene."""
    options = {"ca": False, "extra": [forge._fwid_extension(SCENE)], **changed}
    return vendor.issue("GH100 A01 GSP FMC LF", ROM, START, END, **options)


def test_of_64_leaves_each_is_tried_and_no_more() -> None:
    alike = [STRANGER._replace(raw=STRANGER.raw + bytes(count)) for count in range(64)]
    assert endorse.has_fwid(STRANGER)
    assert run(pool(HONEST, *alike[:63], *OWN))
    assert refused(pool(HONEST, *alike, *OWN)) == "nvgpu.signature"


def test_leaves_that_a_device_made_come_first() -> None:
    plain = vendor.issue("somebody's", None, START, END, ca=False).read
    assert run(pool(HONEST, *(plain._replace(raw=plain.raw + bytes(count)) for count in range(64)), *OWN))


def test_a_ca_signs_no_report() -> None:
    assert run(reported(LEAF))
    assert refused(reported(ROM, LEAF.read)) == "nvgpu.signature"


def test_a_key_on_another_curve_signs_no_report() -> None:
    assert refused(reported(leaf(curve=ec.SECP256R1()))) == "nvgpu.signature"


def test_certificates_of_others_are_not_the_devices() -> None:
    assert refused(pool(HONEST, vendor.issue("somebody's", None, START, END, ca=False).read)) == "nvgpu.chain"
    assert refused(pool(HONEST, STRANGER)) == "nvgpu.signature"


def test_a_leaf_says_what_its_key_is_for() -> None:
    made = LEAF.read
    silent = made._replace(extensions=tuple(item for item in made.extensions if item.oid != x509.KEY_USAGE))
    assert silent.key_usage is None
    assert refused(pool(reported(LEAF), silent, *(item.read for item in SCENE.device[1:]))) == "nvgpu.leaf"


def test_a_digest_of_firmware_may_have_zeros_and_not_be_zero() -> None:
    assert run(forge.make({"fwid": "00" + "ab" * 47}))
    assert refused(forge.make({"fwid": "00" * 48})) == "nvgpu.fwid"


SHA384, SHA256 = bytes.fromhex("0609608648016503040202"), bytes.fromhex("0609608648016503040201")


@pytest.mark.parametrize(
    ("inner", "told"),
    [
        (SHA384 + b"\x04\x30" + b"\xab" * 48, True), (SHA256 + b"\x04\x30" + b"\xab" * 48, False),
        (SHA384 + b"\x04\x30" + b"\xab" * 48 + b"\x05\x00", False), (SHA384 + b"\x04\x2f" + b"\xab" * 47, False),
        (SHA384 + b"\x03\x30" + b"\xab" * 48, False),
    ],
)  # fmt: skip
def test_a_digest_of_firmware_is_sha384(inner: bytes, told: bool) -> None:
    digest = b"\x30" + bytes((len(inner),)) + inner
    listed = b"\xa6" + bytes((len(digest),)) + digest
    certificate = leaf(extra=[(layout.TCB_INFO, b"\x30" + bytes((len(listed),)) + listed)]).read
    if told:
        assert endorse.fwids(certificate) == (b"\xab" * 48,)
    else:
        with pytest.raises(MalformedEvidence):
            endorse.fwids(certificate)


def test_opaque_data_of_unknown_types_is_told() -> None:
    assert "nvgpu.unknown-fields" not in run(HONEST)
    assert run(forge.make({"opaque": {999: "00"}}))["nvgpu.unknown-fields"].actual.endswith(": 999")


# manifests

TAGS = SCENE.measurements
VERSION = SCENE.driver
DRIVER, VBIOS = forge._manifests(SCENE)


def manifest(version: str = VERSION, product: str = "GH100", wrong: bool = False) -> bytes:
    """A manifest signed by the scene's signer; with ``wrong``, of values that the device has not."""
    allowed = {index: (bytes(48) if wrong else TAGS[index],) for index in forge._DRIVER_OWN}
    allowed[layout.NVDEC0_INDEX] = (bytes(48),)
    return vendor.manifest(version, product, allowed, forge.COUNT, SCENE.rim)


def judged(*manifests: bytes) -> list[tuple[str, Outcome]]:
    """What is found with these manifests."""
    forged = reported(LEAF)
    documents = tuple(Document("rim", item) for item in manifests)
    forged = replace(forged, collateral=forged.collateral._replace(documents=documents))
    genuine = nvgpu.verify(nvgpu.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    return [(item.check, item.outcome) for item in genuine.findings if item.check != "nvgpu.revocation"]


GOOD = [("nvgpu.rim", Outcome.HELD), ("nvgpu.measurements", Outcome.HELD)]


def test_of_manifests_64_are_read() -> None:
    other = manifest("99.0")
    assert judged(DRIVER, VBIOS) == GOOD
    assert judged(*[other] * 62, DRIVER, VBIOS) == GOOD
    assert ("nvgpu.rim", Outcome.UNKNOWN) in judged(*[other] * 63, DRIVER, VBIOS)


def test_manifests_of_others_are_passed_over() -> None:
    assert judged(b"{}", b"<SomethingElse/>", DRIVER, VBIOS) == GOOD


def test_manifests_of_nvidias_that_are_not_needed_may_be_unreadable() -> None:
    odd = b"<SoftwareIdentity>NVIDIA</SoftwareIdentity>"
    assert judged(odd, DRIVER, VBIOS) == GOOD
    with pytest.raises(NotGenuine, match="cannot be read"):
        judged(odd, VBIOS)
    assert judged(*[b"NVIDIA writes to you"] * 64, DRIVER, VBIOS) == GOOD
    with pytest.raises(NotGenuine, match="cannot be read"):
        judged(*[odd] * 64, DRIVER, VBIOS)


def test_of_manifests_of_one_version_four_are_tried_and_the_fitting_one_counts() -> None:
    wrong = [vendor.manifest(VERSION, "GH100", {index: (bytes((number,)) * 48,) for index in forge._DRIVER_OWN},
                             forge.COUNT, SCENE.rim) for number in range(1, 5)]  # fmt: skip
    assert judged(*wrong[:3], DRIVER, VBIOS) == GOOD
    assert judged(DRIVER, *wrong[:3], VBIOS) == GOOD
    assert ("nvgpu.measurements", Outcome.FAILED) in judged(*wrong, DRIVER, VBIOS)


def test_a_manifest_need_not_spell_the_chip_alike() -> None:
    assert judged(manifest(product="Hopper"), VBIOS) == GOOD
    assert judged(manifest(product="Hopper", wrong=True), manifest(product="GH-100"), VBIOS) == GOOD


def test_what_fails_is_not_said_to_hold() -> None:
    assert judged(manifest(wrong=True), VBIOS) == [
        ("nvgpu.rim", Outcome.HELD), ("nvgpu.measurements", Outcome.FAILED)
    ]  # fmt: skip


def test_a_report_without_a_version_fits_no_manifest() -> None:
    evidence = nvgpu.parse(signed_by(LEAF))
    opaque = {kind: value for kind, value in evidence.opaque.items() if kind not in (layout.DRIVER, layout.VBIOS)}
    silent = replace(evidence, opaque=opaque)
    for manifests, seen in (((DRIVER, VBIOS), f"manifests of {VERSION}, {SCENE.vbios}"), ((), "manifests of none")):
        documents = [Document("rim", item) for item in manifests]
        found = compare.compare(silent, "GH100", documents, forge._anchors(SCENE), AT)
        assert [(item.check, item.outcome, item.actual) for item in found.findings[:1]] == [
            ("nvgpu.rim", Outcome.UNKNOWN, seen)
        ]
        assert found.findings[0].expected == "manifests of a version; the report states none"
        assert found.compared is None


def test_long_lists_of_measurements_are_cut() -> None:
    assert compare._listed(range(8)) == "m00, m01, m02, m03, m04, m05, m06, m07"
    assert compare._listed(range(9)) == "m00, m01, m02, m03, m04, m05, m06, m07 …"


@pytest.mark.parametrize(
    ("old", "new", "read"),
    [
        (b'"0"', b'"00"', True), (b'index="20"', b'index="0020"', True), (b'index="20"', b'index="00020"', False),
        (b'index="63"', b'index="253"', True), (b'index="63"', b'index="254"', False),
        (b'index="20"', 'index="２０"'.encode(), False),
        (b'alternatives="1"', b'alternatives="0"', False), (b'size="48"', b'size="47"', False),
        (VERSION.encode(), b"9" * 64, True), (VERSION.encode(), b"9" * 65, False),
    ],
)  # fmt: skip
def test_manifests_are_read_strictly(old: bytes, new: bytes, read: bool) -> None:
    data = manifest()
    assert old in data
    if read:
        assert rim.read(data.replace(old, new))
    else:
        with pytest.raises(MalformedEvidence):
            rim.read(data.replace(old, new))


def test_a_measurement_has_its_digests_and_no_others() -> None:
    one = f'h:Hash0="{TAGS[20].hex()}"'.encode()
    short = one + f' h:Hash1="{"ab" * 47}"'.encode()
    for digests, count in ((b"", b"0"), (short, b"2")):
        whole = manifest()
        start = whole.index(b'index="20"')
        rest = whole[start:].replace(b'alternatives="1"', b'alternatives="' + count + b'"', 1).replace(one, digests, 1)
        with pytest.raises(MalformedEvidence):
            rim.read(whole[:start] + rest)


@pytest.mark.parametrize(("count", "read"), [(64, True), (65, False)])
def test_a_measurement_has_up_to_64_digests(count: int, read: bool) -> None:
    data = vendor.manifest(VERSION, "GH100", {0: [bytes((number,)) * 48 for number in range(count)]}, 1, SCENE.rim)
    if read:
        assert len(rim.read(data).allowed[0]) == count
    else:
        with pytest.raises(MalformedEvidence):
            rim.read(data)


def test_the_signer_of_manifests_says_what_its_key_is_for() -> None:
    found = rim.read(DRIVER)
    signer, *issuers = found.signed.certificates
    silent = signer._replace(extensions=tuple(item for item in signer.extensions if item.oid != x509.KEY_USAGE))
    anchors = forge._anchors(SCENE)
    assert not isinstance(rim.authenticate(found, anchors, AT), str)
    with pytest.raises(NotGenuine) as error:
        rim.authenticate(replace(found, signed=replace(found.signed, certificates=(silent, *issuers))), anchors, AT)
    assert error.value.check == "nvgpu.rim-chain"


# revocation


def lists(*pairs: Any) -> tuple[x509.Crl, ...]:
    """A list of each issuer, naming nobody."""
    made = [
        pyca.CertificateRevocationListBuilder(link.certificate.subject, START, END).sign(link.key, hashes.SHA384())
        for link in pairs
    ]
    return tuple(x509.crl(item.public_bytes(Encoding.DER)) for item in made)


def asked(forged: Forged, **collateral: Any) -> Outcome:
    given = replace(forged, collateral=forged.collateral._replace(**collateral))
    return run(given)["nvgpu.revocation"].outcome


def test_responses_or_lists_will_do() -> None:
    documents = tuple(Document("ocsp", item) for item in forge._responses(SCENE))
    forged = reported(LEAF)
    issuers = lists(*SCENE.device[1:])
    assert asked(forged) is Outcome.UNKNOWN
    assert asked(forged, documents=documents) is Outcome.HELD
    assert asked(forged, crls=issuers) is Outcome.HELD
    assert asked(forged, crls=issuers[2:]) is Outcome.UNKNOWN
    assert asked(forged, documents=documents[1:]) is Outcome.UNKNOWN


def test_of_responses_1024_are_read() -> None:
    documents = tuple(Document("ocsp", item) for item in forge._responses(SCENE))
    junk, forged = Document("ocsp", b"later"), reported(LEAF)
    count = 1024 - 3  # of the device: everything between its own leaf and the root
    assert asked(forged, documents=(*[junk] * count, *documents)) is Outcome.HELD
    assert asked(forged, documents=(*[junk] * (count + 1), *documents)) is Outcome.UNKNOWN


def test_where_nothing_was_asked_nothing_held() -> None:
    leaf_, root = LEAF.read, SCENE.device[-1].read
    anchor = forge._anchors(SCENE).items[0]
    found = revocation.look_up([chain.Chain((leaf_, root), anchor)], HONEST.collateral._replace(documents=()), AT)
    assert found.outcome is Outcome.UNKNOWN


def test_a_responder_whose_key_cannot_be_used_is_refused() -> None:
    issuer, subject = SCENE.device[2], SCENE.device[1]
    named = pyca.Name([pyca.NameAttribute(pyca.NameOID.COMMON_NAME, "OCSP Responder")])
    made = pyca.CertificateBuilder(
        issuer.certificate.subject, named, x25519.X25519PrivateKey.generate().public_key(), 9, START, END
    ).add_extension(pyca.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
    odd = x509.certificate(made.sign(issuer.key, hashes.SHA384()).public_bytes(Encoding.DER))
    good = ocsp.read(vendor.response(subject, issuer, AT, responder=forge._responder(issuer, AT)))
    assert revocation._ask(subject.read, issuer.read, (good,), (), AT) == ""
    with pytest.raises(NotGenuine, match="unusable") as error:
        revocation._ask(subject.read, issuer.read, (replace(good, certificates=(odd,)),), (), AT)
    assert error.value.check == "nvgpu.revocation"


@dataclass(frozen=True)
class Cpu:
    """Stands for a CPU's verified evidence."""

    report_data: Any


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        (b"\x5a" * 64, True), (b"\x5a" * 32 + bytes(32), True), (b"\x5a" * 32, False), (b"\x5a" * 65, False),
        (bytes(64), False), ([b"\x5a"] * 64, False), ("Z" * 64, False), (None, False),
    ],
)  # fmt: skip
def test_what_a_cpu_is_over(value: Any, bound: bool) -> None:
    """The nonce of the report, in the 64 bytes that every CPU has."""
    evidence = nvgpu.parse(HONEST.evidence)
    assert evidence.nonce == b"\x5a" * 32
    cpu = vouch(Cpu(value), anchors=(), at=AT)
    rests, findings = composite.binding(evidence, (cpu,))
    assert rests == ((cpu,) if bound else ())
    assert [item.outcome for item in findings] == [Outcome.HELD if bound else Outcome.UNKNOWN]


def test_two_manifests_that_ask_for_one_security_version_are_refused() -> None:
    """Which of them would count?"""
    forged = forge.make({"svns": {"37": 9}, "floors": {"37": 5}})
    manifest = next(
        item for item in map(rim.read, (part.data for part in forged.collateral.of("rim"))) if item.floors == {37: 5}
    )
    asked = [(manifest, None), (replace(manifest, floors={40: 0, 37: 5}), None)]
    twice, low = compare._late(nvgpu.parse(forged.evidence), asked)
    assert (twice.check, twice.outcome) == ("nvgpu.rim-index", Outcome.FAILED)
    assert low.check == "nvgpu.measurements"
    assert compare._late(nvgpu.parse(forged.evidence), asked[:1]) == []
