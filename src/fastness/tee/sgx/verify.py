"""Verification of SGX quotes.

1–8. What every DCAP quote must hold (:mod:`fastness.tee.dcap.verify`).
9. The TCB is evaluated: Intel's status is a claim; no level at all is a failed finding.
"""

from __future__ import annotations

from datetime import datetime

from fastness.claims.genuine import Genuine, vouch
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.dcap import verify as dcap
from fastness.tee.dcap.endorse import Settled
from fastness.tee.sgx.evidence import Evidence


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Evidence]:
    """A genuine SGX quote.

    Raises:
        NotGenuine: a check of ``checks/sgx.toml`` says no.
        MissingCollateral: PCK chain, TCB info or QE identity are absent or out of date.
    """
    quote = evidence.quote
    # (1) to (8)
    endorsed = dcap.verify("sgx", quote, collateral, anchors, at)
    # (9) TCB status
    version = quote.qe_report.isv_svn
    settled = endorsed.settled.get(version)
    if settled is None:
        settled = Settled(dcap.evaluate("sgx", quote, endorsed))
        endorsed.settle(version, settled)
    return vouch(
        Evidence(quote, evidence.body, dcap.Appraisal(endorsed, settled.tcb)),
        anchors=(endorsed.platform.anchor,),
        findings=dcap.findings("sgx", quote, endorsed, settled.tcb),
        at=at,
    )
