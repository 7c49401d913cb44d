"""Launch digests of IGVM files: the pages a firmware is loaded as, written as an IGVM file, give the same digest."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import firmware
import igvm_file
from fastness.errors import Malformed, UsageError
from fastness.image.measure import Machine, Parts, igvm, ovmf, sev, snp, vmsa
from igvm_file import CPUID, LARGE, NATIVE, SECRETS, SHARED, UNMEASURED, File

PARTS = Parts(b"a kernel" * 900, b"an initramfs" * 700, "console=ttyS0 quiet", uki=b"a unified kernel image" * 1000)
MADE = ovmf.read(firmware.make())
CPU = vmsa.processor("EPYC-Milan")
SAVED = vmsa.page(vmsa.RESET_VECTOR, CPU, 1)


def loaded(parts: Parts | None) -> File:
    """What QEMU loads for an OVMF with kernel hashes, page by page."""
    file = File()
    file.pages(MADE.gpa, MADE.data)
    for section in MADE.sections:
        if section.kind is ovmf.Kind.SECRETS:
            file.page(section.gpa, kind=SECRETS)
        elif section.kind is ovmf.Kind.CPUID:
            file.page(section.gpa, kind=CPUID)
        elif section.kind is ovmf.Kind.KERNEL_HASHES and parts is not None:
            page = bytes(MADE.hash_table % 4096) + sev.hashes(parts)
            file.page(section.gpa, page.ljust(4096, b"\0"))
        else:
            file.zeros(section.gpa, section.size)
    file.processor(snp.VMSA_GPA, SAVED)
    return file


def digest(file: File, *, qemu: bool = True, version: int = 1) -> str:
    return igvm.launch_digest(igvm.pages(file.build(version)), qemu=qemu).hex()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("parts", [PARTS, None])
def test_the_same_guest_has_the_same_digest(parts: Parts | None, version: int) -> None:
    """The digest of the same guest without IGVM is that of sev-snp-measure: see test_measure_amd."""
    wanted = snp.launch_digest(MADE, parts, vcpus=1, cpu=CPU)
    assert digest(loaded(parts), version=version) == wanted.hex()
    assert digest(loaded(parts), qemu=False) != wanted.hex()


def test_pages_without_data_are_pages_of_zeros_by_the_specification() -> None:
    empty, written = File(), File()
    empty.page(0x1000)
    written.page(0x1000, bytes(4096))
    assert digest(empty, qemu=False) == digest(written, qemu=False) == digest(written)
    assert digest(empty) != digest(written)


def test_large_pages_are_pages() -> None:
    large, small = File(), File()
    data = hashlib.shake_128(b"data").digest(2 << 20)
    large.page(2 << 20, data, flags=LARGE)
    small.pages(2 << 20, data)
    assert digest(large) == digest(small)
    zero, zeros = File(), File()
    zero.page(2 << 20, flags=LARGE)
    zeros.zeros(2 << 20, 2 << 20)
    for qemu in (True, False):
        assert digest(zero, qemu=qemu) == digest(zeros, qemu=qemu)


def test_what_is_not_for_the_guest_does_not_count() -> None:
    plain, more = File(), File()
    plain.page(0x1000, b"\1" * 4096)
    more.page(0x1000, b"\1" * 4096)
    more.page(0x2000, b"\2" * 4096, mask=NATIVE)
    more.page(0x3000, b"\3" * 4096, flags=SHARED)
    more.insert(0x4000, 7, mask=NATIVE)
    more.processor(0, bytes(4096), mask=NATIVE)
    more.add(0x305, bytes(24))
    more.add(0x307, bytes(8))
    more.add(0x80000000 | 0x3FF, b"whatever")
    assert digest(plain) == digest(more)


def test_unmeasured_pages_count_by_their_place_only() -> None:
    made = []
    for data in (b"\1" * 4096, b"\2" * 4096):
        file = File()
        file.page(0x1000, data, flags=UNMEASURED)
        made.append(digest(file))
    moved = File()
    moved.page(0x2000, b"\1" * 4096, flags=UNMEASURED)
    assert made[0] == made[1] != digest(moved)


def test_parameter_areas_are_unmeasured_pages_and_qemu_puts_them_before_the_run_it_gathers() -> None:
    def made(order: str) -> File:
        file = File()
        file.area(3, 0x2000)
        for step in order:
            if step == "i":
                file.insert(0x8000, 3)
            else:
                file.page(int(step) << 12, step.encode() * 4096)
        return file

    assert digest(made("12i")) == digest(made("i12")) == digest(made("i12"), qemu=False)
    assert digest(made("12i"), qemu=False) != digest(made("i12"), qemu=False)
    # a run ends where its next page is not its neighbour, or something stood between their directives
    assert digest(made("14i")) == digest(made("1i4"), qemu=False)
    assert digest(made("1i2")) == digest(made("i12"), qemu=False)
    file = File()
    for gpa in (0x8000, 0x9000):
        file.page(gpa, flags=UNMEASURED)
    area = File()
    area.area(3, 0x2000)
    area.insert(0x8000, 3)
    assert digest(file) == digest(area)


def test_kvm_measures_the_processor_last_and_at_its_own_address() -> None:
    first, last = File(), File()
    first.processor(0x7000, SAVED)
    first.page(0x1000, b"\1" * 4096)
    last.page(0x1000, b"\1" * 4096)
    last.processor(snp.VMSA_GPA, SAVED)
    assert digest(first) == digest(last) == digest(last, qemu=False)
    assert digest(first, qemu=False) != digest(last, qemu=False)


# rows


def holding(data: bytes) -> bytes:
    """A guest with ``data`` in its measured memory."""
    file = loaded(None)
    processor = file.headers.pop()
    file.pages(0x0100_0000, data.ljust(-(-len(data) // 4096) * 4096, b"\0"))
    file.headers.append(processor)
    return file.build()


LOOSE = b"head" + PARTS.cmdline.encode() + PARTS.kernel + b"between" + PARTS.initrd


@pytest.mark.parametrize("data", [PARTS.uki, LOOSE], ids=["uki", "parts"])
def test_rows_are_both_loaders_values(data: bytes) -> None:
    made = holding(data)
    (row,) = snp.rows(PARTS, Machine(firmware=made))
    found = igvm.pages(made)
    assert set(row.measurements["launch"]) == {igvm.launch_digest(found, qemu=flag).hex() for flag in (True, False)}
    assert "IGVM" in row.note
    for altered in (data[:-1] + b"?", data.replace(b"quiet", b"debug"), data.replace(b"a kernel", b"a Kernel")):
        if altered != data:
            with pytest.raises(UsageError, match="does not hold this image"):
                snp.rows(PARTS, Machine(firmware=holding(altered)))


def test_an_image_that_is_not_measured_is_not_held() -> None:
    file = File()
    for index in range(0, len(PARTS.uki), 4096):
        file.page(0x10000 + index, PARTS.uki[index : index + 4096].ljust(4096, b"\0"), flags=UNMEASURED)
    with pytest.raises(UsageError, match="does not hold this image"):
        igvm.rows(PARTS, Machine(firmware=file.build()))
    with pytest.raises(UsageError) as error:
        igvm.rows(PARTS, Machine(firmware=holding(PARTS.uki), vcpus=2))
    assert "one processor" in error.value.hint


# bad files


def bad(change: Any) -> bytes:
    file = loaded(None)
    change(file)
    return file.build()


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.headers.pop(0),
        lambda file: file.headers.insert(0, file.headers[0]),
        lambda file: file.headers.insert(0, (1, struct.pack("<IBBHQ", 3, 0, 2, 1, 0))),
        lambda file: file.headers.append(file.headers[0]),
        lambda file: file.add(0x101, bytes(16)),
        lambda file: file.add(0x302, bytes(23)),
        lambda file: file.add(0x3FF, b""),
        lambda file: file.page(0x1001, bytes(4096)),
        lambda file: file.page(1 << 52),
        lambda file: file.page(0x1000, kind=9),
        lambda file: file.page(0x1000, flags=8),
        lambda file: file.page(0x1000, b"short"),
        lambda file: file.insert(0x1000, 9),
        lambda file: [file.area(1, 4096), file.insert(0x1000, 1), file.insert(0x2000, 1)],
        lambda file: file.area(1, 100),
        lambda file: [file.area(1, 4096), file.area(1, 4096)],
        lambda file: file.processor(0, SAVED),
        lambda file: file.processor(0, SAVED, number=1),
        lambda file: [file.headers.pop(), file.processor(0, b"")],
        lambda file: [file.area(1, igvm.MAX_PAGES * 4096), file.insert(0, 1)],
    ],
    ids=range(20),
)
def test_what_a_loader_could_not_follow_is_malformed(change: Any) -> None:
    with pytest.raises(Malformed) as error:
        igvm.pages(bad(change))
    assert error.value.hint


def test_cut_and_altered_files_are_malformed() -> None:
    data = loaded(PARTS).build()
    for end in (0, 3, 4, 23, 24, 100, len(data) - 1):
        with pytest.raises(Malformed):
            igvm.pages(data[:end])
    with pytest.raises(Malformed):
        igvm.pages(data + b"\0")
    variable = 24 + int.from_bytes(data[12:16], "little")
    for place in range(4, variable, 7):
        with pytest.raises(Malformed):
            igvm.pages(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])
    arm = bytearray(igvm_file.File().build(2))
    arm[24] = 1
    with pytest.raises(Malformed):
        igvm.pages(bytes(arm))
    changed = igvm.pages(data[:-1] + bytes((data[-1] ^ 1,)))  # what is data is no matter of form, but of the digest
    assert igvm.launch_digest(changed, qemu=True) != igvm.launch_digest(igvm.pages(data), qemu=True)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 60))
def test_any_headers(data: bytes, place: int) -> None:
    import zlib

    file = igvm_file.File()
    file.page(0x1000)
    made = bytearray(file.build())
    made[24 + place : 24 + place + len(data)] = data
    made[16:20] = len(made).to_bytes(4, "little")
    made[20:24] = zlib.crc32(
        bytes(made[:20]) + bytes(4) + bytes(made[24 : 24 + int.from_bytes(made[12:16], "little")])
    ).to_bytes(4, "little")
    try:
        igvm.pages(bytes(made))
    except Malformed:
        return
