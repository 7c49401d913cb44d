"""Verification of SEV platforms and guest reports (AMD 55766, appendix C), in the order of trust.

1. The ARK's key is pinned, and the ARK signed itself.
2. The ARK signed the ASK, and the ASK names it.
3. The ASK signed the CEK: a chip of AMD's.
4. The CEK signed the PEK: the platform's own key.
5. The OCA signed itself and the PEK, where an OCA is there: the platform's owner.
6. The PEK signed the PDH, where one is there.
7. The PEK signed the guest's report, where one is there.
8. The launch measurement, where one is there, is by keys of the tenant that were wrapped for this very PDH.
9. It is that of a guest whose launch digest the tenant accepts, and of no other guest than the report's.
10. The guest has the policy the tenant asked for, and the firmware the version that policy asks for.
11. The proof, where one is there, is by the secret that the tenant had injected into that very guest.

What this proves: a genuine SEV platform, and with a report or a launch measurement, a guest it launched. What it does
not: who owns the OCA, which firmware runs (its version is its own word), or freshness beyond the report's mnonce. A
launch measurement speaks of the moment before the guest ran; a proof, of that guest when it had its report_data. SEV
has no list of revocations, and no protection of the guest's memory against being altered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastness.claims.finding import Finding, Outcome
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki.anchors import Anchor, Anchors
from fastness.tee import Collateral
from fastness.tee.sev import endorse, launch
from fastness.tee.sev.evidence import AmdCertificate, Evidence
from fastness.wire import injected

ROOTS = "https://developer.amd.com/wp-content/resources/ (ask_ark_naples.cert, or that of another line)"


@dataclass(frozen=True, slots=True)
class Proven:
    """A genuine platform; ``digest`` is the launch digest of the guest it measured, where one was."""

    evidence: Evidence
    digest: bytes | None = None

    @property
    def raw(self) -> bytes:
        """The received bytes."""
        return self.evidence.raw


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Proven]:
    """A genuine platform, and the guest whose report or launch measurement it carries.

    Raises:
        NotGenuine: ``sev.root``, ``sev.ask``, ``sev.cek``, ``sev.pek``, ``sev.oca``, ``sev.pdh``, ``sev.report``,
            ``sev.launch-keys``, ``sev.launch``, ``sev.launch-policy``, ``sev.proof``.
        MissingCollateral: ARK or ASK; for a launch measurement, the PDH or the tenant's keys; for a proof, the launch
            measurement or the injected secret.
    """
    try:
        anchor = _chain(evidence, anchors)
        _owner(evidence)
        _guest(evidence)
        digest, keys = _launch(evidence, anchors)
    except MalformedEvidence as error:  # a key inside a certificate that parsed as a whole
        raise NotGenuine("sev.root", f"a key of the chain is unusable: {error.what}", where=error.where) from None
    unknown = Finding(
        "sev.revocation",
        Outcome.UNKNOWN,
        expected="a list of revoked chips",
        actual="AMD publishes none for SEV",
        hint="waive sev.revocation if that will do, or demand SEV-SNP",
    )
    return vouch(Proven(evidence, digest), anchors=(anchor, *keys), findings=(unknown, *_notes(evidence)), at=at)


def _chain(evidence: Evidence, anchors: Anchors) -> Anchor:
    ark, ask = evidence.ark, evidence.ask
    if ark is None or ask is None:
        absent = " and ".join(name for name, part in (("ARK", ark), ("ASK", ask)) if part is None)
        raise MissingCollateral(f"{absent} in AMD's format", ROOTS, check="sev.root")
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


def _launch(evidence: Evidence, anchors: Anchors) -> tuple[bytes | None, tuple[Anchor, ...]]:
    measured, pdh = evidence.launch, evidence.pdh
    if measured is None:
        _proof(evidence.proof, None)
        return None, ()
    # (8)
    held = [(item, launch.record(item.secret)) for item in anchors.of("sev") if item.secret]
    if pdh is None or not held:
        raise MissingCollateral(
            "the PDH certificate" if held else "the tenant's keys of this launch",
            check="sev.launch-keys",
            hint="supply the whole chain" if held else "name the record of the launch: --anchors sev:FILE",
        )
    ours = [(item, known) for item, known in held if launch.made_for(known, pdh.raw)]
    if not ours:
        raise _lied("sev.launch-keys", "the tenant's keys were made for another platform than the one that measured")
    # (9)
    found = [(item, known, digest) for item, known in ours if (digest := launch.find(known, measured)) is not None]
    if not found:
        raise _lied("sev.launch", "the measurement is not that of a guest the tenant accepts")
    anchor, known, digest = found[0]
    report = evidence.report
    if report is not None and (report.launch_digest, report.policy) != (digest, measured.policy):
        raise _lied("sev.launch", "report and launch measurement are of different guests")
    # (10)
    if not launch.kept(known, measured):
        has = "policy 0x{:x} on firmware {}.{}".format(measured.policy, *measured.api)
        raise _lied("sev.launch-policy", f"the guest has {has}, asked was 0x{known.policy:x}")
    # (11)
    _proof(evidence.proof, known)
    return digest, (anchor,)


def _proof(proof: bytes | None, known: launch.Record | None) -> None:
    """``known`` is the record of the launch that was measured."""
    if proof is None:
        return
    if known is None or not known.key:
        raise MissingCollateral(
            "the secret that the guest was given" if known else "the launch measurement",
            check="sev.proof",
            hint="name the record of the launch: --anchors sev:FILE" if known else "supply the host's document too",
        )
    if not injected.proves(known.key, proof):
        raise NotGenuine(
            "sev.proof",
            "the proof is not by the secret that was injected into the measured guest",
            where="proof",
            hint="another machine answers in the place of the guest: use another host",
        )


def _lied(check: str, what: str) -> NotGenuine:
    return NotGenuine(
        check,
        what,
        where="launch",
        hint="the host started something else, or told another policy or firmware version: inject no secret",
    )


def _refused(check: str, what: str) -> NotGenuine:
    where = "report" if check == "sev.report" else f"certificate {check.removeprefix('sev.').replace('root', 'ark')}"
    hint = "the certificates are of different platforms, or were altered on the way"
    return NotGenuine(check, what, where=where, hint=hint)


def _notes(evidence: Evidence) -> list[Finding]:
    if evidence.oca is not None:
        return []
    return [Finding("sev.no-oca", Outcome.NOTE, actual="no OCA certificate: nothing is known of the platform's owner")]
