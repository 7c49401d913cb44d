"""X.509 certificates and CRLs (RFC 5280) as values. Nothing is trusted here; see :mod:`fastness.pki`."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from fastness.errors import MalformedEvidence
from fastness.wire import der

MAX_CERTIFICATE = 64 * 1024
MAX_CRL = 1 << 22

BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
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
        for item in self.extensions:
            if item.oid == oid:
                return item
        return None

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
        usual = _USUAL_CONSTRAINTS.get(found.value)
        return _basic_constraints(found.value, found.offset) if usual is None else usual

    @property
    def key_usage(self) -> int | None:
        """KeyUsage bits, bit 0 (digitalSignature) as the highest of 16 (0x8000); None when absent."""
        found = self.extension(KEY_USAGE)
        return None if found is None else _key_usage(found.value, found.offset)

    @property
    def signs_only(self) -> bool:
        """Whether its issuer says that the key signs, and does not encrypt or agree on keys (RFC 5280, 4.2.1.3)."""
        usage = self.key_usage or 0
        return bool(usage & DIGITAL_SIGNATURE) and not usage & (KEY_ENCIPHERMENT | DATA_ENCIPHERMENT | KEY_AGREEMENT)


@lru_cache(maxsize=64)
def _key_usage(data: bytes, base: int) -> int:
    """The certificates of one vendor share a few values, and each is asked for several times."""
    body = data[der.fills(data, der.BIT_STRING, "keyUsage", base) :]
    if not 2 <= len(body) <= 3 or body[0] > 7:
        raise MalformedEvidence("keyUsage", base, "one or two bytes of bits", body.hex())
    return int.from_bytes(body[1:].ljust(2, b"\0"), "big")


_ANY_LENGTH = 1 << 16
_USUAL_CONSTRAINTS = {
    bytes.fromhex("30030101ff"): _ANY_LENGTH,
    bytes.fromhex("30060101ff020100"): 0,
    bytes.fromhex("30060101ff020101"): 1,
}
"""What :func:`_basic_constraints` says of the CA certificates of nearly all vendors."""


@lru_cache(maxsize=64)
def _basic_constraints(data: bytes, base: int) -> int | None:
    position, limit = der.fills(data, der.SEQUENCE, "basicConstraints", base), len(data)
    if position == limit:
        return None
    start, stop = der.span(data, position, limit, der.BOOLEAN, "basicConstraints.cA", base)
    if not der.truth(data[start:stop], "basicConstraints.cA", base + position):
        return None
    return _path_length(data, stop, base) if stop < limit else _ANY_LENGTH


def _path_length(data: bytes, position: int, base: int) -> int:
    start, stop = der.span(data, position, len(data), der.INTEGER, "pathLenConstraint", base)
    value = der.signed(data[start:stop], "pathLenConstraint", base + position)
    if stop != len(data) or not 0 <= value <= _ANY_LENGTH:
        raise MalformedEvidence("pathLenConstraint", base + position, "0 to 65536 and nothing after it", value)
    return value


MAX_KNOWN = 512
"""Most certificates that are remembered."""

_TELLING = 24
_known: dict[bytes, Certificate] = {}
"""Certificates that were read, by the end of their signatures: to compare one takes a tenth of hashing it."""

KEY_CERT_SIGN = 0x0400
CRL_SIGN = 0x0200
DIGITAL_SIGNATURE = 0x8000
KEY_ENCIPHERMENT = 0x2000
DATA_ENCIPHERMENT = 0x1000
KEY_AGREEMENT = 0x0800


class Crl(NamedTuple):
    """One certificate revocation list. Its entries are read when they are asked for: real lists have thousands.

    ``partial``: a critical extension limits what it speaks of (a delta, CA certificates only), or is unknown.
    ``places``: where it is published, each a GeneralName in DER, if it says: a CA may have a list at each of several.
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
    places: tuple[bytes, ...] = ()

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
        if self.entries is None:
            return None
        size = (serial if serial >= 0 else ~serial).bit_length() // 8 + 1
        if size < 0x80:  # nearly always: then its element can be looked for without reading the entries
            element = bytes((der.INTEGER, size)) + serial.to_bytes(size, "big", signed=True)
            if element not in self.entries.value:
                return None
        return self.revoked.get(serial)

    def speaks_of(self, certificate: Certificate) -> bool:
        """Whether it would list ``certificate``, were that revoked: it is whole, and one of those that the certificate
        says to look in, where both say which (RFC 5280 section 6.3.3 (b) (2) (i))."""
        points = certificate.extension(CRL_DISTRIBUTION)
        elsewhere = bool(self.places) and points is not None and not any(name in points.value for name in self.places)
        return not self.partial and not elsewhere


