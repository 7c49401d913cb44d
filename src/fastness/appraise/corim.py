"""CoRIM (draft-ietf-rats-corim, section 4 and 5), the part that says which measurements are good.

Read and written: ``#6.501`` corim-map with one or more CoMIDs (``#6.506``), their reference-triples, in them digests by
measurement; validity; and COSE_Sign1 (``#6.18``) over it with ``application/rim+cbor`` and a signer's name. Everything
else of the format that could change what a triple means is refused by name rather than skipped; entities, links to
other manifests and tag identities are read over. The outer tag 500 of earlier drafts is understood.

The mapping: an environment's class names the TEE as ``model`` under ``vendor`` "fastness"; a measurement's ``mkey`` is
the claim's name; several digests are several values, as in the plain form; ``name`` (11) carries the note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastness import tee as tees
from fastness.appraise.owners import Holder, Keyring
from fastness.appraise.reference import MAX_ROWS, Row, Statement
from fastness.errors import Malformed, MalformedEvidence, UsageError
from fastness.pki import signer
from fastness.wire import cbor, cose

CORIM, COMID, OLD = 501, 506, 500
"""CBOR tags (draft, section 12.3)."""
EPOCH = 1
CONTENT = "application/rim+cbor"
META = 8
VENDOR = "fastness"
ALGORITHMS = {32: 1, 48: 7, 64: 8}
"""Size of a digest → its number in the Named Information registry (sha-256, sha-384, sha-512)."""
FOREVER = 253402300799
"""The end of the year 9999: a validity must have an end (RFC 5280, 4.1.2.5, has the same one for "none")."""
RAW = 560
"""Tag of a raw value: for measurements that are no digest of these three (host data, keys)."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was read: the statement, the bytes a signature is over (the whole manifest), and the signature if any."""

    statement: Statement
    payload: bytes
    message: cose.Sign1 | None

    @property
    def form(self) -> str:
        """``corim``, or ``corim-signed``."""
        return "corim-signed" if self.message is not None else "corim"


def looks_like(data: bytes) -> bool:
    """Whether ``data`` begins with a CBOR tag: 18, or one of two bytes."""
    return data[:1] in (b"\xd2", b"\xd9")


def parse(data: bytes, where: str) -> Manifest:
    """The manifest in ``data``, signed or not.

    Raises:
        Malformed: not CBOR, not this part of CoRIM, or a fault in it.
    """
    try:
        message = cose.parse(data, "corim") if data[:1] == b"\xd2" else None
        if message is not None:
            _headers(message)
        payload = message.payload if message is not None else data
        return Manifest(_statement(cbor.decode(payload)), payload, message)
    except MalformedEvidence as error:
        raise Malformed(f"a CoRIM that cannot be read: {error.what}", where=where, hint=error.hint) from None


def signers(manifest: Manifest, ring: Keyring | None) -> tuple[Holder, ...]:
    """The holder whose key the signature verifies with, if any: a COSE_Sign1 has one signature."""
    message = manifest.message
    if message is None or ring is None:
        return ()
    algorithm = message.headers.get(cose.ALG)
    wanted = "ed25519" if algorithm == cose.EDDSA else "p-256" if algorithm == cose.ES256 else ""
    data = message.to_be_signed()
    return ring.who(lambda key: _kind(key) == wanted and signer.verifies_fixed(key, message.signature, data))


def _kind(key: object) -> str:
    return "ed25519" if "Ed25519" in type(key).__name__ else "p-256"


def _wrong(field: str, need: str, have: object) -> MalformedEvidence:
    return MalformedEvidence(field, 0, need, have)


def _headers(message: cose.Sign1) -> None:
    if message.headers.get(3) != CONTENT:
        raise _wrong("content type", CONTENT, message.headers.get(3))
    if 2 in message.headers:
        raise _wrong("crit", "no critical header", message.headers[2])


def _map(value: Any, field: str, known: range | tuple[int, ...]) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _wrong(field, "a map", type(value).__name__)
    for key in value:
        if key not in known:
            raise _wrong(field, f"keys {', '.join(map(str, known))}", key)
    return value


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ROWS:
        raise _wrong(field, f"a list of 1 to {MAX_ROWS}", type(value).__name__)
    return value


def _tagged(value: Any, number: int, field: str) -> Any:
    if not isinstance(value, cbor.Tag) or value.number != number:
        raise _wrong(field, f"tag {number}", value.number if isinstance(value, cbor.Tag) else type(value).__name__)
    return value.value


def _statement(value: Any) -> Statement:
    if isinstance(value, cbor.Tag) and value.number == OLD:
        value = value.value
    whole = _map(_tagged(value, CORIM, "corim"), "corim-map", range(6))
    name = whole.get(0)
    if not isinstance(name, str) or not name:
        raise _wrong("corim-map.id", "text: the name of the set", type(name).__name__)
    validity = _map(whole.get(4, {}), "corim-map.rim-validity", (0, 1))
    rows: list[Row] = []
    image = ""
    for tag in _list(whole.get(1), "corim-map.tags"):
        body = _tagged(tag, COMID, "tags")
        if not isinstance(body, bytes):
            raise _wrong("tags", "bytes", type(body).__name__)
        comid = _map(cbor.decode(body), "concise-mid-tag", range(5))
        identity = _map(comid.get(1), "tag-identity", (0, 1)).get(0)
        image = identity if isinstance(identity, str) else image
        triples = _map(comid.get(4), "triples-map", (0,))
        rows += [_row(triple) for triple in _list(triples.get(0), "reference-triples")]
    issued = _time(validity[0], "not-before") if 0 in validity else datetime.fromtimestamp(0, UTC)
    forever = 1 not in validity or validity[1] == cbor.Tag(EPOCH, FOREVER)
    expires = None if forever else _time(validity[1], "not-after")
    return Statement(name, image, issued, expires, tuple(rows))


