"""Endorsements of Nitro documents: the chain travels inside; only the root is pinned (AWS Nitro Enclaves root G1).

CRLs of AWS's regional and zonal CAs are at the addresses their certificates name; instance and leaf certificates,
valid for a day and for three hours, name none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from threading import Lock

from fastness.pki import chain
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


class Paths:
    """Remembers the path that was built for a leaf, so that documents of one enclave share it.

    Keyed by everything that decides it but the time: leaf, bundle, collateral and every property of the anchors. A
    remembered path counts only while all of it is valid at the time asked about; otherwise it is built anew, and only
    paths that held are kept. Bounded. The document's own signature is no business of it.
    """

    def __init__(self, limit: int = 256) -> None:
        self._held: OrderedDict[tuple[object, ...], chain.Chain] = OrderedDict()
        self._limit = limit
        self._lock = Lock()

    def find(
        self,
        evidence: Evidence,
        collateral: Collateral,
        anchors: Anchors,
        at: datetime,
        understood: Callable[[x509.Certificate], None],
    ) -> chain.Chain:
        """The path from the leaf of ``evidence`` to an anchor; raises as :func:`fastness.pki.chain.build` does."""
        pool = (*evidence.bundle, *collateral.certificates)
        key = (evidence.certificate.raw, *(item.raw for item in pool), *_named(anchors))
        with self._lock:
            path = self._held.get(key)
        if path is not None and all(chain.valid_at(item, at) for item in path.certificates):
            return path
        path = chain.build(evidence.certificate, pool, anchors, "nitro", at=at, understood=understood)
        with self._lock:
            self._held[key] = path
            while len(self._held) > self._limit:
                self._held.popitem(last=False)
        return path


def _named(anchors: Anchors) -> list[tuple[object, ...]]:
    """What tells anchors apart, cheap to compare: the certificate by its bytes."""
    return [
        (item.tee, item.name, item.spki, item.source, item.line, item.simulated, item.key and item.key.raw,
         item.certificate and item.certificate.raw)
        for item in anchors.of("nitro")
    ]  # fmt: skip


paths = Paths()
