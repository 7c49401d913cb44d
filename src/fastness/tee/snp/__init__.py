"""AMD SEV-SNP: attestation reports signed by a chip's VCEK or a cloud's VLEK."""

from __future__ import annotations

from fastness.tee.snp.claims import claims
from fastness.tee.snp.endorse import embedded, enclosed
from fastness.tee.snp.evidence import parse, recognise, show, unparse
from fastness.tee.snp.verify import verify

NAME = "snp"

__all__ = ["NAME", "claims", "embedded", "enclosed", "parse", "recognise", "show", "unparse", "verify"]
