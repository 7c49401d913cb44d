"""Makes Nitro attestation documents under a fake AWS root, honest or with exactly one lie.

Keys of ``make``'s spec, all optional: ``kind`` (``enclave``, ``nitrotpm``), ``module_id``, ``region``, ``debug``,
``pcrs`` (index to hexadecimal), ``user_data``, ``nonce``, ``public_key`` (hexadecimal), ``at`` (ISO 8601),
``age_seconds``, ``crls`` (whether they come along), ``fields`` (signed fields to add or replace) and ``lie``, one of
:data:`LIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha384
from typing import Any

from cryptography import x509 as pyca
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fastness.errors import UsageError
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchor, Anchors
from fastness.pki.keys import fingerprint
from fastness.tee import Collateral
from fastness.tee.nitro import layout
from fastness.wire import cbor, cose, x509

LIES = {
    "algorithm": "nitro.algorithm",
    "unprotected": "nitro.algorithm",
    "root": "nitro.chain",
    "chain": "nitro.chain",
    "path-length": "nitro.chain",
    "key-usage": "nitro.chain",
    "not-a-ca": "nitro.chain",
    "digest": "nitro.chain",
    "validity": "nitro.validity",
    "leaf-is-ca": "nitro.leaf",
    "leaf-usage": "nitro.leaf",
    "leaf-curve": "nitro.leaf",
    "revocation": "nitro.revocation",
    "signature": "nitro.signature",
    "timestamp": "nitro.timestamp",
    "timestamp-future": "nitro.timestamp",
    "module-id": "nitro.module-id",
    "registers": "nitro.registers",
}
"""Lie to the one check that stands between it and acceptance."""

_ROOT = "aws.nitro-enclaves"
_CRL = "http://crl.example.invalid/nitro.crl"


@dataclass(frozen=True, slots=True)
class _Link:
    key: ec.EllipticCurvePrivateKey
    certificate: pyca.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def make(spec: Mapping[str, Any]) -> Forged:
    """One document as ``spec`` describes it."""
    return many(spec, 1)[0]


def many(spec: Mapping[str, Any], count: int) -> list[Forged]:
    """``count`` documents of one module under one chain, each with a nonce of its own when ``count`` is above one."""
    lie = spec.get("lie")
    if lie is not None and lie not in LIES:
        raise UsageError(f"no lie is called {lie!r}", hint="one of " + ", ".join(LIES))
    if lie == "registers" and spec.get("kind") == "nitrotpm":
        raise UsageError("a NitroTPM document has no register that must be there", hint='kind = "enclave"')
    at = datetime.fromisoformat(spec.get("at", "2026-06-01T12:00:00+00:00")).astimezone(UTC)
    made = at - timedelta(seconds=int(spec.get("age_seconds", 60)))
    kind = spec.get("kind", "enclave")
    suffix = "enc0190aaaabbbbcccc" if kind == "enclave" else "tpm0000000000000000"
    module = spec.get("module_id", f"i-0fa57e55fa57e55fa-{suffix}")
    links = _pki(module, spec.get("region", "eu-central-1"), made, at, lie)
    root = x509.certificate((_root(made) if lie == "root" else links[0]).der)
    anchor = Anchor("nitro", "forged AWS root", fingerprint(root.key), simulated=True, certificate=root)
    crls = _crls(links, made, lie) if spec.get("crls") or lie == "revocation" else ()
    forged = []
    for number in range(count):
        body = _body(spec, kind, module, made, links)
        if count > 1:
            body["nonce"] = number.to_bytes(16, "big")
        evidence = _sign(cbor.encode(_lied(body, lie, made, at)), links[-1].key, lie)
        forged.append(Forged("nitro", evidence, Collateral(crls=crls), Anchors((anchor,)), at))
    return forged


def _body(spec: Mapping[str, Any], kind: str, module: str, made: datetime, links: list[_Link]) -> dict[str, Any]:
    count = 16 if kind == "enclave" else 24
    pcrs = {index: sha384(b"forged register %d" % index).digest() for index in range(5)}
    pcrs.update(dict.fromkeys(range(5, count), bytes(48)))
    if spec.get("debug"):
        pcrs.update(dict.fromkeys(layout.DEBUG_PCRS, bytes(48)))
    pcrs.update({int(index): bytes.fromhex(value) for index, value in spec.get("pcrs", {}).items()})
    body: dict[str, Any] = {
        layout.MODULE_ID: module,
        layout.DIGEST: layout.SHA384,
        layout.TIMESTAMP: int(made.timestamp() * 1000),
        layout.PCRS[kind]: pcrs,
        layout.CERTIFICATE: links[-1].der,
        layout.CABUNDLE: [link.der for link in links[:-1]],
        **spec.get("fields", {}),
    }
    for name in layout.OPTIONAL:
        body[name] = bytes.fromhex(spec[name]) if name in spec else None
    return body


def _lied(body: dict[str, Any], lie: str | None, made: datetime, at: datetime) -> dict[str, Any]:
    if lie == "timestamp":
        body[layout.TIMESTAMP] = int((made - timedelta(hours=4)).timestamp() * 1000)
    elif lie == "timestamp-future":
        body[layout.TIMESTAMP] = int((at + timedelta(hours=1)).timestamp() * 1000)
    elif lie == "module-id":
        body[layout.MODULE_ID] = "i-0fa57e55fa57e55fb-enc0190aaaabbbbcccc"
    elif lie == "registers":
        del body["pcrs"][4]
    return body


def _sign(payload: bytes, key: ec.EllipticCurvePrivateKey, lie: str | None) -> bytes:
    header = {cose.ALG: cose.ES256 if lie == "algorithm" else cose.ES384}
    protected = cbor.encode(header)
    extra = {4: b"forged"} if lie == "unprotected" else {}
    message = cose.Sign1(protected, header, extra, payload, b"", tagged=False)
    signer = ec.generate_private_key(ec.SECP384R1()) if lie == "signature" else key
    r, s = utils.decode_dss_signature(signer.sign(message.to_be_signed(), ec.ECDSA(SHA384())))
    signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    return cose.Sign1(protected, header, extra, payload, signature, tagged=False).unparse()


def _root(made: datetime) -> _Link:
    return _issue(_ROOT, None, made - timedelta(days=365), made + timedelta(days=3650), limit=None)


def _pki(module: str, region: str, made: datetime, at: datetime, lie: str | None) -> list[_Link]:
    """Root, regional, zonal, instance and leaf, valid for as long as AWS's are."""
    root = _root(made)
    start = made - timedelta(hours=2)
    regional = _issue(f"1111.{region}.{_ROOT}", root, start, made + timedelta(days=20), limit=2, crl=True)
    zonal = _issue(
        f"2222.zonal.{region}.{_ROOT}",
        regional,
        start,
        made + timedelta(days=5),
        limit=0 if lie == "path-length" else 1,
        crl=True,
        signs=lie != "key-usage",
    )
    parent = module.rpartition("-")[0]
    impostor = _issue(f"2222.zonal.{region}.{_ROOT}", None, start, made + timedelta(days=5), limit=1)
    issuer = _Link(impostor.key, zonal.certificate) if lie == "chain" else zonal
    instance = _issue(
        f"{parent}.{region}.{_ROOT}",
        issuer,
        start,
        made + timedelta(days=1),
        limit=0,
        ca=lie != "not-a-ca",
        digest=SHA256() if lie == "digest" else SHA384(),
    )
    end = at - timedelta(seconds=1) if lie == "validity" else made + timedelta(hours=3)
    leaf = _issue(
        f"{module}.{region}.aws",
        instance,
        made - timedelta(seconds=3),
        end,
        limit=0 if lie == "leaf-is-ca" else None,
        ca=lie == "leaf-is-ca",
        signs=lie == "leaf-usage",
        curve=ec.SECP256R1() if lie == "leaf-curve" else ec.SECP384R1(),
    )
    return [root, regional, zonal, instance, leaf]


