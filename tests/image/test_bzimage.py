"""Boot images that somebody names: what they say of themselves, and that none of it leaves the file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct

import pytest
import zstandard

import synthetic
from fastness.errors import Malformed
from fastness.image import bzimage


def test_a_kernel_tells_its_release_and_its_configuration() -> None:
    told = synthetic.config("CONFIG_NSM=y", "# CONFIG_PCI is not set", 'CONFIG_LSM="landlock"')
    found = bzimage.parse(bytes(synthetic.bzimage(told)), "k")
    assert (found.release, found.packing, found.kernel) == ("6.12-own", "gzip", told)
    assert found.options == {"NSM": "y", "LSM": '"landlock"'}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("gzip", gzip.compress),
        ("xz", lzma.compress),
        ("lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
        ("bzip2", bz2.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
def test_each_packing_is_unpacked_with_what_the_build_appends(name: str, pack: object) -> None:
    packed = pack(synthetic.DRIVERS) + struct.pack("<I", len(synthetic.DRIVERS))  # type: ignore[operator]
    found = bzimage.parse(bytes(synthetic.bzimage(packed=packed)), "k")
    assert (found.packing, found.kernel, found.options) == (name, synthetic.DRIVERS, None)


@pytest.mark.parametrize(
    ("packed", "name"), [(b"\x02\x21\x4c\x18rest", "lz4"), (b"\x89LZO rest", "lzo"), (b"rest", "an unknown way")]
)
def test_what_nothing_here_unpacks_is_told(packed: bytes, name: str) -> None:
    found = bzimage.parse(bytes(synthetic.bzimage(packed=packed)), "k")
    assert (found.release, found.packing, found.kernel, found.options) == ("6.12-own", name, None, None)


def test_an_unpacked_kernel_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bzimage, "MAX_KERNEL", 1000)
    for pack in (gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress):
        found = bzimage.parse(bytes(synthetic.bzimage(packed=pack(bytes(1 << 20)))), "k")
        assert found.kernel == bytes(1000)


def test_a_configuration_has_a_bound_and_may_be_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bzimage.parse(bytes(synthetic.bzimage(b"IKCFG_STnothing")), "k").options is None
    monkeypatch.setattr(bzimage, "MAX_CONFIG", 24)
    told = b"IKCFG_ST" + gzip.compress(b"CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n", 0)
    assert set(bzimage.parse(bytes(synthetic.bzimage(told)), "k").options or ()) <= {"A"}


@pytest.mark.parametrize(
    ("at", "change", "said"),
    [
        (0x202, b"XdrS", "no boot header"),
        (0x1FE, b"\0\0", "no boot header"),
        (0x206, b"\x0b\x02", "boot protocol 2.11"),
        (0x211, b"\0", "no 64-bit entry"),
        (0x236, b"\0", "no 64-bit entry"),
        (0x1F4, b"\xff\xff\xff\xff", "cut"),
        (0x1F1, b"\xff", "cut"),
        (0x248, b"\xff\xff\xff\xff", "does not lie within"),
        (0x24C, b"\xff\xff\xff\xff", "does not lie within"),
        (0x24C, b"\0\0\0\0", "does not lie within"),
        (0x20E, b"\xff\xff", "release cannot be read"),
        (0x300, b"../../etc", "release cannot be read"),
        (0x300, b"6.12/../..", "release cannot be read"),
        (0x300, b"6" * 65, "release cannot be read"),
        (0x405, b"\x1f\x8b\x08\xff\xff", "damaged"),
    ],
)
def test_what_cannot_be_is_refused(at: int, change: bytes, said: str) -> None:
    image = synthetic.bzimage()
    image[at : at + len(change)] = change
    with pytest.raises(Malformed, match=said) as caught:
        bzimage.parse(bytes(image), "the-file")
    assert caught.value.where == "the-file"
    assert "docs/image.md" in caught.value.hint


def test_other_files_are_told_apart() -> None:
    arm = bytearray(4096)
    arm[0x38:0x3C] = b"ARMd"
    for data, said in ((bytes(arm), "aarch64"), (b"\x7fELF".ljust(4096, b"\0"), "ELF"), (b"", "no boot header")):
        with pytest.raises(Malformed, match=said):
            bzimage.parse(data, "k")


def test_a_cut_image_is_refused_wherever_it_is_cut() -> None:
    whole = bytes(synthetic.bzimage())
    for size in range(len(whole)):
        with pytest.raises(Malformed):
            bzimage.parse(whole[:size], "k")


def test_noise_is_refused_or_read_and_nothing_else() -> None:
    chance = random.Random(7)
    whole = bytes(synthetic.bzimage(synthetic.config("CONFIG_NSM=y")))
    for _ in range(3000):
        image = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            image[chance.choice((chance.randrange(0x1F0, 0x250), chance.randrange(len(image))))] = chance.randrange(256)
        try:
            bzimage.parse(bytes(image), "k")
        except Malformed as error:
            assert error.what.startswith("not a boot image")
