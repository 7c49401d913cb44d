"""X.509 certificates and CRLs (RFC 5280) as values. Nothing is trusted here; see :mod:`fastness.pki`."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from fastness.errors import MalformedEvidence
from fastness.wire import der

MAX_CERTIFICATE = 64 * 1024
MAX_CRL = 1 << 22

BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
AUTHORITY_KEY_ID = "2.5.29.35"
SUBJECT_KEY_ID = "2.5.29.14"
SUBJECT_ALT_NAME = "2.5.29.17"
CRL_DISTRIBUTION = "2.5.29.31"
COMMON_NAME = "2.5.4.3"
_COMMON_NAME = b"\x55\x04\x03"

# Names of attribute types as RFC 4514 section 3 abbreviates them.
_SHORT = {
    "2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
    "2.5.4.5": "serialNumber",
}  # fmt: skip


class Extension(NamedTuple):
    """One extension: ``value`` is the DER inside the OCTET STRING, at byte ``offset`` of the certificate."""

    oid: str
    critical: bool
    value: bytes
    offset: int


class Algorithm(NamedTuple):
    """An AlgorithmIdentifier: dotted OID and the raw DER of its parameters (empty when absent)."""

    oid: str
    parameters: bytes


class PublicKey(NamedTuple):
    """A SubjectPublicKeyInfo: ``raw`` is the whole DER structure, ``bits`` the key itself."""

    algorithm: Algorithm
    bits: bytes
    raw: bytes


class Certificate(NamedTuple):
    """One certificate. ``issuer`` and ``subject`` are the raw DER Names, compared as bytes."""

    raw: bytes
    tbs: bytes
    serial: int
    issuer: bytes
    subject: bytes
    not_before: datetime
    not_after: datetime
    key: PublicKey
    extensions: tuple[Extension, ...]
    algorithm: Algorithm
    signature: bytes

    def extension(self, oid: str) -> Extension | None:
        """The extension ``oid``, if there."""
        return next((item for item in self.extensions if item.oid == oid), None)

    @property
    def subject_cn(self) -> str:
        """The subject's common name, or the empty string."""
        return common_name(self.subject)

    @property
    def issuer_cn(self) -> str:
        """The issuer's common name, or the empty string."""
        return common_name(self.issuer)

    @property
    def is_ca(self) -> bool:
        """BasicConstraints cA (RFC 5280 section 4.2.1.9); absent means no."""
        return self.path_length is not None

    @property
    def path_length(self) -> int | None:
        """None when not a CA; otherwise pathLenConstraint, or a large number when the CA states none."""
        found = self.extension(BASIC_CONSTRAINTS)
        if found is None:
            return None
        parts = der.children(der.one(found.value, der.SEQUENCE, "basicConstraints", found.offset), "basicConstraints")
        if not parts or not der.boolean(parts[0], "basicConstraints.cA"):
            return None
        return der.unsigned(parts[1], "pathLenConstraint", 1 << 16) if len(parts) > 1 else 1 << 16

    @property
    def key_usage(self) -> int | None:
        """KeyUsage bits, bit 0 (digitalSignature) as the highest of 16 (0x8000); None when absent."""
        found = self.extension(KEY_USAGE)
        if found is None:
            return None
        body = der.one(found.value, der.BIT_STRING, "keyUsage", found.offset).value
        if not 2 <= len(body) <= 3 or body[0] > 7:
            raise MalformedEvidence("keyUsage", found.offset, "one or two bytes of bits", body.hex())
        return int.from_bytes(body[1:].ljust(2, b"\0"), "big")


KEY_CERT_SIGN = 0x0400
CRL_SIGN = 0x0200
DIGITAL_SIGNATURE = 0x8000


class Crl(NamedTuple):
    """One certificate revocation list. Its entries are read when they are asked for: real lists have thousands.

    ``partial``: a critical extension limits what it speaks of (a delta, CA certificates only), or is unknown.
    """

    raw: bytes
    tbs: bytes
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    entries: der.Node | None
    number: int | None
    algorithm: Algorithm
    signature: bytes
    partial: bool = False

    @property
    def issuer_cn(self) -> str:
        """The issuer's common name, or the empty string."""
        return common_name(self.issuer)

    @property
    def revoked(self) -> dict[int, datetime]:
        """Every serial number on the list, and when it was revoked.

        Raises:
            MalformedEvidence: an entry is not a serial and a time.
        """
        return _revoked(self.entries) if self.entries is not None else {}

    def revocation(self, serial: int) -> datetime | None:
        """When ``serial`` was revoked; None if it is not on the list. Raises like :attr:`revoked`."""
        size = serial.bit_length() // 8 + 1
        encoded = bytes((der.INTEGER, size)) + serial.to_bytes(size, "big", signed=True)
        if self.entries is None or encoded not in self.entries.value:
            return None
        return self.revoked.get(serial)


