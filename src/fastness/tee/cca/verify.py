"""Verification of CCA tokens (DEN0137 section A7.2; draft-ffm-rats-cca-token section 5).

1. A platform attestation key for CCA was named by whoever asks: no root comes from the evidence.
2. The platform token's signature over the received bytes holds under one of them. The key's curve says the algorithm;
   a header that says another is refused.
3. That key was named for this implementation and instance, where it was named for some only; a certificate that was
   named for it is valid.
4. The profiles of both tokens are known and belong together.
5. The platform token's challenge is the hash of the realm attestation key, under the algorithm the realm token names.
6. The realm token's algorithm is the one of that key's curve, and the key a point of it.
7. The realm token's signature over the received bytes holds under that key.
8. Device claims are there if, and only if, the realm token holds their hash, and hash to it.

The lifecycle is a claim and a note, not a lack of genuineness: any but secured says that somebody may look inside.
What the realm's challenge must be is for the challenger.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm

from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.pki import chain, keys
from fastness.pki.anchors import Anchor, Anchors
from fastness.tee import Collateral
from fastness.tee.cca import layout
from fastness.tee.cca.endorse import covers
from fastness.tee.cca.evidence import Evidence
from fastness.wire import cose
from fastness.wire.der import zulu

_CURVES: dict[int, tuple[type[ec.EllipticCurve], HashAlgorithm]] = {
    1: (ec.SECP256R1, SHA256()),
    2: (ec.SECP384R1, SHA384()),
    3: (ec.SECP521R1, SHA512()),
}
_AGAIN = "ask for a new token; this one was put together from others or altered"


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Evidence]:
    """A genuine token, up to a platform attestation key in ``anchors``.

    Raises:
        NotGenuine: ``cca.anchor``, ``platform-signature``, ``implementation``, ``profile``, ``binding``,
            ``algorithm``, ``realm-signature`` or ``devices``.
    """
    # (1) nobody vouches for a platform unless named
    named = [anchor for anchor in anchors.of("cca") if anchor.key is not None]
    if not named:
        raise NotGenuine(
            "cca.anchor",
            "no platform attestation key was named for CCA",
            hint="there is no Arm root: name the platform owner's key (CPAK, IAK) with --anchors",
        )
    anchor = _platform(evidence, named, at)
    _profiles(evidence)
    _binding(evidence)
    _realm(evidence)
    _devices(evidence)
    return vouch(evidence, anchors=(anchor,), findings=tuple(_notes(evidence)), at=at)


def _platform(evidence: Evidence, named: list[Anchor], at: datetime) -> Anchor:
    # (2) the platform token's signature
    signers = [anchor for anchor in named if _signed(evidence.platform_message, _anchor_key(anchor))]
    if not signers:
        raise NotGenuine(
            "cca.platform-signature",
            "the platform token is signed by none of the named platform attestation keys",
            where=str(evidence.spans.get("platform.signature", "")),
            hint=f"name the key of instance {evidence.platform.instance_id.hex()} with --anchors, if it is yours",
        )
    # (3) named for this implementation
    covering = [anchor for anchor in signers if covers(anchor, evidence)]
    for anchor in covering:
        if anchor.certificate is None or chain.valid_at(anchor.certificate, at):
            return anchor
    lapsed = next((anchor.certificate for anchor in covering if anchor.certificate is not None), None)
    if lapsed is not None:
        raise NotGenuine(
            "cca.anchor",
            f"certificate {lapsed.subject_cn!r} of the platform key is not valid at {zulu(at)}",
            where=f"valid {zulu(lapsed.not_before)} to {zulu(lapsed.not_after)}",
            hint="judge old evidence at its own time with --at; otherwise fetch a current certificate",
        )
    raise NotGenuine(
        "cca.implementation",
        f"key {signers[0].name!r} was named for another implementation or instance",
        where=f"implementation {evidence.platform.implementation_id.hex()}",
        hint="name the key for this implementation, or find out why it signs for another",
    )


def _anchor_key(anchor: Anchor) -> ec.EllipticCurvePublicKey | None:
    try:
        key = keys.load(anchor.key) if anchor.key is not None else None
    except MalformedEvidence:
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _signed(message: cose.Sign1, key: ec.EllipticCurvePublicKey | None) -> bool:
    """Whether ``message`` is signed by ``key``, under the algorithm of the key's curve."""
    for number, (curve, algorithm) in _CURVES.items():
        if key is None or not isinstance(key.curve, curve):
            continue
        _, size, *codes = layout.CURVES[number]
        if message.headers.get(cose.ALG) not in codes or len(message.signature) != 2 * size:
            return False
        digest = Hash(algorithm)
        digest.update(message.to_be_signed())
        r, s = int.from_bytes(message.signature[:size], "big"), int.from_bytes(message.signature[size:], "big")
        return keys.verify_ecdsa(key, r, s, digest.finalize(), algorithm)
    return False


