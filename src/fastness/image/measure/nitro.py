"""PCR 0, 1 and 2 of a Nitro enclave: what :mod:`fastness.image.eif` says of the enclave image of the same parts.

PCR 3 (role of the parent instance), 4 (instance) and 8 (signer) belong to where and by whom it is started; a policy
says them. PCR 0 to 2 are zero in a debug enclave, whatever it runs.
"""

from __future__ import annotations

from fastness.errors import UsageError
from fastness.image import eif
from fastness.image.measure import Machine, Parts, Row


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """One row. Without ``parts.eif``, that of the image which one kernel, command line and ramdisk make.

    Raises:
        UsageError: the enclave image holds other parts than these.
        Malformed: it does not follow its format.
    """
    del machine  # an enclave is measured alike on every instance
    same = (parts.kernel, parts.cmdline.encode("ascii", "replace"), (parts.initrd,))
    image = eif.parse(parts.eif) if parts.eif else eif.Eif(*same, b"")
    if (image.kernel, image.cmdline, image.ramdisks) != same:
        raise UsageError("the enclave image holds other parts than the image", hint="fastness image build")
    found = {name: (value.hex(),) for name, value in eif.registers(image).items()}
    return (Row("nitro", "enclave image of one ramdisk", found),)
