"""COSE_Sign1 (RFC 9052 section 4.2), as values: what to verify is said here, verifying is not done here."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence
from fastness.wire import cbor

TAG_SIGN1 = 18
ALG = 1
"""Label of the algorithm header parameter (RFC 9052 section 3.1)."""

CRIT = 2
"""Label of the parameter that lists those a reader must understand (RFC 9052 section 3.1)."""

ES256, ES384, ES512, EDDSA = -7, -35, -36, -8
"""COSE algorithm identifiers (RFC 9053 section 2)."""

MAX_REMEMBERED = 64
"""Longest protected header whose decoding is remembered, in bytes."""


class Sign1(NamedTuple):
    """One COSE_Sign1 message.

    ``protected`` is the header as received (bytes), ``headers`` the same decoded; ``payload`` and ``signature`` are
    raw.
    """

    protected: bytes
    headers: dict[Any, Any]
    unprotected: dict[Any, Any]
    payload: bytes
    signature: bytes
    tagged: bool

    def to_be_signed(self, external: bytes = b"") -> bytes:
        """The Sig_structure (RFC 9052 section 4.4): ``["Signature1", protected, external, payload]``."""
        parts = [b"\x84\x6aSignature1"]
        for part in (self.protected, external, self.payload):
            parts += (cbor.bytes_head(len(part)), part)
        return b"".join(parts)

    def unparse(self) -> bytes:
        """The message in deterministic encoding."""
        body = [self.protected, self.unprotected, self.payload, self.signature]
        return cbor.encode(cbor.Tag(TAG_SIGN1, body) if self.tagged else body)


@lru_cache(maxsize=64)
def _headers(protected: bytes) -> Any:
    """The same few headers stand in every message of a kind."""
    return cbor.decode(protected) if protected else {}


def from_value(value: Any, field: str, offset: int = 0) -> Sign1:
    """A decoded CBOR item as a COSE_Sign1 message, tag 18 optional."""
    tagged = isinstance(value, cbor.Tag)
    if isinstance(value, cbor.Tag):
        if value.number != TAG_SIGN1:
            raise MalformedEvidence(field, offset, f"tag {TAG_SIGN1} (COSE_Sign1)", f"tag {value.number}")
        value = value.value
    if not isinstance(value, list) or len(value) != 4:
        raise MalformedEvidence(field, offset, "an array of four (COSE_Sign1)", type(value).__name__)
    protected, unprotected, payload, signature = value
    for name, part in (("protected", protected), ("payload", payload), ("signature", signature)):
        if not isinstance(part, bytes):
            raise MalformedEvidence(f"{field}.{name}", offset, "bytes", type(part).__name__)
    if not isinstance(unprotected, dict):
        raise MalformedEvidence(f"{field}.unprotected", offset, "a map", type(unprotected).__name__)
    headers = _headers(protected) if len(protected) <= MAX_REMEMBERED else cbor.decode(protected)
    if not isinstance(headers, dict):
        raise MalformedEvidence(f"{field}.protected", offset, "a map", type(headers).__name__)
    if CRIT in headers or CRIT in unprotected:
        # what is there must be understood, and nothing beyond the algorithm is (RFC 9052 section 3.1)
        raise MalformedEvidence(f"{field}.crit", offset, "no critical header parameters", repr(headers.get(CRIT))[:40])
    if ALG in headers and ALG in unprotected:
        raise MalformedEvidence(f"{field}.unprotected", offset, "no second algorithm", "alg in both headers")
    return Sign1(protected, dict(headers), unprotected, payload, signature, tagged)


def parse(data: bytes, field: str) -> Sign1:
    """``data`` as one COSE_Sign1 message, tag 18 optional, leftovers refused."""
    return from_value(cbor.decode(data), field)
