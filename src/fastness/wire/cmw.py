"""Conceptual message wrapper (draft-ietf-rats-msg-wrap), CBOR record form: ``[media type, bytes]``."""

from __future__ import annotations

from typing import Any

from fastness.errors import MalformedEvidence

PREFIX = "application/vnd.fastness.evidence."
"""Media types of evidence inside the keep protocol: this prefix and the folder name of the TEE."""


def record(tee: str, data: bytes) -> list[Any]:
    """Evidence of ``tee`` as a CMW record value, ready to be encoded as CBOR."""
    return [PREFIX + tee, data]


def from_record(value: Any, field: str) -> tuple[str, bytes]:
    """A decoded CMW record as (name of the TEE, evidence)."""
    if not isinstance(value, list) or len(value) != 2:
        raise MalformedEvidence(field, 0, "a CMW record [type, value]", type(value).__name__)
    kind, data = value
    if not isinstance(kind, str) or not kind.startswith(PREFIX) or not isinstance(data, bytes):
        raise MalformedEvidence(field, 0, f"a media type {PREFIX}… and bytes", repr(kind)[:60])
    return kind.removeprefix(PREFIX), data
