"""What was computed, against what a booted machine's TPM has. Needs QEMU, OVMF, swtpm and an image that was built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from booted import qemu, registers

from fastness.errors import UsageError
from fastness.image import store
from fastness.image.measure import Machine, Parts, Row, boot, tpm

MEMORY = 384


@pytest.fixture(scope="module")
def parts() -> Parts:
    qemu()
    try:
        image = store.load()
    except UsageError as error:
        pytest.skip(f"needs an image (fastness image build): {error.what}")
    return Parts(image.kernel.read_bytes(), image.initrd.read_bytes(), image.cmdline, image.uki.read_bytes())


def matching(rows: tuple[Row, ...], found: dict[int, str]) -> list[Row]:
    """The rows of which every register is met."""
    return [row for row in rows if all(found[int(name[3:])] in values for name, values in row.measurements.items())]


def test_direct_boot(parts: Parts, tmp_path: Path) -> None:
    """An initrd that nothing pads, so that its exact bytes are seen to count."""
    initrd = parts.initrd + b"\0" * (5 - len(parts.initrd) % 4)
    given = replace(parts, initrd=initrd, uki=b"")
    (tmp_path / "kernel").write_bytes(given.kernel)
    (tmp_path / "initrd").write_bytes(initrd)
    command = ["-kernel", str(tmp_path / "kernel"), "-initrd", str(tmp_path / "initrd"), "-append", given.cmdline]
    found = registers(tmp_path, command, memory=MEMORY)
    machine = Machine(memory=MEMORY, qemu=qemu()[1])
    (row,) = matching(tpm.rows(given, machine), found["sha256"])
    assert "direct boot" in row.note
    # the same events in the other bank: what RTMR 1 and 2 of a TD are made of
    long = [
        (boot.replay(way.loader, "sha384"), boot.replay(way.kernel, "sha384"))
        for way in boot.direct(given, machine, "sha384")
    ]
    assert (found["sha384"][4], found["sha384"][9]) in [(one.hex(), two.hex()) for one, two in long]
    assert matching(tpm.rows(replace(given, initrd=initrd + b"\0"), machine), found["sha256"]) == []
    assert matching(tpm.rows(replace(given, cmdline=given.cmdline + " "), machine), found["sha256"]) == []


def unified(found: dict[str, dict[int, str]], parts: Parts, words: str) -> None:
    (row,) = matching(tpm.rows(parts, Machine(memory=MEMORY)), found["sha256"])
    assert words in row.note
    (way,) = [item for item in boot.unified(parts, "sha384") if words in item.note]
    wanted = [boot.replay(digests, "sha384").hex() for digests in (way.loader, way.kernel, way.sections)]
    assert [found["sha384"][index] for index in (4, 9, 11)] == wanted


def test_unified_kernel_image_from_a_disk(parts: Parts, tmp_path: Path) -> None:
    place = tmp_path / "disk/EFI/BOOT"
    place.mkdir(parents=True)
    (place / "BOOTX64.EFI").write_bytes(parts.uki)
    drive = f"if=none,id=d,format=raw,readonly=on,file=fat:{tmp_path / 'disk'}"
    found = registers(tmp_path, ["-drive", drive, "-device", "virtio-blk-pci,drive=d"], memory=MEMORY)
    unified(found, parts, "UKI from a disk")


def test_unified_kernel_image_by_kernel_option(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "uki").write_bytes(parts.uki)
    unified(registers(tmp_path, ["-kernel", str(tmp_path / "uki")], memory=MEMORY), parts, "UKI by -kernel")


def test_a_host_that_appends_a_command_line_is_seen(parts: Parts, tmp_path: Path) -> None:
    """The stub takes it where Secure Boot is off: PCR 4 and 11 stay as they were, PCR 9 and 12 do not."""
    (tmp_path / "uki").write_bytes(parts.uki)
    found = registers(tmp_path, ["-kernel", str(tmp_path / "uki"), "-append", "quiet init=/bin/sh"], memory=MEMORY)
    rows = tpm.rows(parts, Machine(memory=MEMORY))
    assert matching(rows, found["sha256"]) == []
    (row,) = [item for item in rows if "UKI by -kernel" in item.note]
    wrong = {name for name, values in row.measurements.items() if found["sha256"][int(name[3:])] not in values}
    assert wrong == {"pcr9", "pcr12"}