def _algorithm(raw: bytes, name: str, offset: int) -> Algorithm:
    found = _algorithm_of(raw)
    if found is None:
        raise MalformedEvidence(name, offset, "an algorithm and its parameters", raw[:32].hex())
    return found


@lru_cache(maxsize=64)
def _algorithm_of(raw: bytes) -> Algorithm | None:
    """The certificates of one vendor share a few algorithms; None for what is no AlgorithmIdentifier."""
    try:
        parts = der.first(der.one(raw, der.SEQUENCE, "algorithm"), 3, "algorithm")
        if not 1 <= len(parts) <= 2:
            return None
        return Algorithm(der.oid(parts[0], "algorithm"), parts[1].raw if len(parts) == 2 else b"")
    except MalformedEvidence:
        return None


def parse_public_key(data: bytes) -> PublicKey:
    """A DER SubjectPublicKeyInfo that fills ``data``."""
    name = "subjectPublicKeyInfo"
    return _public_key(data, der.fills(data, der.SEQUENCE, name), 0, len(data))


def _public_key(data: bytes, inner: int, start: int, end: int) -> PublicKey:
    """The SubjectPublicKeyInfo at ``start`` to ``end``, whose value begins at ``inner``."""
    name = "subjectPublicKeyInfo"
    _, stop = der.span(data, inner, end, der.SEQUENCE, f"{name}.algorithm")
    algorithm = _algorithm(data[inner:stop], f"{name}.algorithm", inner)
    bits, last = der.span(data, stop, end, der.BIT_STRING, "subjectPublicKey")
    if last != end:
        raise MalformedEvidence(name, last, "two elements", "more")
    return PublicKey(algorithm, der.whole(data[bits:end], "subjectPublicKey", stop), data[start:end])


def _extensions(data: bytes, start: int, end: int, name: str) -> tuple[Extension, ...]:
    """The extensions whose SEQUENCE fills ``start`` to ``end``."""
    item, last = der.span(data, start, end, der.SEQUENCE, name)
    if last != end:
        raise MalformedEvidence(name, last, "one sequence of extensions", "more")
    found: dict[str, Extension] = {}
    while item < end:
        oid, critical, value, stop = _short_extension(data, item, end) or _extension(data, item, end, name)
        identifier = der.dotted(oid, name, item + 2)
        if identifier in found:
            raise MalformedEvidence(name, item, "distinct extensions", f"{identifier} twice")
        found[identifier] = der.made(Extension, (identifier, critical, data[value:stop], value))
        item = stop
    return tuple(found.values())


_Found: TypeAlias = tuple[bytes, bool, int, int]
"""Identifier, whether it is critical, where the value begins and where it ends, which is where the extension ends."""


def _extension(data: bytes, item: int, end: int, name: str) -> _Found:
    """The extension at ``item``."""
    start, stop = der.span(data, item, end, der.SEQUENCE, name)
    oid, value = der.span(data, start, stop, der.OID, name)
    identifier, critical = data[oid:value], False
    if data.startswith(_TRUE, value):
        critical, value = True, value + len(_TRUE)
    elif data.startswith(_FALSE, value):  # a DEFAULT that DER leaves out (X.690 section 11.5), and issuers do not
        value += len(_FALSE)
    begin, value = der.span(data, value, stop, der.OCTET_STRING, name)
    if value != stop:
        raise MalformedEvidence(name, item, "an id, a flag and a value", data[item:stop].hex()[:60])
    return identifier, critical, begin, stop


