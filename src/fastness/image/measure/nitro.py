"""PCR 0, 1 and 2 of a Nitro enclave: what :mod:`fastness.image.eif` says of the enclave image of the same parts.

PCR 3 (role of the parent instance), 4 (instance) and 8 (signer) belong to where and by whom it is started; a policy
says them. PCR 0 to 2 are zero in a debug enclave, whatever it runs.
"""

from __future__ import annotations

from hashlib import sha256

from fastness.errors import UsageError
from fastness.image import eif
from fastness.image.measure import Machine, Parts, Row


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """One row. Without ``parts.eif``, that of the image which one kernel, command line and ramdisk make.

    What it holds must be ``parts``; where its kernel is its own, what ``parts.nitro`` names, the root last.

    Raises:
        UsageError: the enclave image holds other parts than these.
        Malformed: it does not follow its format.
    """
    del machine  # an enclave is measured alike on every instance
    cmdline = parts.cmdline.encode("ascii", "replace")
    image = eif.parse(parts.eif) if parts.eif else eif.Eif(parts.kernel, cmdline, (parts.initrd,), b"")
    wanted = parts.nitro or tuple(map(_hash, (parts.kernel, parts.initrd)))
    held = tuple(map(_hash, (image.kernel, *image.ramdisks)))
    if image.cmdline != cmdline or held != wanted or held[-1] != _hash(parts.initrd):
        raise UsageError("the enclave image holds other parts than the image", hint="fastness image build")
    found = {name: (value.hex(),) for name, value in eif.registers(image).items()}
    count = {1: "one ramdisk", 2: "a ramdisk of modules and the root"}.get(len(image.ramdisks), "several ramdisks")
    return (Row("nitro", f"enclave image of {count}", found),)


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
