"""Who vouches for the attestation key: step 6 of :mod:`fastness.tee.tpm.verify`.

Four ways, the strongest first. A way whose material is there and contradicts the evidence refuses; a way whose material
is absent is passed over. Never: because the key came with the evidence.

a. ``hardware-report``: genuine SNP or TDX evidence, verified before and passed as ``within``, carries in its report
   data the hash of runtime data that names the key.
b. ``certificate``: a certificate for the key chains to an anchor of ``tpm``.
c. ``key``: the key itself is an anchor of ``tpm``.
d. ``credential``: the TPM of a certified EK opened a secret made for the key's name.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fastness.claims.finding import Finding, Outcome
from fastness.claims.genuine import Genuine
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki import chain, crl, keys
from fastness.pki.anchors import Anchor, Anchors
from fastness.tee import Collateral
from fastness.tee.tpm import credential, hcl
from fastness.tee.tpm import layout as at
from fastness.tee.tpm.endorse import embedded, enclosed, gce
from fastness.tee.tpm.evidence import Evidence
from fastness.wire import der, x509

MAX_ALIKE = 8
"""Most certificates for one attestation key that are tried."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """Which way held, up to which anchors; ``gce`` is what Google's AK certificate says of the instance."""

    way: str
    anchors: tuple[Anchor, ...]
    findings: tuple[Finding, ...] = ()
    within: tuple[Genuine[object], ...] = ()
    gce: Mapping[str, Any] = field(default_factory=dict)


def vouch(
    evidence: Evidence, collateral: Collateral, anchors: Anchors, at_time: datetime, within: tuple[Genuine[object], ...]
) -> Vouched:
    """Who vouches for the key of ``evidence``.

    Raises:
        NotGenuine: ``tpm.hardware``, ``tpm.ak-certificate``, ``tpm.activation``, ``tpm.chain`` … : something speaks
            against it.
            Nobody vouches for it: ``tpm.ak-trust``.
        MissingCollateral: an HCL report, runtime data or an EK certificate says what would, and that is not there
            (``tpm.ak-trust``).
    """
    collateral += enclosed(evidence)
    found = (
        _hardware(evidence, within)
        or _certified(evidence, collateral, anchors, at_time)
        or _credential(evidence, collateral, anchors, at_time)
    )
    if found is None:
        where = f"attestation key sha-256 {keys.fingerprint(evidence.key)}"
        runtime = evidence.hcl is None and _in_runtime_data(evidence, collateral)
        hint = _RUNTIME if runtime else _wanted(evidence)
        if runtime or evidence.hcl is not None or evidence.ek_certificate is not None:  # who would is told, not there
            raise MissingCollateral(
                "an endorsement of the attestation key", check="tpm.ak-trust", where=where, hint=hint
            )
        raise NotGenuine("tpm.ak-trust", "nobody vouches for the attestation key", where=where, hint=hint)
    return found


_RUNTIME = "supply the SNP report or TDX quote whose report data is the hash of the runtime data"


def _in_runtime_data(evidence: Evidence, collateral: Collateral) -> bool:
    """Whether Azure's runtime data names the key; the hardware report that would speak for it is not there."""
    for item in collateral.of("runtime_data")[:MAX_ALIKE]:
        with suppress(MalformedEvidence):
            if hcl.named_key(item.data).raw == evidence.key.raw:
                return True
    return False


def _wanted(evidence: Evidence) -> str:
    if evidence.hcl is not None and evidence.hcl.kind == "tdx":
        return "supply the TDX quote for the TDREPORT in the HCL report, or name the key with --anchors tpm:FILE"
    if evidence.hcl is not None:
        return "the SNP report in the HCL report must be verified first; supply its VCEK and chain"
    if evidence.ek_certificate is not None:
        return (
            "an EK certificate does not say that the key is in its TPM: `deploy` has the TPM open a credential for it; "
            "here, name the key with --anchors tpm:FILE"
        )
    return "supply the key's certificate, or name the key or its CA with --anchors tpm:FILE"


def _hardware(evidence: Evidence, within: tuple[Genuine[object], ...]) -> Vouched | None:
    report = evidence.hcl
    if report is None:
        return None
    if report.ak.raw != evidence.key.raw:
        raise NotGenuine(
            "tpm.hardware",
            "the HCL report binds another attestation key than the one that signed the quote",
            where="hcl_report, HCLAkPub",
            hint="quote and HCL report are of different machines: collect both from one guest",
        )
    data = next((data for _, data in embedded(evidence)), None)
    around = next((item for item in within if getattr(item.evidence, "raw", None) == data), None)
    if data is None or around is None:
        return None
    _bound(report, report.report_data if report.kind == "snp" else hcl.quoted_data(data))
    return Vouched("hardware-report", around.anchors, (), (around,))


def _bound(report: hcl.Report, report_data: bytes) -> None:
    if report_data != report.bound.ljust(64, b"\0"):
        raise NotGenuine(
            "tpm.hardware",
            "the report data of the hardware evidence is not the hash of the runtime data",
            where="hcl_report, runtime data",
            hint="the runtime data was altered on the way, or belongs to another hardware report",
        )
    if report.kind == "snp" and report.hardware[at.SNP_VMPL : at.SNP_VMPL + 4] != bytes(4):
        raise NotGenuine(
            "tpm.hardware",
            "the SNP report around the vTPM was not asked for at VMPL 0, where the paravisor runs",
            where="hcl_report, SNP report, vmpl",
            hint="a guest can ask for reports at a lower privilege itself; only VMPL 0 speaks for the vTPM",
        )


