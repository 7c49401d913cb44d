"""Verification of SNP reports (AMD 56860 and 57230), in the order of trust.

1. A leaf (VCEK or VLEK) is there, of the kind the report says signed it.
2. The leaf says everything a leaf must, in AMD's encoding.
3. Its chain leads to a pinned ARK over the ASK (VCEK) or ASVK (VLEK), every link and date checked.
4. The ASK or ASVK is not on the ARK's list; without a current list that is a finding, not a failure.
5. Line of the ARK, line of the leaf's product and processor in the report are one.
6. The leaf is of this chip: its hardware id is the report's chip_id (VCEK).
7. The leaf is of this firmware: its SPLs are the report's reported_tcb, component by component.
8. The signature over the received bytes is the leaf's.
9. reported ≤ committed ≤ current, as findings: firmware that is not committed can be rolled back by the host.
10. An ID block beside the report, if there is one, is the one this guest was launched with, signed by the keys the
    report names.

What this proves: this chip, with this firmware, made this report. What it does not: that policy, measurement or
versions are acceptable; those are claims. A report with a hidden chip id names no chip: it is genuine as one of
its line.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki import chain, keys
from fastness.pki.anchors import Anchor, Anchors
from fastness.pki.memory import Memory, window
from fastness.tee import Collateral
from fastness.tee.snp import endorse
from fastness.tee.snp import layout as at
from fastness.tee.snp.endorse import Leaf
from fastness.tee.snp.evidence import Evidence
from fastness.tee.snp.layout import Generation
from fastness.wire import x509

MAX_PATHS = 256
MAX_ALIKE = 256
"""Most leaves that fit a report alike whose signatures are tried."""

MAX_PATHS_TRIED = 8
"""Most of those that signed it whose chains are."""

MAX_REMEMBERED = 1 << 18
"""Most bytes of certificates and lists remembered with one path; AMD's are 8 KiB."""


class Proven(NamedTuple):
    """A report with the leaf that signed it and the generation that all of them agree on."""

    evidence: Evidence
    leaf: Leaf
    generation: Generation
    anchor: Anchor

    @property
    def raw(self) -> bytes:
        """The received bytes."""
        return self.evidence.raw

    @property
    def report_data(self) -> bytes:
        """The field as every CPU's evidence offers it: what a GPU's report is bound by."""
        return self.evidence.report_data


class Path(NamedTuple):
    """A leaf whose chain holds, its key, and what the lists say of the chain."""

    leaf: Leaf
    chain: chain.Chain
    key: ec.EllipticCurvePublicKey
    revocation: Finding


paths: Memory[Path] = Memory(limit=MAX_PATHS)


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Proven]:
    """A genuine report.

    Raises:
        NotGenuine: ``snp.signing-key``, ``snp.leaf``, ``snp.chain``, ``snp.validity``, ``snp.line``,
            ``snp.chip-id``, ``snp.leaf-tcb``, ``snp.signature``, ``snp.revocation``, ``snp.id-key``,
            ``snp.id-signature``, ``snp.author-key``, ``snp.id-block``.
        MissingCollateral: the leaf, or a certificate between it and the ARK.
    """
    # (1) to (4)
    path = _path_of(_leaves(evidence, collateral, at), collateral, anchors, at)
    # (5)
    generation = _line(evidence, path)
    # (6)
    _chip(evidence, path.leaf, generation)
    # (7)
    _firmware(evidence, path.leaf, generation)
    # (8)
    _signature(evidence, path.key)
    # (9)
    findings = (path.revocation, *_order(evidence, generation))
    # (10)
    findings = (*findings, *_owner(evidence, collateral))
    proven = Proven(evidence, path.leaf, generation, path.chain.anchor)
    return vouch(proven, anchors=(path.chain.anchor,), findings=findings, at=at)


def _leaves(evidence: Evidence, collateral: Collateral, when: datetime) -> list[x509.Certificate]:
    """The leaf for this report; of several, those made for this chip and firmware."""
    if evidence.signing_key not in (at.VCEK, at.VLEK):
        raise NotGenuine(
            "snp.signing-key",
            f"the report was signed by no key AMD vouches for (signing_key {evidence.signing_key})",
            where="key_info at byte 0x48",
            hint="ask for a report signed by VCEK or VLEK",
        )
    found = endorse.leaves(collateral)
    if not found:
        raise endorse.missing(evidence)
    wanted = [item for item in found if endorse.KINDS[item.subject_cn] == evidence.signing_key]
    if not wanted:
        raise NotGenuine(
            "snp.signing-key",
            f"a {'VLEK' if evidence.signing_key else 'VCEK'} signed the report, the certificate is of another kind",
            where="key_info at byte 0x48",
            hint="supply the certificate of the key that signed",
        )
    return wanted if len(wanted) == 1 else _choose(evidence, wanted, when)


