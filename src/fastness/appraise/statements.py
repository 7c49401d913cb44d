"""Files of reference values, whatever their form: plain TOML, the same in a DSSE envelope, or CoRIM.

Forms are told apart by content: a JSON object is an envelope, a CBOR tag a CoRIM, all else TOML.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fastness.appraise import corim, reference
from fastness.appraise.owners import Holder, Keyring
from fastness.appraise.reference import Row, Statement
from fastness.appraise.sets import FOREVER, Group, NamedSet, Vote
from fastness.errors import UsageError
from fastness.pki import signer
from fastness.wire import dsse

PAYLOAD = "application/vnd.fastness.reference-values+toml"
"""payloadType of signed reference values."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file: what it states, the bytes that were signed, and who of a keyring signed them."""

    statement: Statement
    payload: bytes
    signed: tuple[Holder, ...]
    form: str


def read(data: bytes, where: str, ring: Keyring | None = None) -> Source:
    """What stands in a file of reference values; signatures are checked with the keys of ``ring`` alone.

    Raises:
        UsageError: a fault in the statement.
        Malformed: an envelope or a CoRIM that cannot be read.
    """
    if dsse.looks_like(data):
        envelope = dsse.parse(data, where)
        if envelope.kind != PAYLOAD:
            raise UsageError(f"an envelope of {envelope.kind[:80]!r}", where=where, hint=f"payloadType {PAYLOAD}")
        statement = reference.parse(envelope.payload, where)
        return Source(statement, envelope.payload, envelope_signers(envelope, ring), "dsse")
    if corim.looks_like(data):
        signed = corim.parse(data, where)
        return Source(signed.statement, signed.payload, corim.signers(signed, ring), signed.form)
    return Source(reference.parse(data, where), data, (), "toml")


def envelope_signers(envelope: dsse.Envelope, ring: Keyring | None) -> tuple[Holder, ...]:
    """The holders with a signature that verifies, whatever keyid it names."""
    if ring is None:
        return ()
    data = envelope.signed()
    return ring.who(lambda key: any(signer.verifies(key, item.value, data) for item in envelope.signatures))


def sign(statement: Statement, key: signer.Signer) -> bytes:
    """``statement`` as TOML in a DSSE envelope with one signature."""
    return add(dsse.Envelope(PAYLOAD, reference.dump_toml(statement).encode(), ()), key).unparse()


def add(envelope: dsse.Envelope, key: signer.Signer) -> dsse.Envelope:
    """``envelope`` with a signature of ``key``, in place of an earlier one."""
    kept = tuple(item for item in envelope.signatures if item.keyid != key.keyid)
    mine = dsse.Signature(key.keyid, key.sign(envelope.signed()))
    return dsse.Envelope(envelope.kind, envelope.payload, (*kept, mine))


def group(sources: Iterable[Source], ring: Keyring | None, threshold: int) -> Group:
    """The rows of ``sources``, with a vote for each that states it and counts."""
    rows: dict[object, tuple[Row, list[Vote]]] = {}
    for source in sources:
        if ring is not None and ring.withdrawn.get(_sha256(source.payload)):
            continue
        votes = _votes(source, ring)
        for row in source.statement.rows:
            rows.setdefault(row.key, (row, []))[1].extend(votes)
    names = tuple(item.name for item in ring.holders) if ring else ()
    return Group(threshold if ring else 0, names, tuple((row, tuple(votes)) for row, votes in rows.values()))


def _votes(source: Source, ring: Keyring | None) -> list[Vote]:
    since, until = source.statement.issued, source.statement.expires or FOREVER
    if ring is None:
        return [Vote("", since, until)]
    return [Vote(item.name, since, _sooner(until, item.until)) for item in source.signed]


def _sooner(one: datetime, other: datetime | None) -> datetime:
    return one if other is None else min(one, other)


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def merged(sets: dict[str, NamedSet], name: str, found: Group) -> None:
    """Adds a group to the set ``name``."""
    old = sets.get(name, NamedSet(name))
    sets[name] = NamedSet(name, old.members, (*old.groups, found))