def _short_extension(data: bytes, item: int, end: int) -> _Found | None:
    """What :func:`_extension` says of one with one-byte lengths, as nearly all have, in a third of the time."""
    try:
        stop, value = item + 2 + data[item + 1], item + 4 + data[item + 3]
        oid = data[item + 4 : value]
        if critical := data.startswith(_TRUE, value):
            value += 3
        size = data[value + 1]
        if (
            data[item] == der.SEQUENCE
            and data[item + 2] == der.OID
            and data[value] == der.OCTET_STRING
            and value + 2 + size == stop <= end
            and stop - item < 0x82
        ):
            return oid, critical, value + 2, stop
    except IndexError:
        pass
    return None


_TRUE, _FALSE = bytes((der.BOOLEAN, 1, 0xFF)), bytes((der.BOOLEAN, 1, 0))


class _Envelope(NamedTuple):
    """What is signed stands at ``start`` to ``end``, its value begins at ``inner``; ``algorithm`` is raw DER."""

    start: int
    inner: int
    end: int
    algorithm: bytes
    signature: bytes


def _envelope(data: bytes, name: str, limit: int) -> _Envelope:
    if len(data) > limit:
        raise MalformedEvidence(name, 0, f"at most {limit} bytes", len(data))
    start, last = der.fills(data, der.SEQUENCE, name), len(data)
    inner, end = der.span(data, start, last, der.SEQUENCE, f"{name}.tbs")
    _, stop = der.span(data, end, last, der.SEQUENCE, f"{name}.signatureAlgorithm")
    bits, after = der.span(data, stop, last, der.BIT_STRING, f"{name}.signature")
    if after != last:
        raise MalformedEvidence(name, after, "three elements", "more")
    return _Envelope(start, inner, end, data[end:stop], der.whole(data[bits:after], f"{name}.signature", stop))


def _same_algorithm(data: bytes, position: int, envelope: _Envelope, name: str) -> int:
    """Where the algorithm inside what is signed ends; it must be the one outside (RFC 5280 section 4.1.1.2)."""
    _, stop = der.span(data, position, envelope.end, der.SEQUENCE, f"{name}.signature")
    if data[position:stop] != envelope.algorithm:
        raise MalformedEvidence(f"{name}.signature", position, "the outer algorithm", "another")
    return stop


def _instant(data: bytes, position: int, limit: int, field: str) -> tuple[datetime, int]:
    start, stop = der.head(data, position, limit, field)
    return der.instant(data[position], data[start:stop], field, position), stop


def certificate(data: bytes) -> Certificate:
    """A DER certificate that fills ``data`` (at most 64 KiB).

    Raises:
        MalformedEvidence: not strict DER, not version 3 with extensions or version 1, duplicate extensions.
    """
    data = bytes(data)
    end = data[-_TELLING:]
    known = _known.get(end)
    if known is None or known.raw != data:
        known = _certificate(data)
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[end] = known
    return known


_VERSION_3 = bytes.fromhex("a003020102")
"""The field ``version`` of nearly all certificates."""


