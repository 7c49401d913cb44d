"""``nitro``: AWS Nitro attestation documents, of enclaves and of EC2 instances with a NitroTPM.

They prove what AWS's hypervisor loaded, to everybody but AWS. The processor is not in them.
"""

from __future__ import annotations

from fastness.tee.nitro.claims import claims
from fastness.tee.nitro.endorse import embedded, enclosed
from fastness.tee.nitro.evidence import parse, recognise, show, unparse
from fastness.tee.nitro.verify import verify

NAME = "nitro"

__all__ = ["NAME", "claims", "embedded", "enclosed", "parse", "recognise", "show", "unparse", "verify"]
