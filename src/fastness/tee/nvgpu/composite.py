"""A GPU's report beside the evidence of a CPU: made for one and the same question, or not.

NVIDIA's reports do not name the machine. What joins the two is the nonce: the guest puts it, or a digest over the
report, into the report_data of its CPU's evidence, so that both are answers to one question. The policy must still know
the software that did so: any guest can ask a GPU elsewhere over the nonce it was given.

Where it stands: in the first half (Trustee's attesters, which ask the GPU over the first 32 bytes), or in the second,
after 32 bytes for the guest's key (Phala, NEAR AI: private-ai-verifier, "Report Data Binding"). Intel Trust Authority's
clients ask the GPU over a hash of its service's nonce, which no field of the quote holds: that pair is not bound here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fastness.claims.finding import Finding, Outcome
from fastness.claims.genuine import Genuine
from fastness.tee.nvgpu.evidence import Evidence, unparse


def bound_nonce(genuine: Genuine[Evidence]) -> bytes:
    """The 32 bytes that a genuine report answers: what the CPU's evidence must be over too."""
    return genuine.evidence.nonce


def binding(
    evidence: Evidence, within: tuple[Genuine[object], ...]
) -> tuple[tuple[Genuine[object], ...], tuple[Finding, ...]]:
    """Those of ``within`` that are bound to ``evidence``, and the finding ``nvgpu.binding`` if there was any to try."""
    if not within:
        return (), ()
    wanted = set(_forms(evidence))
    rests = tuple(item for item in within if _bound(_report_data(item.evidence), evidence.nonce, wanted))
    if rests:
        text = "report_data of the CPU's evidence holds the report's nonce in one half, or is a digest over the report"
        return rests, (Finding("nvgpu.binding", Outcome.HELD, actual=text),)
    return (), (
        Finding(
            "nvgpu.binding",
            Outcome.UNKNOWN,
            expected=f"a CPU's evidence over the nonce {evidence.nonce.hex()}",
            actual=f"{len(within)} beside it, over something else",
            hint="ask GPU and CPU over one nonce; this GPU may be in another machine",
        ),
    )


def _bound(value: bytes, nonce: bytes, wanted: set[bytes]) -> bool:
    """The nonce fills one half; the other is the guest's (a hash of its key, or zeros). Zeros answer nobody."""
    size = len(nonce)
    return (any(nonce) and nonce in (value[:size], value[size:])) or value in wanted


def _forms(evidence: Evidence) -> Iterator[bytes]:
    """Digests over the report, as report_data holds them: 64 bytes, padded with zeros."""
    for data in (evidence.raw, unparse(evidence)):
        for digest in (hashlib.sha256, hashlib.sha384, hashlib.sha512):
            yield digest(data).digest().ljust(64, b"\0")


def _report_data(evidence: object) -> bytes:
    """The field as every CPU's evidence offers it."""
    value = getattr(evidence, "report_data", b"")
    return value if isinstance(value, bytes) and len(value) == 64 else b""
