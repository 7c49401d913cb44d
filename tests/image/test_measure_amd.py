"""Launch digests of SEV, SEV-ES and SEV-SNP: constants that sev-snp-measure 0.0.13 gave, and that very program."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import firmware
from fastness.errors import Malformed, UsageError
from fastness.image.measure import Machine, Parts, ovmf, sev, snp, vmsa

PARTS = Parts(b"a kernel" * 500, b"an initramfs" * 300, "console=ttyS0 quiet")
BARE = Parts(b"a kernel", b"", "")
MADE = ovmf.read(firmware.make())
RECORDED = json.loads((Path(__file__).parent / "sev_snp_measure.json").read_text())
"""``mode vcpus cpu features hypervisor parts`` → digest, as sev-snp-measure 0.0.13 computed it for MADE."""

COMBINATIONS = [
    *itertools.product(
        ("snp",), (1, 2, 4), ("EPYC-v4", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"), (1, 0x21),
        ("qemu",), ("image", "none")
    ),
    *itertools.product(("snp",), (1, 3), ("EPYC-Milan-v2",), (1,), ("ec2", "gce"), ("image", "none")),
    *itertools.product(("seves",), (1, 2, 3, 4), ("EPYC-v4", "EPYC-Milan"), (0,), ("qemu",), ("image", "bare", "none")),
    *itertools.product(("sev",), (0,), ("EPYC",), (0,), ("qemu",), ("image", "bare", "none")),
]  # fmt: skip
NAMED = {"image": PARTS, "bare": BARE, "none": None}
Combination = tuple[str, int, str, int, str, str]


def ours(made: ovmf.Firmware, combination: Combination) -> str:
    mode, vcpus, cpu, features, hypervisor, parts = combination
    options: Any = {
        "vcpus": vcpus, "cpu": vmsa.processor(cpu), "features": features, "hypervisor": vmsa.HYPERVISORS[hypervisor],
    }  # fmt: skip
    if mode == "sev":
        options["vcpus"] = None
    compute = snp.launch_digest if mode == "snp" else sev.launch_digest
    return compute(made, NAMED[parts], **options).hex()


def key(combination: Combination) -> str:
    return " ".join(map(str, combination))


@pytest.mark.parametrize("combination", COMBINATIONS, ids=key)
def test_digests_are_those_recorded(combination: Combination) -> None:
    assert ours(MADE, combination) == RECORDED[key(combination)]


def test_every_part_counts() -> None:
    found = {ours(MADE, combination) for combination in COMBINATIONS}
    assert len(found) == len(COMBINATIONS)


def theirs(path: Path, combination: Combination, folder: Path) -> str:
    guest = pytest.importorskip("sevsnpmeasure.guest", reason="sev-snp-measure is not installed")
    from sevsnpmeasure.sev_mode import SevMode  # type: ignore[import-not-found]
    from sevsnpmeasure.vmm_types import VMMType  # type: ignore[import-not-found]

    mode, vcpus, cpu, features, hypervisor, name = combination
    parts = NAMED[name]
    kernel = initrd = append = ""
    if parts is not None:
        (folder / "kernel").write_bytes(parts.kernel)
        (folder / "initrd").write_bytes(parts.initrd)
        kernel, initrd, append = str(folder / "kernel"), str(folder / "initrd"), parts.cmdline
    vmm = VMMType.QEMU if hypervisor == "qemu" else VMMType[hypervisor]
    digest: bytes = guest.calc_launch_digest(
        SevMode.from_str(mode), vcpus, vmsa.processor(cpu), str(path), kernel, initrd, append, features, "", vmm
    )
    return digest.hex()


@pytest.mark.parametrize("combination", COMBINATIONS, ids=key)
def test_sev_snp_measure_agrees(combination: Combination, tmp_path: Path) -> None:
    path = tmp_path / "firmware"
    path.write_bytes(MADE.data)
    assert ours(MADE, combination) == theirs(path, combination, tmp_path)


def test_processors_are_those_of_sev_snp_measure() -> None:
    types = pytest.importorskip("sevsnpmeasure.vcpu_types", reason="sev-snp-measure is not installed")
    for name, value in types.CPU_SIGS.items():
        assert vmsa.processor(name) == value
    assert vmsa.signature(26, 0x24, 3) == types.cpu_sig(26, 0x24, 3)


DEBIAN = [
    Path("/usr/share/ovmf/OVMF.fd"),
    Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
    Path("/usr/share/OVMF/OVMF_CODE.fd"),
]


@pytest.mark.parametrize("path", DEBIAN, ids=lambda path: path.name)
@pytest.mark.parametrize("mode", ["snp", "seves", "sev"])
def test_debian_firmware(path: Path, mode: str, tmp_path: Path) -> None:
    if not path.is_file():
        pytest.skip(f"{path} is not there: apt-get install ovmf")
    combination = (mode, 2 if mode != "sev" else 0, "EPYC-v4", 1 if mode == "snp" else 0, "qemu", "none")
    made = ovmf.read(path.read_bytes())
    assert ours(made, combination) == theirs(path, combination, tmp_path)
    with pytest.raises(UsageError) as error:
        ours(made, (*combination[:5], "image"))
    assert "AmdSevX64" in error.value.hint


def test_known_debian_firmware_has_its_known_digest() -> None:
    """Debian 12's OVMF.fd, ovmf 2022.11: recorded independently of these tests."""
    path = DEBIAN[0]
    known = "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != known:
        pytest.skip("another ovmf package, or none")
    assert ours(ovmf.read(path.read_bytes()), ("snp", 2, "EPYC-v4", 1, "qemu", "none")).startswith("a5b54e62")


