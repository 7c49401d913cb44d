"""Endorsements of Nitro documents: the chain travels inside; only the root is pinned (AWS Nitro Enclaves root G1).

CRLs of AWS's regional and zonal CAs are at the addresses their certificates name; instance and leaf certificates,
valid for a day and for three hours, name none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import datetime
from threading import Lock

from fastness.claims.finding import Finding, Outcome
from fastness.pki import chain, crl
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.nitro.evidence import Evidence
from fastness.wire import x509


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """The CA bundle. The root in it counts only where an anchor pins its key."""
    return Collateral(certificates=evidence.bundle)


def look_up(path: chain.Chain, lists: tuple[x509.Crl, ...], at: datetime) -> Finding:
    """The finding ``nitro.revocation``: held, or not checked for want of a current CRL.

    Raises:
        NotGenuine: ``nitro.revocation``, a certificate is on its issuer's CRL or a CRL is not its issuer's.
    """
    found = [(child, crl.look_up(child, issuer, lists, "nitro", at=at)) for child, issuer in _links(path)]
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


def _links(path: chain.Chain) -> Iterator[tuple[x509.Certificate, x509.Certificate]]:
    """Certificates of the path with their issuers; the root's own is no matter of a CRL."""
    root = path.anchor.certificate
    last = path.certificates[-1]
    above = [root] if root is not None and last.issuer != last.subject else []
    return zip(path.certificates, [*path.certificates[1:], *above], strict=False)


class Paths:
    """Remembers the path that was built for a leaf, so that documents of one enclave share it.

    Keyed by everything that decides it but the time: leaf, bundle, collateral and every property of the anchors. A
    remembered path counts only while all of it is valid at the time asked about; otherwise it is built anew, and only
    paths that held are kept. Bounded. The document's own signature is no business of it.
    """

    def __init__(self, limit: int = 256) -> None:
        self._held: OrderedDict[tuple[object, ...], tuple[chain.Chain, Finding]] = OrderedDict()
        self._limit = limit
        self._lock = Lock()

    def find(
        self,
        evidence: Evidence,
        collateral: Collateral,
        anchors: Anchors,
        at: datetime,
        profile: Callable[[x509.Certificate, bool], None],
    ) -> tuple[chain.Chain, Finding]:
        """The path from the leaf of ``evidence`` to an anchor, and what revocation is without any CRL.

        ``profile`` is called with each certificate and whether it is the leaf. Raises what it does, and as
        :func:`fastness.pki.chain.build` does.
        """
        pool = (*evidence.bundle, *collateral.certificates)
        key = (evidence.certificate.raw, *(item.raw for item in pool), *_named(anchors))
        with self._lock:
            held = self._held.get(key)
        if held is not None and all(chain.valid_at(item, at) for item in held[0].certificates):
            return held
        leaf = evidence.certificate

        def understood(certificate: x509.Certificate) -> None:
            profile(certificate, certificate is leaf)

        path = chain.build(leaf, pool, anchors, "nitro", at=at, understood=understood)
        held = path, look_up(path, (), at)
        with self._lock:
            self._held[key] = held
            while len(self._held) > self._limit:
                self._held.popitem(last=False)
        return held


def _named(anchors: Anchors) -> list[tuple[object, ...]]:
    """What tells anchors apart, cheap to compare: the certificate by its bytes."""
    return [
        (item.tee, item.name, item.spki, item.source, item.line, item.simulated, item.key and item.key.raw,
         item.certificate and item.certificate.raw)
        for item in anchors.of("nitro")
    ]  # fmt: skip


paths = Paths()
