"""Forged SEV platforms and guests under a fake AMD.

Keys of a spec, all optional: ``guest`` (a report with these keys: ``policy``, ``launch_digest``, ``mnonce``),
``launch`` (a launch by the software firmware: ``policy``, ``contents``, ``digests`` the tenant accepts), ``without``
(a part to leave out), and ``lie``: a key of :data:`LIES`. A lie is one edit; all above it is signed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from fastness.errors import UsageError
from fastness.forge.model import Forged
from fastness.forge.sev_firmware import Firmware
from fastness.pki.anchors import Anchor, Anchors
from fastness.pki.keys import fingerprint
from fastness.tee import Collateral
from fastness.tee.sev import assemble, endorse, launch, layout, parse, session, verify
from fastness.tee.sev.evidence import amd_certificate

Spec = Mapping[str, Any]
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
AT = datetime(2026, 6, 1, tzinfo=UTC)
LIES = {name: f"sev.{name}" for name in ("root", "ask", "cek", "pek", "oca", "pdh", "report")} | {
    "pek-owner": "sev.oca",
    "launch-keys": "sev.launch-keys",
    "launch": "sev.launch",
    "launch-report": "sev.launch",
    "launch-version": "sev.launch",
    "launch-policy": "sev.launch-policy",
}
"""Lie to the one check that stands between it and acceptance: that certificate is signed by a stranger's key."""

_CODES = {kind: code for code, kind in layout.USAGES.items()}


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key of the fake AMD (or of a stranger), made once."""
    return rsa.generate_private_key(65537, 2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key of the fake platform, its owner, or a stranger."""
    return ec.generate_private_key(ec.SECP384R1() if name.startswith("pdh") else ec.SECP256R1())


