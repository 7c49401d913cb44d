"""Verification of SEV platforms and guest reports (AMD 55766, appendix C), in the order of trust.

1. The ARK's key is pinned, and the ARK signed itself.
2. The ARK signed the ASK, and the ASK names it.
3. The ASK signed the CEK: a chip of AMD's.
4. The CEK signed the PEK: the platform's own key.
5. The OCA signed itself and the PEK, where an OCA is there: the platform's owner.
6. The PEK signed the PDH, where one is there.
7. The PEK signed the guest's report, where one is there.

What this proves: a genuine SEV platform, and with a report, a guest it launched. What it does not: who owns the OCA,
which firmware runs (its version is its own word), or freshness beyond the report's mnonce. SEV has no list of
revocations, and no protection of the guest's memory against being altered.
"""

from __future__ import annotations

from datetime import datetime

from fastness.claims.finding import Finding, Outcome
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki.anchors import Anchor, Anchors
from fastness.tee import Collateral
from fastness.tee.sev import endorse
from fastness.tee.sev.evidence import AmdCertificate, Evidence

KDS = "https://developer.amd.com/wp-content/resources and https://kdsintf.amd.com/cek/id/"


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Evidence]:
    """A genuine platform, and the guest whose report it carries.

    Raises:
        NotGenuine: ``sev.root``, ``sev.ask``, ``sev.cek``, ``sev.pek``, ``sev.oca``, ``sev.pdh``, ``sev.report``.
        MissingCollateral: ARK or ASK.
    """
    try:
        anchor = _chain(evidence, anchors)
        _owner(evidence)
        _guest(evidence)
    except MalformedEvidence as error:  # a key inside a certificate that parsed as a whole
        raise NotGenuine("sev.root", f"a key of the chain is unusable: {error.what}", where=error.where) from None
    unknown = Finding(
        "sev.revocation",
        Outcome.UNKNOWN,
        expected="a list of revoked chips",
        actual="AMD publishes none for SEV",
        hint="waive sev.revocation if that will do, or demand SEV-SNP",
    )
    return vouch(evidence, anchors=(anchor,), findings=(unknown, *_notes(evidence)), at=at)


def _chain(evidence: Evidence, anchors: Anchors) -> Anchor:
    ark, ask = evidence.ark, evidence.ask
    if ark is None or ask is None:
        raise MissingCollateral("the ARK or ASK certificate in AMD's format", KDS, check="sev.root")
    # (1)
    anchor = _root(ark, anchors)
    # (2)
    if ask.certifying_id != ark.key_id or not endorse.amd_signed(ask, ark):
        raise _refused("sev.ask", "the ASK is not signed by the ARK")
    # (3)
    if not endorse.sev_signed(evidence.cek, ask):
        raise _refused("sev.cek", "the CEK is not signed by the ASK")
    # (4)
    if not endorse.sev_signed(evidence.pek, evidence.cek):
        raise _refused("sev.pek", "the PEK is not signed by the CEK")
    return anchor


def _root(ark: AmdCertificate, anchors: Anchors) -> Anchor:
    key = endorse.public_key(ark)
    anchor = anchors.find("sev", key)
    if anchor is None:
        raise NotGenuine(
            "sev.root",
            f"the ARK (key id {ark.key_id}) is not pinned",
            hint="name it with --anchors if you trust it; roots are never taken from the evidence",
        )
    if ark.certifying_id != ark.key_id or not endorse.amd_signed(ark, ark):
        raise _refused("sev.root", "the ARK is not signed by itself")
    return anchor


def _owner(evidence: Evidence) -> None:
    # (5)
    if evidence.oca is not None:
        if not endorse.sev_signed(evidence.oca, evidence.oca):
            raise _refused("sev.oca", "the OCA is not signed by itself")
        if not endorse.sev_signed(evidence.pek, evidence.oca):
            raise _refused("sev.oca", "the PEK is not signed by the OCA")
    # (6)
    if evidence.pdh is not None and not endorse.sev_signed(evidence.pdh, evidence.pek):
        raise _refused("sev.pdh", "the PDH is not signed by the PEK")


def _guest(evidence: Evidence) -> None:
    # (7)
    report = evidence.report
    if report is not None and not endorse.ecdsa(evidence.pek, report.algorithm, report.signature, report.signed):
        raise _refused("sev.report", "the guest's report is not signed by the PEK")


def _refused(check: str, what: str) -> NotGenuine:
    return NotGenuine(check, what, hint="the certificates are of different platforms, or were altered on the way")


def _notes(evidence: Evidence) -> list[Finding]:
    if evidence.oca is not None:
        return []
    return [Finding("sev.no-oca", Outcome.NOTE, actual="no OCA certificate: nothing is known of the platform's owner")]
