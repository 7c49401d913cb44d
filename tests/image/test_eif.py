"""Enclave images: what AWS's own builder makes, read and written again; registers; hostile bytes.

``signed.eif`` was made by ``eif_build`` of the crate aws-nitro-enclaves-image-format 0.2.0 from a kernel, command line
and two ramdisks of a few bytes (below) and a throwaway P-384 key; its registers and those of the unsigned images are
what that program printed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import FastnessError, Malformed, UsageError
from fastness.image import eif
from fastness.image.measure import Machine, Parts, nitro

SIGNED = (Path(__file__).parent / "signed.eif").read_bytes()
KERNEL, CMDLINE, FIRST, SECOND = bytes(range(256)) * 4, b"console=ttyS0 quiet", b"first ramdisk" * 7, b"second" * 11
METADATA = (
    b'{"ImageName":"k","ImageVersion":"1.0","BuildMetadata":{"BuildTime":"2026-11-23T16:32:27.312680379+00:00",'
    b'"BuildTool":"aws-nitro-enclaves-image-format","BuildToolVersion":"0.2.0","OperatingSystem":"Linux",'
    b'"KernelVersion":"4.14.256"},"DockerInfo":null,"CustomMetadata":null}'
)
ONE = eif.Eif(KERNEL, CMDLINE, (FIRST,), METADATA)
ONE_SHA256 = "ad65d9f204b06d108b9b43246052e6a9274ecf3d9d11c4937c828abe3047f539"
BOOT = "d3ea77f04c6ef0c21a9778efe4e2af0d962dc7c4625fb4f2b0a3ee45126575d46d858a5305a0627c474a581002d99461"
BOTH = "79caab478e19d37b671a376bdd1a6cd176982bf8deca38f3f599ccbb62226b4bd3bafd665180b320ac7c665e32a7b266"
APP = "2dbda6f430a3f809610b8ef4d785cfc47722e51d46c389fab30574ae8d77896cf2b7039cbba28c6e8d3df76bf5322204"
NOTHING = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"
SIGNER = "255b62c2141f2298847bc5a6c1ebecb376f8b4bdffa56fabb36f106da8eea3f7df4bc531190b758b951fd5972692418e"


def registers(image: eif.Eif) -> dict[str, str]:
    return {name: value.hex() for name, value in eif.registers(image).items()}


def test_the_file_that_aws_builds() -> None:
    assert hashlib.sha256(eif.unparse(ONE)).hexdigest() == ONE_SHA256
    assert eif.parse(eif.unparse(ONE)) == ONE


def test_registers_that_aws_computes() -> None:
    assert registers(ONE) == {"pcr0": BOOT, "pcr1": BOOT, "pcr2": NOTHING}
    assert registers(replace(ONE, ramdisks=(FIRST, SECOND))) == {"pcr0": BOTH, "pcr1": BOOT, "pcr2": APP}


def test_a_signed_image() -> None:
    image = eif.parse(SIGNED)
    assert (image.kernel, image.cmdline, image.ramdisks) == (KERNEL, CMDLINE, (FIRST, SECOND))
    assert registers(image) == {"pcr0": BOTH, "pcr1": BOOT, "pcr2": APP, "pcr8": SIGNER}
    assert eif.unparse(image) == SIGNED
    assert (image.memory, image.cpus, image.arm) == (1 << 30, 2, False)


def test_registers_another_way() -> None:
    def register(text: bytes) -> str:
        return hashlib.sha384(bytes(48) + hashlib.sha384(text).digest()).hexdigest()

    image = eif.Eif(b"k", b"c", (b"1", b"2", b"3"), b"{}", memory=1 << 28, cpus=4, arm=True)
    assert registers(image) == {"pcr0": register(b"kc123"), "pcr1": register(b"kc1"), "pcr2": register(b"23")}
    data = eif.unparse(image)
    assert eif.parse(data) == image
    assert data[6:8] == b"\0\x01"


def test_an_empty_signature_is_none() -> None:
    one = eif.unparse(replace(ONE, signature=b"\x80"))[:-1]
    at = len(one) - 12
    for place, value in ((at + 4, 0), (28 + 256 + 8 * 4, 0)):  # its own size, and the header's word for it
        one = one[:place] + value.to_bytes(8, "big") + one[place + 8 :]
    with pytest.raises(Malformed, match=r"section\.size"):
        eif.parse(sealed(one))


def test_as_many_ramdisks_as_there_is_room_for() -> None:
    most = replace(ONE, ramdisks=(b"x",) * 29)
    assert eif.parse(eif.unparse(most)) == most
    with pytest.raises(Malformed, match="30 ramdisks"):
        eif.unparse(replace(ONE, ramdisks=(b"x",) * 30))


def test_header_and_metadata_are_measured_by_nothing() -> None:
    other = replace(ONE, metadata=b"{}", memory=1 << 28, cpus=1)
    assert registers(other) == registers(ONE)


def test_metadata() -> None:
    built = datetime(2026, 11, 23, 12, tzinfo=UTC)
    text = eif.metadata("keep", "0.1.0", built, "6.12.95", {"digest": "ab"})
    assert text == eif.metadata("keep", "0.1.0", built, "6.12.95", {"digest": "ab"})
    found, known = json.loads(text), json.loads(METADATA)
    assert found.keys() == known.keys()
    assert found["BuildMetadata"].keys() == known["BuildMetadata"].keys()
    assert found["BuildMetadata"]["BuildTime"] == "2026-11-23T12:00:00+00:00"
    with pytest.raises(Malformed, match="metadata"):
        eif.metadata("keep", "0.1.0", built, "6.12.95", {"x": "y" * 65536})


def sealed(data: bytes) -> bytes:
    """``data`` with a CRC that holds."""
    crc = zlib.crc32(data[548:], zlib.crc32(data[:544]))
    return data[:544] + struct.pack(">I", crc) + data[548:]


def cut(at: int, text: bytes, data: bytes | None = None) -> bytes:
    whole = eif.unparse(ONE) if data is None else data
    return sealed(whole[:at] + text + whole[at + len(text) :])


AT_CMDLINE = 548 + 12 + len(KERNEL)
AT_METADATA = AT_CMDLINE + 12 + len(CMDLINE)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (cut(0, b"EIF."), "magic"),
        (cut(4, b"\0\x03"), "version"),
        (cut(6, b"\0\x02"), "flags"),
        (cut(24, b"\0\x01"), "reserved"),
        (cut(26, b"\0\x02"), "sections"),
        (cut(26, b"\0\x21"), "sections"),
        (cut(28 + 7, b"\x01"), "offsets[0]"),
        (cut(28 + 256 + 8 * 4 + 7, b"\x01"), "offsets"),
        (cut(540, b"\x01"), "unused"),
        (eif.unparse(ONE)[:-1], "crc"),
        (sealed(eif.unparse(ONE)[:-1]), "ramdisk"),
        (sealed(eif.unparse(ONE) + b"x"), "enclave image"),
        (cut(548, b"\0\x07"), "section.type"),
        (cut(550, b"\0\x01"), "section.flags"),
        (cut(AT_CMDLINE, b"\0\x01"), "sections"),
        (cut(AT_CMDLINE, b"\0\x05"), "sections"),
        (cut(AT_METADATA, b"\0\x01"), "section.type"),
        (b"", "magic"),
    ],
)
def test_hostile(data: bytes, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        eif.parse(data)
    assert caught.value.what.startswith(f"enclave image: {field}:")


def test_a_crc_is_checked() -> None:
    data = bytearray(eif.unparse(ONE))
    data[-1] ^= 1
    with pytest.raises(Malformed, match="crc"):
        eif.parse(bytes(data))


@pytest.mark.parametrize(
    "section",
    [
        b"\x80",
        b"\x81\xa0",
        b"\x00",
        b"\x81\xa1\x73signing_certificate\x81\x19\x01\x00",
        b"\xff",
        b"\x81\xa1\x73signing_certificate\x1b" + b"\x7f" * 8,
    ],
)
def test_a_signature_without_a_certificate(section: bytes) -> None:
    with pytest.raises(Malformed, match="no certificate"):
        eif.registers(replace(ONE, signature=section))


@given(st.integers(0, len(SIGNED) - 1), st.integers(0, 255))
def test_any_byte(at: int, value: int) -> None:
    with contextlib.suppress(FastnessError):
        image = eif.parse(cut(at, bytes([value]), SIGNED))
        eif.registers(image)
        assert eif.parse(eif.unparse(image)) == image


def test_rows() -> None:
    given_ = Parts(KERNEL, FIRST, CMDLINE.decode())
    (row,) = nitro.rows(given_, Machine())
    assert (row.tee, row.measurements) == ("nitro", {"pcr0": (BOOT,), "pcr1": (BOOT,), "pcr2": (NOTHING,)})
    assert nitro.rows(replace(given_, eif=eif.unparse(ONE)), Machine()) == (row,)
    for other in (replace(ONE, kernel=b"x"), replace(ONE, cmdline=b"x"), replace(ONE, ramdisks=(FIRST, SECOND))):
        with pytest.raises(UsageError, match="other parts"):
            nitro.rows(replace(given_, eif=eif.unparse(other)), Machine())