def _time(value: Any, field: str) -> datetime:
    seconds = _tagged(value, EPOCH, field)
    try:
        if type(seconds) is int:
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise _wrong(field, "whole seconds since 1970 within this calendar", seconds)


def _row(triple: Any) -> Row:
    if not isinstance(triple, list) or len(triple) != 2:
        raise _wrong("reference-triple-record", "an environment and measurements", type(triple).__name__)
    klass = _map(_map(triple[0], "environment-map", (0,)).get(0), "class-map", (1, 2))
    if klass.get(1) != VENDOR or klass.get(2) not in tees.NAMES:
        raise _wrong("class-map", f"vendor {VENDOR!r} and a TEE as model", f"{klass.get(1)!r} {klass.get(2)!r}")
    measured: dict[str, tuple[str, ...]] = {}
    note = ""
    # later drafts have a list of measurements, the first ones had one measurement in its place
    items = triple[1] if isinstance(triple[1], list) else [triple[1]]
    for item in _list(items, "measurements"):
        key, values, said = _measurement(item)
        if key in measured:
            raise _wrong("measurement-map.mkey", "each name once", key)
        measured[key], note = values, note or said
    return Row(klass[2], measured, note)


def _measurement(item: Any) -> tuple[str, tuple[str, ...], str]:
    whole = _map(item, "measurement-map", (0, 1))
    key = whole.get(0)
    if not isinstance(key, str) or not key:
        raise _wrong("measurement-map.mkey", "the name of a measurement", key)
    value = _map(whole.get(1), "measurement-values-map", (2, 4, 11))
    note = value.get(11, "")
    if not isinstance(note, str) or (2 in value) == (4 in value):
        raise _wrong("measurement-values-map", "digests or a raw value, and a name", sorted(value))
    if 4 in value:
        return key, (_hex(_tagged(value[4], RAW, "raw-value"), range(16, 65), "raw-value"),), note
    return key, tuple(_digest(item) for item in _list(value[2], "digests")), note


def _digest(item: Any) -> str:
    if not isinstance(item, list) or len(item) != 2:
        raise _wrong("digests", "an algorithm and a value", type(item).__name__)
    sizes = [size for size, number in ALGORITHMS.items() if number == item[0]]
    if not sizes:
        raise _wrong("digests", "sha-256, sha-384 or sha-512", item[0])
    return _hex(item[1], sizes, "digests")


def _hex(value: Any, sizes: range | list[int], field: str) -> str:
    if not isinstance(value, bytes) or len(value) not in sizes:
        raise _wrong(field, f"{sizes[0]} bytes", len(value) if isinstance(value, bytes) else type(value).__name__)
    return value.hex()


def dump(statement: Statement) -> bytes:
    """``statement`` as an unsigned CoRIM in deterministic encoding.

    Raises:
        UsageError: a measurement has several values that are no digests: one raw value is all a triple holds.
    """
    triples = [list(_triple(row)) for row in statement.rows]
    comid = {1: {0: statement.image or statement.name}, 4: {0: triples}}
    expires = FOREVER if statement.expires is None else int(statement.expires.timestamp())
    validity = {0: cbor.Tag(EPOCH, int(statement.issued.timestamp())), 1: cbor.Tag(EPOCH, expires)}
    whole = {0: statement.name, 1: [cbor.Tag(COMID, cbor.encode(comid))], 4: validity}
    return cbor.encode(cbor.Tag(CORIM, whole))


def _triple(row: Row) -> Iterator[Any]:
    yield {0: {1: VENDOR, 2: row.tee}}
    yield [{0: name, 1: _values(values, row.note)} for name, values in row.measurements.items()]


def _values(values: tuple[str, ...], note: str) -> dict[int, Any]:
    raw = [bytes.fromhex(item) for item in values]
    named = {11: note} if note else {}
    if all(len(item) in ALGORITHMS for item in raw):
        return {2: [[ALGORITHMS[len(item)], item] for item in raw], **named}
    if len(raw) == 1:
        return {4: cbor.Tag(RAW, raw[0]), **named}
    hint = "give each of them a row of its own"
    raise UsageError("several values of one measurement, of which one is no SHA-2 digest", hint=hint)


def sign(statement: Statement, key: signer.Signer, name: str) -> bytes:
    """``statement`` as a CoRIM signed by ``key``, in COSE_Sign1 with the signer's ``name``."""
    algorithm = cose.EDDSA if key.kind == "ed25519" else cose.ES256
    meta = cbor.encode({0: {0: name}})
    protected = cbor.encode({cose.ALG: algorithm, 3: CONTENT, 4: bytes.fromhex(key.keyid), META: meta})
    blank = cose.Sign1(protected, {}, {}, dump(statement), b"", tagged=True)
    signature = key.sign_fixed(blank.to_be_signed())
    return cose.Sign1(protected, {}, {}, blank.payload, signature, tagged=True).unparse()
