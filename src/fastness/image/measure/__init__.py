"""What the hardware will report for a keep image, computed offline: one module a platform, one calling shape.

Each platform's module has ``rows(parts, machine) -> tuple[Row, ...]``, a pure function of its arguments: no clock,
no network, no file. It raises :class:`fastness.errors.UsageError`, with the reason and what would mend it, where the
value cannot be told: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PLATFORMS = ("vm", "snp", "sev", "tdx", "nitro", "sgx")
"""Platforms by their name on the command line. ``vm`` is measured by a TPM, whose claims are those of ``tpm``."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way a machine may start the image, and what is then reported.

    Attributes:
        tee: the folder's name of the TEE whose claims these are (``"tpm"`` for the platform ``vm``).
        note: how the image is started, in words: firmware, processors, what the values depend on.
        measurements: name of a measurement claim (``"launch"``, ``"pcr4"``, ``"rtmr1"`` …) → the values allowed,
            lower-case hexadecimal. One of each name must be met, all names together.
    """

    tee: str
    note: str
    measurements: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an image, as bytes.

    Attributes:
        kernel: the bzImage, as shipped.
        initrd: the one initramfs, compressed as shipped.
        cmdline: the kernel command line, ASCII, without a final newline or NUL.
        uki: the unified kernel image of the same parts, or empty.
        eif: the Nitro enclave image of the same parts, or empty.
        nitro: SHA-256 of that image's kernel and ramdisks, where its kernel is another than ``kernel``.
        enclave: the SGX enclave of the same keep, as a SIGSTRUCT or an SGXS stream, or empty.
    """

    kernel: bytes
    initrd: bytes
    cmdline: str
    uki: bytes = b""
    eif: bytes = b""
    nitro: tuple[str, ...] = ()
    enclave: bytes = b""


@dataclass(frozen=True, slots=True)
class Machine:
    """The virtual machine the image is started on, as far as measurements depend on it.

    Attributes:
        firmware: the firmware file (OVMF, TDVF), or empty where none was named.
        vcpus: number of virtual processors.
        cpu: QEMU's name of the processor model (``"EPYC-v4"``), or empty.
        memory: size of the guest's memory, MiB.
        qemu: major and minor version of QEMU.
    """

    firmware: bytes = b""
    vcpus: int = 1
    cpu: str = ""
    memory: int = 512
    qemu: tuple[int, int] = (10, 0)
