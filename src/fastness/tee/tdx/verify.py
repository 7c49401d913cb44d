"""Verification of TDX quotes.

1–8. What every DCAP quote must hold (:mod:`fastness.tee.dcap.verify`).
9. The TDX module is one Intel signed: MRSIGNERSEAM and SEAMATTRIBUTES of its identity.
10. The TCB is evaluated: Intel's status is a claim; no level at all is a failed finding.
11. TD attributes and XFAM have no bits whose meaning is unknown.
12. A TD created on another processor model says so.
13. An event log, where one came, replays to the runtime registers.
"""

from __future__ import annotations

from datetime import datetime

from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import NotGenuine
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.dcap import cpu, tcb
from fastness.tee.dcap import verify as dcap
from fastness.tee.dcap.endorse import Endorsed, Settled
from fastness.tee.tdx import layout
from fastness.tee.tdx.evidence import Body, Evidence

_KNOWN = layout.TUD | sum(1 << bit for bit in layout.ATTRIBUTES.values() if bit > 7)


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Evidence]:
    """A genuine TDX quote.

    Raises:
        NotGenuine: a check of ``checks/tdx.toml`` says no.
        MissingCollateral: PCK chain, TCB info or QE identity are absent or out of date.
    """
    quote, body = evidence.quote, evidence.body
    # (1) to (8)
    endorsed = dcap.verify("tdx", quote, collateral, anchors, at)
    # (9) to (11)
    settled = _settled(evidence, endorsed)
    found = dcap.findings("tdx", quote, endorsed, settled.tcb) + settled.findings
    # (12) where it was created
    found += _born(body, endorsed.platform.pck.fmspc)
    # (13) event log
    logs = collateral.of("event-log") + collateral.of("event-log-json")
    if logs:
        from fastness.tee.tdx import ccel

        found += ccel.findings(body, logs, collateral.of("acpi-table"))
    return vouch(
        Evidence(quote, body, dcap.Appraisal(endorsed, settled.tcb)),
        anchors=(endorsed.platform.anchor,),
        findings=found,
        at=at,
    )


def _settled(evidence: Evidence, endorsed: Endorsed) -> Settled:
    """What Intel's documents decide about the TD report: nothing of it matters here but versions, module and bits."""
    quote, body = evidence.quote, evidence.body
    key = (quote.body_offset, quote.qe_report.isv_svn, body.raw[: layout.MEASURED], body.tee_tcb_svn2)
    found = endorsed.settled.get(key)
    if found is None:
        # (9) the TDX module
        _module(evidence, endorsed)
        # (10) TCB status, (11) bits
        evaluation = dcap.evaluate("tdx", quote, endorsed, body.tee_tcb_svn, body.tee_tcb_svn2)
        found = Settled(evaluation, _unknown_bits(evidence))
        endorsed.settle(key, found)
    return found


def _module(evidence: Evidence, endorsed: Endorsed) -> None:
    body, info = evidence.body, endorsed.tcb
    version = body.tee_tcb_svn[1]
    # A version without an identity has no level either (step 10); its signer is then held against the base module.
    module = (tcb.module_of(info, version) if version else None) or info.module
    if module is None:
        return
    same = dcap.masked(body.seam_attributes, module.mask) == dcap.masked(module.attributes, module.mask)
    if body.mrsignerseam != module.mrsigner or not same:
        field = "mrsignerseam" if same else "seam_attributes"
        raise NotGenuine(
            "tdx.module",
            f"the TDX module is not one Intel signed for production: {field} differs",
            where=str(evidence.spans[field]),
            hint="the machine runs a debug or foreign TDX module",
        )


def _unknown_bits(evidence: Evidence) -> tuple[Finding, ...]:
    body = evidence.body
    attributes = body.td_attributes & ~_KNOWN
    xfam = body.xfam & ~layout.XFAM_ALLOWED
    if not attributes and not xfam and body.xfam & layout.XFAM_FIXED1 == layout.XFAM_FIXED1:
        return ()
    spans = evidence.spans
    return (
        Finding(
            "tdx.attributes",
            Outcome.UNKNOWN,
            expected="TD attributes and XFAM of bits this verifier knows",
            actual=f"td_attributes 0x{body.td_attributes:016x}, xfam 0x{body.xfam:016x}",
            where=(Where.of(spans["td_attributes"]), Where.of(spans["xfam"])),
            because="what an unknown bit lets the host do cannot be told",
            hint="use a version of fastness that knows this TDX module",
        ),
    )


def _born(body: Body, fmspc: bytes) -> tuple[Finding, ...]:
    if body.kind != layout.BODY_TD15_EX:
        return ()
    here = cpu.from_fmspc(fmspc)
    word = int.from_bytes(body.field("init_tee_fmspc")[4:8], "little")
    there = cpu.from_eax(word)
    if not word or (here.family, here.model) == (there.family, there.model):
        return ()
    return (
        Finding(
            "tdx.migrated",
            Outcome.NOTE,
            expected=f"created on {here.generation or 'this model'}",
            actual=f"created on {there.generation or f'family {there.family} model {there.model}'}",
            because="the TD was migrated: whoever owned that platform could have read it there",
            hint="a policy on generations should hold for tdx.init_generation too",
        ),
    )
