"""``nvgpu``: attestation reports of NVIDIA GPUs and NVSwitches (SPDM), with their manifests.

A report says what runs on one device, and nothing of the machine it is in: that is for the CPU's evidence, made over
the same nonce.
"""

from __future__ import annotations

from fastness.tee.nvgpu.claims import claims
from fastness.tee.nvgpu.endorse import embedded, enclosed
from fastness.tee.nvgpu.evidence import parse, recognise, show, unparse
from fastness.tee.nvgpu.verify import verify

NAME = "nvgpu"

__all__ = ["NAME", "claims", "embedded", "enclosed", "parse", "recognise", "show", "unparse", "verify"]
