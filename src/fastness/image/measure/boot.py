"""What UEFI firmware, systemd-stub and the kernel's own EFI stub measure of an image, event by event.

Shared by :mod:`tpm` (SHA-256 into PCRs) and :mod:`tdx` (SHA-384 into RTMRs): the events are the same, the registers
differ. Sources: TCG PFP 1.06 section 3.3; SecurityPkg/Tcg/Tcg2Dxe and OvmfPkg of edk2 (order of the events); UAPI.5
(unified kernel images, section "PE sections") and docs/TPM2_PCR_MEASUREMENTS.md of systemd (PCR 11);
drivers/firmware/efi/libstub/efi-stub-helper.c of the kernel (PCR 9). Each was compared with machines that booted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from fastness.errors import Malformed, UsageError
from fastness.image import pe
from fastness.image.measure import Machine, Parts
from fastness.image.measure.linux import handed_over
from fastness.wire.eventlog import extend

READY, EXIT, EXITED = (
    b"Calling EFI Application from Boot Option",
    b"Exit Boot Services Invocation",
    b"Exit Boot Services Returned with Success",
)
SEPARATOR = bytes(4)

STUBS = {
    252: (".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb"),
    254: (".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".uname", ".sbat"),
}
"""Versions of systemd-stub that were booted and compared → sections in the order that they measure.

From 256 on the stub also appends files of its own to the initrd, and measures into the registers of a TD.
"""

_MAGIC = re.compile(rb"#### LoaderInfo: systemd-stub (\d{3})")
_NOT_BUILT = (".splash", ".dtb", ".pcrsig", ".pcrpkey")
"""Sections that keep images do not have, and whose measurement no boot of ours has confirmed."""


@dataclass(frozen=True, slots=True)
class Boot:
    """One way of booting: digests in the order of the events.

    Attributes:
        note: how, in words.
        loader: extended into PCR 4 up to the kernel's start.
        sections: extended into PCR 11 by systemd-stub; empty without one.
        kernel: extended into PCR 9 by the kernel's own stub: load options, initrd.
    """

    note: str
    loader: tuple[bytes, ...]
    sections: tuple[bytes, ...]
    kernel: tuple[bytes, ...]


def replay(digests: Iterable[bytes], algorithm: str) -> bytes:
    """The register that starts at zero and is extended by each digest."""
    value = bytes(hashlib.new(algorithm).digest_size)
    for digest in digests:
        value = extend(value, digest, algorithm)
    return value


def direct(parts: Parts, machine: Machine, algorithm: str) -> tuple[Boot, ...]:
    """``-kernel -initrd -append``: the file as it is first, then as QEMU fills it in where this QEMU may."""
    options = parts.cmdline + (" initrd=initrd" if parts.initrd else "")
    measured = _kernel_stub(options, parts.initrd, algorithm)
    ready = tuple(hashlib.new(algorithm, text).digest() for text in (READY, SEPARATOR))
    as_it_is = Boot(
        "direct boot; QEMU 10.0 or newer with an OVMF that asks for the file as it is (2025.02)",
        (pe.parse(parts.kernel).authenticode(algorithm), *ready),
        (),
        measured,
    )
    filled_in = Boot(
        f"direct boot; setup header filled in by QEMU, q35, {machine.memory} MiB",
        (pe.parse(handed_over(parts.kernel, len(parts.initrd), machine.memory)).authenticode(algorithm), *ready),
        (),
        measured,
    )
    return (as_it_is, filled_in) if machine.qemu >= (10, 0) else (filled_in,)


def unified(parts: Parts, algorithm: str) -> tuple[Boot, ...]:
    """A UKI: from the EFI system partition of a disk without GPT, or by ``-kernel``, which leaves it as it is.

    Raises:
        Malformed: not a UKI of a systemd-stub we know, or one with sections that keep images do not have.
        UsageError: the UKI holds other parts than these.
    """
    image = pe.parse(parts.uki)
    version = stub_version(image)
    _same_parts(image, parts)
    sections = []
    for name in STUBS[version]:
        content = image.content(name)
        if content is not None:
            sections += [
                hashlib.new(algorithm, name.encode() + b"\0").digest(),
                hashlib.new(algorithm, content).digest(),
            ]
    kernel = _kernel_stub(parts.cmdline, parts.initrd, algorithm)
    ready = tuple(hashlib.new(algorithm, text).digest() for text in (READY, SEPARATOR))
    outer, inner = image.authenticode(algorithm), pe.parse(parts.kernel).authenticode(algorithm)
    words = f"systemd-stub {version}"
    return (
        Boot(f"UKI from a disk without GPT; {words}", (*ready, outer, inner), tuple(sections), kernel),
        Boot(f"UKI by -kernel; {words}", (outer, *ready, inner), tuple(sections), kernel),
    )


def stub_version(image: pe.Image) -> int:
    """The version that systemd-stub says of itself, in a section of its own or, in some builds, among its data."""
    places = (image.content(name) or b"" for name in (".sdmagic", ".rodata", ".data"))
    found = next((match for text in places if (match := _MAGIC.search(text))), None)
    if found is None or int(found[1]) not in STUBS:
        raise Malformed(
            f"UKI: no systemd-stub of version {' or '.join(map(str, STUBS))}",
            where=".sdmagic",
            hint="build the UKI with a stub whose measurements are known",
        )
    return int(found[1])


def _same_parts(image: pe.Image, parts: Parts) -> None:
    wanted = {".linux": parts.kernel, ".initrd": parts.initrd, ".cmdline": parts.cmdline.encode("ascii", "strict")}
    for name, content in wanted.items():
        if image.content(name) != content:
            raise UsageError(f"the UKI's {name} is not that of the image", hint="fastness image build")
    for section in image.sections:
        if section.name in _NOT_BUILT:
            raise Malformed(f"UKI: a section {section.name}", where=section.name, hint="keep images have none")


def _kernel_stub(options: str, initrd: bytes, algorithm: str) -> tuple[bytes, ...]:
    """Load options (UTF-16, with the final NUL) and the initrd, as the kernel's EFI stub measures them."""
    text = hashlib.new(algorithm, (options + "\0").encode("utf-16-le")).digest()
    return (text, hashlib.new(algorithm, initrd).digest()) if initrd else (text,)
