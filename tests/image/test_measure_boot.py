"""PCRs and RTMRs from parts: recomputed another way, compared with machines that booted, and what changes them."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured import CMDLINE, HEADERS, INITRD, checksum, directory, firmware, kernel, parts, pe, uki

from fastness.errors import FastnessError, Malformed, UsageError
from fastness.image import pe as images
from fastness.image.measure import Machine, Parts, Row, boot, linux, nitro, tdx, tpm

TDVF = firmware(
    [(0, 0x2000, 0xFFFF8000, 0x2000, 1), (0x2000, 0x1000, 0xFFFFA000, 0x2000, 0), (0, 0, 0x809000, 0x1000, 0)]
)
MACHINE = Machine(firmware=TDVF, memory=512)
MODULES: dict[str, Callable[[Parts, Machine], tuple[Row, ...]]] = {"vm": tpm.rows, "tdx": tdx.rows, "nitro": nitro.rows}


def replayed(algorithm: str, texts: Iterable[bytes | tuple[bytes]]) -> str:
    """Independent of the code under test: texts are hashed, digests (in a tuple) are taken as they are."""
    value = bytes(hashlib.new(algorithm).digest_size)
    for text in texts:
        digest = text[0] if isinstance(text, tuple) else hashlib.new(algorithm, text).digest()
        value = hashlib.new(algorithm, value + digest).digest()
    return value.hex()


def authenticode(data: bytes, certificates: int = 0, algorithm: str = "sha256") -> bytes:
    """For files whose sections follow each other: everything but three places, in one piece."""
    end = len(data) - certificates
    whole = data[: checksum()] + data[checksum() + 4 : directory()] + data[directory() + 8 : end]
    return hashlib.new(algorithm, whole).digest()


# --- Authenticode ---


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_authenticode_leaves_out_what_signing_changes(algorithm: str) -> None:
    plain = pe({".a": b"one" * 300, ".b": b"two" * 400}, trailing=b"odd")
    assert images.parse(plain).authenticode(algorithm) == authenticode(plain, algorithm=algorithm)
    signed = pe({".a": b"one" * 300, ".b": b"two" * 400}, trailing=b"odd", certificates=b"certificate" * 8)
    assert images.parse(signed).authenticode(algorithm) == images.parse(plain).authenticode(algorithm)


def test_sections_are_hashed_by_their_place_in_the_file() -> None:
    image = images.parse(pe({".a": b"one" * 300, ".b": b"two" * 400}))
    swapped = images.Image(image.data, image.checksum, image.directory, image.headers, 0, image.sections[::-1])
    assert swapped.authenticode("sha256") == image.authenticode("sha256")


def test_a_section_is_as_long_as_in_memory() -> None:
    image = images.parse(pe({".cmdline": b"short", ".bss": b""}))
    assert image.content(".cmdline") == b"short"
    assert image.content(".bss") == b""
    assert image.content(".none") is None
    longer = bytearray(image.data)
    struct.pack_into("<I", longer, 0x400 + 24 + 240 + 8, 600)  # VirtualSize past the 512 bytes in the file
    assert images.parse(bytes(longer)).content(".cmdline") == b"short".ljust(600, b"\0")


def cut(data: bytes, at: int, text: bytes) -> bytes:
    return data[:at] + text + data[at + len(text) :]


@pytest.mark.parametrize(
    ("at", "text", "field"),
    [
        (0, b"ZM", "e_magic"),
        (0x3C, b"\xff\xff\xff\x7f", "signature"),
        (0x400, b"NE", "signature"),
        (0x400 + 6, b"\xff\xff", "SizeOfHeaders"),
        (0x400 + 24, b"\x0b\x01", "Magic"),
        (0x400 + 24 + 60, b"\0\0\0\x7f", "SizeOfHeaders"),
        (0x400 + 24 + 60, b"\x10\0\0\0", "SizeOfHeaders"),
        (0x400 + 24 + 108, b"\x04\0\0\0", "NumberOfRvaAndSizes"),
        (0x400 + 24 + 240 + 16, b"\xff\xff\xff\x7f", "section .text"),
        (0x400 + 24 + 240 + 8, b"\xff\xff\xff\x7f", "section .text"),
    ],
)
def test_a_pe_file_that_is_none(at: int, text: bytes, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        images.parse(cut(pe({".text": b"x"}), at, text))
    assert field in caught.value.what


@pytest.mark.parametrize("size", [0, 1, 2, 0x3F, 0x40, 0x404, 0x418, 0x45C, 0x7FF])
def test_a_pe_file_cut_short(size: int) -> None:
    with pytest.raises(Malformed, match="PE image"):
        images.parse(pe({".text": b"x"})[:size])


def test_certificates_over_the_sections() -> None:
    data = cut(pe({".text": b"x"}), directory() + 4, b"\0\x02\0\0")
    with pytest.raises(Malformed, match="certificate table"):
        images.parse(data).authenticode("sha256")


# --- the kernel as QEMU hands it over ---


def test_setup_header() -> None:
    before, after = kernel(), linux.handed_over(kernel(), len(INITRD), 512)
    changed = {index for index, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]}
    assert changed <= {0x210, 0x211, *range(0x218, 0x220), 0x224, 0x225, *range(0x228, 0x22C)}
    place, size = struct.unpack_from("<II", after, 0x218)
    assert (after[0x210], after[0x211], size) == (0xB0, 0x81, len(INITRD))
    assert place == (512 * 1024 * 1024 - 0x28000 - 1 - len(INITRD)) // 4096 * 4096
    assert struct.unpack_from("<HHI", after, 0x224) == (0xFE00, 0, 0x20000)


@pytest.mark.parametrize(
    ("memory", "low"),
    [(256, 256 << 20), (2815, 2815 << 20), (2816, 0x80000000), (4096, 0x80000000), (65536, 0x80000000)],
)
def test_memory_below_4_gib(memory: int, low: int) -> None:
    assert linux.below_4g(memory) == low


def test_an_old_kernel_bounds_the_initrd() -> None:
    low = linux.handed_over(kernel(flags=1, highest=0x37FFFFFF), 4096, 4096)
    assert struct.unpack_from("<I", low, 0x218)[0] == 0x37FFE000


def test_no_initrd_leaves_its_fields() -> None:
    assert linux.handed_over(kernel(), 0, 512)[0x218:0x220] == bytes(8)


@pytest.mark.parametrize("memory", [0, 63, (16 << 20) + 1])
def test_memory_out_of_bounds(memory: int) -> None:
    with pytest.raises(UsageError, match="memory"):
        linux.handed_over(kernel(), 1, memory)


def test_an_initrd_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        linux.handed_over(kernel(), 65 << 20, 64)


def test_the_oldest_protocol() -> None:
    assert linux.handed_over(cut(kernel(), 0x206, b"\x0c\x02"), 1, 512)
    with pytest.raises(Malformed, match="0x20b"):
        linux.handed_over(cut(kernel(), 0x206, b"\x0b\x02"), 1, 512)
    with pytest.raises(Malformed, match="no setup header"):
        linux.handed_over(kernel()[:0xFFF], 1, 512)


@pytest.mark.parametrize("at", [0x202, 0x207, 0x211])
def test_not_a_kernel(at: int) -> None:
    with pytest.raises(Malformed, match="kernel"):
        linux.handed_over(cut(kernel(), at, b"\0"), 1, 512)


# --- PCRs ---


def row(rows: Iterable[Row], words: str) -> Row:
    (found,) = [item for item in rows if words in item.note]
    return found


def test_direct_boot() -> None:
    given = parts(unified=False)
    rows = tpm.rows(given, Machine(memory=512, qemu=(10, 0)))
    assert len(rows) == 2
    assert [item.tee for item in rows] == ["tpm", "tpm"]
    ready = (b"Calling EFI Application from Boot Option", bytes(4))
    for words, file in (("as it is", given.kernel), ("filled in", linux.handed_over(given.kernel, len(INITRD), 512))):
        found = row(rows, words).measurements
        assert found["pcr4"] == (replayed("sha256", [(authenticode(file),), *ready]),)
        assert found["pcr9"] == (replayed("sha256", [f"{CMDLINE} initrd=initrd\0".encode("utf-16-le"), INITRD]),)
        assert found["pcr11"] == found["pcr12"] == found["pcr13"] == ("00" * 32,)


def test_old_qemu_only_fills_in() -> None:
    (only,) = tpm.rows(parts(unified=False), Machine(memory=512, qemu=(7, 2)))
    assert "filled in" in only.note
    more = tpm.rows(parts(unified=False), Machine(memory=1024, qemu=(7, 2)))[0]
    assert only.measurements["pcr4"] != more.measurements["pcr4"]


def test_no_initrd_no_option() -> None:
    (only,) = tpm.rows(parts(initrd=b"", unified=False), Machine(qemu=(7, 2)))
    assert only.measurements["pcr9"] == (replayed("sha256", [f"{CMDLINE}\0".encode("utf-16-le")]),)


def test_unified_kernel_image() -> None:
    given = parts()
    rows = tpm.rows(given, Machine())
    outer, inner = (authenticode(given.uki),), (authenticode(given.kernel),)
    ready = (b"Calling EFI Application from Boot Option", bytes(4))
    sections = [
        b".linux\0",
        given.kernel,
        b".osrel\0",
        b"ID=test\n",
        b".cmdline\0",
        CMDLINE.encode(),
        b".initrd\0",
        INITRD,
    ]
    disk, loaded = row(rows, "disk").measurements, row(rows, "by -kernel").measurements
    assert disk["pcr4"] == (replayed("sha256", [*ready, outer, inner]),)
    assert loaded["pcr4"] == (replayed("sha256", [outer, *ready, inner]),)
    assert disk["pcr9"] == (replayed("sha256", [f"{CMDLINE}\0".encode("utf-16-le"), INITRD]),)
    assert disk["pcr11"] == loaded["pcr11"] == (replayed("sha256", sections),)


def test_what_no_boot_has_confirmed_is_not_told() -> None:
    linux_ = kernel()
    for name in ("splash", "dtb", "pcrsig", "pcrpkey"):
        with pytest.raises(Malformed, match=f"a section .{name}"):
            tpm.rows(Parts(linux_, INITRD, CMDLINE, uki(linux_, **{name: b"x"})), Machine())
    for stub in (b"systemd-stub 257", b"systemd-stub 253", b"another stub 252", b""):
        image = uki(linux_).replace(b"systemd-stub 252", stub.ljust(16, b" "))
        with pytest.raises(Malformed, match="systemd-stub of version 252 or 254"):
            tpm.rows(Parts(linux_, INITRD, CMDLINE, image), Machine())


def test_stub_254_measures_more_sections() -> None:
    linux_ = kernel()
    image = uki(linux_, uname=b"6.12", sbat=b"sbat,1\n").replace(b"systemd-stub 252", b"systemd-stub 254")
    old = uki(linux_, uname=b"6.12", sbat=b"sbat,1\n")
    texts = [b".linux\0", linux_, b".osrel\0", b"ID=test\n", b".cmdline\0", CMDLINE.encode(), b".initrd\0", INITRD]
    for file, more in ((old, []), (image, [b".uname\0", b"6.12", b".sbat\0", b"sbat,1\n"])):
        found = row(tpm.rows(Parts(linux_, INITRD, CMDLINE, file), Machine()), "disk").measurements
        assert found["pcr11"] == (replayed("sha256", texts + more),)


@pytest.mark.parametrize("change", ["kernel", "initrd", "cmdline"])
def test_a_uki_of_other_parts(change: str) -> None:
    other = {"kernel": kernel(b"other one"), "initrd": b"other", "cmdline": "init=/bin/sh"}
    mine = {"kernel": kernel(), "initrd": INITRD, "cmdline": CMDLINE, "uki": uki(kernel())} | {change: other[change]}
    with pytest.raises(UsageError, match="the UKI's"):
        tpm.rows(Parts(**mine), Machine())  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["naïve", "a\0b"])
def test_a_command_line_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="ASCII"):
        tpm.rows(Parts(kernel(), INITRD, text), Machine())


def test_registers_of_machines_that_booted() -> None:
    """PCR 2, 3 and 7 as swtpm had them after OVMF 2022.11 (QEMU 7.2) and 2025.02 (QEMU 10.0) of Debian."""
    found = tpm.rows(parts(), Machine())[0].measurements
    silent = "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
    assert found["pcr2"] == found["pcr3"] == (silent,)
    assert set(found["pcr7"]) == {
        "65caf8dd1e0ea7a6347b635d2b379c93b9a1351edc2afc3ecda700e534eb3068",
        "b5710bf57d25623e4019027da116821fa99f5c81e9e38b87671cc574f9281439",
    }


# --- TDX ---

KNOWN = {
    # Debian's OVMF.fd 2022.11-6+deb12u2 and 2025.02-8+deb13u1; the latter pair as measured independently before
    "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773": ("4c7206f0f483c524", "acccbcc870a381ad"),
    "14954040cc754ade0c625ac3470ea46d4c14318b5b1396de4ef77090203d76db": ("bdc6fb145880f06f", "456f07902150d008"),
}


def mrtd(file: bytes, sections: list[tuple[int, int, int, int, int]], *, two_passes: bool) -> str:
    """Independent of the code under test: the records written out as text."""
    log = []
    for offset, raw, address, size, attributes in sections:
        content = file[offset : offset + raw] + bytes(size - raw)
        adds = [
            (page, b"MEM.PAGE.ADD\0\0\0\0" + struct.pack("<Q104x", address + page)) for page in range(0, size, 4096)
        ]
        extends = {
            page: b"".join(
                b"MR.EXTEND\0\0\0\0\0\0\0" + struct.pack("<Q104x", address + at) + content[at : at + 256]
                for at in range(page, page + 4096, 256)
            )
            for page in range(0, size, 4096)
            if attributes & 1
        }
        if two_passes:
            log += [text for _, text in adds] + list(extends.values())
        else:
            log += [text + extends.get(page, b"") for page, text in adds]
    return hashlib.sha384(b"".join(log)).hexdigest()


@pytest.mark.parametrize("two_passes", [False, True])
def test_mrtd(two_passes: bool) -> None:
    sections = [
        (0, 0x2000, 0xFFFF8000, 0x2000, 1),
        (0x2000, 0x1000, 0xFFFFA000, 0x2000, 1),
        (0, 0, 0x809000, 0x1000, 0),
    ]
    file = firmware([*sections, (0, 0, 0x100000000, 0x10000000000, 2)])
    found = tdx.mrtd(tdx.metadata(file), two_passes=two_passes).hex()
    assert found == mrtd(file, sections, two_passes=two_passes)


def test_mrtd_of_debian() -> None:
    try:
        with open("/usr/share/ovmf/OVMF.fd", "rb") as file:  # noqa: PTH123
            data = file.read()
    except OSError:
        pytest.skip("Debian's ovmf is not installed")
    known = KNOWN.get(hashlib.sha256(data).hexdigest())
    if known is None:
        pytest.skip("another version of ovmf than those on record")
    sections = tdx.metadata(data)
    assert tuple(tdx.mrtd(sections, two_passes=two).hex()[:16] for two in (False, True)) == known


def test_runtime_registers() -> None:
    given = parts()
    rows = tdx.rows(given, MACHINE)
    assert len(rows) == 4
    left = (b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")
    ready = (b"Calling EFI Application from Boot Option", bytes(4))
    inner, outer = ((authenticode(file, algorithm="sha384"),) for file in (given.kernel, given.uki))
    direct, disk = row(rows, "as it is").measurements, row(rows, "disk").measurements
    assert direct["rtmr1"] == (replayed("sha384", [inner, *ready, *left]),)
    assert direct["rtmr2"] == (replayed("sha384", [f"{CMDLINE} initrd=initrd\0".encode("utf-16-le"), INITRD]),)
    assert disk["rtmr1"] == (replayed("sha384", [*ready, outer, inner, *left]),)
    assert disk["rtmr2"] == (replayed("sha384", [f"{CMDLINE}\0".encode("utf-16-le"), INITRD]),)
    assert all("rtmr0" not in item.measurements and "rtmr0 by event log" in item.note for item in rows)
    assert len(direct["mrtd"]) == 2


def test_no_firmware() -> None:
    with pytest.raises(UsageError, match="firmware") as caught:
        tdx.rows(parts(), Machine())
    assert "--firmware" in caught.value.hint


@pytest.mark.parametrize(
    ("file", "field"),
    [
        (firmware([], 0x8000), "TDVF.version"),
        (firmware([(0, 0x1000, 0x1000, 0x1000, 1)], version=2), "TDVF.version"),
        (firmware([(0, 0x2000, 0x1000, 0x1000, 1)]), "section.offset"),
        (firmware([(0x7800, 0x1000, 0x1000, 0x1000, 1)]), "section.offset"),
        (firmware([(0, 0x800, 0x1800, 0x1000, 1)]), "section.address"),
        (firmware([(0, 0x800, 0x1000, 0x800, 1)]), "section.address"),
        (firmware([(0, 0x800, 0x1000, 0x1000, 5)]), "section.address"),
        (firmware([(0, 0x800, 0x1000, 1 << 40, 1)]), "TDVF.sections"),
        (firmware([(0, 0x800, 0x1000, 0x1000, 1)]).replace(b"TDVF", b"XDVF"), "TDVF.signature"),
        (bytes(0x8000), "table"),
    ],
)
def test_firmware_without_good_metadata(file: bytes, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        tdx.metadata(file)
    assert field in caught.value.what


@given(st.integers(0x7000, 0x7FFF), st.integers(0, 255))
def test_firmware_is_hostile(at: int, value: int) -> None:
    with contextlib.suppress(FastnessError):
        tdx.rows(parts(unified=False), Machine(firmware=cut(TDVF, at, bytes([value]))))


# --- one byte of any part changes every row of every platform ---


@pytest.mark.parametrize("platform", MODULES)
@given(data=st.data())
def test_one_byte(platform: str, data: st.DataObject) -> None:
    file = kernel(certificates=b"certificate")
    left_out = {
        *range(checksum(), checksum() + 4),
        *range(directory(), directory() + 8),
        *range(len(file) - 11, len(file)),
    }
    filled_in = {0x210, 0x211, *range(0x218, 0x220), 0x224, 0x225, *range(0x228, 0x22C)}  # by QEMU, whatever was there
    which = data.draw(st.sampled_from(["kernel", "initrd", "cmdline"]))
    if which == "kernel":
        at = data.draw(st.integers(HEADERS, len(file) - 12).filter(lambda at: at not in left_out | filled_in))
        changed = parts(linux=cut(file, at, bytes([file[at] ^ 1])))
    elif which == "initrd":
        at = data.draw(st.integers(0, len(INITRD) - 1))
        changed = parts(linux=file, initrd=cut(INITRD, at, bytes([INITRD[at] ^ 1])))
    else:
        at = data.draw(st.integers(0, len(CMDLINE) - 1))
        changed = parts(linux=file, cmdline=CMDLINE[:at] + chr(ord(CMDLINE[at]) ^ 1) + CMDLINE[at + 1 :])
    before, after = MODULES[platform](parts(linux=file), MACHINE), MODULES[platform](changed, MACHINE)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert old.measurements != new.measurements


@given(st.integers(0, HEADERS - 1), st.integers(0, 255))
def test_kernels_are_hostile(at: int, value: int) -> None:
    with contextlib.suppress(FastnessError):
        boot.direct(Parts(cut(kernel(), at, bytes([value])), INITRD, CMDLINE), MACHINE, "sha256")
