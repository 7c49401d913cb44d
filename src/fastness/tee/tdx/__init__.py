"""Intel TDX: quotes of trust domains (DCAP, ECDSA), versions 4 and 5, TD reports 1.0, 1.5 and 1.5 extended."""

from __future__ import annotations

from fastness.tee.tdx.claims import claims
from fastness.tee.tdx.endorse import embedded, enclosed
from fastness.tee.tdx.evidence import parse, recognise, show, unparse
from fastness.tee.tdx.verify import verify

NAME = "tdx"

__all__ = ["NAME", "claims", "embedded", "enclosed", "parse", "recognise", "show", "unparse", "verify"]
