"""What goes wrong with a device, in our own words."""

from __future__ import annotations

from pathlib import Path

from fastness.errors import KeepFailed


class DeviceError(KeepFailed):
    """The platform's interface failed, or answered with something that is no evidence."""

    kind = "device"


def failed(path: Path, error: OSError) -> DeviceError:
    """An error of the operating system at ``path``."""
    hint = "run it as root, or as a member of the device's group" if error.errno in (1, 13) else ""
    return DeviceError(f"the device failed: {(error.strerror or str(error)).lower()}", where=str(path), hint=hint)


def bounded(path: Path, limit: int) -> bytes:
    """The whole of a file that must hold 1 to ``limit`` bytes."""
    try:
        with path.open("rb", buffering=0) as file:
            parts = bytearray()
            while data := file.read(limit + 1 - len(parts)):
                parts += data
    except OSError as error:
        raise failed(path, error) from None
    if not 0 < len(parts) <= limit:
        raise DeviceError(f"an answer of 1 to {limit} bytes was expected, not {len(parts)}", where=str(path))
    return bytes(parts)