def _issue(
    name: str,
    issuer: _Link | None,
    start: datetime,
    end: datetime,
    *,
    limit: int | None,
    ca: bool = True,
    crl: bool = False,
    signs: bool = True,
    curve: ec.EllipticCurve | None = None,
    digest: SHA256 | SHA384 | None = None,
) -> _Link:
    key = ec.generate_private_key(curve or ec.SECP384R1())
    subject = pyca.Name([pyca.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = pyca.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)
    builder = (
        pyca.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(pyca.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(pyca.BasicConstraints(ca, limit if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )
    if crl:
        place = pyca.DistributionPoint([pyca.UniformResourceIdentifier(_CRL)], None, None, None)
        builder = builder.add_extension(pyca.CRLDistributionPoints([place]), critical=False)
    return _Link(key, builder.sign(issuer.key if issuer else key, digest or SHA384()))


def _crls(links: list[_Link], made: datetime, lie: str | None) -> tuple[x509.Crl, ...]:
    """CRLs of root and regional CA; the latter lists the zonal CA when that is the lie."""
    found = []
    for issuer, subject in ((links[0], links[1]), (links[1], links[2])):
        builder = (
            pyca.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(made - timedelta(hours=1))
            .next_update(made + timedelta(days=1))
        )
        if lie == "revocation" and subject is links[2]:
            entry = pyca.RevokedCertificateBuilder().serial_number(subject.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(made - timedelta(hours=1)).build())
        found.append(x509.crl(builder.sign(issuer.key, SHA384()).public_bytes(Encoding.DER)))
    return tuple(found)
