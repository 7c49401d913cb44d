"""``nil`` evidence as a value: parse, unparse, show."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.errors import MalformedEvidence
from fastness.tee.nil import layout as at
from fastness.wire import cbor, cose
from fastness.wire.hexdump import Span

MAX_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of ``nil`` evidence; sizes in bytes: report_data 64, launch 48, register 48, instance 16."""

    raw: bytes
    message: cose.Sign1
    report_data: bytes
    launch: bytes
    register: bytes
    debug: bool
    instance: bytes

    @property
    def spans(self) -> dict[str, Span]:
        """Where the fields stand in the raw bytes."""
        named = {"report_data": self.report_data, "launch": self.launch, "register": self.register,
                 "instance": self.instance, "signature": self.message.signature}  # fmt: skip
        return {name: Span(name, self.raw.find(value), len(value)) for name, value in named.items()}


def recognise(data: bytes) -> bool:
    """Whether ``data`` carries the profile of ``nil`` evidence near its start."""
    return len(data) <= MAX_SIZE and at.PROFILE.encode() in data[:64]


def parse(data: bytes) -> Evidence:
    """``nil`` evidence from its canonical CBOR.

    Raises:
        MalformedEvidence: not a COSE_Sign1 in deterministic encoding, a field missing, unknown or of the wrong size.
    """
    if len(data) > MAX_SIZE:
        raise MalformedEvidence("nil evidence", 0, f"at most {MAX_SIZE} bytes", len(data))
    message = cose.from_value(cbor.decode(data, canonical=True), "nil evidence")
    if message.headers != {cose.ALG: cose.ES256} or message.unprotected:
        raise MalformedEvidence("nil evidence.protected", 0, "exactly {alg: ES256}", str(message.headers)[:60])
    if len(message.signature) != at.SIGNATURE_SIZE:
        raise MalformedEvidence("signature", 0, f"{at.SIGNATURE_SIZE} bytes", len(message.signature))
    body = cbor.decode(message.payload, canonical=True)
    if not isinstance(body, dict) or set(body) != {at.K_PROFILE, at.K_DEBUG, *at.BYTES}:
        raise MalformedEvidence("nil payload", 0, "the six fields of fastness/nil/v1", "other fields")
    if body[at.K_PROFILE] != at.PROFILE:
        raise MalformedEvidence("profile", 0, at.PROFILE, repr(body[at.K_PROFILE])[:60])
    if not isinstance(body[at.K_DEBUG], bool):
        raise MalformedEvidence("debug", 0, "true or false", repr(body[at.K_DEBUG])[:60])
    for key, (name, size) in at.BYTES.items():
        if not isinstance(body[key], bytes) or len(body[key]) != size:
            raise MalformedEvidence(name, 0, f"{size} bytes", repr(body[key])[:60])
    return Evidence(
        data, message, body[at.K_REPORT_DATA], body[at.K_LAUNCH], body[at.K_REGISTER], body[at.K_DEBUG],
        body[at.K_INSTANCE],
    )  # fmt: skip


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return evidence.message.unparse()


def payload(report_data: bytes, launch: bytes, register: bytes, debug: bool, instance: bytes) -> bytes:
    """The bytes that the software root signs."""
    return cbor.encode(
        {
            at.K_PROFILE: at.PROFILE,
            at.K_REPORT_DATA: report_data,
            at.K_LAUNCH: launch,
            at.K_REGISTER: register,
            at.K_DEBUG: debug,
            at.K_INSTANCE: instance,
        }
    )


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning)."""
    meanings = {
        "report_data": "chosen by the keep: binds nonce, session and keys",
        "launch": "SHA-384 over the files the keep runs",
        "register": "runtime register: workload and configuration",
        "instance": "the host's software root (SIMULATED)",
        "signature": "ES256 by the software root (SIMULATED)",
    }
    rows = [(name, span.offset, span.size, meanings[name]) for name, span in evidence.spans.items()]
    return sorted(rows, key=lambda row: row[1])
