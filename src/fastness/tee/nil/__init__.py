"""``nil``: no TEE at all. Evidence signed by a software root, so that the whole flow runs where there is no silicon.

SIMULATED: it proves nothing against the host, which holds the root. It is genuine only where that root is named.
"""

from __future__ import annotations

from fastness.tee.nil.claims import claims
from fastness.tee.nil.endorse import embedded, enclosed
from fastness.tee.nil.evidence import parse, recognise, show, unparse
from fastness.tee.nil.verify import verify

NAME = "nil"

__all__ = ["NAME", "claims", "embedded", "enclosed", "parse", "recognise", "show", "unparse", "verify"]
