"""A SEV guest's proof of itself, by the secret that its tenant had injected before it ran.

SEV has no report that a running guest could ask for. The tenant checks the launch, and gives the guest it measured a
key (:mod:`fastness.wire.injected`). Where it is found:

1. ``/sys/kernel/security/secrets/coco/GUID``, where the kernel has a driver for it (Linux 5.19, CONFIG_EFI_SECRET).
2. In the memory that the firmware reserved for it, by ``/dev/mem`` (Debian's kernels have no such driver). edk2's
   AmdSevX64 keeps it at 8 MiB, and tells the kernel that it is reserved (``OvmfPkg/AmdSev/SecretPei``); mapped memory
   of a SEV guest is read decrypted. Only reserved ranges between 1 and 16 MiB are looked at.

What the host might put there it cannot encrypt for the guest: it would be another key, and prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastness.devices import Quote
from fastness.devices.failure import DeviceError, bounded, failed
from fastness.errors import MalformedEvidence
from fastness.wire import injected

PLACE = f"sys/kernel/security/secrets/coco/{injected.KEEP_NAME}"
MEMORY, RANGES = "dev/mem", "proc/iomem"
LOWEST, HIGHEST = 1 << 20, 1 << 24
PAGE = 4096
_RESERVED = " : Reserved"


def present(root: Path) -> bool:
    """Whether secrets were injected; not, where the kernel lets nobody look."""
    try:
        return (root / PLACE).exists() or _table(root) is not None
    except DeviceError:
        return False


def quote(report_data: bytes, root: Path) -> Quote:
    """The proof over ``report_data`` (64 bytes)."""
    return Quote("sev", injected.prove(_key(root), report_data))


def _key(root: Path) -> bytes:
    place = root / PLACE
    key = bounded(place, injected.MAX_TABLE) if place.exists() else _entry(root)
    if len(key) != injected.KEY_SIZE:
        raise DeviceError(f"the injected secret has {len(key)} bytes, not {injected.KEY_SIZE}", where=str(place))
    return key


def _entry(root: Path) -> bytes:
    table = _table(root)
    if table is None:
        raise DeviceError("no secret was injected", hint="a SEV guest needs a tenant: fastness deploy --platform sev")
    try:
        return injected.entries(table).get(injected.KEEP, b"")
    except MalformedEvidence as error:
        raise DeviceError(f"the table of injected secrets is damaged: {error.what}") from None


def _table(root: Path) -> bytes | None:
    """The table of secrets in reserved memory, as long as it says it is; None where there is none."""
    for start, size in _reserved(root):
        memory = _mapped(root / MEMORY, start, size)
        at = memory.find(injected.TABLE)
        if at >= 0:
            length = int.from_bytes(memory[at + 16 : at + 20], "little")
            return memory[at : at + min(length, injected.MAX_TABLE)]
    return None


def _reserved(root: Path) -> Iterator[tuple[int, int]]:
    """(address, size) of every range of whole pages that is looked at."""
    try:
        lines = (root / RANGES).read_text("ascii", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        if not line.endswith(_RESERVED) or line.startswith(" "):
            continue
        first, _, last = line.removesuffix(_RESERVED).partition("-")
        start, end = int(first, 16) & -PAGE, (int(last, 16) + PAGE) & -PAGE
        if LOWEST <= start < end <= HIGHEST:
            yield start, end - start


def _mapped(place: Path, start: int, size: int) -> bytes:
    """A copy of physical memory. Mapped, not read: reading would go by a mapping of the kernel's that is not encrypted.

    Raises:
        DeviceError: the kernel forbids it (lockdown).
    """
    import mmap

    try:
        with (
            place.open("rb", buffering=0) as file,
            mmap.mmap(file.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ, offset=start) as view,
        ):
            return bytes(view)
    except OSError as error:
        raise failed(place, error) from None
