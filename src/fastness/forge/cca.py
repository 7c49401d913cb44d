"""Makes CCA tokens under a fake platform attestation key, honest or with exactly one lie.

Keys of ``make``'s spec, all optional: ``profile`` (``legacy``, ``1.0``, ``2.0``), ``shape`` (``399``, ``907``,
``untagged``), ``curve`` of the platform key and ``realm_curve`` (``P-256``, ``P-384``, ``P-521``), ``lifecycle``,
``challenge``, ``rim``, ``personalisation``, ``implementation_id``, ``instance_id``, ``config`` (hexadecimal), ``hash``
of the realm key, ``devices`` (hexadecimal), ``platform`` and ``realm`` (further claims by label; None removes one),
``for`` (what the anchor is narrowed to) and ``lie``, one of :data:`LIES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.errors import UsageError
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchors, from_key
from fastness.tee import Collateral
from fastness.tee.cca import layout
from fastness.wire import cbor, cose, x509

LIES = {
    "anchor": "cca.anchor",
    "platform-signature": "cca.platform-signature",
    "platform-algorithm": "cca.platform-signature",
    "wrong-anchor": "cca.platform-signature",
    "implementation": "cca.implementation",
    "profile": "cca.profile",
    "realm-profile": "cca.profile",
    "binding": "cca.binding",
    "binding-hash": "cca.binding",
    "algorithm": "cca.algorithm",
    "off-curve": "cca.algorithm",
    "realm-signature": "cca.realm-signature",
    "devices": "cca.devices",
    "devices-added": "cca.devices",
    "devices-removed": "cca.devices",
}
"""Lie to the one check that stands between it and acceptance."""

_PROFILES: dict[str, tuple[str, str | None]] = {
    "legacy": ("http://arm.com/CCA-SSD/1.0.0", None),
    "1.0": ("tag:arm.com,2023:cca_platform#1.0.0", "tag:arm.com,2023:realm#1.0.0"),
    "2.0": ("tag:arm.com,2024:cca_platform#2.0.0", "tag:arm.com,2024:realm#2.0.0"),
}
_CURVES: dict[str, tuple[int, ec.EllipticCurve, HashAlgorithm, int, int]] = {
    "P-256": (1, ec.SECP256R1(), SHA256(), 32, cose.ES256),
    "P-384": (2, ec.SECP384R1(), SHA384(), 48, cose.ES384),
    "P-521": (3, ec.SECP521R1(), SHA512(), 66, cose.ES512),
}


def make(spec: Mapping[str, Any]) -> Forged:
    """One token as ``spec`` describes it."""
    lie = spec.get("lie")
    if lie is not None and lie not in LIES:
        raise UsageError(f"no lie is called {lie!r}", hint="one of " + ", ".join(LIES))
    curve, realm_curve = spec.get("curve", "P-384"), spec.get("realm_curve", "P-384")
    owner = ec.generate_private_key(_CURVES[curve][1])
    key = ec.generate_private_key(_CURVES[realm_curve][1])
    devices = _devices(spec, lie)
    realm = _realm(spec, _rak(key, realm_curve, spec, lie), devices, lie)
    platform = _platform(spec, realm, lie)
    parts: dict[int, bytes] = {
        layout.PLATFORM: _sign(platform, owner, curve, "platform", lie),
        layout.REALM: _sign(realm, key, realm_curve, "realm", lie),
    }
    if devices and lie != "devices-removed":
        parts[layout.DEVICES] = devices if lie != "devices" else cbor.encode({"device": "another"})
    evidence = _collect(parts, spec)
    return Forged("cca", evidence, Collateral(), _anchors(owner, spec, lie), datetime(2026, 6, 1, 12, tzinfo=UTC))


def _collect(parts: Mapping[int, bytes], spec: Mapping[str, Any]) -> bytes:
    shape = str(spec.get("shape", "907" if spec.get("profile") == "2.0" or layout.DEVICES in parts else "399"))
    if shape != "907":
        return cbor.encode(dict(parts) if shape == "untagged" else cbor.Tag(layout.TAG_LEGACY, dict(parts)))
    types = {layout.DEVICES: layout.UCCS[0]}
    body = {label: [types.get(label, layout.CWT[0]), data] for label, data in parts.items()}
    return cbor.encode(cbor.Tag(layout.TAG_CMW, body))


def _anchors(owner: ec.EllipticCurvePrivateKey, spec: Mapping[str, Any], lie: str | None) -> Anchors:
    if lie == "anchor":
        return Anchors()
    named = ec.generate_private_key(owner.curve) if lie == "wrong-anchor" else owner
    der = named.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    anchor = from_key("cca", "forged platform key", x509.parse_public_key(der), simulated=True)
    narrowed = "00" * 32 if lie == "implementation" else spec.get("for", "")
    return Anchors((anchor._replace(line=narrowed),))


def _devices(spec: Mapping[str, Any], lie: str | None) -> bytes:
    if str(lie).startswith("devices"):
        return cbor.encode({"device": "forged"})
    return bytes.fromhex(spec.get("devices", ""))


def _rak(key: ec.EllipticCurvePrivateKey, curve: str, spec: Mapping[str, Any], lie: str | None) -> bytes:
    raw = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if lie == "off-curve":
        raw = raw[:-1] + bytes((raw[-1] ^ 1,))
    if spec.get("profile") == "legacy" and curve == "P-384":
        return raw
    number, _, _, size, _ = _CURVES[curve]
    return cbor.encode({1: 2, -1: number, -2: raw[1 : 1 + size], -3: raw[1 + size :]})


def _realm(spec: Mapping[str, Any], rak: bytes, devices: bytes, lie: str | None) -> dict[int, Any]:
    profile = _PROFILES[spec.get("profile", "1.0")][1]
    body: dict[int, Any] = {
        layout.CHALLENGE: bytes.fromhex(spec.get("challenge", "c4" * 64)),
        layout.PERSONALISATION: bytes.fromhex(spec.get("personalisation", "00" * 64)),
        layout.RIM: bytes.fromhex(spec.get("rim", "a1" * 32)),
        layout.REM: [bytes((number,)) * 32 for number in range(layout.REMS)],
        layout.REALM_HASH: "sha-256",
        layout.RAK: rak,
        layout.RAK_HASH: spec.get("hash", "sha-256"),
    }
    if profile is not None:
        body[layout.PROFILE] = profile
    if spec.get("profile") == "2.0":
        body |= {layout.INSTANCE_ID: b"\x01" + bytes(32), layout.MEC_POLICY: 1, layout.LFA_POLICY: 0}
    if devices and lie != "devices-added":
        body[layout.DEVICES_HASH] = hashlib.sha256(devices).digest()
    if lie == "realm-profile":
        body[layout.PROFILE] = _PROFILES["1.0" if spec.get("profile") == "2.0" else "2.0"][1]
        body |= {layout.INSTANCE_ID: b"\x01" + bytes(32), layout.MEC_POLICY: 1}
    return _edited(body, spec.get("realm", {}))


def _platform(spec: Mapping[str, Any], realm: Mapping[int, Any], lie: str | None) -> dict[int, Any]:
    name = realm[layout.RAK_HASH]
    if lie == "binding-hash":
        name = "sha-512"
    rak = realm[layout.RAK] if lie != "binding" else b"another key"
    hashed = hashlib.new(str(name).replace("-", ""), rak).digest() if name in layout.HASHES else bytes(32)
    digest = bytes(32)
    body: dict[int, Any] = {
        layout.PROFILE: "tag:example.invalid,2026:cca"
        if lie == "profile"
        else _PROFILES[spec.get("profile", "1.0")][0],
        layout.CHALLENGE: hashed,
        layout.IMPLEMENTATION_ID: bytes.fromhex(spec.get("implementation_id", "f0" * 32)),
        layout.INSTANCE_ID: bytes.fromhex(spec.get("instance_id", "01" + "fa" * 32)),
        layout.CONFIG: bytes.fromhex(spec.get("config", "cfcfcfcf")),
        layout.LIFECYCLE: spec.get("lifecycle", 0x3000),
        layout.SW_COMPONENTS: [{1: "RMM", 2: digest, 4: "1.0.0", 5: digest}, {2: digest, 5: digest, 6: "sha-384"}],
        layout.HASH_ALGORITHM: "sha-256",
    }
    if spec.get("profile") == "2.0":
        body |= {layout.CLIENT_ID: 1, layout.MANUFACTURING: b"\xab"}
    return _edited(body, spec.get("platform", {}))


def _edited(body: dict[int, Any], edits: Mapping[Any, Any]) -> dict[int, Any]:
    for label, value in edits.items():
        if value is None:
            body.pop(int(label), None)
        else:
            body[int(label)] = value
    return body


def _sign(body: Any, key: ec.EllipticCurvePrivateKey, curve: str, which: str, lie: str | None) -> bytes:
    _, _, algorithm, size, code = _CURVES[curve]
    if (which, lie) in (("platform", "platform-algorithm"), ("realm", "algorithm")):
        code = cose.ES256 if curve != "P-256" else cose.ES384
    header = {cose.ALG: code}
    payload = cbor.encode(body)
    message = cose.Sign1(cbor.encode(header), header, {}, payload, b"", tagged=True)
    signer = ec.generate_private_key(key.curve) if lie == f"{which}-signature" else key
    r, s = utils.decode_dss_signature(signer.sign(message.to_be_signed(), ec.ECDSA(algorithm)))
    signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return message._replace(signature=signature).unparse()
