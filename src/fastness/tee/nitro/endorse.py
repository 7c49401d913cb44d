"""Endorsements of Nitro documents: the chain travels inside; only the root is pinned (AWS Nitro Enclaves root G1).

CRLs of AWS's regional and zonal CAs are at the addresses their certificates name; instance and leaf certificates,
valid for a day and for three hours, name none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from fastness.claims.finding import Finding, Outcome
from fastness.pki import chain, crl, keys
from fastness.pki.anchors import Anchors
from fastness.pki.memory import Memory, window
from fastness.tee import Collateral
from fastness.tee.nitro.evidence import Evidence
from fastness.wire import x509

MAX_REMEMBERED = 1 << 18
"""Most bytes of certificates and lists remembered with one path; AWS's are 4 KiB."""


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """The CA bundle. The root in it counts only where an anchor pins its key."""
    return Collateral(certificates=evidence.bundle)


def look_up(
    path: chain.Chain, pool: tuple[x509.Certificate, ...], lists: tuple[x509.Crl, ...], at: datetime
) -> Finding:
    """The finding ``nitro.revocation``: held, or not checked for want of a current CRL.

    Raises:
        NotGenuine: ``nitro.revocation``, a certificate is on its issuer's CRL or a CRL is not its issuer's.
    """
    found = [
        (child, crl.look_up(child, issuer, lists, "nitro", at=at))
        if issuer is not None
        else (child, crl.Lookup(child.subject_cn, why=f"the certificate of {child.issuer_cn!r} was not supplied"))
        for child, issuer in path.links(pool)
    ]
    unknown = [
        item.why for child, item in found if child.extension(x509.CRL_DISTRIBUTION) is not None and not item.checked
    ]
    if not unknown and any(item.checked for _, item in found):
        return Finding("nitro.revocation", Outcome.HELD, actual="no certificate of the chain is on its issuer's CRL")
    return Finding(
        "nitro.revocation",
        Outcome.UNKNOWN,
        expected="a current CRL for each CA certificate that names one",
        actual="; ".join(unknown) or "no certificate names a CRL and none was supplied",
        hint="supply the CRLs the certificates name, or waive nitro.revocation (AWS's own guide turns CRLs off)",
    )


class Path(NamedTuple):
    """The path from a leaf to an anchor, its key, and what the lists say of it."""

    chain: chain.Chain
    key: keys.Key
    revocation: Finding


paths: Memory[Path] = Memory(limit=256)


def find(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    at: datetime,
    profile: Callable[[x509.Certificate, bool], None],
) -> Path:
    """The path from the leaf of ``evidence``, remembered so that documents of one enclave share it.

    ``profile`` is called with each certificate and whether it is the leaf. Raises what it does, and as
    :func:`fastness.pki.chain.build` and :func:`look_up` do.
    """
    leaf, lists = evidence.certificate, collateral.crls
    pool = (*evidence.bundle, *collateral.certificates)
    supplied = tuple([item.raw for item in pool] + [item.raw for item in lists])
    key = (leaf.raw, supplied, anchors.pins("nitro"))
    held = paths.get(key, at)
    if held is not None:
        return held

    def understood(certificate: x509.Certificate) -> None:
        profile(certificate, certificate is leaf)

    built = chain.build(leaf, pool, anchors, "nitro", at=at, understood=understood)
    found = Path(built, keys.load(leaf.key), look_up(built, pool, lists, at))
    if sum(map(len, supplied)) < MAX_REMEMBERED:
        paths.put(key, found, window(at, (leaf, *pool, *_roots(anchors)), lists))
    return found


def _roots(anchors: Anchors) -> list[x509.Certificate]:
    return [item.certificate for item in anchors.of("nitro") if item.certificate is not None]
