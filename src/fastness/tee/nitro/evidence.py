"""Nitro attestation documents as values: parse, unparse, show. Nothing is trusted here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence
from fastness.tee import MAX_EVIDENCE
from fastness.tee.nitro import layout as at
from fastness.wire import cbor, cose, x509
from fastness.wire.hexdump import Span


class Evidence(NamedTuple):
    """One attestation document.

    ``kind`` is ``enclave`` or ``nitrotpm``; ``timestamp`` in milliseconds since 1970; ``pcrs`` 48 bytes each by index;
    ``bundle`` as sent, root first; ``unknown`` are names of signed fields that the specification does not have.
    ``irregular`` holds the received bytes when the envelope is not in deterministic encoding, and is empty otherwise.
    """

    message: cose.Sign1
    irregular: bytes
    kind: str
    module_id: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: x509.Certificate
    bundle: tuple[x509.Certificate, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None
    unknown: tuple[str, ...]

    @property
    def spans(self) -> dict[str, Span]:
        """Where the fields stand in the received bytes."""
        raw = unparse(self)
        start = raw.find(self.message.payload)
        found = {"protected": Span("protected", raw.find(self.message.protected), len(self.message.protected))}
        found["signature"] = Span("signature", raw.rfind(self.message.signature), at.SIGNATURE_SIZE)
        values: dict[str, bytes | None] = {
            at.MODULE_ID: self.module_id.encode(), at.CERTIFICATE: self.certificate.raw,
            "public_key": self.public_key, "user_data": self.user_data, "nonce": self.nonce,
        }  # fmt: skip
        for name, value in values.items():
            if value and (offset := _after(raw, cbor.encode(name), value, start)) >= 0:
                found[name] = Span(name, offset, len(value))
        registers = max(raw.find(cbor.encode(at.PCRS[self.kind]), start), 0)
        for index, value in self.pcrs.items():
            head = cbor.encode(index) + cbor.encode(value)
            if (offset := raw.find(head, registers)) >= 0:
                found[f"pcr{index}"] = Span(f"pcr{index}", offset + len(head) - len(value), len(value))
        return found


def _after(raw: bytes, key: bytes, value: bytes, start: int) -> int:
    """Offset of ``value`` that follows ``key`` (their heads between), or -1."""
    place = raw.find(key, start)
    offset = raw.find(value, place + len(key)) if place >= 0 else -1
    return offset if 0 <= offset - place - len(key) <= 9 else -1


def recognise(data: bytes) -> bool:
    """Whether ``data`` is a four-element array, tagged or not, that names the fields of an attestation document."""
    if len(data) > MAX_EVIDENCE or data[:1] not in (b"\x84", b"\x9f", b"\xd2"):
        return False
    return b"module_id" in data and b"cabundle" in data and b"pcrs" in data


def parse(data: bytes) -> Evidence:
    """An attestation document, at most 64 KiB.

    Raises:
        MalformedEvidence: not a COSE_Sign1 over a map, duplicate keys, leftovers, a field missing or of a wrong size.
    """
    if len(data) > MAX_EVIDENCE:
        raise MalformedEvidence("attestation document", 0, f"at most {MAX_EVIDENCE} bytes", len(data))
    message = cose.from_value(cbor.decode(data), "attestation document")
    if len(message.signature) != at.SIGNATURE_SIZE:
        raise MalformedEvidence("signature", data.rfind(message.signature), f"{at.SIGNATURE_SIZE} bytes",
                                len(message.signature))  # fmt: skip
    base = _payload(message, data)
    body = cbor.decode(message.payload, base=base)
    if not isinstance(body, dict):
        raise MalformedEvidence("payload", base, "a map", type(body).__name__)
    kind = _kind(body, base)
    names = at.MANDATORY[kind]
    if not names <= body.keys():
        raise MalformedEvidence(min(names - body.keys()), base, "the field", "none")
    unknown = body.keys() - names - at.OPTIONAL
    return Evidence(
        message=message,
        irregular=b"" if _regular(message, data) else bytes(data),
        kind=kind,
        module_id=_module_id(body, base),
        timestamp=_timestamp(body, base),
        pcrs=_pcrs(body[at.PCRS[kind]], at.PCRS[kind], base),
        certificate=_certificate(body[at.CERTIFICATE], base),
        bundle=_bundle(body[at.CABUNDLE], base),
        public_key=_optional(body, "public_key", base),
        user_data=_optional(body, "user_data", base),
        nonce=_optional(body, "nonce", base),
        unknown=tuple(sorted([repr(key)[:60] for key in unknown])),
    )


def _payload(message: cose.Sign1, data: bytes) -> int:
    """Where the payload stands: before the signature, which ends a regular document and has a head of two bytes."""
    start = len(data) - at.SIGNATURE_SIZE - 2 - len(message.payload)
    return start if data.startswith(message.payload, start) else data.find(message.payload)


def _regular(message: cose.Sign1, data: bytes) -> bool:
    """Whether the envelope is in deterministic encoding: then, and only then, are its heads as short as can be."""
    if message.unprotected:
        return message.unparse() == data
    parts = (message.protected, message.payload, message.signature)
    size = sum([len(cbor.bytes_head(len(part))) + len(part) for part in parts])
    return len(data) == size + 2 + message.tagged


def _kind(body: dict[Any, Any], base: int) -> str:
    kinds = [kind for kind, name in at.PCRS.items() if name in body]
    if len(kinds) != 1:
        raise MalformedEvidence("pcrs", base, "one of pcrs and nitrotpm_pcrs", "both" if kinds else "neither")
    return kinds[0]


def _module_id(body: dict[Any, Any], base: int) -> str:
    value = body[at.MODULE_ID]
    if not isinstance(value, str) or not 0 < len(value) <= at.MAX_MODULE_ID or not value.isprintable():
        raise MalformedEvidence(at.MODULE_ID, base, f"text of 1 to {at.MAX_MODULE_ID} characters", repr(value)[:60])
    if body[at.DIGEST] != at.SHA384:
        raise MalformedEvidence(at.DIGEST, base, at.SHA384, repr(body[at.DIGEST])[:60])
    return value


def _timestamp(body: dict[Any, Any], base: int) -> int:
    value = body[at.TIMESTAMP]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= at.MAX_TIMESTAMP:
        raise MalformedEvidence(at.TIMESTAMP, base, "milliseconds since 1970, up to year 9999", repr(value)[:60])
    return value


def _pcrs(value: Any, name: str, base: int) -> dict[int, bytes]:
    if not isinstance(value, dict) or not value:
        raise MalformedEvidence(name, base, "a map of at least one register", repr(value)[:60])
    for index, register in value.items():
        if type(index) is not int or not 0 <= index <= at.MAX_PCR:
            raise MalformedEvidence(name, base, f"an index of 0 to {at.MAX_PCR}", repr(index)[:60])
        if type(register) is not bytes or len(register) != at.PCR_SIZE:
            raise MalformedEvidence(f"{name}[{index}]", base, f"{at.PCR_SIZE} bytes", repr(register)[:60])
    return value


def _certificate(value: Any, base: int, index: int | None = None) -> x509.Certificate:
    """A certificate: the leaf, or that at ``index`` of the bundle."""
    if not isinstance(value, bytes) or not 0 < len(value) <= at.MAX_CERTIFICATE:
        name = at.CERTIFICATE if index is None else f"{at.CABUNDLE}[{index}]"
        raise MalformedEvidence(name, base, f"1 to {at.MAX_CERTIFICATE} bytes", repr(value)[:60])
    return x509.certificate(value)


def _bundle(value: Any, base: int) -> tuple[x509.Certificate, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= at.MAX_BUNDLE:
        raise MalformedEvidence(at.CABUNDLE, base, f"1 to {at.MAX_BUNDLE} certificates", repr(value)[:60])
    return tuple([_certificate(item, base, index) for index, item in enumerate(value)])


def _optional(body: dict[Any, Any], name: str, base: int) -> bytes | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, bytes) or len(value) > at.MAX_OPTIONAL):
        raise MalformedEvidence(name, base, f"null or up to {at.MAX_OPTIONAL} bytes", repr(value)[:60])
    return value


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return evidence.irregular or evidence.message.unparse()


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning)."""
    meanings = {
        "protected": "COSE header: ES384",
        at.MODULE_ID: evidence.module_id,
        at.CERTIFICATE: f"signs this document: {evidence.certificate.subject_cn}",
        "public_key": "chosen by the guest: a key to encrypt to",
        "user_data": "chosen by the guest",
        "nonce": "chosen by the guest: the challenge",
        "signature": "ES384 by the key of certificate",
    }
    for index, text in at.MEANINGS[evidence.kind].items():
        meanings[f"pcr{index}"] = text
    rows = [(name, span.offset, span.size, meanings.get(name, "")) for name, span in evidence.spans.items()]
    return sorted([*rows, *_rest(evidence)], key=lambda row: row[1])


def _rest(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Fields that no claim points at."""
    raw = unparse(evidence)
    start = raw.find(evidence.message.payload)
    made = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=evidence.timestamp)
    number = evidence.timestamp.to_bytes((evidence.timestamp.bit_length() + 7) // 8, "big")
    told = {
        at.DIGEST: (at.SHA384.encode(), f"what registers are computed with: {at.SHA384}"),
        at.TIMESTAMP: (number, f"when the document was made: {made.isoformat(timespec='milliseconds')}"),
    }
    found = [(name, _after(raw, cbor.encode(name), value, start), len(value), text)
             for name, (value, text) in told.items()]  # fmt: skip
    found += [
        (f"{at.CABUNDLE}[{index}]", raw.find(item.raw, start), len(item.raw), f"issuer: {item.subject_cn}")
        for index, item in enumerate(evidence.bundle)
    ]
    return [row for row in found if row[1] >= 0]
