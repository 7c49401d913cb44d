"""A TPM's attestation key and the certificate of its endorsement key, tied by a credential only that TPM can open.

TCG TPM 2.0 Library, part 1 section 24. The keep's quote comes with the attestation key's public area and the
certificate of an endorsement key. Nothing in them ties one to the other, so the challenger makes a credential for both
and asks the keep to have it opened.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from fastness.errors import MalformedEvidence, ProtocolError
from fastness.pki import keys
from fastness.seal.challenger import decode_refusal, encode_credential
from fastness.seal.frames import Type
from fastness.seal.messages import Statement
from fastness.seal.transport import Transport
from fastness.tee import Collateral, Document
from fastness.wire import x509

SECRET_SIZE = 32
PARTS = frozenset({"signature", "ak", "pcrs", "event_log", "ek_certificate", "ak_certificate"})
"""What a keep may send beside a quote; a credential's answer is never taken from there."""


@dataclass(frozen=True, slots=True)
class Activated:
    """What was asked, as verification wants to see it, and what the TPM opened."""

    transcript: bytes = field(repr=False)
    answer: bytes = field(repr=False)


async def activate(transport: Transport, statement: Statement, *, timeout: float) -> Activated | None:
    """Makes a credential for the keys in ``statement`` and has the keep open it; None where there is nothing to tie.

    Raises:
        MalformedEvidence: a key or certificate that cannot be read.
        ProtocolError: the keep will not.
    """
    parts = dict(statement.endorsements)
    if statement.tee != "tpm" or not {"ak", "ek_certificate"} <= parts.keys():
        return None
    from fastness.tee.tpm import credential
    from fastness.tee.tpm.parts import public_key
    from fastness.tee.tpm.structures import Public

    key = public_key(parts["ak"])
    if not isinstance(key, Public):
        raise MalformedEvidence("ak", 0, "a TPMT_PUBLIC", "a bare key")
    endorsement = x509.certificate(parts["ek_certificate"]).key
    secret = secrets.token_bytes(SECRET_SIZE)
    await transport.send(Type.CREDENTIAL, encode_credential(*credential.make_credential(endorsement, key.name, secret)))
    kind, body = await transport.receive(Type.ACTIVATED, Type.REFUSAL, timeout=timeout)
    if kind is Type.REFUSAL:
        raise ProtocolError(f"the keep opened no credential: {decode_refusal(body).what[:300]}")
    asked = credential.Transcript(bytes.fromhex(keys.fingerprint(endorsement)), key.name, secret)
    return Activated(asked.encode(), body)


def remembered(activated: Activated | None) -> Collateral:
    """What verification is told of the challenge."""
    if activated is None:
        return Collateral()
    return Collateral(documents=(Document("tpm-activation", activated.transcript, "this conversation"),))


def sources(statement: Statement, activated: Activated | None, known: tuple[bytes, ...] = ()) -> tuple[bytes, ...]:
    """The evidence of ``statement`` and what came with it, as verification takes them.

    ``known`` is what a tenant learnt when it attended the launch of a SEV guest. The guest has but its proof to add.
    """
    if statement.tee == "sev":
        return (statement.evidence, *known)
    if statement.tee != "tpm":
        return (statement.evidence, *(data for _, data in statement.endorsements))
    from fastness.tee.tpm import assemble

    parts = {"quote": statement.evidence, **dict(statement.endorsements)}
    if unknown := parts.keys() - PARTS - {"quote"}:
        raise MalformedEvidence("endorsements", 0, "parts of a quote", ", ".join(sorted(unknown))[:60])
    if activated is None:
        return (assemble(parts),)
    return (assemble({**parts, "activation": activated.answer}),)
