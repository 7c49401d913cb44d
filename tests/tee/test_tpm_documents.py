"""TPM: what event logs, transcripts and instance information say, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.errors import MalformedEvidence, UsageError
from fastness.forge import tpm as forge
from fastness.tee.eventtext import altered
from fastness.tee.tpm import credential, endorse, events, structures
from fastness.tee.tpm import layout as at
from fastness.wire import cbor, eventlog, x509

BOOT = forge._boot({}, "sha256", "")[0]
HEAD = BOOT[: eventlog.parse(BOOT).events[0].offset]


def log(*entries: tuple[Any, ...]) -> eventlog.EventLog:
    return eventlog.parse(HEAD + b"".join(forge._event(*entry) for entry in entries))


def facts(*entries: tuple[Any, ...]) -> dict[str, Any]:
    return events.facts(log(*entries), "sha256", range(16))


IPL, TAG, ACTION = eventlog.EV_IPL, eventlog.EV_EVENT_TAG, eventlog.EV_ACTION
VARIABLE, SEPARATOR = eventlog.EV_EFI_VARIABLE_DRIVER_CONFIG, eventlog.EV_SEPARATOR


def test_secure_boot_is_a_variable_of_the_firmwares_own() -> None:
    said = forge._variable("SecureBoot", b"\1")
    assert facts((7, VARIABLE, said)) == {"secure_boot": True}
    for other in (bytes(16) + said[16:], forge._variable("SecureBool", b"\1")):
        assert facts((7, VARIABLE, other)) == {}
    assert facts((6, VARIABLE, said)) == {}


@pytest.mark.parametrize(
    ("index", "kind", "told"), [(8, IPL, True), (8, ACTION, False), (8, TAG, False), (9, IPL, False), (10, IPL, False)]
)
def test_grubs_command_line_stands_in_register_8(index: int, kind: int, told: bool) -> None:
    entry = (index, kind, b"kernel_cmdline: ro quiet\0", b"ro quiet")
    assert facts(entry) == ({"command_lines": ["ro quiet"]} if told else {})


@pytest.mark.parametrize(
    ("index", "kind", "told"),
    [(9, IPL, True), (12, IPL, True), (12, TAG, True), (12, ACTION, False), (10, IPL, False), (8, TAG, False)],
)
def test_load_options_stand_in_registers_9_and_12(index: int, kind: int, told: bool) -> None:
    text = "ro quiet\0".encode("utf-16-le")
    for data, measured in ((text, text), (bytes(8) + text, text)):
        assert facts((index, kind, data, measured)) == ({"command_lines": ["ro quiet"]} if told else {})


@pytest.mark.parametrize(
    ("data", "measured"),
    [
        ("ro quiet".encode("utf-16-le"), b"another"), ("ro quiet".encode("utf-16-le") + b"\0", None),
        (b"ro quiet", None), (b"", None),
    ],
)  # fmt: skip
def test_load_options_are_whole_letters_that_were_measured(data: bytes, measured: bytes | None) -> None:
    assert facts((12, IPL, data, measured)) == {}


def test_long_command_lines_are_cut() -> None:
    assert facts((8, IPL, b"kernel_cmdline: " + b"a" * 5000, b"a" * 5000))["command_lines"] == ["a" * 4096]
    wide = ("a" * 5000).encode("utf-16-le")
    assert facts((12, IPL, wide))["command_lines"] == ["a" * 2048]


@pytest.mark.parametrize(
    ("kind", "data", "measured", "held"),
    [
        (SEPARATOR, bytes(4), bytes(4), True), (SEPARATOR, bytes(4), b"\1\0\0\0", False),
        (SEPARATOR, b"\xff" * 4, b"\1\0\0\0", False), (SEPARATOR, b"why", b"\1\0\0\0", True),
        (SEPARATOR, b"why", b"else", False),
        (IPL, b"grub_cmd: boot\0", b"boot", True), (IPL, b"grub_cmd: boot\0", b"halt", False),
        (TAG, b"grub_cmd: boot\0", b"halt", True), (IPL, b"/boot/kernel", b"a kernel", True),
    ],
)  # fmt: skip
def test_what_a_digest_must_be_the_hash_of(kind: int, data: bytes, measured: bytes, held: bool) -> None:
    assert (altered(log((4, kind, data, measured))) is None) is held


@pytest.mark.parametrize(("size", "read"), [(1024, True), (1025, False)])
def test_names_of_variables_are_short(size: int, read: bool) -> None:
    name = "n" * size
    data = forge._variable(name, b"\1")
    if read:
        assert events.variable(data)[1:] == (name, b"\1")
    else:
        with pytest.raises(MalformedEvidence, match="nameLength"):
            events.variable(data)


# transcripts of credentials


@pytest.mark.parametrize(
    "body",
    [
        [b"", b"", bytes(16)], [1, 2, 3], 5, {1: b"", 2: b"", 3: bytes(16), 4: b""}, {2: b"", 3: bytes(16)},
        {1: "", 2: b"", 3: bytes(16)},
        {1: b"", 2: b"", 3: bytes(15)}, {1: b"", 2: b"", 3: bytes(33)}, {1: b"", 2: b"", 3: "sixteen letters!"},
    ],
)  # fmt: skip
def test_transcripts_are_read_strictly(body: Any) -> None:
    with pytest.raises(MalformedEvidence):
        credential.transcript(cbor.encode(body))
    for size in (16, 32):
        good = credential.Transcript(b"ek", b"name", bytes(size))
        assert credential.transcript(good.encode()) == good


def spki(key: Any) -> x509.PublicKey:
    return x509.parse_public_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_credentials_are_made_for_storage_keys() -> None:
    ek = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    for size in (16, 32):
        assert credential.make_credential(ek, b"name", bytes(size))
    for size in (15, 33):
        with pytest.raises(UsageError, match="16 to 32 bytes"):
            credential.make_credential(ek, b"name", bytes(size))
    with pytest.raises(UsageError, match="RSA or ECC"):
        credential.make_credential(spki(ed25519.Ed25519PrivateKey.generate().public_key()), b"name", bytes(16))
    signing = structures.public(forge._public(forge._new_key("ecdsa"), "ecdsa", restricted=True))
    with pytest.raises(UsageError, match="no storage key"):
        credential.make_credential(signing, b"name", bytes(16))


# Google's instance information


def tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag, len(value))) + value


WORDS = tlv(12, b"zone") + tlv(2, b"\x2a") + tlv(12, b"project") + tlv(2, b"\x07") + tlv(12, b"keep")
VERSION, PRODUCTION = tlv(0xA0, tlv(2, b"\x01")), tlv(0xA1, tlv(1, b"\xff"))


def gce(*more: bytes, words: bytes = WORDS) -> dict[str, Any]:
    key = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    return endorse.gce(forge._Authority("").issue(key, at.AK_USAGE, tlv(0x30, words + b"".join(more))))


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        (tlv(0x30, VERSION + PRODUCTION), {"security_version": 1, "is_production": True}),
        (VERSION + PRODUCTION, {"security_version": 1, "is_production": True}),
        (VERSION, {"security_version": 1}),
        (tlv(0x30, VERSION) + PRODUCTION, {"is_production": True}),
    ],
)
def test_security_properties_in_either_form(properties: bytes, told: dict[str, Any]) -> None:
    found = gce(tlv(0xA0, properties))
    assert {name: value for name, value in found.items() if name in ("security_version", "is_production")} == told


def test_instance_information_has_five_or_six_parts() -> None:
    assert gce()["instance_name"] == "keep"
    shorter = WORDS[: -len(tlv(12, b"keep"))]
    for more, words in (((), shorter), ((tlv(0xA0, VERSION), tlv(5, b"")), WORDS), ((tlv(0xA1, VERSION),), WORDS)):
        with pytest.raises(MalformedEvidence):
            gce(*more, words=words)
