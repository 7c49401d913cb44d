"""What a forge makes: evidence with everything needed to judge it, under fake vendor roots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastness.pki.anchors import Anchors
from fastness.tee import Collateral


@dataclass(frozen=True, slots=True)
class Forged:
    """Forged evidence of ``tee``: raw bytes, its collateral, the fake anchors that vouch for it, and when it holds."""

    tee: str
    evidence: bytes
    collateral: Collateral
    anchors: Anchors
    at: datetime
