"""Writes IGVM files for tests, as the specification lays them out."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

SNP, NATIVE = 1, 2
"""Masks of the two platforms in every file."""

NORMAL, SECRETS, CPUID = 0, 1, 2
LARGE, UNMEASURED, SHARED = 1, 2, 4


@dataclass
class File:
    """Headers and data in the making; every file is for SNP and for no isolation at all."""

    headers: list[tuple[int, bytes]] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        for mask, platform in ((SNP, 2), (NATIVE, 0)):
            self.headers.append((1, struct.pack("<IBBHQ", mask, 0, platform, 1, 0)))

    def add(self, kind: int, body: bytes) -> None:
        self.headers.append((kind, body))

    def _blob(self, data: bytes) -> int:
        """A placeholder for the offset: blobs are numbered from 1."""
        if not data:
            return 0
        self.blobs.append(data)
        return len(self.blobs)

    def page(self, gpa: int, data: bytes = b"", kind: int = NORMAL, flags: int = 0, mask: int = SNP) -> None:
        self.add(0x302, struct.pack("<QIIIHH", gpa, mask, self._blob(data), flags, kind, 0))

    def pages(self, gpa: int, data: bytes) -> None:
        for start in range(0, len(data), 4096):
            self.page(gpa + start, data[start : start + 4096])

    def zeros(self, gpa: int, size: int) -> None:
        for start in range(0, size, 4096):
            self.page(gpa + start)

    def area(self, index: int, size: int) -> None:
        self.add(0x301, struct.pack("<QII", size, index, 0))

    def insert(self, gpa: int, index: int, mask: int = SNP) -> None:
        self.add(0x303, struct.pack("<QII", gpa, mask, index))

    def processor(self, gpa: int, area: bytes, number: int = 0, mask: int = SNP) -> None:
        self.add(0x304, struct.pack("<QIIHH", gpa, mask, self._blob(area), number, 0))

    def build(self, version: int = 1) -> bytes:
        fixed = 24 if version == 1 else 32
        size = sum(8 + len(body) + -len(body) % 8 for _, body in self.headers)
        offsets, place = [0], fixed + size
        for blob in self.blobs:
            offsets.append(place)
            place += len(blob)
        variable = b""
        for kind, body in self.headers:
            whole = body
            if kind in (0x302, 0x304):
                (number,) = struct.unpack_from("<I", body, 12)
                whole = body[:12] + struct.pack("<I", offsets[number]) + body[16:]
            variable += struct.pack("<II", kind, len(whole)) + whole + bytes(-len(whole) % 8)
        head = b"IGVM" + struct.pack("<IIII", version, fixed, size, place)
        more = struct.pack("<II", 0, 4096) if version == 2 else b""
        crc = zlib.crc32(head + bytes(4) + more + variable)
        return head + struct.pack("<I", crc) + more + variable + b"".join(self.blobs)
