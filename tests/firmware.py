"""Makes firmware files for tests: a table at the end, SEV metadata, and filling that is the same every time."""

from __future__ import annotations

import hashlib
from uuid import UUID

from fastness.image.measure import ovmf

RESET = 0x0080B004
HASHES = 0x00810C00
SECTIONS = (
    (0x00800000, 0x9000, 1),
    (0x0080A000, 0x3000, 1),
    (0x0080D000, 0x1000, 2),
    (0x0080E000, 0x1000, 3),
    (0x0080F000, 0x1000, 4),
    (0x00810000, 0x1000, 0x10),
)


def _entry(guid: str, data: bytes) -> bytes:
    return data + (len(data) + 18).to_bytes(2, "little") + UUID(guid).bytes_le


def make(
    *,
    hashes: int | None = HASHES,
    reset: int | None = RESET,
    sections: tuple[tuple[int, int, int], ...] = SECTIONS,
    size: int = 0x8000,
    extra: bytes = b"",
) -> bytes:
    """A firmware file of ``size`` bytes; ``hashes`` and ``reset`` None leave their entries out."""
    metadata = b"ASEV" + b"".join(
        value.to_bytes(4, "little")
        for value in (16 + 12 * len(sections), 1, len(sections), *(part for row in sections for part in row))
    )
    at = size - 0x1000  # metadata stands here
    entries = extra
    if hashes is not None:
        entries += _entry(ovmf.HASH_TABLE, hashes.to_bytes(4, "little") + (0x400).to_bytes(4, "little"))
    if reset is not None:
        entries += _entry(ovmf.RESET_BLOCK, reset.to_bytes(4, "little"))
    if sections:
        entries += _entry(ovmf.SEV_METADATA, (size - at).to_bytes(4, "little"))
    footer = (len(entries) + 18).to_bytes(2, "little") + UUID(ovmf.FOOTER).bytes_le
    filling = b"".join(hashlib.sha512(number.to_bytes(4, "little")).digest() for number in range(size // 64))
    tail = entries + footer + b"\x90" * 32
    return filling[:at] + metadata.ljust(0x1000 - len(tail), b"\0") + tail
