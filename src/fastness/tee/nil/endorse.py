"""Endorsements of ``nil``: none. Its only anchor is the host's software root, named by whoever asks for it."""

from __future__ import annotations

from fastness.tee import Collateral
from fastness.tee.nil.evidence import Evidence


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """No collateral travels inside."""
    return Collateral()
