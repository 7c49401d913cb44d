"""Forged evidence of every TEE, verified and judged as the product does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from fastness import tee as tees
from fastness.appraise import policy as policies
from fastness.appraise.verdict import Verdict, appraise
from fastness.claims.finding import Finding
from fastness.forge import cca, nitro, nvgpu, sev, sgx, snp, tdx, tpm
from fastness.forge.model import Forged

MAKERS: Mapping[str, Callable[[Mapping[str, Any]], Forged]] = {
    "snp": snp.make, "sev": sev.make, "sgx": sgx.make, "tdx": tdx.make, "nitro": nitro.make, "cca": cca.make,
    "tpm": tpm.make, "nvgpu": nvgpu.make,
}  # fmt: skip
GUESTS = {"sev": {"launch": {}}}
"""What the spec must say so that evidence speaks of a guest."""


def make(tee: str, **spec: Any) -> Forged:
    """Forged evidence of ``tee``, of a guest."""
    return MAKERS[tee]({**GUESTS.get(tee, {}), **spec})


@cache
def plain(tee: str) -> Forged:
    """The same honest evidence each time."""
    return make(tee)


def verify(forged: Forged, **changed: Any) -> Any:
    """Genuine evidence, with what travels inside it."""
    given = replace(forged, **changed)
    module = tees.load(given.tee)
    evidence = module.parse(given.evidence)
    return module.verify(evidence, module.enclosed(evidence) + given.collateral, given.anchors, at=given.at)


def judge(forged: Forged, policy: str) -> Verdict:
    """The verdict of a profile, or of a policy's text; that a forge's roots are simulated does not count."""
    genuine = verify(forged)
    claims = tees.load(forged.tee).claims(genuine)._replace(simulated=False)
    parsed = policies.load(policy) if policy in policies.PROFILES else policies.parse(policy, "test.toml")
    return appraise((claims,), genuine.findings, parsed, at=forged.at)


def against(verdict: Verdict) -> set[str]:
    """The checks that speak against acceptance."""
    return checks(verdict.against)


def checks(findings: tuple[Finding, ...]) -> set[str]:
    """Their ids."""
    return {item.check for item in findings}
