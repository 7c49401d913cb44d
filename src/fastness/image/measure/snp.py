"""Launch digests of SEV-SNP: firmware, the pages its metadata asks for, and the state of every processor, in QEMU's
order, page by page (:mod:`fastness.image.measure.snp_pages`).
"""

from __future__ import annotations

import hashlib

from fastness.errors import UsageError
from fastness.image.measure import Machine, Parts, Row, igvm, sev, vmsa
from fastness.image.measure.ovmf import PAGE, Firmware, Kind, Section, read
from fastness.image.measure.snp_pages import VMSA_GPA, Digest, PageType

SNP_ACTIVE = 1
"""SEV_FEATURES that every SNP guest has."""

_BLANK = {
    Kind.SECRETS: PageType.SECRETS,
    Kind.CPUID: PageType.CPUID,
    Kind.SVSM_CAA: PageType.ZERO,
    Kind.KERNEL_HASHES: PageType.ZERO,
}


def launch_digest(
    firmware: Firmware, parts: Parts | None, *, vcpus: int, cpu: int, features: int = SNP_ACTIVE,
    hypervisor: vmsa.Hypervisor = vmsa.QEMU,
) -> bytes:  # fmt: skip
    """The launch digest, 48 bytes.

    Args:
        firmware: what the guest starts with.
        parts: kernel, initrd and command line it is given; None when it boots from a disk, which nothing measures.
        vcpus: number of processors.
        cpu: their signature.
        features: SEV_FEATURES of the processors; bit 0 is SNP itself.
        hypervisor: who sets the guest up.

    Raises:
        UsageError: parts and a firmware without a page or table for their hashes.
    """
    hashes = None
    if parts is not None:
        _refuse_without_page(firmware)
        hashes = sev.hashes(parts)
    digest = Digest()
    digest.data(firmware.gpa, firmware.data)
    late = [item for item in firmware.sections if item.kind is Kind.CPUID and hypervisor.late_cpuid]
    for section in firmware.sections:
        if section not in late:
            _section(digest, section, firmware, hashes, hypervisor)
    for section in late:
        digest.page(PageType.CPUID, section.gpa)
    for page in vmsa.pages(vcpus, firmware.reset, cpu, features, hypervisor):
        digest.page(PageType.VMSA, VMSA_GPA, page)
    return digest.value


def _refuse_without_page(firmware: Firmware) -> None:
    sev.refuse_without_table(firmware)
    table = firmware.hash_table
    for item in firmware.sections:
        if item.kind is Kind.KERNEL_HASHES:
            if item.size != PAGE or not item.gpa <= table <= item.gpa + PAGE - 176:
                raise UsageError("the firmware's hashes table is not in its page for it", hint=sev.REMEDY)
            return
    raise UsageError("the firmware's metadata has no page for the hashes of kernel and initrd", hint=sev.REMEDY)


def _section(
    digest: Digest, section: Section, firmware: Firmware, hashes: bytes | None, hypervisor: vmsa.Hypervisor
) -> None:
    if section.kind is Kind.KERNEL_HASHES and hashes is not None:
        before = firmware.hash_table % PAGE
        digest.page(PageType.NORMAL, section.gpa, (bytes(before) + hashes).ljust(PAGE, b"\0"))
    elif section.kind is Kind.MEMORY:
        measured = PageType.ZERO if hypervisor.measured_memory else PageType.UNMEASURED
        digest.blank(measured, section.gpa, section.size)
    elif section.kind in (Kind.SECRETS, Kind.CPUID):  # one page, whatever the size says
        digest.page(_BLANK[section.kind], section.gpa)
    else:
        digest.blank(_BLANK[section.kind], section.gpa, section.size)


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """What an SNP guest reports that QEMU starts with ``kernel-hashes=on``, or from an IGVM file.

    Raises:
        UsageError: no firmware or processor model, or a firmware without a page for the image's hashes.
        Malformed: a firmware file that is none.
    """
    if not machine.firmware:
        raise UsageError(
            "the launch digest of SNP begins with the firmware, and none was named",
            hint=f"--firmware FILE: {sev.REMEDY}",
        )
    if igvm.recognise(machine.firmware):
        return igvm.rows(parts, machine)
    cpu = vmsa.processor(machine.cpu)
    digest = launch_digest(read(machine.firmware), parts, vcpus=machine.vcpus, cpu=cpu)
    note = (
        f"firmware sha256:{hashlib.sha256(machine.firmware).hexdigest()}, kernel-hashes, "
        f"{machine.vcpus} × {machine.cpu}"
    )
    return (Row("snp", note, {"launch": (digest.hex(),)}),)
