"""Intel SGX: quotes of enclaves (DCAP, ECDSA), versions 3, 4 and 5."""

from __future__ import annotations

from fastness.tee.sgx.claims import claims
from fastness.tee.sgx.endorse import embedded, enclosed
from fastness.tee.sgx.evidence import parse, recognise, show, unparse
from fastness.tee.sgx.verify import verify

NAME = "sgx"

__all__ = ["NAME", "claims", "embedded", "enclosed", "parse", "recognise", "show", "unparse", "verify"]
