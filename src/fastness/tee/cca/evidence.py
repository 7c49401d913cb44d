"""CCA tokens as values: parse, unparse, show. Nothing is trusted here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.tee import MAX_EVIDENCE
from fastness.tee.cca import layout as at
from fastness.tee.cca import places, tokens
from fastness.tee.cca.tokens import Platform, Realm
from fastness.wire import cbor, cose
from fastness.wire.hexdump import Span


@dataclass(frozen=True, slots=True)
class Evidence:
    """One attestation token. ``tag`` is 399, 907 or None; ``form`` keeps the collection with its members in place.

    ``devices`` are the raw bytes of the device claims, empty when there are none. ``irregular`` holds the received
    bytes when the collection is not in deterministic encoding, and is empty otherwise.
    """

    irregular: bytes
    tag: int | None
    form: tuple[tuple[Any, Any], ...]
    platform_message: cose.Sign1
    realm_message: cose.Sign1
    platform: Platform
    realm: Realm
    devices: bytes

    @property
    def spans(self) -> dict[str, Span]:
        """Where the fields stand in the received bytes: the content of strings, the whole of everything else."""
        return {name: span for name, span, _ in _fields(self)}


def _fields(evidence: Evidence) -> Iterator[tuple[str, Span, Any]]:
    """Every claim and signature: its name, place and value. A message whose string came in chunks has no places."""
    raw = unparse(evidence)
    for which, message, names in (
        ("platform", evidence.platform_message, tokens.PLATFORM_NAMES),
        ("realm", evidence.realm_message, tokens.REALM_NAMES),
    ):
        start = raw.find(message.payload)
        if start < 0:
            continue
        for label, value, begin, end in places.members(raw, start):
            yield from _claim(raw, f"{which}.{names.get(label, f'claim {label!r:.40}')}", value, begin, end)
        yield from _whole(raw, f"{which}.signature", message.signature, start + len(message.payload))
    yield from _whole(raw, "devices", evidence.devices)


def _whole(raw: bytes, name: str, value: bytes, after: int = 0) -> Iterator[tuple[str, Span, Any]]:
    begin = raw.find(value, after)
    if value and begin >= 0:
        yield name, Span(name, begin, len(value)), value


def _claim(raw: bytes, name: str, value: Any, begin: int, end: int) -> Iterator[tuple[str, Span, Any]]:
    if name not in ("platform.sw_components", "realm.rem"):
        yield _field(raw, name, value, begin, end)
        return
    for index, item, start, stop in places.members(raw, begin):
        if not isinstance(item, dict):
            yield _field(raw, f"{name}[{index}]", item, start, stop)
            continue
        for label, part, first, last in places.members(raw, start):
            known = at.COMPONENT.get(label)
            inner = known.name if known is not None else f"{label!r:.40}"
            yield _field(raw, f"{name}[{index}].{inner}", part, first, last)


def _field(raw: bytes, name: str, value: Any, begin: int, end: int) -> tuple[str, Span, Any]:
    """The content of a string is the last of its item; one in chunks is shown with the heads between them."""
    content = value.encode() if isinstance(value, str) else value
    size = len(content) if isinstance(content, bytes) and raw[begin] & 0x1F != 0x1F else end - begin
    return name, Span(name, end - size, size), value


def recognise(data: bytes) -> bool:
    """Whether ``data`` is a collection, tagged or not, that names a platform and a realm token."""
    if len(data) > MAX_EVIDENCE or data[:1] not in (b"\xd9", b"\xa2", b"\xa3", b"\xa4", b"\xbf"):
        return False
    return b"\x19\xac\xca" in data and b"\x19\xac\xd1" in data


def parse(data: bytes) -> Evidence:
    """A CCA attestation token, at most 64 KiB.

    Raises:
        MalformedEvidence: another tag, an unknown or missing member, not a COSE_Sign1, duplicate keys, leftovers, a
            mandatory claim missing or of a wrong size.
    """
    if len(data) > MAX_EVIDENCE:
        raise MalformedEvidence("cca token", 0, f"at most {MAX_EVIDENCE} bytes", len(data))
    value = cbor.decode(data)
    tag = None
    if isinstance(value, cbor.Tag):
        if value.number not in (at.TAG_LEGACY, at.TAG_CMW):
            raise MalformedEvidence("cca token", 0, f"tag {at.TAG_LEGACY} or {at.TAG_CMW}", f"tag {value.number}")
        tag, value = value.number, value.value
    if not isinstance(value, dict):
        raise MalformedEvidence("cca token", 0, "a map (collection)", type(value).__name__)
    unknown = value.keys() - {at.PLATFORM, at.REALM, at.DEVICES, at.COLLECTION_TYPE}
    if unknown:
        raise MalformedEvidence("cca token", 0, "members 44234, 44241 and 44258", repr(unknown)[:60])
    if not isinstance(value.get(at.COLLECTION_TYPE, ""), str):
        raise MalformedEvidence("cca token", 0, "text as type of the collection", "something else")
    parts = {name: _member(value, name, tag) for name in (at.PLATFORM, at.REALM)}
    platform, realm = (_message(data, parts[name], tokens.NAMES[name]) for name in parts)
    evidence = Evidence(
        irregular=b"",
        tag=tag,
        form=tuple(value.items()),
        platform_message=platform,
        realm_message=realm,
        platform=tokens.platform(platform.payload, data.find(platform.payload)),
        realm=tokens.realm(realm.payload, data.find(realm.payload)),
        devices=_member(value, at.DEVICES, tag) if at.DEVICES in value else b"",
    )
    return evidence if _encode(evidence) == data else replace(evidence, irregular=bytes(data))


def _member(collection: dict[Any, Any], label: int, tag: int | None) -> bytes:
    """One member: bytes under tag 399, a CMW record under 907, either without a tag."""
    name, value = tokens.NAMES[label], collection.get(label)
    if isinstance(value, bytes) and tag != at.TAG_CMW:
        return value
    if isinstance(value, list) and len(value) == 2 and tag != at.TAG_LEGACY:
        kind, data = value
        known = at.UCCS if label == at.DEVICES else at.CWT
        media = kind.partition(";")[0].strip() if isinstance(kind, str) else kind
        if isinstance(media, int | str) and media in known and isinstance(data, bytes):
            return data
        raise MalformedEvidence(name, 0, f"a CMW record [{known[0]}, bytes]", repr(kind)[:60])
    raise MalformedEvidence(name, 0, "bytes (tag 399) or a CMW record (tag 907)", type(value).__name__)


def _message(data: bytes, part: bytes, name: str) -> cose.Sign1:
    base = data.find(part)
    message = cose.from_value(cbor.decode(part, base=base), name, base)
    if not message.tagged:
        raise MalformedEvidence(name, base, f"tag {cose.TAG_SIGN1} (COSE_Sign1)", "none")
    algorithm = message.headers.get(cose.ALG)
    # which of them it must be, the key says: that is for the verifier
    codes = {code for _, _, *both in at.CURVES.values() for code in both}
    if type(algorithm) is not int or algorithm not in codes:
        raise MalformedEvidence(f"{name}.protected", base, "ES256, ES384 or ES512", repr(algorithm)[:60])
    if len(message.signature) not in {2 * size for _, size, *_ in at.CURVES.values()}:
        raise MalformedEvidence(f"{name}.signature", base, "64, 96 or 132 bytes", len(message.signature))
    return message


def _encode(evidence: Evidence) -> bytes:
    body = dict(evidence.form)
    return cbor.encode(body if evidence.tag is None else cbor.Tag(evidence.tag, body))


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return evidence.irregular or _encode(evidence)


_MEANINGS = {
    "platform.challenge": "hash of the realm attestation key",
    "platform.implementation_id": "names the design of the platform",
    "platform.instance_id": "names the platform attestation key",
    "platform.config": "implementation-defined options",
    "platform.signature": "by the platform attestation key",
    "realm.challenge": "chosen by the realm: binds nonce, session and keys",
    "realm.personalisation": "given by the host at creation, fixed since",
    "realm.rim": "what the realm started with",
    "realm.rak": "realm attestation key",
    "realm.signature": "by the realm attestation key",
    "devices": "claims of devices, which the realm token holds the hash of",
}


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning)."""
    rows = [(name, span.offset, span.size, _meaning(name, value)) for name, span, value in _fields(evidence)]
    return sorted(rows, key=lambda row: row[1])


def _meaning(name: str, value: Any) -> str:
    if name == "platform.lifecycle":
        return f"0x{value:04x} {at.LIFECYCLES[value >> 8]}"
    if name == "realm.mec_policy" and isinstance(value, int):
        return at.MEC_POLICIES[value]
    return _MEANINGS.get(name, str(value)[:200] if isinstance(value, str | int) else "")
