"""Makes NVIDIA attestation reports under fake NVIDIA roots, honest or with exactly one lie.

Keys of ``make``'s spec, all optional: ``kind`` (``gpu``, ``switch``), ``chip``, ``driver_version``, ``vbios_version``
(``96.00.9F.00.01``), ``nonce``, ``fwid`` (hexadecimal), ``fwid_form`` (``device-id`` as Hopper, ``tcb-info`` as
Blackwell), ``feature`` (``spt``, ``mpt``, ``ppcie``), ``nvdec0`` (whether it is on), ``padding`` (zeros after it),
``manifests`` and ``ocsp`` (whether they come along), ``opaque`` (type to hexadecimal, to add or replace), ``header``
(whether the opaque data has one, as since driver 620), ``svns`` (security versions it states then, type to number) and
``floors`` (those the driver's manifest asks for), ``at`` and ``lie``, one of :data:`LIES` or :data:`DOUBTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha384
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from fastness.errors import UsageError
from fastness.forge import nvgpu_vendor as vendor
from fastness.forge.model import Forged
from fastness.forge.nvgpu_vendor import Link
from fastness.pki.anchors import Anchor, Anchors
from fastness.pki.keys import fingerprint
from fastness.tee import Collateral, Document
from fastness.tee.nvgpu import layout, rim

LIES = {
    "signature": "nvgpu.signature",
    "root": "nvgpu.chain",
    "rim-root-for-device": "nvgpu.chain",
    "chain": "nvgpu.chain",
    "not-a-ca": "nvgpu.chain",
    "digest": "nvgpu.chain",
    "validity": "nvgpu.validity",
    "curve": "nvgpu.leaf",
    "leaf-usage": "nvgpu.leaf",
    "fwid": "nvgpu.fwid",
    "fwid-absent": "nvgpu.fwid",
    "fwid-unreadable": "nvgpu.fwid",
    "rim-altered": "nvgpu.rim-signature",
    "rim-wrapped": "nvgpu.rim-signature",
    "rim-signer": "nvgpu.rim-signature",
    "rim-root": "nvgpu.rim-chain",
    "device-root-for-rim": "nvgpu.rim-chain",
    "rim-usage": "nvgpu.rim-chain",
    "revoked": "nvgpu.revocation",
    "hold": "nvgpu.revocation",
    "rim-revoked": "nvgpu.revocation",
    "ocsp-signer": "nvgpu.revocation",
    "ocsp-usage": "nvgpu.revocation",
}
"""Lie to the one check that stands between it and acceptance, by NotGenuine."""

DOUBTS = {
    "measurement": "nvgpu.measurements",
    "measurement-missing": "nvgpu.measurements",
    "rim-index": "nvgpu.rim-index",
    "indices": "nvgpu.indices",
    "rim-version": "nvgpu.rim",
    "rim-expired": "nvgpu.rim",
    "rim-floor": "nvgpu.rim",
    "svn": "nvgpu.measurements",
    "svn-absent": "nvgpu.measurements",
    "svn-untyped": "nvgpu.measurements",
    "ocsp-stale": "nvgpu.revocation",
    "ocsp-other": "nvgpu.revocation",
    "ocsp-unknown": "nvgpu.revocation",
    "ocsp-responder-expired": "nvgpu.revocation",
}
"""Lie to the one finding that is failed or not checked; the report stays genuine."""

COUNT = 64
_DRIVER_OWN = range(13, 42)


@dataclass(frozen=True, slots=True)
class _Scene:
    """One forgery in the making."""

    spec: Mapping[str, Any]
    lie: str | None
    at: datetime
    device: list[Link]
    rim: list[Link]

    @property
    def switch(self) -> bool:
        return bool(self.spec.get("kind", "gpu") == "switch")

    @property
    def chip(self) -> str:
        return str(self.spec.get("chip", "LS_10" if self.switch else "GH100"))

    @property
    def driver(self) -> str:
        return str(self.spec.get("driver_version", "550.90.07"))

    @property
    def vbios(self) -> str:
        return str(self.spec.get("vbios_version", "96.10.55.00.01" if self.switch else "96.00.9F.00.01"))

    @property
    def fwid(self) -> bytes:
        return bytes.fromhex(self.spec["fwid"]) if "fwid" in self.spec else sha384(b"forged firmware").digest()

    @property
    def floors(self) -> dict[int, int]:
        asked = {str(layout.FSP_SVN): 5} if (self.lie or "").startswith("svn") else self.spec.get("floors", {})
        return {int(kind): number for kind, number in asked.items()}

    @property
    def svns(self) -> dict[int, int]:
        stated = {"svn": {layout.FSP_SVN: 4}, "svn-untyped": {layout.FSP_SVN: 5}}.get(self.lie or "")
        return stated or {int(kind): number for kind, number in self.spec.get("svns", {}).items()}

    @property
    def measurements(self) -> dict[int, bytes]:
        return {index: sha384(b"forged measurement %d" % index).digest() for index in range(COUNT)}


def make(spec: Mapping[str, Any]) -> Forged:
    """One report as ``spec`` describes it."""
    lie = spec.get("lie")
    if lie is not None and lie not in LIES.keys() | DOUBTS.keys():
        raise UsageError(f"no lie is called {lie!r}", hint="one of " + ", ".join((*LIES, *DOUBTS)))
    at = datetime.fromisoformat(spec.get("at", "2026-06-01T12:00:00+00:00")).astimezone(UTC)
    scene = _Scene(spec, lie, at, [], [])
    scene.rim.extend(_rim_chain(lie, at))
    scene.device.extend(_device_chain(scene))
    if lie == "device-root-for-rim":
        scene.rim[:] = [*_signer("NVIDIA Reference Value CA", scene.device[-1], at, lie), scene.device[-1]]
    documents = []
    if spec.get("manifests", True):
        documents += [Document("rim", item) for item in _manifests(scene)]
    if spec.get("ocsp", True):
        documents += [Document("ocsp", item) for item in _responses(scene)]
    certificates = tuple(link.read for link in reversed(scene.device))
    return Forged("nvgpu", _report(scene), Collateral(certificates, documents=tuple(documents)), _anchors(scene), at)


def _anchors(scene: _Scene) -> Anchors:
    """The two fake roots, each for its own line."""
    found = []
    for line, link in (("device", scene.device[-1]), ("rim", scene.rim[-1])):
        other = scene.lie == ("root" if line == "device" else "rim-root")
        if scene.lie in ("rim-root-for-device", "device-root-for-rim"):
            # both chains end in one root, and it is pinned for one of the two only
            honest = "rim" if scene.lie == "rim-root-for-device" else "device"
            other = line != honest
        root = (_root("another root", scene.at) if other else link).read
        name, pin = f"forged {line} root", fingerprint(root.key)
        found.append(Anchor("nvgpu", name, pin, line=line, simulated=True, certificate=root))
    return Anchors(tuple(found))


def _root(name: str, at: datetime) -> Link:
    return vendor.issue(name, None, at - timedelta(days=365), at + timedelta(days=3650))


def _signer(name: str, root: Link, at: datetime, lie: str | None) -> list[Link]:
    """The signer of manifests and its issuer, the signer first."""
    start, end = at - timedelta(days=30), at + timedelta(days=365)
    issuer = vendor.issue(name, root, start, end)
    until = at - timedelta(seconds=1) if lie == "rim-expired" else end
    return [vendor.issue("RIM Signer", issuer, start, until, ca=False, signs=lie != "rim-usage"), issuer]


def _rim_chain(lie: str | None, at: datetime) -> list[Link]:
    root = _root("NVIDIA CoRIM signing Root CA", at)
    return [*_signer("NVIDIA Reference Value CA", root, at, lie), root]


def _device_chain(scene: _Scene) -> list[Link]:
    lie, at, chip = scene.lie, scene.at, scene.chip
    root = scene.rim[-1] if lie == "rim-root-for-device" else _root("NVIDIA Device Identity CA", at)
    start, end = at - timedelta(days=30), at + timedelta(days=3000)
    identity = vendor.issue(f"NVIDIA {chip} Identity", root, start, end)
    curve = ec.SECP256R1() if lie == "curve" else None
    provisioner = vendor.issue(f"NVIDIA {chip} Provisioner ICA 1", identity, start, end, curve=curve)
    until = at - timedelta(seconds=1) if lie == "validity" else end
    digest = SHA256() if lie == "digest" else SHA384()
    issuer = provisioner
    if lie == "chain":
        issuer = Link(ec.generate_private_key(ec.SECP384R1()), provisioner.certificate)
    rom = vendor.issue(f"{chip} A01 GSP BROM", issuer, start, until, ca=lie != "not-a-ca", digest=digest)
    extra = [] if lie == "fwid-absent" else [_fwid_extension(scene)]
    leaf = vendor.issue(f"{chip} A01 GSP FMC LF", rom, start, end, ca=False, signs=lie != "leaf-usage", extra=extra)
    return [leaf, rom, provisioner, identity, root]


def _fwid_extension(scene: _Scene) -> tuple[str, bytes]:
    value = sha384(b"other firmware").digest() if scene.lie == "fwid" else scene.fwid
    digest = bytes.fromhex("303d0609608648016503040202") + b"\x04\x30" + value
    if scene.lie == "fwid-unreadable":
        digest = digest.replace(b"\x04\x30", b"\x04\x31", 1)
    if scene.spec.get("fwid_form", "device-id") == "tcb-info":
        inner = b"\x80\x06NVIDIA" + b"\xa6" + bytes((len(digest),)) + digest
        return layout.TCB_INFO, b"\x30" + bytes((len(inner),)) + inner
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    inner = b"\x02\x01\x01" + key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) + digest
    return layout.DEVICE_ID, b"\x30\x81" + bytes((len(inner),)) + inner


def _report(scene: _Scene) -> bytes:
    spec, lie = scene.spec, scene.lie
    nonce = bytes.fromhex(spec.get("nonce", "5a" * 32))
    measurements = scene.measurements
    if lie == "measurement":
        measurements[20] = sha384(b"evil driver").digest()
    elif lie == "measurement-missing":
        del measurements[20]
    elif lie == "indices":
        measurements[100] = sha384(b"nobody knows").digest()
    record = b"".join(
        bytes((index + 1, layout.DMTF, len(value) + 3, 0, 0x33, len(value), 0)) + value
        for index, value in measurements.items()
    )
    headed = bool(spec.get("header") or scene.svns)
    opaque = layout.OPAQUE_MAGIC + bytes((0, 0, layout.OPAQUE_MAJOR, 0, 0, 0)) if headed else b""
    for kind, value in _opaque(scene).items():
        number = kind in scene.svns and lie != "svn-untyped"
        meaning = (layout.MIN_SVN if number else 0x82).to_bytes(2, "little") if headed else b""
        opaque += kind.to_bytes(2, "little") + meaning + len(value).to_bytes(2, "little") + value
    request = bytes((layout.VERSION, layout.REQUEST_CODE, 1, 0xFF)) + nonce + b"\0"
    head = bytes((layout.VERSION, layout.RESPONSE_CODE, 0, 0, len(measurements)))
    response = head + len(record).to_bytes(3, "little") + record + bytes(range(32))
    signed = request + response + len(opaque).to_bytes(2, "little") + opaque
    key = ec.generate_private_key(ec.SECP384R1()) if lie == "signature" else scene.device[0].key
    return signed + vendor.sign_raw(key, signed) + bytes(int(spec.get("padding", 0)))


def _opaque(scene: _Scene) -> dict[int, bytes]:
    spec = scene.spec
    found: dict[int, bytes] = {}
    if scene.switch:
        found[layout.VBIOS] = scene.vbios.encode()
        found[layout.SWITCH_PDI] = bytes.fromhex("203eb31ad9ed0008")
    else:
        parts = bytes.fromhex(scene.vbios.replace(".", ""))
        found[layout.VBIOS] = parts[3::-1] + parts[4:] + bytes(3)
        found[layout.CHIP_SKU] = b"882\0\0\0\0\0\0"
        found[layout.PROJECT] = b"1010\0"
        found[layout.PROJECT_SKU] = b"0200\0"
        found[layout.DRIVER] = scene.driver.encode() + b"\0"
        found[layout.NVDEC0] = b"\xaa" if spec.get("nvdec0") else b"\x55"
    found[layout.FWID] = scene.fwid
    if "feature" in spec:
        numbers = {name: number for number, name in layout.FEATURES.items()}
        found[layout.FEATURE] = bytes((numbers[spec["feature"]], 0))
    found |= {kind: number.to_bytes(2, "little") for kind, number in scene.svns.items()}
    found |= {int(kind): bytes.fromhex(value) for kind, value in spec.get("opaque", {}).items()}
    return found


def _manifests(scene: _Scene) -> list[bytes]:
    """The driver's (GPUs only) and the VBIOS's, every measurement in one of the two."""
    lie, values = scene.lie, scene.measurements
    chain = scene.rim
    if lie == "rim-signer":
        chain = [Link(ec.generate_private_key(ec.SECP384R1()), chain[0].certificate), *chain[1:]]
    version = "550.90.08" if lie == "rim-version" else scene.driver
    other = sha384(b"an alternative").digest()
    driver: dict[int, tuple[bytes, ...]] = {index: (other, values[index]) for index in _DRIVER_OWN}
    own = {index: (values[index],) for index in values if scene.switch or index not in driver}
    if lie == "rim-index":
        own[_DRIVER_OWN[0]] = (values[_DRIVER_OWN[0]],)
    if not scene.spec.get("nvdec0") and not scene.switch:
        driver[layout.NVDEC0_INDEX] = (other,)  # as released; an NVDEC0 that is off measures otherwise
    asked = {layout.FSP_SVN: 0} if lie == "rim-floor" else scene.floors
    where = "https://example.invalid/opaque-data" if lie == "rim-floor" else rim.OPAQUE
    found = [] if scene.switch else [vendor.manifest(version, scene.chip, driver, COUNT, chain, asked, where)]
    found.append(vendor.manifest(scene.vbios, scene.chip, own, COUNT, chain))
    if lie == "rim-altered":
        found[0] = found[0].replace(other.hex().encode(), bytes(48).hex().encode(), 1)
    elif lie == "rim-wrapped":
        found[0] = wrapped(found[0])
    return found


def wrapped(signed: bytes) -> bytes:
    """The classic: the signed document with its signature, whole and intact, put inside another one of our making."""
    opening, rest = signed[: signed.index(b">") + 1], signed[signed.index(b">") + 1 :]
    body = rest[: rest.index(b"<ds:Signature")]
    signature = rest[rest.index(b"<ds:Signature") : rest.index(b"</ds:Signature>") + 15]
    inner = opening + body + signature + b"</s:SoftwareIdentity>"
    return opening + body.replace(b'active="True"', b'active="False"', 1) + inner + b"</s:SoftwareIdentity>"


def _responses(scene: _Scene) -> list[bytes]:
    """A response on every certificate between leaf and root, and on the manifests' signer and its issuer."""
    lie, found = scene.lie, []
    pairs = [(item, issuer, False) for item, issuer in zip(scene.device[1:], scene.device[2:], strict=False)]
    pairs += [(item, issuer, True) for item, issuer in zip(scene.rim, scene.rim[1:], strict=False)]
    for item, issuer, of_rim in pairs:
        target = item is (scene.rim[0] if lie == "rim-revoked" else scene.device[2])
        told = _told(scene, item, issuer) if target else {}
        if not told and not of_rim:
            told["responder"] = _responder(issuer, scene.at)
        found.append(vendor.response(item, issuer, scene.at, **told))
    return found