def _pss(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return bytes(reversed(key.sign(data, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())))


def _amd(name: str, by: rsa.RSAPrivateKey) -> bytes:
    numbers = rsa_key(name).public_key().public_numbers()
    usage = layout.ARK_USAGE if name == "ark" else layout.ASK_USAGE
    head = (1).to_bytes(4, "little") + name.encode().ljust(16, b"\0") + b"ark".ljust(16, b"\0")
    head += usage.to_bytes(4, "little") + bytes(16) + 2 * (2048).to_bytes(4, "little")
    body = head + numbers.e.to_bytes(256, "little") + numbers.n.to_bytes(256, "little")
    return body + _pss(by, body)


def _ecdsa(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(72, "little") + s.to_bytes(72, "little")


def _sev(kind: str, signers: tuple[tuple[int, Private], ...]) -> bytes:
    numbers, curve = ec_key(kind).public_key().public_numbers(), 2 if kind == "pdh" else 1
    algorithm = layout.ECDH_SHA256 if kind == "pdh" else layout.ECDSA_SHA256
    body = (1).to_bytes(4, "little") + bytes((0, 16, 0, 0)) + _CODES[kind].to_bytes(4, "little")
    body += algorithm.to_bytes(4, "little") + curve.to_bytes(4, "little")
    body += numbers.x.to_bytes(72, "little") + numbers.y.to_bytes(72, "little") + bytes(880)
    slots = b""
    for usage, key in signers:
        rsa_signed = isinstance(key, rsa.RSAPrivateKey)
        signature = _pss(key, body) if isinstance(key, rsa.RSAPrivateKey) else _ecdsa(key, body)
        code = layout.RSA_SHA256 if rsa_signed else layout.ECDSA_SHA256
        slots += usage.to_bytes(4, "little") + code.to_bytes(4, "little") + signature.ljust(512, b"\0")
    empty = layout.NO_USAGE.to_bytes(4, "little") + bytes(4 + 512)
    return body + slots + empty * (2 - len(signers))


def _report(spec: Spec, by: ec.EllipticCurvePrivateKey) -> bytes:
    body = bytes.fromhex(spec.get("mnonce", "0a" * 16)) + bytes.fromhex(spec.get("launch_digest", "3e" * 32))
    body += int(spec.get("policy", 0x05)).to_bytes(4, "little")
    return (
        body + (0x1002).to_bytes(4, "little") + layout.ECDSA_SHA256.to_bytes(4, "little") + bytes(4) + _ecdsa(by, body)
    )


def make(spec: Spec) -> Forged:
    """A forged platform, with a guest's report where the spec has one."""
    lie = spec.get("lie", "")
    if lie and lie not in LIES:
        raise UsageError(f"no lie is called {lie!r}", hint="one of " + ", ".join(LIES))

    def honest(name: str, key: Private) -> Private:
        if lie != name:
            return key
        return rsa_key("stranger") if isinstance(key, rsa.RSAPrivateKey) else ec_key("stranger")

    ark_key, ask_key = honest("root", rsa_key("ark")), honest("ask", rsa_key("ark"))
    if not isinstance(ark_key, rsa.RSAPrivateKey) or not isinstance(ask_key, rsa.RSAPrivateKey):
        raise TypeError("an ARK signs with RSA")
    oca = ec_key("oca")
    pek_signers = ((_CODES["cek"], honest("pek", ec_key("cek"))), (_CODES["oca"], honest("pek-owner", oca)))
    parts = {
        "ark": _amd("ark", ark_key),
        "ask": _amd("ask", ask_key),
        "cek": _sev("cek", ((layout.ASK_USAGE, honest("cek", rsa_key("ask"))),)),
        "pek": _sev("pek", pek_signers),
        "oca": _sev("oca", ((_CODES["oca"], honest("oca", oca)),)),
        "pdh": _sev("pdh", ((_CODES["pek"], honest("pdh", ec_key("pek"))),)),
    }
    if "guest" in spec or lie == "report":
        signer = ec_key("stranger") if lie == "report" else ec_key("pek")
        parts["report"] = _report(spec.get("guest", {}), signer)
    pinned = endorse.public_key(amd_certificate(_amd("ark", rsa_key("ark")), "ark"))
    pin = Anchor("sev", "fake ARK", fingerprint(pinned), "forge", "rome", simulated=True)
    anchors = Anchors((pin,))
    if "launch" in spec or lie.startswith("launch"):
        parts["launch"], record = _launch(spec, parts, anchors)
        anchors += Anchors((Anchor("sev", "launch keys", record.pdh.hex(), secret=record.encode()),))
    if lie == "launch-report":
        parts["report"] = _report({"launch_digest": "5e" * 32}, ec_key("pek"))
    parts.pop(spec.get("without", ""), None)
    evidence = assemble(parts)
    if evidence is None:
        raise UsageError("a SEV platform needs CEK and PEK")
    return Forged("sev", evidence, Collateral(), anchors, AT)


def _launch(spec: Spec, parts: Mapping[str, bytes], anchors: Anchors) -> tuple[bytes, launch.Record]:
    """A guest launched on the platform of ``parts``: the host's document, and the tenant's record."""
    wanted, lie = spec.get("launch", {}), spec.get("lie", "")
    policy, contents = int(wanted.get("policy", 0x7)), wanted.get("contents", b"a firmware and what it loads")
    platform = verify(parse(assemble(parts) or b""), Collateral(), anchors, at=AT)
    started = session.start(platform, policy)
    firmware = Firmware(ec_key("pdh"))
    guest = firmware.start(started.godh, started.blob, policy)
    firmware.update(guest, contents if lie != "launch" else contents + b", altered")
    if lie == "launch-policy":  # a firmware that signs another policy than the one it checked
        guest.policy &= ~1
    told = launch.encode(
        firmware.api, firmware.build + (lie == "launch-version"), guest.policy, firmware.measure(guest)
    )
    pdh = hashlib.sha256(started.pdh if lie != "launch-keys" else b"another platform").digest()
    digests = tuple(bytes.fromhex(item) for item in wanted.get("digests", (hashlib.sha256(contents).hexdigest(),)))
    return told, launch.Record(pdh, policy, started.keys.tek, started.keys.tik, digests)
