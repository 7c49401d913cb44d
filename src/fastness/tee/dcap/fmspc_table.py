"""Made by tools/tables.py from fmspc.toml, where each row says its source: edit that."""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from typing import Any

ROWS: tuple[dict[str, Any], ...] = (
    {'family': 6, 'model': 106, 'generation': 'ice-lake', 'product': 'Xeon Scalable, 3rd generation', 'fmspcs': ['00606A000000', '30606A000000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 108, 'generation': 'ice-lake-d', 'product': 'Xeon D-1700, D-2700', 'fmspcs': ['00606C040000', '20606C040000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 143, 'generation': 'sapphire-rapids', 'product': 'Xeon Scalable, 4th generation', 'fmspcs': ['00806F000000', '00806F050000', '30806F040000', '50806F000000', '90806F000000', 'C0806F000000', 'F0806F000000'], 'tdx': ['00806F050000', '50806F000000', 'C0806F000000'], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 207, 'generation': 'emerald-rapids', 'product': 'Xeon Scalable, 5th generation', 'fmspcs': ['90C06F000000', 'B0C06F000000'], 'tdx': ['90C06F000000', 'B0C06F000000'], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 173, 'generation': 'granite-rapids', 'product': 'Xeon 6 with P-cores', 'fmspcs': ['00A06D080000', '10A06D000000', '20A06D080000', '70A06D070000'], 'tdx': ['00A06D080000', '10A06D000000', '20A06D080000', '70A06D070000'], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 174, 'generation': 'granite-rapids-d', 'product': 'Xeon 6 SoC', 'fmspcs': ['00A06E050000', '20A06E050000'], 'tdx': ['00A06E050000', '20A06E050000'], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 175, 'generation': 'sierra-forest', 'product': 'Xeon 6 with E-cores', 'fmspcs': ['10A06F010000', '20A06F000000', '60A06F000000'], 'tdx': ['10A06F010000', '20A06F000000', '60A06F000000'], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 122, 'generation': 'gemini-lake', 'product': 'Pentium Silver, Celeron (client)', 'fmspcs': ['00706A100000', '00706A800000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 126, 'generation': 'ice-lake-client', 'product': 'Core, 10th generation (client)', 'fmspcs': ['00706E470000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 142, 'generation': 'kaby-lake-u', 'product': 'Core, 7th to 10th generation, low power (client)', 'fmspcs': ['00806EA60000', '00806EB70000', '20806EB70000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 158, 'generation': 'coffee-lake', 'product': 'Core, 7th to 9th generation; Xeon E-2100, E-2200', 'fmspcs': ['00906EA10000', '00906ED50000', '00906EA50000', '00906EB10000', '00906EC10000', '00906EC50000', '20906EC10000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 165, 'generation': 'comet-lake', 'product': 'Core, 10th generation (client)', 'fmspcs': ['00A065510000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
    {'family': 6, 'model': 167, 'generation': 'rocket-lake', 'product': 'Core, 11th generation; Xeon E-2300', 'fmspcs': ['00A067110000'], 'tdx': [], 'since': '2026-05-01', 'source': 'Intel PCS fmspcs'},
)
