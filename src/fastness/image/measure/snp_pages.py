"""The launch digest of SEV-SNP as a chain of SHA-384 over every page given to the guest (AMD 56860, SNP_LAUNCH_UPDATE,
PAGE_INFO), whoever lays the pages out.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from fastness.image.measure.ovmf import PAGE

SIZE = 48
VMSA_GPA = 0xFFFFFFFFF000
"""Where the firmware says save areas lie: no guest address is theirs, and bits 52 and above are clear."""

_INFO_SIZE = 0x70


class PageType(IntEnum):
    """PAGE_TYPE (AMD 56860, table 68)."""

    NORMAL = 1
    VMSA = 2
    ZERO = 3
    UNMEASURED = 4
    SECRETS = 5
    CPUID = 6


class Digest:
    """The launch digest as it grows, page by page."""

    def __init__(self, start: bytes = bytes(SIZE)) -> None:
        self.value = start

    def page(self, kind: PageType, gpa: int, contents: bytes | None = None) -> None:
        """One page of ``kind`` at ``gpa``; contents count for normal pages and save areas only."""
        digest = bytes(SIZE) if contents is None else hashlib.sha384(contents).digest()
        info = self.value + digest + _INFO_SIZE.to_bytes(2, "little") + bytes((kind, 0, 0, 0, 0, 0))
        self.value = hashlib.sha384(info + gpa.to_bytes(8, "little")).digest()

    def data(self, gpa: int, contents: bytes) -> None:
        """Normal pages from ``gpa`` on."""
        for offset in range(0, len(contents), PAGE):
            self.page(PageType.NORMAL, gpa + offset, contents[offset : offset + PAGE])

    def blank(self, kind: PageType, gpa: int, size: int) -> None:
        """``size`` bytes of pages without contents of their own."""
        for offset in range(0, size, PAGE):
            self.page(kind, gpa + offset)
