"""Endorsements of TDX quotes: the PCK chain that travels inside. The rest is in :mod:`fastness.tee.dcap.endorse`."""

from __future__ import annotations

from fastness.tee import Collateral
from fastness.tee.tdx.evidence import Evidence


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """No other evidence travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """The certificates inside the quote, none when it only names its platform (certification data 1 to 3)."""
    return Collateral(certificates=evidence.quote.certification.chain)
