"""Verification of NVIDIA attestation reports (DMTF DSP0274 1.1; NVIDIA nvtrust, local GPU verifier).

1. The signature over the received request ‖ response holds, ECDSA with SHA-384, under the key of a certificate that
   lies beside the report, in any order.
2. That certificate chains to the pinned device root, by signature, names, basicConstraints, pathLen, keyUsage and
   validity at ``at``; every key is P-384; the leaf signs and does not issue. The root of the manifests does not count.
3. The firmware the leaf was made for (FWID, TCG DICE) is the one the report states, where it states one.
4. Manifests (RIM) that were supplied: signed, up to the pinned root of the manifests.
5. Every measurement is one that the driver's and the VBIOS's manifest allow.
6. Revocation, of the device's chain and the manifests': OCSP and CRLs that were supplied; without: not checked.
7. Evidence of a CPU that lies beside it is bound to the report by its nonce, if any is.

Whose nonce it is, and how many devices there must be, is for the policy. A measurement that no manifest allows is a
finding (failed), as is a manifest that is missing (not checked): the report is genuine all the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.nvgpu import endorse, layout
from fastness.tee.nvgpu.compare import compare
from fastness.tee.nvgpu.composite import binding
from fastness.tee.nvgpu.evidence import Evidence
from fastness.tee.nvgpu.revocation import look_up
from fastness.wire import x509


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Evidence]:
    """A genuine report, up to NVIDIA's device root in ``anchors``.

    Raises:
        NotGenuine: ``nvgpu.signature``, ``chain``, ``validity``, ``leaf``, ``fwid``, ``revocation``, ``rim-signature``
            or ``rim-chain``.
        MissingCollateral: the device's chain, or part of it, is not there.
    """
    # (1) the signature over the received bytes
    leaf = endorse.signer(evidence, collateral.certificates)
    # (2) the path
    path = endorse.path(leaf, collateral.certificates, anchors, at)
    # (3) the firmware
    _firmware(evidence, path.leaf)
    # (4) manifests and (5) measurements
    chip = path.leaf.subject_cn.partition(" ")[0]
    result = compare(evidence, chip, collateral.of("rim"), anchors, at)
    # (6) revocation
    chains = (path, *result.chains)
    revocation = look_up(chains, collateral + Collateral(result.certificates), at)
    # (7) the CPU beside it
    rests, bound = binding(evidence, within)
    findings = (*result.findings, revocation, *bound, *_notes(evidence))
    verified = replace(evidence, path=path.certificates, compared=result.compared)
    vouching = tuple(dict.fromkeys(item.anchor for item in chains))
    return vouch(verified, anchors=vouching, findings=findings, at=at, within=rests)


def _firmware(evidence: Evidence, leaf: x509.Certificate) -> None:
    stated = evidence.opaque.get(layout.FWID)
    if stated is None:
        return
    try:
        known = endorse.fwids(leaf)
    except MalformedEvidence as error:
        raise NotGenuine("nvgpu.fwid", f"the leaf's FWID cannot be read: {error.what}") from None
    if stated not in known:
        raise NotGenuine(
            "nvgpu.fwid",
            "the firmware the report states is not the one its certificate was made for",
            where=str(evidence.spans["fwid"]),
            hint="ask the device for a new report",
        )


def _notes(evidence: Evidence) -> tuple[Finding, ...]:
    notes = []
    if evidence.padding:
        where = (Where("padding", len(evidence.raw), evidence.padding),)
        text = f"{evidence.padding} bytes of zero after the report"
        notes.append(Finding("nvgpu.padding", Outcome.NOTE, actual=text, where=where))
    unknown = [str(kind) for kind in evidence.opaque if kind not in layout.NAMES]
    if unknown:
        text = "signed opaque data of types nobody has documented: " + ", ".join(unknown[:8])
        notes.append(Finding("nvgpu.unknown-fields", Outcome.NOTE, actual=text))
    return tuple(notes)
