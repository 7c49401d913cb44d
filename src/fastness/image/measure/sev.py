"""Launch digests of SEV and SEV-ES: SHA-256 over all that was encrypted before the guest ran (AMD 55766, section 6.5,
LAUNCH_MEASURE): the firmware, the table of hashes of what it then loads, and for SEV-ES the state of every processor.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from fastness.errors import UsageError
from fastness.image.measure import Machine, Parts, Row, vmsa
from fastness.image.measure.ovmf import Firmware, read

TABLE, CMDLINE, INITRD, KERNEL = (
    "9438d606-4f22-4cc9-b479-a793d411fd21",
    "97d02dd8-bd20-4c94-aa78-e7714d36ab2a",
    "44baf731-3a2f-4bd7-9af1-41e29169781d",
    "4de79437-abd2-427f-b835-d5b172d2045b",
)
"""GUIDs of the hashes table (QEMU ``target/i386/sev.c``, edk2 ``OvmfPkg/AmdSev/BlobVerifierLibSevHashes``)."""

REMEDY = (
    "use a firmware with the hashes table (edk2's OvmfPkg/AmdSev/AmdSevX64.dsc, often shipped as OVMF.amdsev.fd; "
    "Debian's ovmf package has none), or put firmware and image into one IGVM file"
)


def hashes(parts: Parts) -> bytes:
    """The table of hashes as QEMU writes it with ``kernel-hashes=on``, 176 bytes.

    Each entry is GUID, size (2 bytes), SHA-256; the command line is hashed with a final NUL. Padded to 16 bytes.
    """
    blobs = ((CMDLINE, parts.cmdline.encode() + b"\0"), (INITRD, parts.initrd), (KERNEL, parts.kernel))
    body = b"".join(_entry(guid, hashlib.sha256(blob).digest()) for guid, blob in blobs)
    table = _entry(TABLE, body)
    return table + bytes(-len(table) % 16)


def _entry(guid: str, data: bytes) -> bytes:
    return UUID(guid).bytes_le + (18 + len(data)).to_bytes(2, "little") + data


def refuse_without_table(firmware: Firmware) -> None:
    """Raises :class:`UsageError` for a firmware that checks nothing of kernel, initrd and command line."""
    if not firmware.hash_table:
        raise UsageError("the firmware has no table for the hashes of kernel, initrd and command line", hint=REMEDY)


def launch_digest(
    firmware: Firmware, parts: Parts | None, *, vcpus: int | None = None, cpu: int = 0, features: int = 0,
    hypervisor: vmsa.Hypervisor = vmsa.QEMU,
) -> bytes:  # fmt: skip
    """The launch digest, 32 bytes.

    Args:
        firmware: what the guest starts with.
        parts: kernel, initrd and command line it is given; None when it boots from a disk, which nothing measures.
        vcpus: processors of a SEV-ES guest; None for SEV, which does not measure them.
        cpu: signature of the processors.
        features: SEV_FEATURES of the processors; 0 unless the host's KVM sets bit 5 (debug swap).
        hypervisor: who sets them up.

    Raises:
        UsageError: parts and a firmware without a table for their hashes.
    """
    digest = hashlib.sha256(firmware.data)
    if parts is not None:
        refuse_without_table(firmware)
        digest.update(hashes(parts))
    if vcpus is not None:
        digest.update(b"".join(vmsa.pages(vcpus, firmware.reset, cpu, features, hypervisor)))
    return digest.digest()


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """What a SEV-ES guest reports, and what a SEV guest does (whose processors nobody measures).

    Raises:
        UsageError: no firmware or processor model, or a firmware without a table for the image's hashes.
        Malformed: a firmware file that is none.
    """
    if not machine.firmware:
        raise UsageError(
            "the launch digest of SEV begins with the firmware, and none was named", hint=f"--firmware FILE: {REMEDY}"
        )
    firmware, cpu = read(machine.firmware), vmsa.processor(machine.cpu)
    name = f"firmware sha256:{hashlib.sha256(machine.firmware).hexdigest()}, kernel-hashes"
    es = launch_digest(firmware, parts, vcpus=machine.vcpus, cpu=cpu)
    plain = launch_digest(firmware, parts)
    return (
        Row("sev", f"SEV-ES, {name}, {machine.vcpus} × {machine.cpu}", {"launch": (es.hex(),)}),
        Row("sev", f"SEV, {name}", {"launch": (plain.hex(),)}),
    )
