"""Certificate requests and RA-TLS certificates that carry evidence: where it stands, and what it must be bound to.

=============================== ================================================================================
extension                       value
=============================== ================================================================================
2.23.133.5.4.9                  TCG DICE tagged evidence: CBOR tag over ``[evidence, claims buffer]`` (Gramine 1.8,
                                "interoperable RA-TLS"), or a CMW; report_data = SHA-256(claims buffer) and the
                                claims hold ``pubkey-hash``
1.3.6.1.5.5.7.1.35              CMW (draft-ietf-rats-msg-wrap)
1.2.840.113741.1337.6           the quote itself (Intel, Gramine before 1.8); report_data = SHA-256(public key)
1.3.6.1.4.1.58270.1.{1,2,3}     Enarx: DER with evidence and endorsements; SHA-256 (SGX) or SHA-384 (SNP) of the key
1.3.6.1.4.1.62397.1.*           dstack: OCTET STRING with the quote (.1); SHA-512("ratls-cert:" ‖ public key)
=============================== ================================================================================

The key is always the DER SubjectPublicKeyInfo. RA-TLS is read for interoperability, never as a gate (CVE-2026-33697).
"""

from __future__ import annotations

from fastness.collateral.heap import Carrier
from fastness.errors import MalformedEvidence
from fastness.pki import keys
from fastness.wire import der, x509

DICE, CMW_EXTENSION = "2.23.133.5.4.9", "1.3.6.1.5.5.7.1.35"
OIDS = (DICE, CMW_EXTENSION, "1.2.840.113741.1337.6", "1.3.6.1.4.1.58270.1.", "1.3.6.1.4.1.62397.1.")
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
MAX_REQUEST = 256 * 1024

_HASHES = {1: "sha256", 7: "sha384", 8: "sha512"}
"""IANA Named Information hash algorithms, as the claims buffer names them."""


def carries(oid: str) -> bool:
    """Whether extension ``oid`` carries evidence."""
    return any(oid == known or (known[-1] == "." and oid.startswith(known)) for known in OIDS)


def of_certificate(certificate: x509.Certificate) -> list[tuple[Carrier, bytes]]:
    """The extensions of a certificate that carry evidence, each with its carrier."""
    found = [(item.oid, item.value) for item in certificate.extensions if carries(item.oid)]
    if not found:
        return []
    # a certificate issued by somebody else is not proof of possession; TLS is. Only a self-issued one can be checked
    own = certificate.issuer == certificate.subject
    signed = not own or _holds(certificate.key, certificate.algorithm, certificate.signature, certificate.tbs)
    carrier = Carrier("certificate", certificate.key.raw, "", signed, raw=certificate.raw)
    return [(carrier._replace(oid=oid), value) for oid, value in found]


def of_request(data: bytes) -> list[tuple[Carrier, bytes]] | None:
    """The same for a PKCS#10 request (RFC 2986); None when ``data`` is not one. An honest request may carry none."""
    if len(data) > MAX_REQUEST:
        return None
    try:
        # what is no request may hold anything, millions of times
        top = der.first(der.one(data, der.SEQUENCE, "request"), 4, "request")
        info = der.first(der.expect(top[0], der.SEQUENCE, "request.info"), 5, "request.info")
        if len(top) != 3 or not 3 <= len(info) <= 4 or der.integer(info[0], "request.version") != 0:
            return None
        key = x509.parse_public_key(info[2].raw)
        algorithm = der.children(der.expect(top[1], der.SEQUENCE, "request.algorithm"), "request.algorithm")
        name = x509.Algorithm(der.oid(algorithm[0]), algorithm[1].raw if len(algorithm) > 1 else b"")
        signature = der.bits(top[2], "request.signature")
        extensions = _requested(info[3]) if len(info) == 4 else []
    except (MalformedEvidence, IndexError):
        return None
    signed = _holds(key, name, signature, top[0].raw)
    carrier = Carrier("request", key.raw, "", signed, raw=data)
    return [(carrier._replace(oid=oid), value) for oid, value in extensions if carries(oid)]


def _requested(attributes: der.Node) -> list[tuple[str, bytes]]:
    found = []
    for attribute in der.children(der.expect(attributes, 0xA0, "request.attributes"), "request.attributes"):
        parts = der.children(der.expect(attribute, der.SEQUENCE, "attribute"), "attribute")
        if der.oid(parts[0], "attribute") != EXTENSION_REQUEST:
            continue
        for values in der.children(der.expect(parts[1], der.SET, "attribute"), "attribute"):
            for item in der.children(values, "extensions"):
                fields = der.children(item, "extension")
                value = der.expect(fields[-1], der.OCTET_STRING, "extension").value
                found.append((der.oid(fields[0], "extension"), value))
    return found


def _holds(key: x509.PublicKey, algorithm: x509.Algorithm, signature: bytes, data: bytes) -> bool:
    try:
        return keys.verify(keys.load(key), algorithm, signature, data)
    except MalformedEvidence:
        return False


def tagged(value: bytes) -> tuple[bytes, bytes] | None:
    """DICE tagged evidence as (evidence, claims buffer); None when ``value`` is something else."""
    from fastness.wire import cbor

    try:
        item = cbor.decode(value)
    except MalformedEvidence:
        return None
    inner = item.value if isinstance(item, cbor.Tag) else None
    if isinstance(inner, list) and len(inner) == 2 and all(isinstance(part, bytes) for part in inner):
        return inner[0], inner[1]
    return None


def bound(carrier: Carrier, report_data: bytes) -> bool:
    """Whether evidence with ``report_data`` (zeros at the end do not count) speaks for the carrier's key."""
    import hashlib

    if carrier.claims:
        expected = [hashlib.sha256(carrier.claims).digest()] if _names_key(carrier) else []
    else:
        expected = [hashlib.new(name, carrier.spki).digest() for name in _HASHES.values()]
        expected.append(hashlib.sha512(b"ratls-cert:" + carrier.spki).digest())
    return any(_padded(digest, report_data) for digest in expected)


def _padded(value: bytes, report_data: bytes) -> bool:
    import hmac

    return len(value) <= len(report_data) and hmac.compare_digest(value.ljust(len(report_data), b"\0"), report_data)


def _names_key(carrier: Carrier) -> bool:
    import hashlib
    import hmac

    from fastness.wire import cbor

    try:
        claims = cbor.decode(carrier.claims)
        entry = claims.get("pubkey-hash") if isinstance(claims, dict) else None
        pair = cbor.decode(entry) if isinstance(entry, bytes) else entry
    except MalformedEvidence:
        return False
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], bytes):
        return False
    name = _HASHES.get(pair[0]) if isinstance(pair[0], int) else None
    return name is not None and hmac.compare_digest(hashlib.new(name, carrier.spki).digest(), pair[1])
