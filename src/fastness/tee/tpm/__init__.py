"""``tpm``: a TPM 2.0 quote with its event log: hardware TPMs, cloud vTPMs (Azure, Google), and the keep's own swtpm."""

from __future__ import annotations

from fastness.tee.tpm.claims import claims
from fastness.tee.tpm.endorse import embedded, enclosed
from fastness.tee.tpm.evidence import assemble, covered, in_a_row, parse, recognise, recognise_part, show, unparse
from fastness.tee.tpm.verify import signing_hash, verify

NAME = "tpm"

__all__ = [
    "NAME", "assemble", "claims", "covered", "embedded", "enclosed", "in_a_row", "parse", "recognise",
    "recognise_part", "show", "signing_hash", "unparse", "verify",
]  # fmt: skip