def _algorithm(node: der.Node, name: str) -> Algorithm:
    found = _algorithm_of(node.raw)
    if found is None:
        raise MalformedEvidence(name, node.offset, "an algorithm and its parameters", node.raw[:32].hex())
    return found


@lru_cache(maxsize=64)
def _algorithm_of(raw: bytes) -> Algorithm | None:
    """The certificates of one vendor share a few algorithms; None for what is no AlgorithmIdentifier."""
    try:
        parts = der.children(der.one(raw, der.SEQUENCE, "algorithm"), "algorithm")
        if not 1 <= len(parts) <= 2:
            return None
        return Algorithm(der.oid(parts[0], "algorithm"), parts[1].raw if len(parts) == 2 else b"")
    except MalformedEvidence:
        return None


def public_key(node: der.Node) -> PublicKey:
    """A SubjectPublicKeyInfo node as a value."""
    parts = der.children(der.expect(node, der.SEQUENCE, "subjectPublicKeyInfo"), "subjectPublicKeyInfo")
    if len(parts) != 2:
        raise MalformedEvidence("subjectPublicKeyInfo", node.offset, "two elements", len(parts))
    return PublicKey(
        _algorithm(parts[0], "subjectPublicKeyInfo.algorithm"), der.bits(parts[1], "subjectPublicKey"), node.raw
    )


def parse_public_key(data: bytes) -> PublicKey:
    """A DER SubjectPublicKeyInfo that fills ``data``."""
    return public_key(der.one(data, der.SEQUENCE, "subjectPublicKeyInfo"))


def _extensions(node: der.Node, name: str) -> tuple[Extension, ...]:
    whole = der.one(node.value, der.SEQUENCE, name, node.inner)
    data, base, item = whole.value, whole.inner, 0
    found: dict[str, Extension] = {}
    while item < len(data):
        start, end = der.span(data, item, len(data), der.SEQUENCE, name, base)
        start, stop = der.span(data, start, end, der.OID, name, base)
        oid = der.dotted(data[start:stop], name, base + start)
        flag = b"\0"
        if data[stop : stop + 1] == b"\1":
            start, stop = der.span(data, stop, end, der.BOOLEAN, name, base)
            flag = data[start:stop]
        start, stop = der.span(data, stop, end, der.OCTET_STRING, name, base)
        if stop != end or oid in found or flag not in (b"\0", b"\xff"):
            have = f"{oid} twice" if oid in found else data[item:end].hex()[:60]
            raise MalformedEvidence(name, base + item, "distinct extensions: an id, a flag and a value", have)
        found[oid] = Extension(oid, flag == b"\xff", data[start:stop], base + start)
        item = end
    return tuple(found.values())


def _envelope(data: bytes, name: str, limit: int) -> tuple[der.Node, der.Node, bytes]:
    """What is signed, the algorithm, and the signature."""
    if len(data) > limit:
        raise MalformedEvidence(name, 0, f"at most {limit} bytes", len(data))
    parts = der.children(der.one(data, der.SEQUENCE, name), name)
    if len(parts) != 3:
        raise MalformedEvidence(name, 0, "three elements", len(parts))
    tbs = der.expect(parts[0], der.SEQUENCE, f"{name}.tbs")
    return tbs, parts[1], der.bits(parts[2], f"{name}.signature")


def certificate(data: bytes) -> Certificate:
    """A DER certificate that fills ``data`` (at most 64 KiB).

    Raises:
        MalformedEvidence: not strict DER, not version 3 with extensions or version 1, duplicate extensions.
    """
    return _certificate(bytes(data))


@lru_cache(maxsize=512)
def _certificate(data: bytes) -> Certificate:
    tbs, algorithm, signature = _envelope(data, "certificate", MAX_CERTIFICATE)
    parts = der.children(tbs, "tbsCertificate")
    version = 0
    if parts and parts[0].tag == 0xA0:
        version = der.unsigned(der.one(parts[0].value, der.INTEGER, "version", parts[0].inner), "version", 2)
        parts = parts[1:]
    if len(parts) < 6:
        raise MalformedEvidence("tbsCertificate", tbs.offset, "at least six elements", len(parts))
    if parts[1].raw != algorithm.raw:
        raise MalformedEvidence("tbsCertificate.signature", parts[1].offset, "the outer algorithm", "another")
    validity = der.children(der.expect(parts[3], der.SEQUENCE, "validity"), "validity")
    if len(validity) != 2:
        raise MalformedEvidence("validity", parts[3].offset, "two times", len(validity))
    extensions: tuple[Extension, ...] = ()
    for extra in parts[6:]:
        if extra.tag == 0xA3 and version == 2:
            extensions = _extensions(extra, "extensions")
        elif extra.tag not in (0x81, 0x82, 0xA1, 0xA2):
            raise MalformedEvidence(
                "tbsCertificate", extra.offset, "unique ids or extensions", f"tag 0x{extra.tag:02x}"
            )
    return Certificate(
        raw=data,
        tbs=tbs.raw,
        serial=der.integer(parts[0], "serialNumber"),
        issuer=der.expect(parts[2], der.SEQUENCE, "issuer").raw,
        subject=der.expect(parts[4], der.SEQUENCE, "subject").raw,
        not_before=der.time(validity[0], "notBefore"),
        not_after=der.time(validity[1], "notAfter"),
        key=public_key(parts[5]),
        extensions=extensions,
        algorithm=_algorithm(algorithm, "certificate.signatureAlgorithm"),
        signature=signature,
    )


