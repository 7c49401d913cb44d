"""What the builder reads and writes, on inputs of a few bytes: deb, wheel, ELF, drivers, cpio, EFI, libraries."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import synthetic
from fastness.errors import Malformed
from fastness.image import archives, cpio, elf, ingredients, modules, pe, python, uki
from fastness.image.uki import Section

EVERYTHING = {
    "lib/a.so.1.2": b"A",
    "lib/a.so.1": "a.so.1.2",
    "usr/lib/b": "/lib/a.so.1",
    "x": "../../etc/gone",
    "y": "y",
}


@pytest.mark.parametrize("packing", ["xz", "zst", ""])
def test_deb_links_are_followed_and_dangling_ones_left_out(packing: str) -> None:
    found = archives.deb(synthetic.deb(EVERYTHING, packing), lambda _: True, "t")
    assert found == {"lib/a.so.1.2": b"A", "lib/a.so.1": b"A", "usr/lib/b": b"A"}


def test_deb_takes_only_what_is_wanted() -> None:
    assert archives.deb(synthetic.deb(EVERYTHING), lambda path: path == "lib/a.so.1", "t") == {"lib/a.so.1": b"A"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"!<arch>\n",
        synthetic.deb(EVERYTHING)[:-40],
        synthetic.ar({"data.tar.xz": b"no"}),
        b"!<arch>\n" + b"x" * 60,
    ],
)
def test_deb_that_is_none(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        archives.deb(data, lambda _: True, "libx 1")
    assert "libx 1" in caught.value.where


@given(st.integers(8, 400), st.integers(0, 255))
def test_deb_with_a_changed_byte_gives_our_error_or_files(at: int, value: int) -> None:
    data = bytearray(synthetic.deb({"a": b"b"}))
    data[at % len(data)] = value
    try:
        archives.deb(bytes(data), lambda _: True, "t")
    except Malformed:
        return


def test_wheel() -> None:
    data = synthetic.wheel({"a/b.py": b"1", "a/c.so": b"2"})
    assert archives.wheel(data, lambda path: path.endswith(".py"), "t") == {"a/b.py": b"1"}
    with pytest.raises(Malformed):
        archives.wheel(data[:30], lambda _: True, "t")
    with pytest.raises(Malformed, match="leaves the wheel"):
        archives.wheel(synthetic.wheel({"../a": b""}), lambda _: True, "t")


def test_elf_needed() -> None:
    data = synthetic.library(("libc.so.6", "libm.so.6"), "libx.so.1", "/lib64/ld.so")
    assert elf.linked(data) == elf.Linked(("libc.so.6", "libm.so.6"), "libx.so.1", "/lib64/ld.so")
    with pytest.raises(Malformed):
        elf.linked(data[:200])
    with pytest.raises(Malformed):
        elf.linked(b"#!/bin/sh")


def _library_with_symbols() -> bytes:
    """A library, then a symbol table, then the table of sections that names it."""
    bare = synthetic.library(("libc.so.6",), "libx.so.1", "")
    symbols = b"S" * 48
    header = list(elf.HEADER.unpack_from(bare))
    header[6], header[11], header[12], header[13] = len(bare) + len(symbols), elf.SECTION.size, 2, 1
    rows = [bytes(elf.SECTION.size), elf.SECTION.pack(0, elf.SYMBOLS, 0, 0, len(bare), len(symbols), 0, 0, 8, 24)]
    return elf.HEADER.pack(*header) + bare[elf.HEADER.size :] + symbols + b"".join(rows)


def test_what_no_loader_reads_is_cut_off() -> None:
    data = _library_with_symbols()
    cut = elf.loaded(data)
    assert cut == synthetic.library(("libc.so.6",), "libx.so.1", "")
    assert elf.linked(cut) == elf.linked(data)
    assert elf.loaded(cut) == cut


def test_a_library_without_symbols_stays_as_it_is() -> None:
    data = Path("/bin/ls").read_bytes() if Path("/bin/ls").exists() else synthetic.library((), "", "")
    assert elf.loaded(data) == data


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_library_with_a_changed_byte_is_cut_or_refused(at: int, value: int) -> None:
    data = bytearray(_library_with_symbols())
    data[at % len(data)] = value
    try:
        assert len(elf.loaded(bytes(data))) <= len(data)
    except Malformed:
        return


@pytest.mark.skipif(not shutil.which("readelf"), reason="readelf is not here")
def test_elf_agrees_with_readelf() -> None:
    path = next(path for path in (Path("/bin/ls"), Path("/bin/cat")) if path.exists())
    told = subprocess.run(
        ["readelf", "-d", path], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    ).stdout
    names = tuple(line.split("[")[1].rstrip("]") for line in told.splitlines() if "(NEEDED)" in line)
    assert elf.linked(path.read_bytes()).needed == names


def _kernel(**drivers: bytes) -> dict[str, bytes]:
    import lzma

    folder = "lib/modules/6.1/kernel/drivers/"
    packed = {f"{folder}{name.replace('_', '-')}.ko.xz": lzma.compress(data) for name, data in drivers.items()}
    return {"boot/vmlinuz-6.1": b"K", **packed}


def test_modules_come_after_what_they_need() -> None:
    files = _kernel(
        a_top=synthetic.module(name="a_top", depends="mid-dle,base"),
        mid_dle=synthetic.module(depends="base"),
        base=synthetic.module(depends=""),
        other=synthetic.module(depends=""),
    )
    assert all(modules.wanted(path) for path in files)
    found = {entry.path: entry.data for entry in modules.entries(files, ("a_top",), "linux")}
    table = found["lib/modules/6.1/modules"].decode()
    assert table == "base base.ko\nmid_dle mid_dle.ko base\na_top a_top.ko mid_dle base\n"
    names = ("base.ko", "mid_dle.ko", "a_top.ko", "modules", "modules.alias")
    assert set(found) == {f"lib/modules/6.1/{name}" for name in names}
    with pytest.raises(Malformed, match="no module called gone"):
        modules.entries(files, ("gone",), "linux")


def test_modules_are_told_with_the_devices_they_are_for() -> None:
    files = _kernel(
        first=synthetic.module(depends=""), second=synthetic.module(depends="first", alias="virtio:d00000021v*")
    )
    assert dict(elf.modinfo(synthetic.module(alias="a=b"))) == {"alias": "a=b"}
    found = {entry.path: entry.data for entry in modules.entries(files, ("second",), "linux")}
    assert found["lib/modules/6.1/modules.alias"] == b"alias virtio:d00000021v* second\n"


def test_one_kernel() -> None:
    assert modules.kernel(_kernel()) == ("6.1", b"K")
    with pytest.raises(Malformed, match="2 kernels"):
        modules.kernel(_kernel() | {"boot/vmlinuz-6.2": b""})


def test_cpio_round_trip_is_sorted_and_fixed() -> None:
    entries = [cpio.file("b/c", b"12345", "x", execute=True), cpio.file("a", b"", "x"), cpio.file("b.d", b"1", "x")]
    archive = cpio.write(entries, 7)
    assert archive == cpio.write(reversed(entries), 7)
    found = list(cpio.read(archive))
    assert [entry.path for entry in found] == ["a", "b", "b/c", "b.d"]
    assert [stat.filemode(entry.mode) for entry in found] == ["-r--r--r--", "dr-xr-xr-x", "-r-xr-xr-x", "-r--r--r--"]
    assert found[2].data == b"12345"
    with pytest.raises(Malformed, match="one path"):
        cpio.write([*entries, cpio.file("a", b"2", "y")], 7)


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not here")
def test_cpio_agrees_with_the_tool() -> None:
    entries = [cpio.file("b/c", b"12345", "x"), cpio.Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))]
    told = subprocess.run(
        ["cpio", "-itv", "--numeric-uid-gid"], input=cpio.write(entries, 0), capture_output=True, check=True,
        env={"TZ": "UTC", "LC_ALL": "C"},
    ).stdout.decode()  # fmt: skip
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert lines[1] == "-r--r--r-- 1 0 0 5 Jan 1 1970 b/c"
    assert lines[3] == "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console"


@given(st.binary(max_size=300))
def test_cpio_that_is_none(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(cpio.read(data))


def test_cpio_that_is_cut() -> None:
    archive = cpio.write([cpio.file("a", b"12345", "x")], 0)
    for end in range(len(archive) - 3):
        with pytest.raises(Malformed):
            list(cpio.read(archive[:end]))


def test_uki_holds_what_it_was_given() -> None:
    stub = synthetic.stub()
    sections = (Section(".cmdline", b"quiet"), Section(".linux", b"K" * 5000))
    image = pe.parse(uki.build(stub, sections))
    assert image.content(".cmdline") == b"quiet"
    assert image.content(".linux") == b"K" * 5000
    assert [section.name for section in image.sections] == [".s0", ".cmdline", ".linux"]
    assert all(section.offset % 512 == 0 for section in image.sections)
    addresses = [int.from_bytes(image.data[at : at + 4], "little") for at in (380, 420)]
    assert addresses == [0x5000, 0x6000]  # pages, behind the stub's last section
    assert int.from_bytes(image.data[64 + 24 + 56 :][:4], "little") == 0x8000
    assert image.data[image.checksum :][:4] == bytes(4)


def test_uki_refuses_what_it_cannot_extend() -> None:
    with pytest.raises(Malformed, match="no room"):
        uki.build(synthetic.stub(room=8), tuple(Section(f".x{index}", b"") for index in range(17)))
    with pytest.raises(Malformed, match=r"\.s0 already"):
        uki.build(synthetic.stub(), (Section(".s0", b""),))
    for data in (b"", b"MZ", b"\x7fELF" * 100, synthetic.stub()[:90], synthetic.stub(alignment=3)):
        with pytest.raises(Malformed):
            uki.build(data, ())


def test_standard_library_picks_files_and_extensions() -> None:
    base = python.LIBRARY
    files = {f"{base}/a.py": b"1", f"{base}/b/__init__.py": b"2", f"{base}/lib-dynload/_c{python.EXTENSION}": b"3"}
    origins = dict.fromkeys(files, "libpython")
    sources, extensions = python.library(files, ("a", "b", "_c"), origins)
    assert [source.result for source in sources] == [f"{base}/a.pyc", f"{base}/b/__init__.pyc"]
    assert [(entry.path, entry.origin) for entry in extensions] == [
        (f"{base}/lib-dynload/_c{python.EXTENSION}", "libpython")
    ]
    with pytest.raises(Malformed, match="module ssl"):
        python.library(files, ("ssl",), origins)


def test_libraries_are_found_through_libraries() -> None:
    folder = "usr/lib/x86_64-linux-gnu"
    files = {
        f"{folder}/libone.so.1": synthetic.library(("libtwo.so.2", "ld-linux-x86-64.so.2")),
        "lib/x86_64-linux-gnu/libtwo.so.2": synthetic.library(),
        f"{folder}/libnot.so.3": synthetic.library(),
        python.LOADER: synthetic.library(),
    }
    assert all(python.wanted(path) for path in files)
    root = cpio.file("x.so", synthetic.library(("libone.so.1",)), "x")
    found = [entry.path for entry in python.shared([root], files, dict.fromkeys(files, "d"))]
    assert found == ["lib/x86_64-linux-gnu/libone.so.1", "lib/x86_64-linux-gnu/libtwo.so.2", python.LOADER]
    with pytest.raises(Malformed, match=r"libfour\.so") as caught:
        python.shared([cpio.file("x.so", synthetic.library(("libfour.so",)), "x")], files, dict.fromkeys(files, "d"))
    assert caught.value.where == "x.so"


def test_libraries_inside_a_wheel() -> None:
    bill = {"components": [{"name": "openssl", "version": "4", "purl": "pkg:generic/openssl@4?x=y"}]}
    part = ingredients.Part("openssl", "4", "", "pkg:generic/openssl@4", "sbom")
    binary = synthetic.library() + b"/cargo/registry/src/index.crates.io-1949/ring-0.17.14/src/a.rs\0"
    path = "x-1.dist-info/sboms/a.json"
    assert ingredients.of({path: json.dumps(bill).encode(), "x.so": binary}) == (part,)
    crate = ingredients.Part("ring", "0.17.14", "", "pkg:cargo/ring@0.17.14", "binary")
    assert ingredients.of({"x.so": binary, "x.py": b"registry/src/a/ring-1.1.1/"}) == (crate,)
    for broken in (
        b"{",
        b"{}",
        b'{"components": [1]}',
        b'{"components": [{}]}',
        b'{"components": [{"name": "a", "licenses": [0]}]}',
    ):
        with pytest.raises(Malformed):
            ingredients.of({path: broken})
