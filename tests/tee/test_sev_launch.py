"""A SEV launch from the tenant's first key to the guest's secret: every step, and each lie a host can tell on the way.

The known answers are those of virtee/sev's own tests (its session and key modules), and of a real platform.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

import firmware as made_firmware
import vectors
from fastness import verify as ask
from fastness.collateral import anchors_file
from fastness.collateral.gather import gather
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine, UsageError
from fastness.forge import sev as forge
from fastness.forge.sev_firmware import Firmware, Refused
from fastness.image.measure import Parts, ovmf, vmsa
from fastness.image.measure import sev as measure
from fastness.pki import anchors as pins
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, sev
from fastness.tee.sev import launch, secret, session
from fastness.tee.sev.evidence import sev_certificate, split
from fastness.wire import injected

ES = 0x7
PARTS = Parts(b"a kernel", b"an initramfs", "quiet")
OVMF = ovmf.read(made_firmware.make())
DIGEST = measure.launch_digest(OVMF, PARTS, vcpus=2, cpu=vmsa.processor("EPYC-Milan"))
SECRETS = {injected.KEEP: b"k" * 32}


def platform(**spec: Any) -> Any:
    forged = forge.make(spec)
    return sev.verify(sev.parse(forged.evidence), Collateral(), forged.anchors, at=forged.at)


PLATFORM = platform()
FIRMWARE = Firmware(forge.ec_key("pdh"))


def load(guest: Any) -> None:
    """What QEMU gives a SEV-ES guest: firmware, table of hashes, save areas."""
    FIRMWARE.update(guest, OVMF.data)
    FIRMWARE.update(guest, measure.hashes(PARTS))
    for page in vmsa.pages(2, OVMF.reset, vmsa.processor("EPYC-Milan"), 0):
        FIRMWARE.update(guest, page)


def launched(policy: int = ES) -> tuple[session.Session, Any, launch.Record, launch.Measurement]:
    started = session.start(PLATFORM, policy)
    guest = FIRMWARE.start(started.godh, started.blob, policy)
    load(guest)
    told = launch.encode(FIRMWARE.api, FIRMWARE.build, policy, FIRMWARE.measure(guest))
    pdh = hashlib.sha256(started.pdh).digest()
    record = launch.Record(pdh, policy, started.keys.tek, started.keys.tik, (bytes(32), DIGEST))
    return started, guest, record, launch.measurement(told)


# known answers


def test_key_derivation_is_that_of_other_implementations() -> None:
    assert session.kdf(bytes(16), b"sev-master-secret", bytes(16)).hex() == "ab4d269fcc62bedb4511d56c386ce706"


def test_sessions_are_those_of_other_implementations() -> None:
    zero = session.TransportKeys(bytes(16), bytes(16))
    blob = session.wrap(bytes(16), zero, 0, nonce=bytes(16), iv=bytes(16))
    assert blob[:16] == blob[48:64] == bytes(16)
    assert blob[16:48].hex() == "2137bc7f9bb8bd7c3e55a576a15d3454b3856b8ba27afadf46dcfee9f02c02c4"
    assert blob[64:96].hex() == "3176c0752738bd9d5e8668953402" + "0f528c088f16238826b000b327dee6aeed7d"
    assert blob[96:].hex() == "aa7855e13839dd767cd5da7c1ff503654" + "0c9264b7a803029315e55375287b4af"


def test_measurements_are_those_of_a_real_platform() -> None:
    tik = bytes.fromhex("66320db73158a35a255d051758e95ed4")
    mnonce = bytes.fromhex("4fbe0bedbad6c86ae8f68971d103e554")
    found = launch.hmac_of(tik, (0, 0x12), 0x0F, 0, hashlib.sha256().digest(), mnonce)
    assert found.hex() == "6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea"


def test_a_session_opens_for_a_real_pdh() -> None:
    """Keys are made for the PDH of a real Naples platform: a P-384 key in its own certificate."""
    files = vectors.case("sev/naples-chain").files
    whole = sev.assemble(files)
    assert whole is not None
    genuine = sev.verify(sev.parse(whole), Collateral(), pins.vendor(), at=forge.AT)
    made = session.start(genuine, ES)
    assert made.pdh == files["pdh"]
    assert len(made.blob) == session.SESSION_SIZE
    assert sev_certificate(made.godh, "pdh").algorithm == 3


# the whole flow


def test_launch_measure_inject() -> None:
    _, guest, record, measured = launched()
    assert guest.digest == DIGEST
    assert launch.find(record, measured) == DIGEST
    header, data = secret.packet(record, measured, SECRETS)
    assert len(header) == secret.HEADER_SIZE
    assert b"k" * 32 not in data
    found = FIRMWARE.secret(guest, header, data)
    assert injected.entries(found) == SECRETS
    FIRMWARE.finish(guest)
    with pytest.raises(Refused):
        FIRMWARE.secret(guest, header, data)


def test_the_flow_as_evidence_and_anchor(tmp_path: Path) -> None:
    """What lies in files: the chain, the host's document, and as an anchor the tenant's record."""
    forged = forge.make({"launch": {}})
    evidence = sev.parse(forged.evidence)
    for name in ("ark", "ask", "cek", "pek", "oca", "pdh"):
        (tmp_path / name).write_bytes(getattr(evidence, name).raw)
    assert evidence.launch is not None
    (tmp_path / "measured.json").write_bytes(evidence.launch.raw)
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "launch.json").write_bytes(forged.anchors.items[1].secret)
    roots = Anchors(forged.anchors.items[:1])
    paths = [str(item) for item in tmp_path.iterdir() if item.is_file()]
    result = ask(*paths, at=forged.at, anchors=roots + anchors_file.load([str(keys / "launch.json")]))
    assert result.genuine is True
    told = result.to_json()
    assert told["claims"]["measurements"]["launch"] == hashlib.sha256(b"a firmware and what it loads").hexdigest()
    assert told["claims"]["sev"]["speaks_of"] == "guest"
    assert told["claims"]["sev"]["firmware"] == {"api_major": 0, "api_minor": 24, "build": 15}
    assert told["claims"]["debug"] is False
    assert "launch keys in launch.json" in json.dumps(told["anchors"])
    record = launch.record(forged.anchors.items[1].secret)
    for value in (record.tik, record.tek):
        assert value.hex() not in json.dumps(told)
        assert value.hex() not in repr(roots + anchors_file.load([str(keys / "launch.json")]))
        assert value.hex() not in repr(record)


def test_a_secret_is_not_shown_however_it_is_asked() -> None:
    held = pins.Secret(b"\xfe\xedthe keys of a launch")
    anchor = pins.Anchor("sev", "launch keys", "00" * 32, secret=held)
    for text in (repr(held), str(held), f"{held}", f"{held!s} {held!r}", repr(anchor), repr(Anchors((anchor,)))):
        assert "keys of a" not in text
        assert "secret bytes" in text
    assert bytes(held) == b"\xfe\xedthe keys of a launch"


def test_documents_are_known_whatever_the_order_of_their_fields(tmp_path: Path) -> None:
    forged = forge.make({"launch": {}})
    evidence = sev.parse(forged.evidence)
    assert evidence.launch is not None
    for name in ("ark", "ask", "cek", "pek", "oca", "pdh"):
        (tmp_path / name).write_bytes(getattr(evidence, name).raw)
    body = json.loads(evidence.launch.raw)
    (tmp_path / "measured").write_text(json.dumps(dict(reversed(body.items()))))
    keys = tmp_path.parent / f"{tmp_path.name}-keys"
    keys.write_text(json.dumps(dict(reversed(json.loads(forged.anchors.items[1].secret).items()))))
    anchors = Anchors(forged.anchors.items[:1]) + anchors_file.load([str(keys)])
    assert ask(str(tmp_path), at=forged.at, anchors=anchors).genuine is True


def test_keys_among_the_evidence_count_for_nothing(tmp_path: Path) -> None:
    """A host can write such a record itself: only the tenant, by --anchors, says that it is its own."""
    forged = forge.make({"launch": {}})
    (tmp_path / "evidence").write_bytes(forged.evidence)
    (tmp_path / "launch.json").write_bytes(forged.anchors.items[1].secret)
    result = ask(str(tmp_path), at=forged.at, anchors=Anchors(forged.anchors.items[:1]))
    assert result.genuine is None
    assert result.error is not None
    assert getattr(result.error, "check", "") == "sev.launch-keys"
    assert [item.why for item in result.ignored if "--anchors" in item.why]
    assert gather([str(tmp_path)]).collateral.documents == ()


def test_a_launch_needs_the_pdh_and_the_tenants_keys() -> None:
    forged = forge.make({"launch": {}})
    for given_ in (
        replace(forged, anchors=Anchors(forged.anchors.items[:1])),
        forge.make({"launch": {}, "without": "pdh"}),
    ):
        with pytest.raises(MissingCollateral) as error:
            sev.verify(sev.parse(given_.evidence), Collateral(), given_.anchors, at=given_.at)
        assert error.value.check == "sev.launch-keys"
        assert error.value.hint


def test_report_and_launch_of_one_guest_go_together() -> None:
    digest = hashlib.sha256(b"a firmware and what it loads").hexdigest()
    genuine = platform(launch={}, guest={"policy": 0x7, "launch_digest": digest})
    assert sev.claims(genuine).measurements == {"launch": digest}
    with pytest.raises(NotGenuine):
        platform(launch={}, guest={"policy": 0x6, "launch_digest": digest})


# lies of a host


def test_a_host_cannot_swap_keys_policy_or_session() -> None:
    started = session.start(PLATFORM, ES)
    other = session.start(PLATFORM, ES)
    for godh, blob, policy in (
        (started.godh, started.blob, 0),
        (started.godh, started.blob, 0x5),
        (other.godh, started.blob, ES),
        (started.godh, other.blob, ES),
        (started.godh, started.blob[:-1], ES),
        (started.godh[:-1], started.blob, ES),
        *((started.godh, started.blob[:at] + bytes((started.blob[at] ^ 1,)) + started.blob[at + 1 :], ES)
          for at in range(0, 128, 5)),
    ):  # fmt: skip
        with pytest.raises(Refused):
            FIRMWARE.start(godh, blob, policy)


def test_an_older_firmware_than_the_policy_asks_for() -> None:
    policy = ES | 0x19 << 24
    started = session.start(PLATFORM, policy)
    with pytest.raises(Refused, match="POLICY_FAILURE"):
        FIRMWARE.start(started.godh, started.blob, policy)
    assert replace(FIRMWARE, api=(0, 0x19)).start(started.godh, started.blob, policy).policy == policy
    forged = forge.make({"lie": "launch-firmware"})
    record, measured = launch.record(forged.anchors.items[1].secret), sev.parse(forged.evidence).launch
    assert measured is not None
    assert launch.find(record, measured) is not None
    with pytest.raises(NotGenuine):
        secret.packet(record, measured, SECRETS)


def test_a_measurement_without_its_platform_is_missing_collateral(tmp_path: Path) -> None:
    measured = sev.parse(forge.make({"launch": {}}).evidence).launch
    assert measured is not None
    (tmp_path / "measured.json").write_bytes(measured.raw)
    result = ask(str(tmp_path))
    assert (result.tee, result.genuine) == ("sev", None)
    assert "CEK and PEK" in str(result.error)


def test_another_platform_cannot_open_the_session() -> None:
    started = session.start(PLATFORM, ES)
    with pytest.raises(Refused):
        Firmware(ec.generate_private_key(ec.SECP384R1())).start(started.godh, started.blob, ES)


@pytest.mark.parametrize("what", ["firmware", "kernel", "order", "one processor"])
def test_another_guest_is_not_the_one_expected(what: str) -> None:
    started = session.start(PLATFORM, ES)
    guest = FIRMWARE.start(started.godh, started.blob, ES)
    pages = vmsa.pages(2, OVMF.reset, vmsa.processor("EPYC-Milan"), 0)
    parts = [OVMF.data, measure.hashes(PARTS), *pages]
    if what == "firmware":
        parts[0] = parts[0][:-1] + b"\0"
    elif what == "kernel":
        parts[1] = measure.hashes(replace(PARTS, kernel=b"another"))
    elif what == "order":
        parts.reverse()
    else:
        parts.pop()
    for part in parts:
        FIRMWARE.update(guest, part)
    told = launch.measurement(launch.encode(FIRMWARE.api, FIRMWARE.build, ES, FIRMWARE.measure(guest)))
    record = launch.Record(hashlib.sha256(started.pdh).digest(), ES, started.keys.tek, started.keys.tik, (DIGEST,))
    assert launch.find(record, told) is None
    with pytest.raises(NotGenuine) as error:
        secret.packet(record, told, SECRETS)
    assert error.value.check == "sev.launch"


def test_old_measurements_and_false_versions_do_not_pass() -> None:
    _, _, record, measured = launched()
    _, _, _, old = launched()
    for lie in (
        old,
        replace(measured, api=(0, 25)),
        replace(measured, build=16),
        replace(measured, policy=0x3),
        replace(measured, mnonce=bytes(16)),
        replace(measured, measurement=bytes(32)),
    ):
        assert launch.find(record, lie) is None
        with pytest.raises(NotGenuine):
            secret.packet(record, lie, SECRETS)


def test_a_packet_is_for_one_launch_and_cannot_be_altered() -> None:
    _, guest, record, measured = launched()
    _, other, _, _ = launched()
    header, data = secret.packet(record, measured, SECRETS)
    lies = [(other, header, data), (guest, header[:-1], data), (guest, header, data[:-1]), (guest, header, b"")]
    lies += [(guest, header[:at] + bytes((header[at] ^ 1,)) + header[at + 1 :], data) for at in range(52)]
    lies += [(guest, header, data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]) for at in range(0, len(data), 7)]
    for target, head, body in lies:
        with pytest.raises(Refused):
            FIRMWARE.secret(target, head, body)
    assert injected.entries(FIRMWARE.secret(guest, header, data)) == SECRETS


def test_firmware_keeps_to_its_states() -> None:
    _, guest, record, measured = launched()
    for command in (lambda: FIRMWARE.update(guest, b"late"), lambda: FIRMWARE.measure(guest)):
        with pytest.raises(Refused):
            command()
    started = session.start(PLATFORM, ES)
    fresh = FIRMWARE.start(started.godh, started.blob, ES)
    with pytest.raises(Refused):
        FIRMWARE.secret(fresh, *secret.packet(record, measured, SECRETS))


@pytest.mark.parametrize("policy", [0x0, 0x1, 0x2, 0x47, 1 << 32 | 0x7])
def test_a_tenant_does_not_start_a_guest_the_host_can_read(policy: int) -> None:
    with pytest.raises(UsageError) as error:
        session.start(PLATFORM, policy)
    assert error.value.hint


def test_a_session_needs_a_pdh_on_p384() -> None:
    with pytest.raises(MissingCollateral):
        session.start(platform(without="pdh"), ES)
    small = sev_certificate(forge._sev("pek", ()), "pek")
    with pytest.raises(NotGenuine) as error:
        session.agreement(ec.generate_private_key(ec.SECP384R1()), small)
    assert error.value.check == "sev.pdh"


# tables


def test_tables() -> None:
    several = {injected.KEEP: b"", bytes(15) + b"\7": b"x" * 99}
    whole = injected.table(several)
    assert len(whole) % 16 == 0
    assert injected.entries(whole) == several
    for bad in ({}, {injected.KEEP: bytes(injected.MAX_TABLE)}):
        with pytest.raises(UsageError):
            injected.table(bad)
    size = 20 + 20
    for data in (
        b"",
        bytes(32),
        whole[:30],
        whole[:15] + b"\1" + whole[16:],
        injected.TABLE + bytes(16),
        whole[:16] + b"\xff\xff\0\0" + whole[20:],
        whole[:36] + b"\x01\0\0\0" + whole[40:],
        whole[:36] + b"\xff\0\0\0" + whole[40:],
        whole[:-1] + b"\1",
        injected.TABLE + (size + 20).to_bytes(4, "little") + 2 * (injected.KEEP + b"\x14\0\0\0"),
    ):
        with pytest.raises(MalformedEvidence):
            injected.entries(data)


@given(st.binary(max_size=200))
def test_any_table(data: bytes) -> None:
    for whole in (data, injected.TABLE + data):
        try:
            injected.entries(whole)
        except MalformedEvidence:
            continue


# documents


def test_documents_say_the_same_again() -> None:
    _, _, record, measured = launched()
    assert launch.record(record.encode()) == record
    assert launch.measurement(measured.raw) == measured
    with pytest.raises(MalformedEvidence):
        launch.encode((0, 24), 1, 7, bytes(47))


BODY: dict[str, Any] = {
    "schema": launch.MEASUREMENT, "api_major": 0, "api_minor": 24, "build": 1, "policy": 7, "measurement": "00" * 32,
    "mnonce": "00" * 16,
}  # fmt: skip
KEYS: dict[str, Any] = {
    "schema": launch.RECORD, "pdh": "00" * 32, "policy": 7, "tek": "00" * 16, "tik": "00" * 16, "digests": ["00" * 32],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"build": 256}, {"build": -1}, {"build": True}, {"build": 1.0}, {"policy": 1 << 32}, {"policy": 0x40},
        {"measurement": "00" * 31}, {"measurement": "0G" * 32}, {"mnonce": "AA" * 16}, {"mnonce": 5}, {"more": 1},
        {"schema": launch.RECORD},
    ],
)  # fmt: skip
def test_measurements_are_read_strictly(change: dict[str, Any]) -> None:
    assert launch.measurement(json.dumps(BODY).encode()).build == 1
    with pytest.raises(MalformedEvidence):
        launch.measurement(json.dumps(BODY | change).encode())


@pytest.mark.parametrize(
    "change",
    [{"digests": []}, {"digests": ["00"]}, {"digests": "00" * 32}, {"digests": ["00" * 32] * 257}, {"tik": ""}],
)
def test_records_are_read_strictly(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MalformedEvidence):
        launch.record(json.dumps(KEYS | change).encode())
    path = tmp_path / "launch.json"
    path.write_text(json.dumps(KEYS | change))
    with pytest.raises(UsageError):
        anchors_file.load([str(path)])
    path.write_text(json.dumps(KEYS))
    assert anchors_file.load([f"sev:{path}"]).items[0].tee == "sev"
    with pytest.raises(UsageError):
        anchors_file.load([f"tpm:{path}"])


def test_documents_are_small_and_say_each_thing_once() -> None:
    for body, read, limit in ((BODY, launch.measurement, 2048), (KEYS, launch.record, 64 * 1024)):
        text = json.dumps(body)
        assert read(text.encode())
        with pytest.raises(MalformedEvidence):
            read(text.encode() + b" " * limit)
        with pytest.raises(MalformedEvidence):
            read(text.replace('"policy": 7', '"policy": 7, "policy": 7').encode())


def test_no_secret_for_a_guest_with_another_policy() -> None:
    """A firmware that signs another policy than the one it checked: the digest is right, and nothing is sealed."""
    forged = forge.make({"lie": "launch-policy"})
    record, measured = launch.record(forged.anchors.items[1].secret), sev.parse(forged.evidence).launch
    assert measured is not None
    assert launch.find(record, measured) is not None
    with pytest.raises(NotGenuine) as error:
        secret.packet(record, measured, SECRETS)
    assert error.value.check == "sev.launch"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"[" * 5000, b'{"schema": 1, "schema": 2}', b" " * 5000], ids=range(7)
)
def test_other_bytes_are_malformed(data: bytes) -> None:
    for read in (launch.measurement, launch.record):
        with pytest.raises(MalformedEvidence):
            read(data)


# proofs by the injected secret


def test_a_proof_speaks_for_the_guest_that_was_measured() -> None:
    forged = forge.make({"report_data": "0c" * 64})
    found = sev.verify(sev.parse(forged.evidence), Collateral(), forged.anchors, at=forged.at)
    claims = sev.claims(found)
    assert claims.report_data == "0c" * 64
    span = claims.spans["report_data"]
    assert forged.evidence[span.offset : span.offset + span.size] == b"\x0c" * 64
    assert claims.extra["speaks_of"] == "guest"


def test_a_proof_needs_the_launch_and_the_secret() -> None:
    forged = forge.make({"report_data": "0c" * 64, "without": "launch"})
    with pytest.raises(MissingCollateral, match="launch measurement"):
        sev.verify(sev.parse(forged.evidence), Collateral(), forged.anchors, at=forged.at)
    forged = forge.make({"report_data": "0c" * 64})
    record = launch.record(bytes(forged.anchors.items[1].secret))
    assert launch.record(record.encode()) == record
    bare = launch.Record(record.pdh, record.policy, record.tek, record.tik, record.digests)
    assert launch.record(bare.encode()) == bare
    forgetful = Anchors((forged.anchors.items[0], forged.anchors.items[1]._replace(secret=pins.Secret(bare.encode()))))
    with pytest.raises(MissingCollateral, match="secret that the guest was given"):
        sev.verify(sev.parse(forged.evidence), Collateral(), forgetful, at=forged.at)


def test_every_bit_of_a_proof_counts() -> None:
    forged = forge.make({"report_data": "0c" * 64})
    start = sev.parse(forged.evidence).offsets["proof"]
    for index in range(start, start + injected.PROOF_SIZE):
        altered = forged.evidence[:index] + bytes((forged.evidence[index] ^ 1,)) + forged.evidence[index + 1 :]
        with pytest.raises((NotGenuine, MalformedEvidence)) as error:
            sev.verify(sev.parse(altered), Collateral(), forged.anchors, at=forged.at)
        assert getattr(error.value, "check", "sev.proof") == "sev.proof"


def test_certificates_one_after_the_other() -> None:
    evidence = sev.parse(forge.make({}).evidence)
    pieces = [(name, getattr(evidence, name).raw) for name in ("pdh", "pek", "oca", "cek", "ask", "ark")]
    whole = b"".join(data for _, data in pieces)
    assert split(whole) == pieces
    for bad in (whole[:-1], whole + b"\0", whole * 2):
        assert split(bad) == [("pdh", bad)]
    for other in (b"", b"\0" + whole):
        assert split(other) == []