def crl(data: bytes) -> Crl:
    """A DER certificate revocation list that fills ``data`` (at most 4 MiB)."""
    tbs, algorithm, signature = _envelope(data, "crl", MAX_CRL)
    parts = der.children(tbs, "tbsCertList")
    if parts and parts[0].tag == der.INTEGER:
        parts = parts[1:]
    if len(parts) < 3:
        raise MalformedEvidence("tbsCertList", tbs.offset, "at least three elements", len(parts))
    if parts[0].raw != algorithm.raw:
        raise MalformedEvidence("tbsCertList.signature", parts[0].offset, "the outer algorithm", "another")
    rest = parts[3:]
    next_update = None
    if rest and rest[0].tag in (der.UTC_TIME, der.GENERALIZED_TIME):
        next_update = der.time(rest[0], "nextUpdate")
        rest = rest[1:]
    entries = None
    if rest and rest[0].tag == der.SEQUENCE:
        entries, rest = rest[0], rest[1:]
    number, partial = None, False
    for extra in rest:
        for item in _extensions(der.expect(extra, 0xA0, "crlExtensions"), "crlExtensions"):
            if item.oid == "2.5.29.20":
                number = der.integer(der.one(item.value, der.INTEGER, "cRLNumber", item.offset), "cRLNumber")
            elif item.critical:
                partial = partial or not _names_a_place(item)
    return Crl(
        raw=bytes(data),
        tbs=tbs.raw,
        issuer=der.expect(parts[1], der.SEQUENCE, "issuer").raw,
        this_update=der.time(parts[2], "thisUpdate"),
        next_update=next_update,
        entries=entries,
        number=number,
        algorithm=_algorithm(algorithm, "crl.signatureAlgorithm"),
        signature=signature,
        partial=partial,
    )


def _names_a_place(item: Extension) -> bool:
    """Whether a critical CRL extension says no more than where the list is published (RFC 5280 section 5.2.5)."""
    if item.oid != "2.5.29.28":
        return False
    fields = der.children(der.one(item.value, der.SEQUENCE, "issuingDistributionPoint", item.offset), "crlExtensions")
    return all(field.tag == 0xA0 for field in fields)


def _revoked(node: der.Node) -> dict[int, datetime]:
    found: dict[int, datetime] = {}
    for entry in der.children(node, "revokedCertificates"):
        fields = der.children(der.expect(entry, der.SEQUENCE, "revokedCertificate"), "revokedCertificate")
        if len(fields) < 2:
            raise MalformedEvidence("revokedCertificate", entry.offset, "a serial and a time", len(fields))
        found[der.integer(fields[0], "userCertificate")] = der.time(fields[1], "revocationDate")
    return found


def _attributes(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Type and value of each attribute of a DER Name, in order: the bytes inside the identifier and the string."""
    relative, limit = der.span(raw, 0, len(raw), der.SEQUENCE, "Name")
    if limit != len(raw):
        raise MalformedEvidence("Name", limit, "end of input", f"{len(raw) - limit} more bytes")
    found = []
    while relative < limit:
        attribute, relative = der.span(raw, relative, limit, der.SET, "RDN")
        while attribute < relative:
            start, attribute = der.span(raw, attribute, relative, der.SEQUENCE, "attribute")
            start, stop = der.span(raw, start, attribute, der.OID, "attribute")
            text, end = der.read(raw, stop, field="attribute")
            if end != attribute:
                raise MalformedEvidence("attribute", stop, "a type and a value", raw[start:attribute].hex()[:60])
            found.append((raw[start:stop], text.value))
    return found


def name(raw: bytes) -> tuple[tuple[str, str], ...]:
    """A DER Name as ordered pairs of dotted attribute type and text."""
    pairs = _attributes(raw)
    return tuple((der.dotted(kind, "attribute", 0), text.decode("utf-8", "replace")) for kind, text in pairs)


@lru_cache(maxsize=512)
def common_name(raw: bytes) -> str:
    """The last common name of a DER Name, or the empty string."""
    texts = [text for kind, text in _attributes(raw) if kind == _COMMON_NAME]
    return texts[-1].decode("utf-8", "replace") if texts else ""


def rfc4514(raw: bytes) -> str:
    """A DER Name for people: ``CN=…,O=…``."""
    return ",".join(f"{_SHORT.get(oid, oid)}={text}" for oid, text in reversed(name(raw)))
