"""The launch of a guest as two small JSON documents: what the host measured, and what the tenant keeps to check it.

``fastness/sev-measurement/v1``, from the host, part of the evidence: ``api_major``, ``api_minor``, ``build`` (of the
firmware), ``policy`` (of the guest), ``measurement`` (32 bytes) and ``mnonce`` (16 bytes) of LAUNCH_MEASURE, in
hexadecimal.

``fastness/sev-launch/v1``, the tenant's, **secret**, an anchor: ``pdh`` (SHA-256 of the platform's certificate the keys
were wrapped for), ``policy``, ``tek`` and ``tik`` (16 bytes each), ``digests`` (launch digests it accepts, 32 bytes
each), and, once the guest was given one, ``key`` (32 bytes) by which it proves itself. Whoever knows TIK can make up a
measurement: among evidence such a record counts for nothing.

Source: AMD 55766, SEV API 0.24, section 6.5: HMAC-SHA-256 with TIK over 0x04 ‖ API major ‖ minor ‖ build ‖ policy
(4 bytes, little endian) ‖ launch digest ‖ mnonce.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.tee.sev import layout as at
from fastness.wire import injected

MEASUREMENT, RECORD = "fastness/sev-measurement/v1", "fastness/sev-launch/v1"
MAX_MEASUREMENT, MAX_RECORD = 2048, 64 * 1024
MAX_DIGESTS = 256
_CONTEXT = b"\x04"
_MEASURED = {"measurement": 32, "mnonce": 16}
_NUMBERS = {"api_major": 8, "api_minor": 8, "build": 8, "policy": 32}
_KEYS = {"pdh": 32, "tek": 16, "tik": 16}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What LAUNCH_MEASURE gave: firmware (API major, minor, build), policy, HMAC of 32 bytes, mnonce of 16."""

    raw: bytes
    api: tuple[int, int]
    build: int
    policy: int
    measurement: bytes
    mnonce: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """What the tenant remembers of a launch; ``digests`` are the launch digests it accepts."""

    pdh: bytes
    policy: int
    tek: bytes = field(repr=False)
    tik: bytes = field(repr=False)
    digests: tuple[bytes, ...]
    key: bytes = field(repr=False, default=b"")

    def encode(self) -> bytes:
        """As the document that ``--anchors`` takes; for a file of mode 0600."""
        return _encode(
            RECORD,
            pdh=self.pdh.hex(), policy=self.policy, tek=self.tek.hex(), tik=self.tik.hex(),
            digests=[item.hex() for item in self.digests],
            **({"key": self.key.hex()} if self.key else {}),
        )  # fmt: skip


def measurement(data: bytes) -> Measurement:
    """The host's document.

    Raises:
        MalformedEvidence: not the JSON of the schema: a field missing, unknown, repeated, of the wrong size.
    """
    body = _decode(data, MEASUREMENT, MAX_MEASUREMENT, {*_NUMBERS, *_MEASURED})
    numbers = {name: _number(body, name, bits) for name, bits in _NUMBERS.items()}
    values = {name: _bytes(body, name, size) for name, size in _MEASURED.items()}
    if numbers["policy"] & at.POLICY_RESERVED:
        raise MalformedEvidence("launch.policy", 0, "reserved bits clear", f"0x{numbers['policy']:x}")
    api = (numbers["api_major"], numbers["api_minor"])
    return Measurement(data, api, numbers["build"], numbers["policy"], values["measurement"], values["mnonce"])


def encode(api: tuple[int, int], build: int, policy: int, blob: bytes) -> bytes:
    """The host's document from what firmware or QEMU gave.

    Args:
        api, build: version of the firmware (PLATFORM_STATUS; QEMU's ``query-sev``).
        policy: of the guest.
        blob: measurement ‖ mnonce, 48 bytes (LAUNCH_MEASURE; ``data`` of QEMU's ``query-sev-launch-measure``, decoded).
    """
    if len(blob) != 48:
        raise MalformedEvidence("launch.measurement", 0, "48 bytes: HMAC and mnonce", f"{len(blob)} bytes")
    return _encode(
        MEASUREMENT, api_major=api[0], api_minor=api[1], build=build, policy=policy,
        measurement=blob[:32].hex(), mnonce=blob[32:].hex(),
    )  # fmt: skip