def _certificate(evidence: Evidence, collateral: Collateral, anchors: Anchors, at_time: datetime) -> Vouched | None:
    same = [item for item in collateral.certificates if item.key.raw == evidence.key.raw][:MAX_ALIKE]
    failures: list[NotGenuine | MissingCollateral] = []
    for leaf in dict.fromkeys(same if evidence.ak_certificate is None else [evidence.ak_certificate, *same]):
        try:
            return _of_key(leaf, evidence, collateral, anchors, at_time)
        except MalformedEvidence as error:
            what = f"a certificate of the attestation key cannot be read: {error.what}"
            failures.append(NotGenuine("tpm.chain", what, where=_place(leaf)))
        except MissingCollateral as error:
            failures.append(error)
        except NotGenuine as error:  # a stranger may write a certificate for any key; its authority alone withdraws one
            if error.check == "tpm.revocation":
                raise
            failures.append(error)
    if failures:
        raise min(failures, key=lambda error: isinstance(error, NotGenuine))  # what can be fetched comes first
    return None


def _place(leaf: x509.Certificate) -> str:
    return f"certificate {leaf.subject_cn!r}"


def _of_key(
    leaf: x509.Certificate, evidence: Evidence, collateral: Collateral, anchors: Anchors, at_time: datetime
) -> Vouched:
    usages = _usages(leaf)
    of_an_ek = at.EK_USAGE in usages and not leaf.signs_only
    other = bool(usages) and usages.isdisjoint((at.AK_USAGE, at.EK_USAGE, at.ANY_USAGE))
    if leaf.key.raw != evidence.key.raw or of_an_ek or other:
        raise NotGenuine(
            "tpm.ak-certificate",
            "the certificate is not one of the attestation key that signed the quote"
            + (", but of a key for something else" if other else ""),
            where=_place(leaf),
            hint="certificate and quote are of different machines, or it certifies an endorsement key",
        )
    return replace(_chained(leaf, collateral, anchors, at_time, "certificate"), gce=gce(leaf))


def _chained(leaf: x509.Certificate, collateral: Collateral, anchors: Anchors, at_time: datetime, way: str) -> Vouched:
    """The leaf up to an anchor. Profiles mark the alternative name, policies or attributes critical: understood."""
    try:
        built = chain.build(
            leaf, collateral.certificates, anchors, "tpm", at=at_time, extra_critical=("2.5.29.32", "2.5.29.9")
        )
    except MissingCollateral as error:
        if leaf.extension(chain.ISSUERS) is not None:  # it says where its issuer's certificate is
            raise
        raise NotGenuine(
            "tpm.chain",
            f"nobody that was named vouches for the issuer of the certificate: {error.what}",
            where=_place(leaf),
            hint="a TPM of a host's own has a root of its own: name it with --anchors FILE (`fastness host anchors`)",
        ) from None
    return Vouched(way, (built.anchor,), _revocation(built, collateral, at_time))


def _revocation(built: chain.Chain, collateral: Collateral, at_time: datetime) -> tuple[Finding, ...]:
    looked, gaps = 0, []
    for child, issuer in built.links(collateral.certificates):
        if issuer is None:
            gaps.append(f"no certificate of {child.issuer_cn!r}, so no CRL of it could be checked")
            continue
        found = crl.look_up(child, issuer, collateral.crls, "tpm", at=at_time)
        looked += 1
        gaps += [] if found.checked else [found.why]
    if gaps:
        hint = "supply the CRLs that the certificates name, or waive tpm.revocation"
        return (Finding("tpm.revocation", Outcome.UNKNOWN, "a current CRL of each issuer", gaps[0], hint=hint),)
    return (Finding("tpm.revocation", Outcome.HELD, actual=f"{looked} certificates looked up"),)


def _usages(certificate: x509.Certificate) -> set[str]:
    found = certificate.extension(x509.EXTENDED_KEY_USAGE)
    if found is None:
        return set()
    nodes = der.children(der.one(found.value, der.SEQUENCE, "extKeyUsage", found.offset), "extKeyUsage")
    return {der.oid(node, "extKeyUsage") for node in nodes}


def _certified(evidence: Evidence, collateral: Collateral, anchors: Anchors, at_time: datetime) -> Vouched | None:
    """By certificate, or because the key itself was named: then nobody else needs to vouch for it."""
    anchor = anchors.find("tpm", evidence.key)
    own = Vouched("key", (anchor,)) if anchor is not None else None
    try:
        return _certificate(evidence, collateral, anchors, at_time) or own
    except (MissingCollateral, NotGenuine) as error:
        if own is None or error.check != "tpm.chain":
            raise
        return own


def _credential(evidence: Evidence, collateral: Collateral, anchors: Anchors, at_time: datetime) -> Vouched | None:
    leaf, answer, records = evidence.ek_certificate, evidence.activation, collateral.of("tpm-activation")
    if leaf is None or answer is None or not records:
        return None
    asked = credential.transcript(records[0].data)
    good = (
        evidence.ak is not None
        and asked.ek.hex() == keys.fingerprint(leaf.key)
        and asked.ak_name == evidence.ak.name
        and hmac.compare_digest(asked.secret, answer)
        and at.AK_USAGE not in _usages(leaf)
    )
    if not good:
        raise NotGenuine(
            "tpm.activation",
            "the TPM did not open the credential that was made for this attestation key and endorsement key",
            where="activation",
            hint="make a credential for the AK and EK in this evidence, and have the same TPM activate it",
        )
    return _chained(leaf, collateral, anchors, at_time, "credential")