def _certificate(data: bytes) -> Certificate:
    # by positions, not by nodes: a first verification spends most of its own time here
    envelope = _envelope(data, "certificate", MAX_CERTIFICATE)
    start, position, end, algorithm, signature = envelope
    version = 0
    if data.startswith(_VERSION_3, position):
        version, position = 2, position + len(_VERSION_3)
    elif position < end and data[position] == 0xA0:
        inner, stop = der.span(data, position, end, 0xA0, "version")
        version = der.unsigned(der.one(data[inner:stop], der.INTEGER, "version", inner), "version", 2)
        position = stop
    inner, stop = der.span(data, position, end, der.INTEGER, "serialNumber")
    serial = der.signed(data[inner:stop], "serialNumber", position)
    issuer = _same_algorithm(data, stop, envelope, "tbsCertificate")
    _, validity = der.span(data, issuer, end, der.SEQUENCE, "issuer")
    inner, subject = der.span(data, validity, end, der.SEQUENCE, "validity")
    not_before, inner = _instant(data, inner, subject, "notBefore")
    not_after, inner = _instant(data, inner, subject, "notAfter")
    if inner != subject:
        raise MalformedEvidence("validity", validity, "two times", "more")
    _, spki = der.span(data, subject, end, der.SEQUENCE, "subject")
    inner, rest = der.span(data, spki, end, der.SEQUENCE, "subjectPublicKeyInfo")
    return Certificate(
        raw=data,
        tbs=data[start:end],
        serial=serial,
        issuer=data[issuer:validity],
        subject=data[subject:spki],
        not_before=not_before,
        not_after=not_after,
        key=_public_key(data, inner, spki, rest),
        extensions=_optional(data, rest, end, version),
        algorithm=_algorithm(algorithm, "certificate.signatureAlgorithm", end),
        signature=signature,
    )


def _optional(data: bytes, position: int, end: int, version: int) -> tuple[Extension, ...]:
    """What follows the key in a certificate: unique ids, of no use here, and the extensions of version 3."""
    extensions: tuple[Extension, ...] = ()
    while position < end:
        tag = data[position]
        start, stop = der.span(data, position, end, tag, "tbsCertificate")
        if tag == 0xA3 and version == 2 and not extensions:
            extensions = _extensions(data, start, stop, "extensions")
        elif tag not in (0x81, 0x82, 0xA1, 0xA2):
            raise MalformedEvidence("tbsCertificate", position, "unique ids or extensions", f"tag 0x{tag:02x}")
        position = stop
    return extensions


def crl(data: bytes) -> Crl:
    """A DER certificate revocation list that fills ``data`` (at most 4 MiB)."""
    data = bytes(data)
    envelope = _envelope(data, "crl", MAX_CRL)
    start, position, end, algorithm, signature = envelope
    if data[position : position + 1] == bytes((der.INTEGER,)):
        _, position = der.span(data, position, end, der.INTEGER, "version")
    issuer = _same_algorithm(data, position, envelope, "tbsCertList")
    _, position = der.span(data, issuer, end, der.SEQUENCE, "issuer")
    name = data[issuer:position]
    this_update, position = _instant(data, position, end, "thisUpdate")
    next_update = None
    if data[position : position + 1] in _TIMES and position < end:
        next_update, position = _instant(data, position, end, "nextUpdate")
    entries = None
    if data[position : position + 1] == bytes((der.SEQUENCE,)) and position < end:
        entries, position = der.read(data[:end], position, 0, "revokedCertificates")
    number, partial, places = _said(data, position, end)
    return Crl(
        raw=data,
        tbs=data[start:end],
        issuer=name,
        this_update=this_update,
        next_update=next_update,
        entries=entries,
        number=number,
        algorithm=_algorithm(algorithm, "crl.signatureAlgorithm", end),
        signature=signature,
        partial=partial,
        places=places,
    )


_TIMES = (bytes((der.UTC_TIME,)), bytes((der.GENERALIZED_TIME,)))


def _said(data: bytes, position: int, end: int) -> tuple[int | None, bool, tuple[bytes, ...]]:
    """The cRLNumber among the extensions of a list (RFC 5280 section 5.2.3), which stand at ``position`` if any do;
    whether another, critical, says that the list is partial; and where it is published."""
    number, partial, places = None, False, tuple[bytes, ...]()
    while position < end:
        start, position = der.span(data, position, end, 0xA0, "crlExtensions")
        for item in _extensions(data, start, position, "crlExtensions"):
            if item.oid == "2.5.29.20":
                number = der.integer(der.one(item.value, der.INTEGER, "cRLNumber", item.offset), "cRLNumber")
            elif item.critical:
                places = _places(item)
                partial = partial or not places
    return number, partial, places


