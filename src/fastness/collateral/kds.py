"""AMD's Key Distribution Service: VCEK certificates, their issuers, and the lists of revoked issuers.

Source: AMD publication 57230, "VCEK certificate and KDS interface specification", revision 0.51. A VLEK certificate
cannot be had here: it is the cloud's, and travels with the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from fastness.collateral.wanted import KDS, Wanted, base

LINES = {"milan": "Milan", "genoa": "Genoa", "bergamo": "Genoa", "siena": "Genoa", "turin": "Turin", "venice": "Venice"}
"""Product line that serves a generation: Bergamo and Siena share Genoa's roots."""

_OLD = (("blSPL", 0), ("teeSPL", 1), ("snpSPL", 6), ("ucodeSPL", 7))
_NEW = (("fmcSPL", 0), ("blSPL", 1), ("teeSPL", 2), ("snpSPL", 3), ("ucodeSPL", 7))
SPACING = 10.0
"""AMD limits an address to about one VCEK in ten seconds."""


def line_of(family: int, model: int) -> str | None:
    """The product line of a processor by CPUID, extended parts added in; None for one that is no EPYC with SNP."""
    from fastness.tee.snp.layout import generation_of  # what other TEEs' collateral does without

    found = generation_of(family, model)
    return None if found is None else LINES[found.name]


def vcek(line: str, chip_id: bytes, tcb: bytes) -> Wanted:
    """The VCEK of ``chip_id`` (64 bytes) at ``tcb`` (8 bytes as in the report's reported_tcb)."""
    new = line not in ("Milan", "Genoa")
    chip = (chip_id[:8] if new else chip_id).hex()
    query = "&".join(f"{name}={tcb[index]:02d}" for name, index in (_NEW if new else _OLD))
    path = f"/vcek/v1/{line}/{chip}?{query}"
    return Wanted(f"kds{path}", base(KDS) + path, ("certificate",))


def issuers(line: str, kind: str) -> Wanted:
    """ASK (or ASVK for ``kind`` ``vlek``) and ARK of ``line``, PEM."""
    path = f"/{kind}/v1/{line}/cert_chain"
    return Wanted(f"kds{path}", base(KDS) + path, ("certificate",))


def crl(line: str, kind: str) -> Wanted:
    """The list of revoked issuers of ``line``, signed by its ARK, DER."""
    path = f"/{kind}/v1/{line}/crl"
    return Wanted(f"kds{path}", base(KDS) + path, ("crl",))


def of_report(report: bytes, *, vlek: bool, names: Iterable[str] = ()) -> list[Wanted]:
    """What an SNP report (its first 0x1E0 bytes) wants.

    A version 2 report names no processor: its line is that of the issuers (``names``) that are there; Milan or Genoa.
    """
    version = int.from_bytes(report[:4], "little")
    lines = [line_of(report[0x188], report[0x189])] if version >= 3 else _old_lines(names)
    chip, tcb = report[0x1A0:0x1E0], report[0x180:0x188]
    kind = "vlek" if vlek else "vcek"
    found: list[Wanted] = []
    for line in lines:
        if line is None:
            continue
        if not vlek and any(chip):
            found.append(vcek(line, chip, tcb))
        found += [issuers(line, kind), crl(line, kind)]
    if len(lines) == 1:
        return found
    return [replace(item, alternative=re.sub("/v1/[A-Za-z]+/", "/v1/*/", item.key)) for item in found]


def _old_lines(names: Iterable[str]) -> list[str | None]:
    told = {name.rpartition("-")[2] for name in names if name.startswith(("ARK-", "SEV-"))}
    old: list[str | None] = ["Milan", "Genoa"]
    return [line for line in old if line in told] or old
