"""Signed policies: the canonical form in a DSSE envelope, and how many of its owners signed it.

What is signed is the canonical form: it is whole (includes and reference values are inside), and two people who mean
the same policy sign the same bytes, whatever their comments and layout.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fastness.appraise import owners, reference, statements
from fastness.appraise.rules import Policy
from fastness.errors import UsageError
from fastness.pki import dsse, signer

PAYLOAD = "application/vnd.fastness.policy+toml"
"""payloadType of signed policies."""


def envelope(data: bytes, where: str) -> dsse.Envelope:
    """The envelope of a policy in ``data``.

    Raises:
        Malformed, UsageError: none, or one of something else.
    """
    found = dsse.parse(data, where)
    if found.kind != PAYLOAD:
        raise UsageError(f"an envelope of {found.kind[:80]!r}", where=where, hint=f"payloadType {PAYLOAD}")
    return found


def opened(data: bytes, where: str, keys: str | Path | None, at: datetime) -> tuple[bytes, tuple[str, ...]]:
    """What a policy's envelope holds, and which owners signed it; with a file of ``keys``, only if enough of them did
    at ``at``.

    Raises:
        UsageError: not signed by enough of them, with who did and who is missing.
    """
    found = envelope(data, where)
    if keys is None:
        return found.payload, ()
    counted = count(found, owners.parse(reference.read(keys), str(keys)), at)
    if not counted.enough:
        hint = "fastness policy sign FILE --key KEY adds a signature; fastness policy verify counts them"
        raise UsageError(f"the policy is not signed as its owners demand: {counted}", where=where, hint=hint)
    return found.payload, counted.signed


def count(found: dsse.Envelope, ring: owners.Keyring, at: datetime) -> owners.Count:
    """Whose signatures an envelope has, and whether they are enough."""
    return owners.count(ring, found.payload, statements.envelope_signers(found, ring), at)


def sign(chosen: Policy, key: signer.Signer) -> dsse.Envelope:
    """``chosen`` in an envelope with one signature."""
    return statements.add(dsse.Envelope(PAYLOAD, chosen.canonical.encode(), ()), key)
