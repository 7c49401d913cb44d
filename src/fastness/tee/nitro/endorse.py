"""Endorsements of Nitro documents: the chain travels inside; only the root is pinned (AWS Nitro Enclaves root G1).

CRLs of AWS's regional and zonal CAs are at the addresses their certificates name; instance and leaf certificates,
valid for a day and for three hours, name none.
"""

from __future__ import annotations

from fastness.tee import Collateral
from fastness.tee.nitro.evidence import Evidence


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """The CA bundle. The root in it counts only where an anchor pins its key."""
    return Collateral(certificates=evidence.bundle)