def _path_of(leaves: list[x509.Certificate], collateral: Collateral, anchors: Anchors, when: datetime) -> Path:
    """The path of the first leaf that has one: beside a leaf may lie an altered copy of it."""
    failures: list[NotGenuine | MissingCollateral] = []
    for leaf in leaves:
        try:
            return _known(leaf, collateral, anchors, when)
        except (NotGenuine, MissingCollateral) as error:
            if error.check == "snp.revocation":  # no other certificate makes up for it
                raise
            failures.append(error)
    raise min(failures, key=lambda error: isinstance(error, NotGenuine))  # what can be fetched comes first


def _choose(evidence: Evidence, leaves: list[x509.Certificate], when: datetime) -> list[x509.Certificate]:
    """Of several leaves those that fit, valid ones first; all that is not checked here is checked later.

    A cloud has several VLEKs, and of a hidden chip no leaf says that it is of it: then the signature tells.
    """
    fits = [_fit(evidence, item) for item in leaves]
    best = [item for item, fit in zip(leaves, fits, strict=True) if fit == max(fits)]
    if len(best) > 1:
        best = [item for item in best[:MAX_ALIKE] if _signs(evidence, item)] or best
    return sorted(best, key=lambda item: not chain.valid_at(item, when))[:MAX_PATHS_TRIED]


def _signs(evidence: Evidence, certificate: x509.Certificate) -> bool:
    try:
        key = keys.load(certificate.key)
    except MalformedEvidence:
        return False
    return isinstance(key, ec.EllipticCurvePublicKey) and keys.verify_over(
        key, evidence.r, evidence.s, evidence.signed, keys.ECDSA_SHA384
    )


def _fit(evidence: Evidence, certificate: x509.Certificate) -> int:
    try:
        leaf = endorse.read(certificate)
    except NotGenuine:
        return -1
    generation = at.generation_of_line(leaf.line)
    same_chip = leaf.hwid is not None and evidence.chip_id.startswith(leaf.hwid)
    same_tcb = generation is not None and at.tcb(evidence.reported_tcb, generation.tcb).claims() == leaf.spl
    return 2 * same_chip + same_tcb


def _known(leaf: x509.Certificate, collateral: Collateral, anchors: Anchors, when: datetime) -> Path:
    """The path of ``leaf``, remembered so that reports of one machine share it, byte for byte the same collateral."""
    pool, lists = collateral.certificates, collateral.crls
    supplied = tuple([item.raw for item in pool] + [item.raw for item in lists])
    key = (leaf.raw, supplied, anchors.pins("snp"))
    found = paths.get(key, when)
    if found is None:
        found = _path(leaf, collateral, anchors, when)
        if sum(map(len, supplied)) < MAX_REMEMBERED:
            paths.put(key, found, window(when, (leaf, *pool, *found.chain.certificates), lists))
    return found


def _path(leaf: x509.Certificate, collateral: Collateral, anchors: Anchors, when: datetime) -> Path:
    # (2)
    read = endorse.read(leaf)
    # (3)
    try:
        found = chain.build(leaf, collateral.certificates, anchors, "snp", at=when)
    except MissingCollateral as error:
        raise endorse.unissued(error, read) from None
    key = keys.load(leaf.key)
    if not keys.is_on(key, "secp384r1"):
        what = f"the {leaf.subject_cn} key is {keys.common_bits(key)}, not P-384"
        raise NotGenuine("snp.leaf", what, where=f"certificate {leaf.subject_cn}")
    between = leaf.issuer_cn
    role = "SEV-VLEK-" if read.kind == at.VLEK else "SEV-"
    if between.lower() != f"{role}{read.line}".lower():
        raise NotGenuine(
            "snp.chain",
            f"a {leaf.subject_cn} of {read.product} must be issued by {role}{read.line.capitalize()}, not {between!r}",
            where=f"certificate {leaf.subject_cn}",
            hint="ASK issues VCEKs, ASVK issues VLEKs, each of its own line",
        )
    # (4)
    return Path(read, found, key, endorse.revocation(found, collateral, when))


