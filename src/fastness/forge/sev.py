"""Forged SEV platforms and guests under a fake AMD.

Keys of a spec, all optional: ``guest`` (a report with these keys: ``policy``, ``launch_digest``, ``mnonce``),
``launch`` (a launch by the software firmware: ``policy``, ``contents``, ``digests`` the tenant accepts),
``report_data`` (of a proof by the secret injected at the launch), ``without`` (a part to leave out), ``line``
(naples, rome, milan, genoa, turin: whose ARK it is), ``large`` (keys of 4096 bits and on P-384, SHA-384, as since
Rome), and ``lie``: a key of :data:`LIES`. A lie is one edit; all above it is signed again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from fastness.errors import UsageError
from fastness.forge.model import Forged
from fastness.forge.sev_firmware import Firmware
from fastness.pki.anchors import Anchor, Anchors, Secret
from fastness.pki.keys import fingerprint
from fastness.tee import Collateral
from fastness.tee.sev import assemble, endorse, launch, layout, parse, session, verify
from fastness.tee.sev.claims import PRODUCTS
from fastness.tee.sev.evidence import amd_certificate
from fastness.wire import injected

Spec = Mapping[str, Any]
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
AT = datetime(2026, 6, 1, tzinfo=UTC)
LIES = {name: f"sev.{name}" for name in ("root", "ask", "cek", "pek", "oca", "pdh", "report")} | {
    "root-issuer": "sev.root",
    "ask-issuer": "sev.ask",
    "pek-owner": "sev.oca",
    "launch-keys": "sev.launch-keys",
    "launch": "sev.launch",
    "launch-report": "sev.launch",
    "launch-version": "sev.launch",
    "launch-policy": "sev.launch-policy",
    "launch-firmware": "sev.launch-policy",
    "proof": "sev.proof",
}
"""Lie to the one check that stands between it and acceptance: that certificate is signed by a stranger's
key, or (``-issuer``) names another issuer than the key that signed it."""

_CODES = {kind: code for code, kind in layout.USAGES.items()}


LARGE = "large "
"""How names of keys of 4096 bits and on P-384 begin."""


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key of the fake AMD (or of a stranger), made once."""
    return rsa.generate_private_key(65537, 4096 if name.startswith(LARGE) else 2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key of the fake platform, its owner, or a stranger; a PDH is always on P-384."""
    return ec.generate_private_key(ec.SECP384R1() if name.startswith((LARGE, "pdh")) else ec.SECP256R1())


def _hashing(key: Private) -> SHA256 | SHA384:
    return SHA384() if key.key_size in (4096, 384) else SHA256()


def _pss(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    chosen = _hashing(key)
    return bytes(reversed(key.sign(data, padding.PSS(padding.MGF1(chosen), chosen.digest_size), chosen)))


def _amd(name: str, by: rsa.RSAPrivateKey, prefix: str = "", issuer: bytes = b"ark") -> bytes:
    key = rsa_key(prefix + name)
    numbers, bits = key.public_key().public_numbers(), key.key_size
    usage = layout.ARK_USAGE if name == "ark" else layout.ASK_USAGE
    head = (1).to_bytes(4, "little") + name.encode().ljust(16, b"\0") + issuer.ljust(16, b"\0")
    head += usage.to_bytes(4, "little") + bytes(16) + 2 * bits.to_bytes(4, "little")
    body = head + numbers.e.to_bytes(bits // 8, "little") + numbers.n.to_bytes(bits // 8, "little")
    return body + _pss(by, body)


def _ecdsa(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(_hashing(key))))
    return r.to_bytes(72, "little") + s.to_bytes(72, "little")


def _sev(kind: str, signers: tuple[tuple[int, Private], ...], prefix: str = "") -> bytes:
    key = ec_key("pdh" if kind == "pdh" else prefix + kind)
    numbers = key.public_key().public_numbers()
    algorithm = layout.ECDH_SHA256 if kind == "pdh" else _algorithm(key)
    body = (1).to_bytes(4, "little") + bytes((0, 16, 0, 0)) + _CODES[kind].to_bytes(4, "little")
    body += algorithm.to_bytes(4, "little") + (1 if key.key_size == 256 else 2).to_bytes(4, "little")
    body += numbers.x.to_bytes(72, "little") + numbers.y.to_bytes(72, "little") + bytes(880)
    slots = b""
    for usage, by in signers:
        signature = _pss(by, body) if isinstance(by, rsa.RSAPrivateKey) else _ecdsa(by, body)
        slots += usage.to_bytes(4, "little") + _algorithm(by).to_bytes(4, "little") + signature.ljust(512, b"\0")
    empty = layout.NO_USAGE.to_bytes(4, "little") + bytes(4 + 512)
    return body + slots + empty * (2 - len(signers))


def _algorithm(key: Private) -> int:
    """What a key signs with, as certificates say it."""
    by_rsa, large = isinstance(key, rsa.RSAPrivateKey), isinstance(_hashing(key), SHA384)
    return (
        (layout.RSA_SHA384 if by_rsa else layout.ECDSA_SHA384)
        if large
        else (layout.RSA_SHA256 if by_rsa else layout.ECDSA_SHA256)
    )


def _report(spec: Spec, by: ec.EllipticCurvePrivateKey) -> bytes:
    body = bytes.fromhex(spec.get("mnonce", "0a" * 16)) + bytes.fromhex(spec.get("launch_digest", "3e" * 32))
    body += int(spec.get("policy", 0x05)).to_bytes(4, "little")
    return body + (0x1002).to_bytes(4, "little") + _algorithm(by).to_bytes(4, "little") + bytes(4) + _ecdsa(by, body)


def _line(spec: Spec) -> tuple[str, str]:
    """The line whose ARK it is, and how the names of its keys begin."""
    line = str(spec.get("line", "rome"))
    if line not in PRODUCTS:
        raise UsageError(f"no SEV line is called {line!r}", hint="one of " + ", ".join(PRODUCTS))
    return line, LARGE if spec.get("large", "line" in spec and line != "naples") else ""


def make(spec: Spec) -> Forged:
    """A forged platform, with a guest's report where the spec has one."""
    lie = spec.get("lie", "")
    if lie and lie not in LIES:
        raise UsageError(f"no lie is called {lie!r}", hint="one of " + ", ".join(LIES))

    line, prefix = _line(spec)

    def honest(name: str, key: Private) -> Private:
        if lie != name:
            return key
        return rsa_key(prefix + "stranger") if isinstance(key, rsa.RSAPrivateKey) else ec_key(prefix + "stranger")

    ark, oca, pek = rsa_key(prefix + "ark"), ec_key(prefix + "oca"), ec_key(prefix + "pek")
    ark_key, ask_key = honest("root", ark), honest("ask", ark)
    if not isinstance(ark_key, rsa.RSAPrivateKey) or not isinstance(ask_key, rsa.RSAPrivateKey):
        raise TypeError("an ARK signs with RSA")
    pek_signers = ((_CODES["cek"], honest("pek", ec_key(prefix + "cek"))), (_CODES["oca"], honest("pek-owner", oca)))
    parts = {
        "ark": _amd("ark", ark_key, prefix, b"another" if lie == "root-issuer" else b"ark"),
        "ask": _amd("ask", ask_key, prefix, b"another" if lie == "ask-issuer" else b"ark"),
        "cek": _sev("cek", ((layout.ASK_USAGE, honest("cek", rsa_key(prefix + "ask"))),), prefix),
        "pek": _sev("pek", pek_signers, prefix),
        "oca": _sev("oca", ((_CODES["oca"], honest("oca", oca)),), prefix),
        "pdh": _sev("pdh", ((_CODES["pek"], honest("pdh", pek)),), prefix),
    }
    if "guest" in spec or lie == "report":
        parts["report"] = _report(spec.get("guest", {}), ec_key(prefix + "stranger") if lie == "report" else pek)
    pinned = endorse.public_key(amd_certificate(_amd("ark", ark, prefix), "ark"))
    pin = Anchor("sev", "fake ARK", fingerprint(pinned), "forge", line, simulated=True, key=pinned)
    anchors = Anchors((pin,))
    proves = "report_data" in spec or lie == "proof"
    if "launch" in spec or lie.startswith("launch") or proves:
        parts["launch"], record = _launch(spec, parts, anchors)
        if proves:
            record = replace(record, key=os.urandom(injected.KEY_SIZE))
            data = bytes.fromhex(spec.get("report_data", "0b" * 64))
            parts["proof"] = injected.prove(record.key if lie != "proof" else bytes(injected.KEY_SIZE), data)
        anchors += Anchors((Anchor("sev", "launch keys", record.pdh.hex(), secret=Secret(record.encode())),))
    if lie == "launch-report":
        parts["report"] = _report({"launch_digest": "5e" * 32}, pek)
    parts.pop(spec.get("without", ""), None)
    evidence = assemble(parts)
    if evidence is None:
        raise UsageError("a SEV platform needs CEK and PEK")
    return Forged("sev", evidence, Collateral(), anchors, AT)


def _launch(spec: Spec, parts: Mapping[str, bytes], anchors: Anchors) -> tuple[bytes, launch.Record]:
    """A guest launched on the platform of ``parts``: the host's document, and the tenant's record."""
    wanted, lie = spec.get("launch", {}), spec.get("lie", "")
    policy = int(wanted.get("policy", 0x7 | (0x19 << 24 if lie == "launch-firmware" else 0)))
    contents = wanted.get("contents", b"a firmware and what it loads")
    if isinstance(contents, str):
        contents = contents.encode()
    platform = verify(parse(assemble(parts) or b""), Collateral(), anchors, at=AT)
    started = session.start(platform, policy)
    firmware = Firmware(ec_key("pdh"), lax=lie == "launch-firmware")
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
