"""Endorsements of CCA: bare platform attestation keys, named by the platform owner as anchors.

There is no vendor root to pin (research: one per implementation; CoRIM or concise trust anchor stores carry the keys).
An anchor's ``line`` may narrow it: ``<implementation id>`` or ``<implementation id>/<instance id>``, hexadecimal.
"""

from __future__ import annotations

from fastness.pki.anchors import Anchor
from fastness.tee import Collateral
from fastness.tee.cca.evidence import Evidence


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """No collateral travels inside."""
    return Collateral()


def covers(anchor: Anchor, evidence: Evidence) -> bool:
    """Whether ``anchor`` may vouch for this implementation and instance."""
    design, instance = evidence.platform.implementation_id.hex(), evidence.platform.instance_id.hex()
    return anchor.line.lower() in ("", design, f"{design}/{instance}")
