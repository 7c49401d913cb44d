"""AMD SEV and SEV-ES: a platform's chain from AMD's root to its own keys, and reports of guests signed by them."""

from __future__ import annotations

from fastness.tee.sev.claims import claims
from fastness.tee.sev.endorse import apart, choose, embedded, enclosed
from fastness.tee.sev.evidence import assemble, parse, recognise, recognise_part, show, split, unparse
from fastness.tee.sev.verify import verify

NAME = "sev"

__all__ = [
    "NAME", "apart", "assemble", "choose", "claims", "embedded", "enclosed", "parse", "recognise", "recognise_part",
    "show", "split", "unparse", "verify",
]  # fmt: skip