# rows


def test_rows_are_the_digests() -> None:
    machine = Machine(firmware=MADE.data, vcpus=2, cpu="EPYC-v4")
    (row,) = snp.rows(PARTS, machine)
    assert row.tee == "snp"
    assert row.measurements == {"launch": (ours(MADE, ("snp", 2, "EPYC-v4", 1, "qemu", "image")),)}
    assert hashlib.sha256(MADE.data).hexdigest() in row.note
    es, plain = sev.rows(PARTS, machine)
    assert es.measurements["launch"] == (ours(MADE, ("seves", 2, "EPYC-v4", 0, "qemu", "image")),)
    assert plain.measurements["launch"] == (ours(MADE, ("sev", 0, "EPYC", 0, "qemu", "image")),)
    assert "SEV-ES" in es.note


@pytest.mark.parametrize("rows", [snp.rows, sev.rows])
@pytest.mark.parametrize(
    ("machine", "says"),
    [
        (Machine(cpu="EPYC"), "none was named"),
        (Machine(firmware=MADE.data), "no processor model"),
        (Machine(firmware=MADE.data, cpu="host"), "'host'"),
        (Machine(firmware=MADE.data, cpu="EPYC", vcpus=0), "0 processors"),
        (Machine(firmware=firmware.make(hashes=None), cpu="EPYC"), "no table for the hashes"),
        (Machine(firmware=firmware.make(hashes=0), cpu="EPYC"), "no table for the hashes"),
        (Machine(firmware=firmware.make(reset=None), cpu="EPYC", vcpus=2), "no SEV-ES reset block"),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_remedy(rows: Any, machine: Machine, says: str) -> None:
    with pytest.raises(UsageError) as error:
        rows(PARTS, machine)
    assert says in error.value.what
    assert error.value.hint


@pytest.mark.parametrize(
    "sections", [firmware.SECTIONS[:-1], (*firmware.SECTIONS[:-1], (0x00820000, 0x1000, 0x10))], ids=["none", "other"]
)
def test_snp_needs_the_page_the_table_lies_in(sections: Any) -> None:
    with pytest.raises(UsageError):
        snp.rows(PARTS, Machine(firmware=firmware.make(sections=sections), cpu="EPYC"))


# firmware files


def test_reading_firmware() -> None:
    assert MADE.gpa == (1 << 32) - 0x8000
    assert (MADE.hash_table, MADE.reset) == (firmware.HASHES, firmware.RESET)
    assert [(item.gpa, item.size, int(item.kind)) for item in MADE.sections] == list(firmware.SECTIONS)
    plain = ovmf.read(bytes(8192))
    assert (plain.table, plain.sections, plain.hash_table, plain.reset) == ({}, (), 0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(4095),
        firmware.make(sections=((0x1000, 0x1000, 9),)),
        firmware.make(sections=((0x1001, 0x1000, 1),)),
        firmware.make(sections=((0x1000, 0, 1),)),
        firmware.make(sections=((0, 0xFFFFF000, 1),)),
        firmware.make(sections=((0x1000, 0x1000, 1),) * 65),
        firmware.make(extra=b"\x01\0" + bytes(16)),
        firmware.make(extra=b"x"),
        firmware.make(extra=firmware._entry(ovmf.RESET_BLOCK, bytes(4))),
        firmware.make(sections=(), extra=firmware._entry(ovmf.SEV_METADATA, b"\xff\xff\xff\xff")),
        firmware.make(sections=(), extra=firmware._entry(ovmf.SEV_METADATA, b"\x00\x20\0\0")),
    ],
)
def test_bad_firmware_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed) as error:
        ovmf.read(data)
    assert error.value.where
    assert error.value.hint


@settings(max_examples=150, deadline=None)
@given(st.integers(0x7000, 0x7FFF), st.binary(min_size=1, max_size=8))
def test_altered_tables_are_read_or_malformed(place: int, data: bytes) -> None:
    altered = bytearray(MADE.data)
    altered[place : place + len(data)] = data
    try:
        ovmf.read(bytes(altered[: len(MADE.data)]))
    except Malformed:
        return
