"""The cryptography of a quote, the same for SGX and TDX, in the order of trust.

1. The PCK certificate chains to a pinned root, in its role, and its SGX extension is well formed.
2. Neither it nor its CA is revoked.
3. The PCK signed the QE report.
4. The QE report binds the attestation key and the authentication data.
5. The attestation key signed header and body.
6. TCB info of this FMSPC and PCE, signed by Intel over its raw bytes, holds at the time.
7. So does the identity of the quoting enclave.
8. The quoting enclave is the one of that identity.

What this proves: Intel's quoting enclave on that platform vouches for the body. What it does not: how good the TCB is
(:mod:`fastness.tee.dcap.tcb`), nor that nobody with the machine in hand has read its keys off the memory bus.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from fastness.claims.finding import Finding, Outcome, Where
from fastness.errors import Malformed, MissingCollateral, NotGenuine
from fastness.pki import keys
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.dcap import endorse, layout, pck, tcb
from fastness.tee.dcap.endorse import Endorsed, Platform
from fastness.tee.dcap.quote import Quote
from fastness.tee.dcap.tcb import Evaluation
from fastness.wire import x509

MAX_REMEMBERED = 1 << 19
"""Most bytes of collateral remembered with one platform."""


class Appraisal(NamedTuple):
    """What verification found out beyond the quote's own bytes."""

    endorsed: Endorsed
    tcb: Evaluation


def verify(tee: str, quote: Quote, collateral: Collateral, anchors: Anchors, at: datetime) -> Endorsed:
    """Steps 1 to 8; raises NotGenuine or MissingCollateral with the ids of ``checks/<tee>.toml``."""
    try:
        return _verify(tee, quote, collateral, anchors, at)
    except Malformed as error:
        # a certificate whose key or extension cannot be read: found only when the chain is walked
        raise NotGenuine(f"{tee}.chain", f"certificate: {error}", where=error.where) from None


def _verify(tee: str, quote: Quote, collateral: Collateral, anchors: Anchors, at: datetime) -> Endorsed:
    leaf = quote.certification.leaf
    key = endorse.key_of(tee, quote.certification.data, collateral, anchors) if leaf is not None else None
    known = endorse.memory.get(key, at) if key is not None else None
    pool = quote.certification.chain + collateral.certificates
    if known is None:
        # (1), (2)
        if leaf is None:
            leaf = _supplied(tee, quote, collateral)
        base = endorse.platform(tee, leaf, pool, collateral, anchors, at=at)
    else:
        base = known.platform
    _signatures(tee, quote, base)
    if known is None:
        # (6), (7)
        known = endorse.complete(tee, base, pool, collateral, anchors, at=at)
        if key is not None and _small(collateral):
            endorse.memory.put(key, known, known.window)
    _quoting_enclave(tee, quote, known)
    return known


def _signatures(tee: str, quote: Quote, base: Platform) -> None:
    report = quote.qe_report
    # (3) QE report by the PCK
    if not endorse.verifies(base.key, quote.qe_signature, report.raw):
        raise NotGenuine(
            f"{tee}.qe-signature",
            "the QE report is not signed by the PCK",
            where=f"QE report at byte {quote.qe_report_offset}",
            hint="the quote was altered, or carries the PCK of another platform",
        )
    # (4) attestation key bound to the QE report
    bound = keys.sha256(quote.attestation_key + quote.authentication)
    if report.report_data != bound + bytes(32):
        raise NotGenuine(
            f"{tee}.qe-binding",
            "the QE report does not name the attestation key",
            where=f"attestation key at byte {quote.signature_offset + layout.SIGNATURE_SIZE}",
            hint="somebody put their own key under a genuine QE report",
        )
    # (5) the quote by the attestation key
    key = _attestation_key(quote.attestation_key)
    if key is None or not endorse.verifies(key, quote.signature, quote.signed):
        raise NotGenuine(
            f"{tee}.signature",
            "the quote is not signed by its attestation key",
            where=f"signature at byte {quote.signature_offset}",
            hint="header or body were altered after the quoting enclave signed them",
        )


@lru_cache(maxsize=256)
def _attestation_key(point: bytes) -> ec.EllipticCurvePublicKey | None:
    """The key at ``point`` (x ‖ y); a platform signs all its quotes with one, and a key is slow to make and to warm."""
    try:
        return keys.ec_point(ec.SECP256R1, point, "attestation key")
    except Malformed:
        return None


