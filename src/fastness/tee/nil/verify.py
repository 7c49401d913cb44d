"""Verification of ``nil`` evidence.

1. An anchor for ``nil`` was named.
2. The signature over the bytes as received is one of that anchor's.

What this proves: the holder of the software root signed it. What it does not: anything about the host, who is
that holder.
"""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from fastness.claims.finding import Finding, Outcome
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import NotGenuine
from fastness.pki import keys
from fastness.pki.anchors import Anchor, Anchors
from fastness.tee import Collateral
from fastness.tee.nil.evidence import Evidence


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Evidence]:
    """Genuine ``nil`` evidence, up to a software root in ``anchors``.

    Raises:
        NotGenuine: ``nil.anchor`` (no software root was named), ``nil.signature`` (signed by none of them).
    """
    # (1) nobody vouches for a simulation unless asked for by name
    named = [anchor for anchor in anchors.of("nil") if anchor.key is not None]
    if not named:
        raise NotGenuine(
            "nil.anchor",
            "no software root was named for simulated evidence",
            hint="nil protects nothing; for development name its root: --anchors nil, or a file of `host anchors`",
        )
    # (2) signature over the received bytes
    for anchor in named:
        if _signed(evidence, anchor):
            note = Finding("nil.simulated", Outcome.NOTE, actual="SIMULATED: evidence of a software root, no hardware")
            return vouch(evidence, anchors=(anchor,), findings=(note,), at=at)
    raise NotGenuine(
        "nil.signature",
        "the simulated evidence is signed by none of the named software roots",
        where=str(evidence.spans["signature"]),
        hint="it comes from another host: get that host's root with `fastness host anchors --platform nil`",
    )


def _signed(evidence: Evidence, anchor: Anchor) -> bool:
    key = keys.load(anchor.key) if anchor.key is not None else None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    digest = Hash(SHA256())
    digest.update(evidence.message.to_be_signed())
    signature = evidence.message.signature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return keys.verify_ecdsa(key, r, s, digest.finalize(), SHA256())
