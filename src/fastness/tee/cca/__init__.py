"""``cca``: Arm Confidential Compute Architecture tokens, platform and realm.

There is no Arm root: each platform owner says which CCA platform attestation keys (CPAK, IAK) it made.
"""

from __future__ import annotations

from fastness.tee.cca.claims import claims
from fastness.tee.cca.endorse import embedded, enclosed
from fastness.tee.cca.evidence import parse, recognise, show, unparse
from fastness.tee.cca.verify import verify

NAME = "cca"

__all__ = ["NAME", "claims", "embedded", "enclosed", "parse", "recognise", "show", "unparse", "verify"]