def _responder(
    issuer: Link, at: datetime, *, purpose: ObjectIdentifier = ExtendedKeyUsageOID.OCSP_SIGNING, expired: bool = False
) -> Link:
    start, end = at - timedelta(days=1), at + timedelta(days=-1 / 24 if expired else 30)
    return vendor.issue("OCSP Responder", issuer, start, end, ca=False, purpose=purpose)


def _told(scene: _Scene, item: Link, issuer: Link) -> dict[str, Any]:
    """How the response on ``item`` differs, for a lie."""
    lie, at = scene.lie, scene.at
    impostor = Link(ec.generate_private_key(ec.SECP384R1()), issuer.certificate)
    answers: dict[str, dict[str, Any]] = {
        "revoked": {"state": "revoked"},
        "rim-revoked": {"state": "revoked"},
        "hold": {"state": "hold"},
        "ocsp-unknown": {"state": "unknown"},
        "ocsp-stale": {"age": timedelta(days=2)},
        "ocsp-other": {"named": scene.device[0]},
        "ocsp-signer": {"responder": _responder(impostor, at)},
        "ocsp-usage": {"responder": _responder(issuer, at, purpose=ExtendedKeyUsageOID.SERVER_AUTH)},
        "ocsp-responder-expired": {"responder": _responder(issuer, at, expired=True)},
    }
    return answers.get(lie or "", {})