def _line(evidence: Evidence, path: Path) -> Generation:
    """The generation that anchor, leaf and report agree on."""
    leaf, anchor = path.leaf, path.chain.anchor
    if anchor.line and anchor.line != leaf.line:
        name = leaf.certificate.subject_cn
        raise NotGenuine(
            "snp.line", f"the ARK is of {anchor.line}, the {name} of {leaf.product}", where=f"certificate {name}"
        )
    generation = at.generation_of(*evidence.cpuid[:2]) if evidence.cpuid else at.generation_of_line(leaf.line)
    if generation is None or generation.line != leaf.line:
        shown = "family {:#x}, model {:#x}, stepping {}".format(*evidence.cpuid) if evidence.cpuid else "unknown"
        raise NotGenuine(
            "snp.line",
            f"the report is of a processor ({shown}) that {leaf.product} does not vouch for",
            where="cpuid at byte 0x188",
            hint="the certificates belong to another machine",
        )
    if (
        evidence.cpuid is None
        and (not any(evidence.chip_id[8:])) != (generation.hwid_size == 8)
        and any(evidence.chip_id)
    ):
        raise NotGenuine("snp.line", f"the chip id is not one of {leaf.product}", where="chip_id at byte 0x1a0")
    return generation


def _chip(evidence: Evidence, leaf: Leaf, generation: Generation) -> None:
    if leaf.hwid is None:
        return
    if not any(evidence.chip_id):  # hidden by the host; which chip's key signed is known all the same
        return
    if evidence.masked:
        raise NotGenuine("snp.chip-id", "a masked chip's key signs nothing", where="key_info at byte 0x48")
    expected = leaf.hwid.ljust(64, b"\0")
    if len(leaf.hwid) != generation.hwid_size or evidence.chip_id != expected:
        raise NotGenuine(
            "snp.chip-id",
            "the VCEK is of another chip than the report",
            where="chip_id at byte 0x1a0, 64 bytes",
            hint="get the VCEK of this chip id from AMD's KDS",
        )


def _firmware(evidence: Evidence, leaf: Leaf, generation: Generation) -> None:
    reported = at.tcb(evidence.reported_tcb, generation.tcb).claims()
    wrong = [name for name in reported if leaf.spl.get(name) != reported[name]]
    reserved = any(value for index, value in enumerate(evidence.reported_tcb) if index not in generation.tcb.values())
    if wrong or reserved or set(leaf.spl) != set(reported):
        shown = ", ".join(
            f"{name} {reported.get(name)} in the report, {leaf.spl.get(name)} in the leaf" for name in wrong
        )
        raise NotGenuine(
            "snp.leaf-tcb",
            f"the {leaf.certificate.subject_cn} is for other firmware: {shown or 'another set of components'}",
            where="reported_tcb at byte 0x180, 8 bytes",
            hint="get the certificate for the TCB in the report",
        )


def _signature(evidence: Evidence, key: ec.EllipticCurvePublicKey) -> None:
    if not keys.verify_over(key, evidence.r, evidence.s, evidence.signed, keys.ECDSA_SHA384):
        raise NotGenuine(
            "snp.signature",
            "the signature over the report does not hold",
            where="signature at byte 0x2a0",
            hint="the report was altered, or its certificate is of another key",
        )


def _owner(evidence: Evidence, collateral: Collateral) -> list[Finding]:
    if not collateral.documents:
        return []
    from fastness.tee.snp import identity  # what most reports come without is not loaded for them

    return identity.verify(evidence, collateral)


def _order(evidence: Evidence, generation: Generation) -> list[Finding]:
    """Provisional firmware is a note, with both versions: whether it will do is the policy's."""
    if evidence.reported_tcb == evidence.committed_tcb and not evidence.provisional:
        return []
    named = ("reported_tcb", "committed_tcb", "current_tcb")
    reported, committed, current = (at.tcb(getattr(evidence, name), generation.tcb) for name in named)
    findings = []
    if not (reported <= committed <= current):
        findings.append(
            Finding(
                "snp.tcb-order",
                Outcome.FAILED,
                expected="reported ≤ committed ≤ current, each component",
                actual=f"{reported.claims()}, {committed.claims()}, {current.claims()}",
                where=(
                    Where("reported_tcb", 0x180, 8),
                    Where("committed_tcb", 0x1E0, 8),
                    Where("current_tcb", 0x38, 8),
                ),
                hint="no firmware of AMD's reports this: do not trust the machine",
            )
        )
    elif evidence.provisional:
        text = "the firmware now running is not committed: the host can go back to the committed one"
        findings.append(Finding("snp.provisional", Outcome.NOTE, actual=text))
    return findings