def record(data: bytes) -> Record:
    """The tenant's document.

    Raises:
        MalformedEvidence: as for :func:`measurement`; no digest, or more than 256.
    """
    body = _decode(data, RECORD, MAX_RECORD, {*_KEYS, "policy", "digests"}, frozenset({"key"}))
    values = {name: _bytes(body, name, size) for name, size in _KEYS.items()}
    key = _bytes(body, "key", injected.KEY_SIZE) if "key" in body else b""
    digests = body["digests"]
    if not isinstance(digests, list) or not 1 <= len(digests) <= MAX_DIGESTS:
        raise MalformedEvidence("launch.digests", 0, f"1 to {MAX_DIGESTS} digests", type(digests).__name__)
    accepted = tuple(_bytes({"digests": item}, "digests", 32) for item in digests)
    return Record(values["pdh"], _number(body, "policy", 32), values["tek"], values["tik"], accepted, key)


def hmac_of(tik: bytes, api: tuple[int, int], build: int, policy: int, digest: bytes, mnonce: bytes) -> bytes:
    """What LAUNCH_MEASURE gives for a guest of ``digest``, 32 bytes."""
    message = _CONTEXT + bytes((*api, build)) + policy.to_bytes(4, "little") + digest + mnonce
    return hmac.digest(tik, message, "sha256")


def find(held: Record, measured: Measurement) -> bytes | None:
    """The launch digest, of those the tenant accepts, that was measured; None where none was."""
    for digest in held.digests:
        wanted = hmac_of(held.tik, measured.api, measured.build, measured.policy, digest, measured.mnonce)
        if hmac.compare_digest(wanted, measured.measurement):
            return digest
    return None


def kept(held: Record, measured: Measurement) -> bool:
    """Whether the guest has the tenant's policy, and the firmware at least the API version that policy asks for."""
    return measured.policy == held.policy and measured.api >= least_api(held.policy)


def least_api(policy: int) -> tuple[int, int]:
    """The API version that a policy asks for (AMD 55766, chapter 3, bits 16 to 31)."""
    return policy >> 16 & 0xFF, policy >> 24


def made_for(held: Record, pdh: bytes) -> bool:
    """Whether the keys were wrapped for the platform whose PDH certificate this is."""
    return hmac.compare_digest(held.pdh, hashlib.sha256(pdh).digest())


def _encode(schema: str, **fields: Any) -> bytes:
    import json

    return json.dumps({"schema": schema, **fields}, indent=1).encode() + b"\n"


def _decode(
    data: bytes, schema: str, limit: int, fields: set[str], perhaps: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    import json

    if len(data) > limit:
        raise MalformedEvidence("launch", 0, f"at most {limit} bytes", len(data))
    try:
        body = json.loads(data.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise MalformedEvidence("launch", 0, f"the JSON of {schema}", str(error)[:60]) from None
    if not isinstance(body, dict) or body.get("schema") != schema or set(body) - perhaps != {"schema", *fields}:
        raise MalformedEvidence("launch", 0, f"the fields of {schema}", "others")
    return body


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field twice")
    return dict(pairs)


def _number(body: Mapping[str, Any], name: str, bits: int) -> int:
    value = body[name]
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise MalformedEvidence(f"launch.{name}", 0, f"a number below {1 << bits}", repr(value)[:40])
    return value


def _bytes(body: Mapping[str, Any], name: str, size: int) -> bytes:
    value = body[name]
    try:
        plain = bytes.fromhex(value)
    except (TypeError, ValueError):
        plain = b""
    if len(plain) != size or plain.hex() != value:
        raise MalformedEvidence(f"launch.{name}", 0, f"{size} bytes in lower-case hexadecimal", "something else")
    return plain
