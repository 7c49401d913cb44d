"""The processor behind an FMSPC: CPUID by rule, names by data.

The six bytes hold CPUID.1.EAX: ``eax = b1 << 12 | b2 << 4 | b3 >> 4``; the high nibble of b0 is a variant of the
platform, the low nibble of b3 its kind. The rule goes on working for an FMSPC of a known model that is not listed yet.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from fastness.claims.model import Cpu
from fastness.tee.dcap.fmspc_table import ROWS


@cache
def table() -> dict[tuple[int, int], dict[str, Any]]:
    """(family, model) → the row of ``fmspc.toml``."""
    return {(row["family"], row["model"]): row for row in ROWS}


def from_eax(eax: int, source: str = "pck") -> Cpu:
    """The processor that CPUID.1.EAX names (Intel SDM volume 2A, CPUID, figure 3-6)."""
    family, model, stepping = eax >> 8 & 0xF, eax >> 4 & 0xF, eax & 0xF
    if family in (0x6, 0xF):
        model |= (eax >> 16 & 0xF) << 4
    if family == 0xF:
        family += eax >> 20 & 0xFF
    row = table().get((family, model), {})
    return Cpu("intel", family, model, stepping, row.get("generation"), row.get("product"), source)


@lru_cache(maxsize=256)
def from_fmspc(fmspc: bytes) -> Cpu:
    """The processor that an FMSPC (6 bytes) names."""
    return from_eax(fmspc[1] << 12 | fmspc[2] << 4 | fmspc[3] >> 4)