def _quoting_enclave(tee: str, quote: Quote, known: Endorsed) -> None:
    # (8) the quoting enclave is Intel's
    report, identity = quote.qe_report, known.identity
    key = report.identity
    if key in known.settled:
        return
    misc, mask = report.miscselect.to_bytes(4, "big"), identity.miscselect_mask[::-1]  # stated little endian
    attributes = identity.attributes_mask
    faults = {
        "MRSIGNER": report.mrsigner != identity.mrsigner,
        "ISVPRODID": report.isv_prod_id != identity.isv_prod_id,
        "MISCSELECT": masked(misc, mask) != masked(identity.miscselect[::-1], mask),
        "ATTRIBUTES": masked(report.attributes, attributes) != masked(identity.attributes, attributes),
    }
    if any(faults.values()):
        named = ", ".join(name for name, wrong in faults.items() if wrong)
        raise NotGenuine(
            f"{tee}.qe-identity",
            f"the quoting enclave is not the one Intel names: {named} differ",
            where=f"QE report at byte {quote.qe_report_offset}",
            hint="another enclave of the platform signed this quote",
        )
    known.settle(key, None)


def evaluate(tee: str, quote: Quote, known: Endorsed, svn: bytes = b"", svn2: bytes = b"") -> Evaluation:
    """Intel's word on the TCB: what :func:`fastness.tee.dcap.tcb.evaluate` says of this platform.

    Raises:
        MissingCollateral: ``tcb-info``: Intel signed a TCB level that does not follow its specification.
    """
    facts, isvsvn = known.platform.pck, quote.qe_report.isv_svn
    try:
        return tcb.evaluate(
            known.tcb,
            known.identity,
            facts.components,
            facts.pcesvn,
            qe_isvsvn=isvsvn,
            tee_tcb_svn=svn,
            tee_tcb_svn2=svn2,
        )
    except Malformed as error:
        raise MissingCollateral(
            f"TCB levels that follow their specification ({error})",
            check=f"{tee}.tcb-info",
            where="TCB info or identity of the quoting enclave, as Intel signed them",
            hint="fetch both again; if they stay like that, a newer version of fastness may read them",
        ) from None


def masked(value: bytes, mask: bytes) -> int:
    """``value`` under ``mask``, both of one length."""
    return int.from_bytes(value, "big") & int.from_bytes(mask, "big")


def _supplied(tee: str, quote: Quote, collateral: Collateral) -> x509.Certificate:
    """The PCK certificate from the collateral, where the quote names the platform but carries no certificate."""
    if quote.certification.kind in (layout.PCK_LEAF, layout.PCK_CHAIN):
        raise NotGenuine(
            f"{tee}.pck", "no PCK certificate stands in the quote's chain", hint="its SGX extension is what names it"
        )
    for item in collateral.certificates:
        if item.extension(pck.EXTENSION) is None:
            continue
        key = endorse.p256(item)
        if key is not None and endorse.verifies(key, quote.qe_signature, quote.qe_report.raw):
            return item
    tail = quote.certification.data[-layout.PPID_TAIL :]
    query = f"encrypted_ppid=…&cpusvn={tail[:16].hex()}&pcesvn={tail[16:18].hex()}&pceid={tail[18:].hex()}"
    how = "PPID" if quote.certification.kind == layout.PPID_PLAIN else "encrypted PPID"
    raise MissingCollateral(
        f"PCK certificate of this platform: the quote names it by {how} only (QE id {quote.user_data[:16].hex()})",
        f"{endorse.PCS}/sgx/certification/v4/pckcert?{query} or the PCCS of its owner",
        check=f"{tee}.pck",
        where=f"certification data of type {quote.certification.kind}",
    )


def _small(collateral: Collateral) -> bool:
    """Whether the collateral is of the usual size (tens of KiB): what is remembered must stay bounded in bytes."""
    held = [item.raw for item in collateral.certificates] + [item.raw for item in collateral.crls]
    held += [item.data for item in collateral.documents if not item.kind.startswith("event-log")]
    return sum(map(len, held)) < MAX_REMEMBERED


def findings(tee: str, quote: Quote, endorsed: Endorsed, evaluation: Evaluation) -> tuple[Finding, ...]:
    """What a verifier of either TEE saw besides: revocation, padding, no TCB level."""
    found = list(endorsed.findings)
    if quote.padding:
        found.append(
            Finding(f"{tee}.padding", Outcome.NOTE, actual=f"{len(quote.padding)} zero bytes follow the quote")
        )
    if evaluation.status is None:
        found.append(
            Finding(
                f"{tee}.tcb-level",
                Outcome.FAILED,
                expected="a TCB level that Intel lists",
                actual=evaluation.why,
                where=(Where("pck.components"),),
                because="Intel does not support this TCB",
                hint="update the platform's firmware, or fetch the TCB info anew",
            )
        )
    return tuple(found)
