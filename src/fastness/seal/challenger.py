"""What only a challenger needs of the keep protocol: its end of a channel, sealing, and reading what a keep answers.

No keep imports this, so none of it is in the trusted base of what runs inside one (``TCB.lock``).
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from fastness.errors import MalformedEvidence, ProtocolError
from fastness.seal import log
from fastness.seal.channel import Channel, context
from fastness.seal.messages import MAX_TYPES, VERSION, Ended, Measured, Refusal, Statement, Status, fields, pair, sized
from fastness.seal.release import suite
from fastness.wire import cbor, cmw, x509

MAX_ENDORSEMENTS = 32


def client_context() -> SSL.Context:
    """A context for the challenger's end. The certificate is judged by the evidence, not by a public authority."""
    made = context(SSL.TLS_CLIENT_METHOD)
    made.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    return made


def client_channel() -> Channel:
    """The challenger's end of a new session."""
    return Channel(client_context(), server=False)


def peer_key(channel: Channel) -> bytes:
    """DER SubjectPublicKeyInfo of the certificate the keep showed."""
    shown = channel.connection.get_peer_certificate(as_cryptography=True)
    if shown is None:
        raise ProtocolError("the peer showed no certificate")
    return x509.certificate(shown.public_bytes(Encoding.DER)).key.raw


def seal(plaintext: bytes, key: bytes, info: bytes) -> bytes:
    """``plaintext`` sealed to the X25519 ``key`` (32 bytes) under ``info``: encapsulated key ‖ ciphertext ‖ tag."""
    return suite().encrypt(plaintext, X25519PublicKey.from_public_bytes(key), info=info)


def encode_credential(credential: bytes, secret: bytes) -> bytes:
    """The body of a credential message: ``[credential, encrypted secret]``, as TPM2_ActivateCredential takes them."""
    return cbor.encode([credential, secret])


def decode_evidence(body: bytes) -> tuple[bytes, bytes]:
    """(statement bytes, signature) of an evidence message."""
    return pair(body, "evidence message", "statement, signature")


def decode_statement(body: bytes) -> Statement:
    """The statement from its bytes."""
    kinds = {1: int, 2: str, 3: list, 4: list, 5: bytes, 6: bytes, 7: bytes, 8: list, 9: int, 10: str}
    value = fields(body, kinds, "statement")
    if value[1] != VERSION:
        raise ProtocolError(f"protocol version {value[1]} is not spoken here")
    try:
        tee, evidence = cmw.from_record(value[3], "evidence")
        events = log.from_value(value[8])
    except MalformedEvidence as error:
        raise ProtocolError(f"statement: {error.what}") from None
    if len(value[7]) not in (0, 32) or len(value[2]) > 32 or len(value[10]) > 32:
        raise ProtocolError("statement: a field has the wrong size")
    return Statement(
        value[2], tee, evidence, _endorsements(value[4]), value[5], sized(value[6], 32, "HPKE key"), value[7],
        events, value[9], value[10],
    )  # fmt: skip


def _endorsements(value: list[Any]) -> tuple[tuple[str, bytes], ...]:
    if len(value) > MAX_ENDORSEMENTS:
        raise ProtocolError(f"statement: more than {MAX_ENDORSEMENTS} endorsements")
    for item in value:
        if not isinstance(item, list) or [type(part) for part in item] != [str, bytes]:
            raise ProtocolError("statement: an endorsement must be [kind, bytes]")
    return tuple((kind, data) for kind, data in value)


def decode_measured(body: bytes) -> Measured:
    """The measured message from its body."""
    value = fields(body, {1: bytes, 2: list}, "measured")
    try:
        return Measured(sized(value[1], 32, "workload"), log.from_value(value[2]))
    except MalformedEvidence as error:
        raise ProtocolError(f"measured: {error.what}") from None


def decode_ended(body: bytes) -> Ended:
    """The ended message from its body."""
    value = fields(body, {1: str, 2: int, 3: str, 4: str, 5: str}, "ended")
    return Ended(value[1], value[2], value[3], value[4], value[5])


def decode_refusal(body: bytes) -> Refusal:
    """The refusal from its body."""
    value = fields(body, {1: str, 2: str, 3: list}, "refusal")
    if len(value[3]) > MAX_TYPES or not all(isinstance(item, str) for item in value[3]):
        raise ProtocolError("refusal: evidence types must be names")
    return Refusal(value[1], value[2], tuple(value[3]))


def decode_status(body: bytes) -> Status:
    """The status message from its body."""
    value = fields(body, {1: str, 2: bytes}, "status")
    return Status(value[1], value[2])


def decode_credit(body: bytes) -> int:
    """The number in a credit message."""
    return int.from_bytes(sized(body, 4, "credit"), "big")


def extend(register: bytes, data: bytes, hashing: str = "sha384") -> bytes:
    """``register`` after the bytes that :func:`~fastness.seal.log.measured` gives."""
    return hashlib.new(hashing, register + hashlib.new(hashing, data).digest()).digest()


def replay(events: tuple[log.Event, ...], hashing: str = "sha384") -> bytes:
    """The register after ``events``."""
    register = bytes(hashlib.new(hashing).digest_size)
    for event in events:
        register = extend(register, log.measured(event), hashing)
    return register


def only(events: tuple[log.Event, ...], kind: str) -> bytes | None:
    """The digest of the one event of ``kind``; None if there is none.

    Raises:
        MalformedEvidence: more than one (a keep takes one workload in its life).
    """
    found = [event.digest for event in events if event.kind == kind]
    if len(found) > 1:
        raise MalformedEvidence("log", 0, f"at most one {kind}", len(found))
    return found[0] if found else None
