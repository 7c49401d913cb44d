"""The two claim maps inside a CCA token, as values, every claim of the right type and size.

Unknown claims are signed, so they are kept by name and told, never interpreted (EAT, RFC 9711 section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.tee.cca import layout as at
from fastness.wire import cbor

PLATFORM_NAMES = {
    at.PROFILE: "profile",
    at.CHALLENGE: "challenge",
    at.IMPLEMENTATION_ID: "implementation_id",
    at.INSTANCE_ID: "instance_id",
    at.CONFIG: "config",
    at.LIFECYCLE: "lifecycle",
    at.SW_COMPONENTS: "sw_components",
    at.VERIFICATION_SERVICE: "verification_service",
    at.HASH_ALGORITHM: "hash_algorithm",
    at.CLIENT_ID: "client_id",
    at.MANUFACTURING: "manufacturing_config",
}
REALM_NAMES = {
    at.PROFILE: "profile",
    at.CHALLENGE: "challenge",
    at.PERSONALISATION: "personalisation",
    at.RIM: "rim",
    at.REM: "rem",
    at.REALM_HASH: "hash_algorithm",
    at.RAK: "rak",
    at.RAK_HASH: "rak_hash_algorithm",
    at.INSTANCE_ID: "instance_id",
    at.MEC_POLICY: "mec_policy",
    at.LFA_POLICY: "lfa_policy",
    at.DEVICES_HASH: "devices_hash",
}
"""Claim to its name, as findings and ``evidence show`` spell it."""

NAMES = {at.PLATFORM: "platform token", at.REALM: "realm token", at.DEVICES: "device claims"}


@dataclass(frozen=True, slots=True)
class Platform:
    """Platform claims. ``challenge`` is 32, 48 or 64 bytes; ``lifecycle`` 16 bits; components by name of field.

    ``client_id`` and ``manufacturing`` are of profile 2.0; its runtime extensions (2404), root-of-trust keys (2405) and
    peer signers (2406) are not interpreted and told as ``unknown``.
    """

    profile: str
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    config: bytes
    lifecycle: int
    components: tuple[Mapping[str, Any], ...]
    service: str | None
    hash_algorithm: str
    client_id: int | None
    manufacturing: bytes | None
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Realm:
    """Realm claims. ``challenge`` and ``personalisation`` 64 bytes; ``rim`` and each of four ``rem`` 32, 48 or 64.

    ``rak`` is the key as sent (what is hashed); ``curve`` and ``point`` (x ‖ y) are the same decoded.
    """

    profile: str | None
    challenge: bytes
    personalisation: bytes
    rim: bytes
    rem: tuple[bytes, ...]
    hash_algorithm: str
    rak: bytes
    rak_hash: str
    curve: int
    point: bytes
    instance_id: bytes | None
    mec_policy: int | None
    lfa_policy: int | None
    devices_hash: bytes | None
    unknown: tuple[str, ...]


class _Map:
    """A claim map that is read by label and complains by name."""

    def __init__(self, payload: bytes, what: str, base: int) -> None:
        body = cbor.decode(payload, base=base)
        if not isinstance(body, dict):
            raise MalformedEvidence(what, base, "a map of claims", type(body).__name__)
        self.body: dict[Any, Any] = body
        self.left = set(body)
        self.what = what
        self.base = base

    def bad(self, name: str, need: str, have: Any) -> MalformedEvidence:
        return MalformedEvidence(f"{self.what}.{name}", self.base, need, repr(have)[:60])

    def take(self, label: int) -> Any:
        self.left.discard(label)
        return self.body.get(label)

    def sized(self, label: int, name: str, *sizes: int) -> bytes:
        value = self.take(label)
        if not isinstance(value, bytes) or len(value) not in sizes:
            raise self.bad(name, " or ".join(map(str, sizes)) + " bytes", value)
        return value

    def hashed(self, label: int, name: str) -> bytes:
        return self.sized(label, name, *at.HASHES.values())

    def bounded(self, label: int, name: str) -> bytes:
        value = self.take(label)
        if not isinstance(value, bytes) or len(value) > at.MAX_BYTES:
            raise self.bad(name, f"up to {at.MAX_BYTES} bytes", value)
        return value

    def text(self, label: int, name: str) -> str:
        value = self.take(label)
        if not isinstance(value, str) or len(value) > at.MAX_BYTES:
            raise self.bad(name, "text", value)
        return value

    def hash_name(self, label: int, name: str) -> str:
        value = self.text(label, name)
        if value not in at.HASHES:
            raise self.bad(name, " or ".join(at.HASHES), value)
        return value

    def number(self, label: int, name: str, *allowed: int) -> int:
        value = self.take(label)
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            raise self.bad(name, " or ".join(map(str, allowed)), value)
        return value

    def ueid(self, label: int, name: str) -> bytes:
        value = self.sized(label, name, at.INSTANCE_SIZE)
        if value[0] != at.UEID_RAND:
            raise self.bad(name, "a UEID of type RAND (0x01)", value[:1])
        return value

    def unknown(self) -> tuple[str, ...]:
        return tuple(sorted(repr(label)[:40] for label in self.left))


def platform(payload: bytes, base: int) -> Platform:
    """The claims of a platform token (DEN0137 section A7.2.3.2; 2.0: A7.2.3.3)."""
    claims = _Map(payload, "platform", base)
    lifecycle = claims.take(at.LIFECYCLE)
    if isinstance(lifecycle, bool) or not isinstance(lifecycle, int) or lifecycle >> 8 not in at.LIFECYCLES:
        raise claims.bad("lifecycle", "0x0000-0x00ff, 0x1000-0x10ff … 0x6000-0x60ff", lifecycle)
    profile = claims.text(at.PROFILE, "profile")
    second = at.PLATFORM_PROFILES.get(profile) == 2
    return Platform(
        profile=profile,
        challenge=claims.hashed(at.CHALLENGE, "challenge"),
        implementation_id=claims.sized(at.IMPLEMENTATION_ID, "implementation_id", at.IMPLEMENTATION_SIZE),
        instance_id=claims.ueid(at.INSTANCE_ID, "instance_id"),
        config=claims.bounded(at.CONFIG, "config"),
        lifecycle=lifecycle,
        components=_components(claims),
        service=claims.text(at.VERIFICATION_SERVICE, "verification_service")
        if at.VERIFICATION_SERVICE in claims.body
        else None,
        hash_algorithm=claims.hash_name(at.HASH_ALGORITHM, "hash_algorithm"),
        client_id=claims.number(at.CLIENT_ID, "client_id", at.CLIENT_RMSD)
        if second or at.CLIENT_ID in claims.body
        else None,
        manufacturing=claims.bounded(at.MANUFACTURING, "manufacturing") if at.MANUFACTURING in claims.body else None,
        unknown=claims.unknown(),
    )


def _components(claims: _Map) -> tuple[dict[str, Any], ...]:
    value = claims.take(at.SW_COMPONENTS)
    if not isinstance(value, list) or not 0 < len(value) <= at.MAX_COMPONENTS:
        raise claims.bad("sw_components", f"1 to {at.MAX_COMPONENTS} components", value)
    return tuple(_component(claims, index, item) for index, item in enumerate(value))


def _component(claims: _Map, index: int, item: Any) -> dict[str, Any]:
    name = f"sw_components[{index}]"
    if not isinstance(item, dict):
        raise claims.bad(name, "a map", item)
    found: dict[str, Any] = {}
    for label, rule in at.COMPONENT.items():
        if label in item:
            if not _fits(rule.kind, item[label]):
                raise claims.bad(f"{name}.{rule.name}", rule.kind, item[label])
            found[rule.name] = item[label]
        elif rule.mandatory:
            raise claims.bad(f"{name}.{rule.name}", rule.kind, None)
    strange = item.keys() - at.COMPONENT.keys()
    claims.left.update(f"{at.SW_COMPONENTS}[{index}].{label}" for label in strange)
    return found


def _fits(kind: str, value: Any) -> bool:
    if kind == "text":
        return isinstance(value, str) and len(value) <= at.MAX_BYTES
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "hashes":
        return isinstance(value, list) and bool(value) and all(_fits("hash", item) for item in value)
    return isinstance(value, bytes) and len(value) in at.HASHES.values()


def realm(payload: bytes, base: int) -> Realm:
    """The claims of a realm token (DEN0137 section A7.2.3.1)."""
    claims = _Map(payload, "realm", base)
    body = claims.body
    profile = claims.text(at.PROFILE, "profile") if at.PROFILE in body else None
    second = profile is not None and at.REALM_PROFILES.get(profile) == 2
    rak = claims.bounded(at.RAK, "rak")
    curve, point = _rak(claims, rak)
    return Realm(
        profile=profile,
        challenge=claims.sized(at.CHALLENGE, "challenge", at.CHALLENGE_SIZE),
        personalisation=claims.sized(at.PERSONALISATION, "personalisation", at.PERSONALISATION_SIZE),
        rim=claims.hashed(at.RIM, "rim"),
        rem=_rem(claims),
        hash_algorithm=claims.hash_name(at.REALM_HASH, "hash_algorithm"),
        rak=rak,
        rak_hash=claims.hash_name(at.RAK_HASH, "rak_hash_algorithm"),
        curve=curve,
        point=point,
        instance_id=claims.ueid(at.INSTANCE_ID, "instance_id") if second or at.INSTANCE_ID in body else None,
        mec_policy=_mec_policy(claims) if second or at.MEC_POLICY in body else None,
        lfa_policy=claims.number(at.LFA_POLICY, "lfa_policy", 0, 1) if at.LFA_POLICY in body else None,
        devices_hash=claims.hashed(at.DEVICES_HASH, "devices_hash") if at.DEVICES_HASH in body else None,
        unknown=claims.unknown(),
    )


def _mec_policy(claims: _Map) -> int:
    """0 shared, 1 private; veraison/ccatoken wrote the words in early 2026."""
    if isinstance(claims.body.get(at.MEC_POLICY), str):
        word = claims.text(at.MEC_POLICY, "mec_policy")
        if word not in at.MEC_POLICIES:
            raise claims.bad("mec_policy", " or ".join(at.MEC_POLICIES), word)
        return at.MEC_POLICIES.index(word)
    return claims.number(at.MEC_POLICY, "mec_policy", *range(len(at.MEC_POLICIES)))


def _rem(claims: _Map) -> tuple[bytes, ...]:
    value = claims.take(at.REM)
    if not isinstance(value, list) or len(value) != at.REMS or not all(_fits("hash", item) for item in value):
        raise claims.bad("rem", f"{at.REMS} registers of 32, 48 or 64 bytes", value)
    return tuple(value)


def _rak(claims: _Map, rak: bytes) -> tuple[int, bytes]:
    """Curve and point of the realm attestation key: a raw P-384 point, or an encoded COSE_Key of kind EC2."""
    if len(rak) == at.RAW_RAK_SIZE and rak[0] == 0x04:
        return 2, rak[1:]
    key = cbor.decode(rak, base=claims.base)
    if not isinstance(key, dict) or key.get(1) != 2 or key.keys() - {1, 2, 3, 4, -1, -2, -3}:
        raise claims.bad("rak", "a COSE_Key of kind EC2, public parts only", key)
    curve = key.get(-1)
    if type(curve) is not int or curve not in at.CURVES:
        raise claims.bad("rak.crv", "P-256, P-384 or P-521", curve)
    _, size, *codes = at.CURVES[curve]
    for label, name in ((-2, "x"), (-3, "y")):
        if not isinstance(key.get(label), bytes) or len(key[label]) != size:
            raise claims.bad(f"rak.{name}", f"{size} bytes", key.get(label))
    if 3 in key and key[3] not in codes:
        raise claims.bad("rak.alg", f"the algorithm of curve {curve}", key[3])
    return curve, key[-2] + key[-3]
