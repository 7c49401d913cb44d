"""OCSP responses (RFC 6960): read, matched to a certificate by CertID, judged at a time, signed by who may speak.

A response counts only if the certificate's own issuer signed it, or a responder that this issuer certified for nothing
but that (extended key usage OCSPSigning), and ``at`` lies between thisUpdate and nextUpdate. What is revoked is so at
every time from the earlier of its thisUpdate and the date of the revocation, as with CRLs. The nonce extension plays
no part: responses are kept and judged later. What is missing is no error here: the verifier turns it into the finding
``<tee>.revocation`` (not checked).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache

from fastness.errors import MalformedEvidence, NotGenuine
from fastness.pki import chain
from fastness.pki.crl import Lookup
from fastness.wire import der, x509
from fastness.wire.der import zulu

MAX_OCSP = 64 * 1024
BASIC = "1.3.6.1.5.5.7.48.1.1"
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
HASHES = {
    "1.3.14.3.2.26": "sha1",  # names certificates only, and what RFC 5019 responders still speak
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_HOLD = 6
"""CRLReason certificateHold (RFC 5280 section 5.3.1)."""


class State(Enum):
    """certStatus, with revoked told apart from on hold."""

    GOOD = "good"
    REVOKED = "revoked"
    HOLD = "on hold"
    UNKNOWN = "unknown to the responder"


@dataclass(frozen=True, slots=True)
class Single:
    """A SingleResponse: CertID (``digest`` as hashlib names it, hashes of the issuer, serial number) and state;
    ``since`` is the revocationTime, None where nothing is revoked or on hold."""

    digest: str
    issuer_name: bytes
    issuer_key: bytes
    serial: int
    state: State
    since: datetime | None
    this_update: datetime
    next_update: datetime | None

    def names(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        """Whether the CertID is that of ``certificate``, issued by ``issuer``."""
        return (
            self.serial == certificate.serial
            and self.issuer_name == hashlib.new(self.digest, issuer.subject).digest()
            and self.issuer_key == hashlib.new(self.digest, issuer.key.bits).digest()
        )


@dataclass(frozen=True, slots=True)
class Response:
    """A BasicOCSPResponse: ``responder`` is the raw Name, or the SHA-1 of the key, of who says it signed."""

    tbs: bytes
    responder: bytes
    by_key: bool
    singles: tuple[Single, ...]
    algorithm: x509.Algorithm
    signature: bytes
    certificates: tuple[x509.Certificate, ...]


@lru_cache(maxsize=256)
def read(data: bytes) -> Response:
    """A DER OCSPResponse of at most 64 KiB with status successful.

    Raises:
        MalformedEvidence: another status or response type, or not RFC 6960 section 4.2.1.
    """
    if len(data) > MAX_OCSP:
        raise MalformedEvidence("OCSPResponse", 0, f"at most {MAX_OCSP} bytes", len(data))
    parts = _fields(der.one(data, der.SEQUENCE, "OCSPResponse"), "OCSPResponse", 2, 2)
    if der.expect(parts[0], der.ENUMERATED, "responseStatus").value != b"\0":
        raise MalformedEvidence("responseStatus", parts[0].offset, "successful", parts[0].value.hex())
    inner = _fields(_explicit(parts[1], 0xA0, "responseBytes"), "responseBytes", 2, 2)
    if der.oid(inner[0], "responseType") != BASIC:
        raise MalformedEvidence("responseType", inner[0].offset, "id-pkix-ocsp-basic", inner[0].value.hex()[:40])
    body = der.expect(inner[1], der.OCTET_STRING, "response")
    basic = _fields(der.one(body.value, der.SEQUENCE, "BasicOCSPResponse", body.inner), "BasicOCSPResponse", 3, 4)
    certificates: tuple[x509.Certificate, ...] = ()
    if len(basic) == 4:
        listed = der.children(_explicit(basic[3], 0xA0, "certs"), "certs")
        if len(listed) > chain.MAX_CHAIN:
            raise MalformedEvidence("certs", basic[3].offset, f"at most {chain.MAX_CHAIN}", len(listed))
        certificates = tuple(x509.certificate(item.raw) for item in listed)
    algorithm = _fields(der.expect(basic[1], der.SEQUENCE, "signatureAlgorithm"), "signatureAlgorithm", 1, 2)
    by_key, responder, singles = _data(basic[0])
    return Response(
        basic[0].raw,
        responder,
        by_key,
        singles,
        x509.Algorithm(der.oid(algorithm[0]), algorithm[1].raw if len(algorithm) == 2 else b""),
        der.bits(basic[2], "signature"),
        certificates,
    )


def _data(node: der.Node) -> tuple[bool, bytes, tuple[Single, ...]]:
    """ResponseData: whether the responder is named by key, how, and the single responses."""
    parts = _fields(der.expect(node, der.SEQUENCE, "ResponseData"), "ResponseData", 3, 5)
    if parts[0].tag == 0xA0:
        der.unsigned(der.one(parts[0].value, der.INTEGER, "version", parts[0].inner), "version", 0)
        parts = parts[1:]
    if not 3 <= len(parts) <= 4:
        raise MalformedEvidence("ResponseData", node.offset, "responder, time, responses", f"{len(parts)} elements")
    if parts[0].tag == 0xA1:
        by_key, responder = False, der.one(parts[0].value, der.SEQUENCE, "responderID", parts[0].inner).raw
    else:
        inner = der.expect(parts[0], 0xA2, "responderID")
        by_key, responder = True, der.one(inner.value, der.OCTET_STRING, "responderID", inner.inner).value
    der.time(der.expect(parts[1], der.GENERALIZED_TIME, "producedAt"), "producedAt")
    if len(parts) == 4:
        der.expect(parts[3], 0xA1, "responseExtensions")
    singles = der.children(der.expect(parts[2], der.SEQUENCE, "responses"), "responses")
    return by_key, responder, tuple(_single(item) for item in singles)


def _single(node: der.Node) -> Single:
    parts = _fields(der.expect(node, der.SEQUENCE, "SingleResponse"), "SingleResponse", 3, 5)
    identity = _fields(der.expect(parts[0], der.SEQUENCE, "CertID"), "CertID", 4, 4)
    algorithm = _fields(der.expect(identity[0], der.SEQUENCE, "CertID.hashAlgorithm"), "CertID.hashAlgorithm", 1, 2)
    digest = HASHES.get(der.oid(algorithm[0], "CertID.hashAlgorithm"))
    if digest is None:
        raise MalformedEvidence(
            "CertID.hashAlgorithm", identity[0].offset, "SHA-1 or SHA-2", identity[0].raw.hex()[:40]
        )
    next_update = None
    for extra in parts[3:]:
        if extra.tag == 0xA0 and next_update is None:
            next_update = der.time(der.one(extra.value, der.GENERALIZED_TIME, "nextUpdate", extra.inner), "nextUpdate")
        else:
            # critical extensions would have to be understood (RFC 6960 section 4.4): none is used with certificates
            der.expect(extra, 0xA1, "singleExtensions")
    return Single(
        digest,
        der.expect(identity[1], der.OCTET_STRING, "issuerNameHash").value,
        der.expect(identity[2], der.OCTET_STRING, "issuerKeyHash").value,
        der.integer(identity[3], "CertID.serialNumber"),
        *_state(parts[1]),
        der.time(der.expect(parts[2], der.GENERALIZED_TIME, "thisUpdate"), "thisUpdate"),
        next_update,
    )


def _state(node: der.Node) -> tuple[State, datetime | None]:
    """certStatus and revocationTime."""
    if node.tag == 0x80 and not node.value:
        return State.GOOD, None
    if node.tag == 0x82 and not node.value:
        return State.UNKNOWN, None
    parts = _fields(der.expect(node, 0xA1, "certStatus"), "RevokedInfo", 1, 2)
    since = der.time(der.expect(parts[0], der.GENERALIZED_TIME, "revocationTime"), "revocationTime")
    if len(parts) == 2:
        inner = der.expect(parts[1], 0xA0, "revocationReason")
        reason = der.one(inner.value, der.ENUMERATED, "revocationReason", inner.inner).value
        return State.HOLD if reason == bytes((_HOLD,)) else State.REVOKED, since
    return State.REVOKED, since


def _explicit(node: der.Node, tag: int, field: str) -> der.Node:
    return der.one(der.expect(node, tag, field).value, der.SEQUENCE, field, node.inner)


def _fields(node: der.Node, field: str, least: int, most: int) -> list[der.Node]:
    parts = der.children(node, field)
    if not least <= len(parts) <= most:
        raise MalformedEvidence(field, node.offset, f"{least} to {most} elements", len(parts))
    return parts


def look_up(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    responses: Iterable[Response],
    tee: str,
    *,
    at: datetime,
) -> Lookup:
    """What ``responses`` say of ``certificate``; those on other certificates are passed over.

    Raises:
        NotGenuine: check ``<tee>.revocation``: revoked or on hold; or no response on this certificate, of those there
            are, is signed by who may speak for its issuer.
    """
    subject, until, unknown = certificate.subject_cn, None, ""
    nothing = why = f"no OCSP response on {certificate.subject_cn!r} was supplied"
    forged: NotGenuine | None = None
    for response in responses:
        for single in (item for item in response.singles if item.names(certificate, issuer)):
            try:
                problem = _authentic(response, issuer, tee, subject, at) or _current(single, subject, at)
            except NotGenuine as error:
                forged = error
                continue
            if single.since is not None and (not problem or _withdrawn(single, single.since, at)):
                raise NotGenuine(
                    f"{tee}.revocation",
                    f"certificate {subject!r} (serial {certificate.serial:x}) is {single.state.value}"
                    f" since {zulu(single.since)}",
                    hint="do not use this device: its vendor withdrew the certificate",
                )
            if problem:
                why = problem
            elif single.state is State.UNKNOWN:
                unknown = f"certificate {subject!r} is {single.state.value}"
            else:
                until = single.next_update
    if forged is not None and until is None and (unknown or why) is nothing:
        raise forged
    return Lookup(subject, checked=True, until=until) if until and not unknown else Lookup(subject, why=unknown or why)


def _withdrawn(single: Single, since: datetime, at: datetime) -> bool:
    """Whether a word that does not cover ``at`` counts then: what is revoked stays so, what is on hold may be released.
    A word from after ``at`` still says what was withdrawn before it."""
    if single.state is State.HOLD:
        return since <= at <= single.this_update
    return min(since, single.this_update) <= at


def _current(single: Single, subject: str, at: datetime) -> str:
    if single.next_update is not None and single.this_update <= at <= single.next_update:
        return ""
    until = zulu(single.next_update) if single.next_update else "no nextUpdate"
    return f"the OCSP response on {subject!r} ({zulu(single.this_update)} to {until}) does not cover the time"


def _authentic(response: Response, issuer: x509.Certificate, tee: str, subject: str, at: datetime) -> str:
    """Empty when who signed may speak for ``issuer`` now; why not when it may no longer or not yet.

    Raises:
        NotGenuine: it was not signed by the issuer, nor by a responder of the issuer.
    """
    for candidate in (issuer, *response.certificates):
        own = hashlib.sha1(candidate.key.bits, usedforsecurity=False).digest() if response.by_key else candidate.subject
        if own != response.responder or not _speaks(candidate, issuer):
            continue
        if chain.memo.verify(candidate.key, response.algorithm, response.signature, response.tbs):
            if candidate is not issuer and not chain.valid_at(candidate, at):
                return f"the OCSP responder {candidate.subject_cn!r} has a certificate not valid at the time"
            return ""
    raise NotGenuine(
        f"{tee}.revocation",
        f"an OCSP response on {subject!r} is not signed by its issuer, nor by a responder of its issuer",
        hint="fetch the response again from the vendor",
    )


def _speaks(candidate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """RFC 6960 section 4.2.2.2: the issuer itself, or what it issued, directly, to sign OCSP responses."""
    if candidate.raw == issuer.raw:
        return True
    purpose = candidate.extension(x509.EXTENDED_KEY_USAGE)
    if candidate.issuer != issuer.subject or purpose is None:
        return False
    purposes = der.children(der.one(purpose.value, der.SEQUENCE, "extKeyUsage", purpose.offset), "extKeyUsage")
    usage = candidate.key_usage
    return (
        OCSP_SIGNING in [der.oid(item) for item in purposes]
        and (usage is None or bool(usage & x509.DIGITAL_SIGNATURE))
        and chain.signed_by(candidate, issuer.key)
    )
