"""A fake Intel: root, PCK CAs, TCB signer, PCK certificates and CRLs, with the names of the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509 as cx509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from fastness.tee.dcap import pck
from fastness.wire import x509

AT = datetime(2026, 6, 15, 12, tzinfo=UTC)
"""When forged quotes hold."""
BORN = AT - timedelta(days=365)
DIES = AT + timedelta(days=365 * 7)

Key = ec.EllipticCurvePrivateKey


def key() -> Key:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def point(private: Key) -> bytes:
    """x ‖ y, 64 bytes."""
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def sign(private: Key, data: bytes) -> bytes:
    """r ‖ s, 64 bytes, over SHA-256."""
    r, s = decode_dss_signature(private.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Party:
    """A certificate and its key."""

    key: Key
    certificate: x509.Certificate
    built: cx509.Certificate


def _name(common: str) -> cx509.Name:
    return cx509.Name(
        [
            cx509.NameAttribute(NameOID.COMMON_NAME, common),
            cx509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
            cx509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def issue(
    common: str,
    issuer: Party | None = None,
    *,
    private: Key | None = None,
    path: int | None = None,
    extension: bytes = b"",
    until: datetime = DIES,
) -> Party:
    """A certificate named ``common``; a CA when ``path`` is given, with the SGX extension when that is."""
    private = private or key()
    ca = path is not None
    builder = (
        cx509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(issuer.built.subject if issuer else _name(common))
        .public_key(private.public_key())
        .serial_number(cx509.random_serial_number())
        .not_valid_before(BORN)
        .not_valid_after(until)
        .add_extension(cx509.BasicConstraints(ca, path), critical=True)
        .add_extension(
            cx509.KeyUsage(not ca, not ca, False, False, False, ca, ca, False, False),
            critical=True,
        )
    )
    if extension:
        unknown = cx509.UnrecognizedExtension(ObjectIdentifier(pck.EXTENSION), extension)
        builder = builder.add_extension(unknown, critical=False)
    built = builder.sign(issuer.key if issuer else private, SHA256())
    return Party(private, x509.certificate(built.public_bytes(Encoding.DER)), built)


def crl(issuer: Party, *revoked: Party, signer: Party | None = None, until: datetime | None = None) -> x509.Crl:
    """A CRL of ``issuer`` that lists ``revoked``; ``signer`` signs in its place, for a lie."""
    builder = (
        cx509.CertificateRevocationListBuilder()
        .issuer_name(issuer.built.subject)
        .last_update(AT - timedelta(days=10))
        .next_update(until or AT + timedelta(days=20))
        .add_extension(cx509.CRLNumber(1), critical=False)
    )
    for item in revoked:
        entry = cx509.RevokedCertificateBuilder().serial_number(item.built.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(AT - timedelta(days=11)).build())
    return x509.crl(builder.sign((signer or issuer).key, SHA256()).public_bytes(Encoding.DER))


@dataclass(frozen=True, slots=True)
class Vendor:
    """The whole hierarchy."""

    root: Party
    platform: Party
    processor: Party
    signer: Party


@cache
def vendor(which: int = 0) -> Vendor:
    """The fake Intel; another ``which`` is a look-alike with other keys and equal names."""
    root = issue(pck.ROOT, path=1)
    return Vendor(
        root,
        issue(pck.PLATFORM_CA, root, path=0),
        issue(pck.PROCESSOR_CA, root, path=0),
        issue(pck.TCB_SIGNING, root),
    )


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    head = bytes((size,)) if size < 0x80 else bytes((0x82,)) + size.to_bytes(2, "big")
    return bytes((tag,)) + head + value


def _oid(dotted: str) -> bytes:
    arcs = [int(part) for part in dotted.split(".")]
    out = bytearray((arcs[0] * 40 + arcs[1],))
    for arc in arcs[2:]:
        parts = [arc & 0x7F]
        while arc := arc >> 7:
            parts.append(arc & 0x7F | 0x80)
        out += bytes(reversed(parts))
    return _tlv(0x06, bytes(out))


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def extension(facts: pck.Pck, *, without: str = "") -> bytes:
    """The SGX extension that states ``facts``; ``without`` leaves one field out, for a lie."""

    def row(name: str, value: bytes) -> bytes:
        return b"" if name == without else _tlv(0x30, _oid(f"{pck.EXTENSION}.{name}") + value)

    tcb = b"".join(row(f"2.{index}", _integer(svn)) for index, svn in enumerate(facts.components, 1))
    tcb += row("2.17", _integer(facts.pcesvn)) + row("2.18", _tlv(0x04, facts.cpusvn))
    body = row("1", _tlv(0x04, facts.ppid)) + row("2", _tlv(0x30, tcb)) + row("3", _tlv(0x04, facts.pceid))
    body += row("4", _tlv(0x04, facts.fmspc)) + row("5", _tlv(0x0A, bytes((pck.SGX_TYPES.index(facts.sgx_type),))))
    if facts.platform_instance is not None:
        flags = (facts.dynamic_platform, facts.cached_keys, facts.smt_enabled)
        options = b"".join(
            row(f"7.{index}", _tlv(0x01, b"\xff" if flag else b"\0")) for index, flag in enumerate(flags, 1)
        )
        body += row("6", _tlv(0x04, facts.platform_instance)) + row("7", _tlv(0x30, options))
    return _tlv(0x30, body)