def _profiles(evidence: Evidence) -> None:
    # (4) profiles
    platform = layout.PLATFORM_PROFILES.get(evidence.platform.profile)
    if platform is None:
        raise NotGenuine(
            "cca.profile",
            f"platform profile {evidence.platform.profile[:80]!r} is not known",
            hint="its claims mean what its profile says; look for a newer version of this verifier",
        )
    profile = evidence.realm.profile
    if profile is not None and layout.REALM_PROFILES.get(profile) != platform:
        raise NotGenuine(
            "cca.profile",
            f"realm profile {profile[:80]!r} does not go with platform profile {evidence.platform.profile!r}",
            hint=_AGAIN,
        )


def _digest(name: str, data: bytes) -> bytes:
    return hashlib.new(name.replace("-", ""), data).digest()


def _binding(evidence: Evidence) -> None:
    # (5) the realm attestation key is the platform's
    realm = evidence.realm
    if _digest(realm.rak_hash, realm.rak) != evidence.platform.challenge:
        raise NotGenuine(
            "cca.binding",
            f"the platform token vouches for another realm key: its challenge is not the {realm.rak_hash} of this one",
            where=str(evidence.spans.get("platform.challenge", "")),
            hint=_AGAIN,
        )


def _realm(evidence: Evidence) -> None:
    # (6) key and algorithm
    curve = _CURVES[evidence.realm.curve][0]
    name, _, *codes = layout.CURVES[evidence.realm.curve]
    if evidence.realm_message.headers.get(cose.ALG) not in codes:
        raise NotGenuine("cca.algorithm", f"the realm token's algorithm is not the one of its {name} key", hint=_AGAIN)
    try:
        key = keys.ec_point(curve, evidence.realm.point, "realm.rak")
    except MalformedEvidence as error:
        raise NotGenuine("cca.algorithm", f"the realm attestation key is not usable: {error.what}") from None
    # (7) the realm token's signature
    if not _signed(evidence.realm_message, key):
        raise NotGenuine(
            "cca.realm-signature",
            "the realm token's signature does not hold under its realm attestation key",
            where=str(evidence.spans.get("realm.signature", "")),
            hint=_AGAIN,
        )


def _devices(evidence: Evidence) -> None:
    # (8) devices
    held = evidence.realm.devices_hash
    if held is None and not evidence.devices:
        return
    if held is None or not evidence.devices or _digest(evidence.realm.hash_algorithm, evidence.devices) != held:
        raise NotGenuine(
            "cca.devices",
            "the device claims are not the ones the realm token holds the hash of",
            hint=_AGAIN,
        )


def is_secured(evidence: Evidence) -> bool:
    """Whether the lifecycle is secured: no debug of what protects the realm."""
    return evidence.platform.lifecycle >> 8 == layout.SECURED


def _notes(evidence: Evidence) -> list[Finding]:
    notes = []
    number = evidence.platform.lifecycle
    if not is_secured(evidence):
        where = tuple(Where.of(span) for name, span in evidence.spans.items() if name == "platform.lifecycle")
        text = f"0x{number:04x} {layout.LIFECYCLES[number >> 8]}"
        notes.append(Finding("cca.lifecycle", Outcome.NOTE, expected="0x30xx secured", actual=text, where=where))
    unknown = (*evidence.platform.unknown, *evidence.realm.unknown)
    if unknown:
        text = "signed claims that are not interpreted: " + ", ".join(unknown[:8])
        notes.append(Finding("cca.unknown-claims", Outcome.NOTE, actual=text))
    return notes
