"""The first state of a guest's processors, one page each (AMD 24593, Architecture Programmer's Manual, volume 2,
table B-4, state save area for SEV-ES). The launch digest of SEV-ES and SEV-SNP covers these pages.

The state is that of a reset as QEMU and KVM set it up; Amazon's and Google's hypervisors differ in a few registers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fastness.errors import UsageError

PAGE = 4096
RESET_VECTOR = 0xFFFFFFF0
MAX_VCPUS = 1024


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """Where hypervisors differ: attributes of CS, SS and TR, the page attribute table, and what else they set.

    ``rdx`` None is the processor's signature; ``fpu`` whether MXCSR and FCW have their reset values; ``late_cpuid``
    whether CPUID pages are measured after all other sections; ``measured_memory`` whether sections of plain memory
    are measured as zero pages rather than left out.
    """

    name: str
    cs: int = 0x9B
    ss: int = 0x93
    tr: int = 0x8B
    pat: int = 0x0007040600070406
    rdx: int | None = None
    fpu: bool = True
    late_cpuid: bool = False
    measured_memory: bool = True


QEMU = Hypervisor("qemu")
EC2 = Hypervisor("ec2", ss=0x92, tr=0x83, rdx=0x600, fpu=False, late_cpuid=True)
GCE = Hypervisor("gce", pat=0x00070106, rdx=0x600, fpu=False, measured_memory=False)
HYPERVISORS = {item.name: item for item in (QEMU, EC2, GCE)}


def signature(family: int, model: int, stepping: int) -> int:
    """CPUID Fn0000_0001_EAX of a processor (AMD 25481): what RDX holds at reset."""
    low, high = (0xF, family - 0xF) if family > 0xF else (family, 0)
    return high << 20 | (model >> 4) << 16 | low << 8 | (model & 0xF) << 4 | stepping


_NAPLES, _ROME, _MILAN = signature(0x17, 1, 2), signature(0x17, 0x31, 0), signature(0x19, 1, 1)
_GENOA, _TURIN = signature(0x19, 0x11, 0), signature(0x1A, 0, 0)
PROCESSORS = (
    dict.fromkeys(("EPYC", "EPYC-v1", "EPYC-v2", "EPYC-IBPB", "EPYC-v3", "EPYC-v4", "EPYC-v5"), _NAPLES)
    | dict.fromkeys(("EPYC-Rome", *(f"EPYC-Rome-v{number}" for number in range(1, 6))), _ROME)
    | dict.fromkeys(("EPYC-Milan", *(f"EPYC-Milan-v{number}" for number in range(1, 4))), _MILAN)
    | dict.fromkeys(("EPYC-Genoa", "EPYC-Genoa-v1", "EPYC-Genoa-v2"), _GENOA)
    | dict.fromkeys(("EPYC-Turin", "EPYC-Turin-v1"), _TURIN)
)
"""Signature by QEMU's name of the model (``builtin_x86_defs``); versions of a model share it."""


def processor(name: str) -> int:
    """The signature of a processor model.

    Raises:
        UsageError: a model QEMU does not have, or one whose signature is the host's (``host``, ``max``).
    """
    if name not in PROCESSORS:
        raise UsageError(
            f"the reset state of processor model {name!r} is not known" if name else "no processor model was named",
            hint="one of QEMU's models, which the guest is then started with: " + ", ".join(PROCESSORS),
        )
    return PROCESSORS[name]


_SEGMENT = struct.Struct("<HHIQ")
"""Selector, attributes, limit, base."""

_FIXED = {
    0x0D0: 0x1000,  # EFER: KVM sets SVME
    0x148: 0x40,  # CR4: KVM sets MCE
    0x158: 0x10,  # CR0
    0x160: 0x400,  # DR7
    0x168: 0xFFFF0FF0,  # DR6
    0x170: 0x2,  # RFLAGS
    0x3E8: 0x1,  # XCR0
}
_DATA = (0x00, 0x30, 0x40, 0x50)  # ES, DS, FS, GS


def page(start: int, cpu: int, features: int, hypervisor: Hypervisor = QEMU) -> bytes:
    """The save area of one processor, 4096 bytes.

    Args:
        start: where it begins: the reset vector, or the firmware's SEV-ES reset block for all but the first.
        cpu: its signature.
        features: SEV_FEATURES (APM volume 2, table B-4, offset 3B0h): 0 for SEV-ES, bit 0 for SEV-SNP.
        hypervisor: who set it up.
    """
    area = bytearray(PAGE)
    code = hypervisor.cs
    if hypervisor is EC2 and start == RESET_VECTOR:
        code = 0x9A  # not yet accessed
    for offset in _DATA:
        _SEGMENT.pack_into(area, offset, 0, 0x93, 0xFFFF, 0)
    _SEGMENT.pack_into(area, 0x10, 0xF000, code, 0xFFFF, start & 0xFFFF0000)
    _SEGMENT.pack_into(area, 0x20, 0, hypervisor.ss, 0xFFFF, 0)
    for offset, attributes in ((0x60, 0), (0x70, 0x82), (0x80, 0), (0x90, hypervisor.tr)):  # GDTR, LDTR, IDTR, TR
        _SEGMENT.pack_into(area, offset, 0, attributes, 0xFFFF, 0)
    rdx = cpu if hypervisor.rdx is None else hypervisor.rdx
    for offset, value in (_FIXED | {0x178: start & 0xFFFF, 0x268: hypervisor.pat, 0x310: rdx, 0x3B0: features}).items():
        struct.pack_into("<Q", area, offset, value)
    if hypervisor.fpu:
        struct.pack_into("<I", area, 0x408, 0x1F80)  # MXCSR
        struct.pack_into("<H", area, 0x410, 0x37F)  # FCW
    return bytes(area)


def pages(count: int, reset: int | None, cpu: int, features: int, hypervisor: Hypervisor = QEMU) -> list[bytes]:
    """The save areas of ``count`` processors, the first at the reset vector, all others at ``reset``.

    Raises:
        UsageError: no or too many processors, or several and a firmware without a SEV-ES reset block.
    """
    if not 1 <= count <= MAX_VCPUS:
        raise UsageError(f"{count} processors", hint=f"1 to {MAX_VCPUS}")
    first = page(RESET_VECTOR, cpu, features, hypervisor)
    if count == 1:
        return [first]
    if not reset:
        raise UsageError(
            "the firmware does not say where further processors begin (no SEV-ES reset block)",
            hint="name a firmware built for SEV-ES, or start the guest with one processor",
        )
    return [first] + [page(reset, cpu, features, hypervisor)] * (count - 1)
