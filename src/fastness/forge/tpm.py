"""Forges TPM evidence under a fake TPM vendor. For tests only: its roots are simulated and made anew each time.

The specification is a mapping, all keys optional:

* ``trust``: ``certificate`` (default), ``key``, ``credential`` or ``hardware-report``
* ``scheme``: ``ecdsa`` (default), ``rsassa`` or ``rsapss``; ``bank``: ``sha256`` (default), ``sha384`` or ``sha1``
* ``nonce``: hexadecimal; ``secure_boot``: true (default); ``command_line``: text
* ``pcrs``: quoted registers (default 0 to 9 and 16); ``gce``: true for a Google instance extension; ``crl``: true
* ``lie``: one edit, named after the check it must trip: a key of :data:`LIES`
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509 as builder
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.errors import UsageError
from fastness.forge.model import Forged
from fastness.pki import anchors as pins
from fastness.pki import keys
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, Document
from fastness.tee.tpm import assemble, credential, events, structures
from fastness.tee.tpm import layout as at
from fastness.wire import cbor, eventlog, x509

AT = datetime(2026, 6, 1, tzinfo=UTC)
LIES = (
    "signature", "ak-attributes", "pcr-selection", "bank", "pcr-digest", "event-log", "event-content", "ak-trust",
    "ak-certificate", "activation", "hardware", "chain", "validity", "revocation", "unmeasured", "clock",
)  # fmt: skip
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class _Draft:
    """What one forgery is made from; a lie edits it, and signing comes last."""

    spec: Mapping[str, Any]
    lie: str
    key: Private
    public: bytes
    log: bytes
    pcrs: dict[int, bytes]
    bank: str
    parts: dict[str, bytes] = field(default_factory=dict)


def make(spec: Mapping[str, Any]) -> Forged:
    """Evidence as ``spec`` says; with a ``lie``, only the check of that name stands between it and acceptance."""
    lie = str(spec.get("lie", ""))
    if lie and lie not in LIES:
        raise UsageError(f"the TPM forge tells no lie {lie!r}", hint="one of " + ", ".join(LIES))
    trust = str(spec.get("trust", {"activation": "credential", "hardware": "hardware-report"}.get(lie, "certificate")))
    scheme = "rsassa" if trust == "hardware-report" else str(spec.get("scheme", "ecdsa"))
    key = _new_key(scheme)
    public = _public(key, scheme, restricted=lie != "ak-attributes")
    bank = "sha1" if lie == "bank" else str(spec.get("bank", "sha256"))
    log, values = _boot(spec, bank, lie)
    draft = _Draft(spec, lie, key, public, log, values, bank)
    _quote(draft, scheme)
    collateral, anchors = _endorse(draft, trust)
    issuers = () if trust == "key" else tuple(item.raw for item in collateral.certificates)
    return Forged("tpm", assemble(draft.parts, issuers), collateral, anchors, AT)


def _new_key(scheme: str) -> Private:
    return ec.generate_private_key(ec.SECP256R1()) if scheme == "ecdsa" else rsa.generate_private_key(65537, 2048)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _public(key: Private, scheme: str, *, restricted: bool) -> bytes:
    names = [name for name in at.AK_ATTRIBUTES if restricted or name != "restricted"]
    head = struct.pack(">HI", 0x000B, sum(1 << at.ATTRIBUTES[name] for name in names)) + _sized(b"")
    if isinstance(key, rsa.RSAPrivateKey):
        chosen = at.ALG_RSASSA if scheme == "rsassa" else at.ALG_RSAPSS
        body = struct.pack(">HHHHI", at.ALG_NULL, chosen, 0x000B, 2048, 0)
        return (
            struct.pack(">H", at.ALG_RSA)
            + head
            + body
            + _sized(key.public_key().public_numbers().n.to_bytes(256, "big"))
        )
    point = key.public_key().public_numbers()
    body = struct.pack(">HHHHH", at.ALG_NULL, at.ALG_ECDSA, 0x000B, 0x0003, at.ALG_NULL)
    return (
        struct.pack(">H", at.ALG_ECC)
        + head
        + body
        + _sized(point.x.to_bytes(32, "big"))
        + _sized(point.y.to_bytes(32, "big"))
    )


def _event(index: int, kind: int, data: bytes, measured: bytes | None = None) -> bytes:
    text = data if measured is None else measured
    banks = [(number, hashlib.new(name, text).digest()) for number, (name, _) in at.BANKS.items()]
    digests = b"".join(struct.pack("<H", number) + digest for number, digest in banks)
    return struct.pack("<III", index, kind, len(banks)) + digests + struct.pack("<I", len(data)) + data


def _variable(name: str, value: bytes) -> bytes:
    return events.GLOBAL_VARIABLE + struct.pack("<QQ", len(name), len(value)) + name.encode("utf-16-le") + value


def _boot(spec: Mapping[str, Any], bank: str, lie: str) -> tuple[bytes, dict[int, bytes]]:
    """A measured boot: its log, and the registers after it."""
    sizes = b"".join(struct.pack("<HH", number, size) for number, (_, size) in at.BANKS.items())
    head = eventlog.SIGNATURE + bytes(4) + b"\0\2\0\2" + struct.pack("<I", len(at.BANKS)) + sizes + b"\0"
    log = struct.pack("<II", 0, eventlog.EV_NO_ACTION) + bytes(20) + struct.pack("<I", len(head)) + head
    state = b"\x01" if spec.get("secure_boot", True) else b"\0"
    line = str(spec.get("command_line", "ro quiet")).encode()
    stated = _variable("SecureBoot", b"\x01" if lie == "event-content" else state)
    measured = _variable("SecureBoot", b"\0") if lie == "event-content" else None
    log += _event(0, eventlog.EV_S_CRTM_VERSION, "forged\0".encode("utf-16-le"))
    log += _event(7, eventlog.EV_EFI_VARIABLE_DRIVER_CONFIG, stated, measured)
    log += b"".join(_event(index, eventlog.EV_SEPARATOR, bytes(4)) for index in range(8))
    log += _event(8, eventlog.EV_IPL, b"kernel_cmdline: " + line + b"\0", line)
    log += _event(9, eventlog.EV_IPL, b"/boot/kernel\0", b"forged kernel")
    values = eventlog.replay(eventlog.parse(log), bank)
    size = len(values[0])
    wanted = spec.get("pcrs", [*range(10), 16])
    registers = {int(index): values.get(int(index), bytes(size)) for index in wanted}
    if lie == "unmeasured":
        registers[16] = hashlib.new(bank, b"nobody wrote this down").digest()
    if lie == "event-log":
        registers[9] = hashlib.new(bank, b"another kernel").digest()
    return log, registers


def _quote(draft: _Draft, scheme: str) -> None:
    number, registers = at.BANK_IDS[draft.bank], dict(sorted(draft.pcrs.items()))
    bits = sum(1 << index for index in registers)
    selection = struct.pack(">IHB", 1, number, 3) + bits.to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(registers.values())).digest()
    nonce = bytes.fromhex(str(draft.spec.get("nonce", "00" * 32)))
    clock = struct.pack(">QIIB", 123456, 7, 1, draft.lie != "clock")
    attest = struct.pack(">IH", at.MAGIC, at.ST_ATTEST_QUOTE) + _sized(bytes(34)) + _sized(nonce) + clock
    attest += bytes.fromhex("2026010100000001") + selection + _sized(digest)
    if draft.lie == "pcr-digest":
        registers[16] = b"\x01" * len(registers[16])
    if draft.lie == "pcr-selection":
        registers[23] = bytes(len(registers[0]))
    signer = _new_key(scheme) if draft.lie == "signature" else draft.key
    draft.parts = {"quote": attest, "signature": _sign(signer, scheme, attest), "ak": draft.public,
                   "pcrs": cbor.encode({number: registers}), "event_log": draft.log}  # fmt: skip


def _sign(key: Private, scheme: str, data: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
        return struct.pack(">HH", at.ALG_ECDSA, 0x000B) + _sized(r.to_bytes(32, "big")) + _sized(s.to_bytes(32, "big"))
    if scheme == "rsapss":
        value = key.sign(data, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
        return struct.pack(">HH", at.ALG_RSAPSS, 0x000B) + _sized(value)
    return struct.pack(">HH", at.ALG_RSASSA, 0x000B) + _sized(key.sign(data, padding.PKCS1v15(), SHA256()))


def _endorse(draft: _Draft, trust: str) -> tuple[Collateral, Anchors]:
    spki = structures.public(draft.public).spki
    if trust == "key":
        named = spki if draft.lie != "ak-trust" else _key_of(_new_key("ecdsa"))
        return Collateral(), Anchors((pins.from_key("tpm", "forged AK", named, simulated=True),))
    if trust == "hardware-report":
        return _hcl(draft), Anchors()
    authority = _Authority(draft.lie)
    documents: tuple[Document, ...] = ()
    if trust == "credential":
        holder = _key_of(ec.generate_private_key(ec.SECP384R1()))
        secret = os.urandom(32)
        name = structures.public(draft.public).name
        record = credential.Transcript(bytes.fromhex(keys.fingerprint(holder)), name, secret)
        documents = (Document("tpm-activation", record.encode()),)
        draft.parts["ek_certificate"] = authority.issue(holder, at.EK_USAGE).raw
        draft.parts["activation"] = bytes(32) if draft.lie == "activation" else secret
    elif draft.lie != "ak-trust":
        certified = _key_of(_new_key("ecdsa")) if draft.lie == "ak-certificate" else spki
        extra = _instance() if draft.spec.get("gce") else b""
        draft.parts["ak_certificate"] = authority.issue(certified, at.AK_USAGE, extra).raw
    crls = (authority.crl(),) if draft.spec.get("crl", True) else ()
    trusted = _Authority("").root if draft.lie == "chain" else authority.root
    return Collateral((authority.root,), crls, documents), Anchors(
        (pins.from_certificate("tpm", trusted, simulated=True),)
    )


def _key_of(key: Private) -> x509.PublicKey:
    return x509.parse_public_key(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _hcl(draft: _Draft) -> Collateral:
    """An HCL report around an SNP report that says nothing but its report data: the SNP verifier has its own forge."""
    numbers = draft.key.public_key().public_numbers()
    if not isinstance(numbers, rsa.RSAPublicNumbers):
        raise UsageError("an HCL report names an RSA key")
    modulus = urlsafe_b64encode(numbers.n.to_bytes(256, "big")).rstrip(b"=").decode()
    runtime = json.dumps(
        {
            "keys": [{"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": modulus}],
            "vm-configuration": {"secure-boot": True, "vmUniqueId": "forged"},
        }
    ).encode()
    bound = bytes(32) if draft.lie == "hardware" else hashlib.sha256(runtime).digest()
    report = bytearray(at.HCL_HARDWARE)
    report[at.SNP_REPORT_DATA : at.SNP_REPORT_DATA + 32] = bound
    head = at.HCL_SIGNATURE + struct.pack("<III", 1, len(report), 2) + bytes(16)
    tail = struct.pack("<IIIII", 20 + len(runtime), 1, at.HCL_SNP, 1, len(runtime))
    draft.parts["hcl_report"] = head + bytes(report) + tail + runtime
    return Collateral()


def _instance() -> bytes:
    """GCEInstanceInfo of a machine there is not."""

    def tlv(tag: int, value: bytes) -> bytes:
        return bytes((tag, len(value))) + value

    security = tlv(0x30, tlv(0xA0, tlv(2, b"\x01")) + tlv(0xA1, tlv(1, b"\xff")))
    words = tlv(12, b"europe-west4-a") + tlv(2, b"\x2a") + tlv(12, b"project") + tlv(2, b"\x07") + tlv(12, b"keep-1")
    return tlv(0x30, words + tlv(0xA0, security))


class _Authority:
    """A fake TPM vendor: one root that issues AK and EK certificates, and its CRL."""

    def __init__(self, lie: str) -> None:
        self.lie = lie
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.name = builder.Name([builder.NameAttribute(builder.oid.NameOID.COMMON_NAME, "Forged TPM CA (SIMULATED)")])
        self.root = self._sign(self._draft(self.name, self.key.public_key(), ca=True))

    def _draft(self, subject: builder.Name, key: Any, *, ca: bool, until: datetime | None = None) -> Any:
        return (
            builder.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(1 if ca else 2)
            .not_valid_before(AT - timedelta(days=365))
            .not_valid_after(until or AT + timedelta(days=3650))
            .add_extension(builder.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    def _sign(self, draft: Any) -> x509.Certificate:
        return x509.certificate(draft.sign(self.key, SHA256()).public_bytes(Encoding.DER))

    def issue(self, key: x509.PublicKey, usage: str, instance: bytes = b"") -> x509.Certificate:
        """A certificate for ``key``."""
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        until = AT - timedelta(days=1) if self.lie == "validity" else None
        name = builder.Name([builder.NameAttribute(builder.oid.NameOID.COMMON_NAME, "Forged TPM (SIMULATED)")])
        draft = self._draft(name, load_der_public_key(key.raw), ca=False, until=until)
        draft = draft.add_extension(builder.ExtendedKeyUsage([builder.ObjectIdentifier(usage)]), critical=False)
        if instance:
            oid = builder.ObjectIdentifier(at.GCE_INSTANCE_INFO)
            draft = draft.add_extension(builder.UnrecognizedExtension(oid, instance), critical=False)
        return self._sign(draft)

    def crl(self) -> x509.Crl:
        """The list of revoked certificates; the lie ``revocation`` puts the leaf on it."""
        draft = (
            builder.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(AT - timedelta(days=1))
            .next_update(AT + timedelta(days=30))
        )
        if self.lie == "revocation":
            entry = builder.RevokedCertificateBuilder().serial_number(2).revocation_date(AT - timedelta(days=2)).build()
            draft = draft.add_revoked_certificate(entry)
        return x509.crl(draft.sign(self.key, SHA256()).public_bytes(Encoding.DER))