def _places(item: Extension) -> tuple[bytes, ...]:
    """Where a list is published, if a critical CRL extension says that and no more (RFC 5280 section 5.2.5): the
    fullName of the only field of an IssuingDistributionPoint. Nothing for any other."""
    name = "issuingDistributionPoint"
    if item.oid != "2.5.29.28":
        return ()
    fields = der.children(der.one(item.value, der.SEQUENCE, name, item.offset), name)
    names = der.children(fields[0], name) if [field.tag for field in fields] == [0xA0] else []
    return tuple(place.raw for place in der.children(names[0], name)) if [item.tag for item in names] == [0xA0] else ()


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
    relative, limit = der.fills(raw, der.SEQUENCE, "Name"), len(raw)
    found = []
    while relative < limit:
        pairs, relative = _short_attribute(raw, relative, limit) or _relative(raw, relative, limit)
        found += pairs
    return found


_Pairs: TypeAlias = list[tuple[bytes, bytes]]


def _relative(raw: bytes, position: int, limit: int) -> tuple[_Pairs, int]:
    """The attributes of the RelativeDistinguishedName at ``position``, and where it ends."""
    attribute, stop = der.span(raw, position, limit, der.SET, "RDN")
    found = []
    while attribute < stop:
        start, end = der.span(raw, attribute, stop, der.SEQUENCE, "attribute")
        kind, value = der.span(raw, start, end, der.OID, "attribute")
        text, last = der.head(raw, value, end, "attribute")
        if last != end:
            raise MalformedEvidence("attribute", value, "a type and a value", raw[start:end].hex()[:60])
        found.append((raw[kind:value], raw[text:end]))
        attribute = end
    return found, stop


def _short_attribute(raw: bytes, at: int, limit: int) -> tuple[_Pairs, int] | None:
    """What :func:`_relative` says of one attribute with one-byte lengths, as nearly all are, in a third of the time."""
    try:
        stop, value = at + 2 + raw[at + 1], at + 6 + raw[at + 5]
        if (
            raw[at] == der.SET
            and raw[at + 2] == der.SEQUENCE
            and raw[at + 4] == der.OID
            and at + 4 + raw[at + 3] == stop == value + 2 + raw[value + 1] <= limit
            and stop - at < 0x82
            and raw[value] & 0x1F != 0x1F
        ):
            return [(raw[at + 6 : value], raw[value + 2 : stop])], stop
    except IndexError:
        pass
    return None


def name(raw: bytes) -> tuple[tuple[str, str], ...]:
    """A DER Name as ordered pairs of dotted attribute type and text."""
    pairs = _attributes(raw)
    return tuple((der.dotted(kind, "attribute", 0), text.decode("utf-8", "replace")) for kind, text in pairs)


@lru_cache(maxsize=512)
def common_name(raw: bytes) -> str:
    """The last common name of a DER Name, or the empty string, as of a Name that cannot be read: a stranger among the
    certificates is passed over, not the end of all."""
    try:
        return read_common_name(raw)
    except MalformedEvidence:
        return ""


@lru_cache(maxsize=512)
def read_common_name(raw: bytes) -> str:
    """The same of a Name that counts.

    Raises:
        MalformedEvidence: it cannot be read.
    """
    texts = [text for kind, text in _attributes(raw) if kind == _COMMON_NAME]
    return texts[-1].decode("utf-8", "replace") if texts else ""


def rfc4514(raw: bytes) -> str:
    """A DER Name for people: ``CN=…,O=…``."""
    return ",".join(f"{_SHORT.get(oid, oid)}={text}" for oid, text in reversed(name(raw)))
