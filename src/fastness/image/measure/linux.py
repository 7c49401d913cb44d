"""A Linux kernel as QEMU hands it to the firmware.

QEMU up to 9.x offers firmware the kernel with its setup header filled in for a BIOS boot, so that the kernel's digest
depends on the guest's memory and the initrd's size. QEMU 10.0 also offers the file as it is (fw_cfg
``etc/boot/kernel``); OVMF takes that where it knows of it (edk2-stable202502 and later).

Sources: Documentation/arch/x86/boot.rst of the kernel (the setup header); hw/i386/x86-common.c of QEMU,
``x86_load_linux``, and hw/i386/pc_q35.c (memory below 4 GiB). All integers little endian.
"""

from __future__ import annotations

from fastness.errors import Malformed, UsageError

MIN_PROTOCOL = 0x20C
"""Boot protocol with xloadflags (kernel 3.8)."""

ABOVE_4G = 0x02
"""XLF_CAN_BE_LOADED_ABOVE_4G."""

MIN_MEMORY, MAX_MEMORY = 64, 16 << 20
"""Memory sizes accepted, MiB."""

_LOADER, _CAN_USE_HEAP = 0xB0, 0x80
_REAL, _CMDLINE = 0x10000, 0x20000
_ACPI_DATA = 0x28000
"""What QEMU keeps free of the initrd at the end of low memory: ACPI tables and its slack."""


def handed_over(kernel: bytes, initrd_size: int, memory: int) -> bytes:
    """The kernel with the setup header that QEMU writes for a q35 machine of ``memory`` MiB.

    Raises:
        Malformed: not a bzImage of protocol 2.12 or newer.
        UsageError: the initrd does not fit below the end of low memory.
    """
    if len(kernel) < 0x1000 or kernel[0x202:0x206] != b"HdrS":
        raise Malformed("kernel: no setup header", where="header at byte 514", hint="name a bzImage")
    protocol = int.from_bytes(kernel[0x206:0x208], "little")
    if protocol < MIN_PROTOCOL or not kernel[0x211] & 1:
        raise Malformed(
            f"kernel: boot protocol 0x{protocol:x}", where="version at byte 518", hint="name a newer kernel"
        )
    patched = bytearray(kernel)
    patched[0x210] = _LOADER
    patched[0x211] |= _CAN_USE_HEAP
    if initrd_size:
        place = _initrd_place(kernel, initrd_size, memory)
        patched[0x218:0x220] = place.to_bytes(4, "little") + initrd_size.to_bytes(4, "little")
    patched[0x224:0x226] = (_CMDLINE - _REAL - 0x200).to_bytes(2, "little")
    patched[0x228:0x22C] = _CMDLINE.to_bytes(4, "little")
    return bytes(patched)


def _initrd_place(kernel: bytes, initrd_size: int, memory: int) -> int:
    """Where QEMU puts the initrd: as high as it goes below the ACPI tables, on a page of its own."""
    flags = int.from_bytes(kernel[0x236:0x238], "little")
    highest = 0xFFFFFFFF if flags & ABOVE_4G else int.from_bytes(kernel[0x22C:0x230], "little")
    highest = min(highest, below_4g(memory) - _ACPI_DATA - 1)
    if initrd_size >= highest:
        raise UsageError(f"an initrd of {initrd_size} bytes does not fit into {memory} MiB", hint="--memory MIB")
    return (highest - initrd_size) & ~0xFFF


def below_4g(memory: int) -> int:
    """Bytes of RAM below 4 GiB of a q35 machine with ``memory`` MiB."""
    if not MIN_MEMORY <= memory <= MAX_MEMORY:
        raise UsageError(f"a memory of {memory} MiB", hint=f"--memory takes {MIN_MEMORY} to {MAX_MEMORY}")
    size = memory << 20
    low = 0x80000000 if size >= 0xB0000000 else 0xB0000000
    return min(size, low)
