"""Chains: from a leaf, over certificates in any order, to a key that an anchor pins (RFC 5280 section 6, restricted).

Checked on every link: issuer and subject names equal as bytes, signature, validity at the time asked about, cA and
pathLenConstraint, keyCertSign where KeyUsage is present, no unknown critical extension. Extended key usage is not
consulted: it speaks of TLS roles, which attestation certificates do not have.
"""

from __future__ import annotations

import re
from _thread import allocate_lock
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki import keys
from fastness.pki.anchors import Anchor, Anchors
from fastness.pki.published_table import ROWS
from fastness.wire import der, x509
from fastness.wire.der import zulu

MAX_CHAIN = 6
"""Longest chain of any vendor is NVIDIA's: five certificates."""

MAX_ALIKE = 64
"""Most certificates of one name that are tried as an issuer."""

ISSUERS, CA_ISSUERS = "1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.48.2"
"""Authority information access, and in it the address of the issuer's certificate (RFC 5280 section 4.2.2.1)."""

URI, MAX_ADDRESS = 0x86, 300
"""uniformResourceIdentifier of a GeneralName (RFC 5280 section 4.2.1.6), and how much of one is told."""

MAX_REMEMBERED = 4096
"""Longest signed message that is remembered, in bytes: certificates are shorter, long revocation lists are not."""

_UNDERSTOOD = {x509.BASIC_CONSTRAINTS, x509.KEY_USAGE, x509.EXTENDED_KEY_USAGE, x509.SUBJECT_ALT_NAME}


class SignatureMemo:
    """Remembers which (key, algorithm, message, signature) held, so that shared issuers are verified once.

    Only successes are kept, under the very bytes that decide the answer: an entry cannot speak for another root.
    Bounded in number and, by passing over long messages, in bytes; validity dates and revocation are not its business
    and are checked on every call.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._held: OrderedDict[Hashable, None] = OrderedDict()
        self._limit = limit
        self._lock = allocate_lock()

    def verify(self, key: x509.PublicKey, algorithm: x509.Algorithm, signature: bytes, data: bytes) -> bool:
        """Like :func:`fastness.pki.keys.verify` for a SubjectPublicKeyInfo, remembering successes."""
        if len(data) > MAX_REMEMBERED:
            return keys.verify(keys.load(key), algorithm, signature, data)
        said = (key.raw, algorithm.oid, algorithm.parameters, signature, data)
        with self._lock:
            if said in self._held:
                self._held.move_to_end(said)
                return True
        if not keys.verify(keys.load(key), algorithm, signature, data):
            return False
        with self._lock:
            self._held[said] = None
            while len(self._held) > self._limit:
                self._held.popitem(last=False)
        return True


memo = SignatureMemo()


@cache
def _published() -> dict[str, str]:
    """The SHA-256 of the key that signed each published certificate, by the certificate's, both in hexadecimal."""
    return {row["certificate"]: row["issuer"] for row in ROWS}


class Chain(NamedTuple):
    """A verified chain: ``certificates`` from the leaf to the last one below or at the root, and who vouches."""

    certificates: tuple[x509.Certificate, ...]
    anchor: Anchor

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that was asked about."""
        return self.certificates[0]

    def anchor_certificate(self, pool: Iterable[x509.Certificate]) -> x509.Certificate | None:
        """The anchor's certificate, which its lists name as their issuer; of an anchor that is a bare key, one in
        ``pool`` of that very key."""
        if self.anchor.certificate is not None or self.anchor.key is None:
            return self.anchor.certificate
        key, subject = self.anchor.key.raw, self.certificates[-1].issuer
        found = [item for item in pool if item.key.raw == key and item.subject == subject]
        # the key of a stranger's certificate is the anchor's, but what else it says is nobody's word
        return next((item for item in found if _signs(item, item)), found[0] if found else None)

    def links(self, pool: Iterable[x509.Certificate]) -> list[tuple[x509.Certificate, x509.Certificate | None]]:
        """Each certificate below the anchor with its issuer's, which its revocation is looked up by; None where the
        anchor is a bare key and no certificate of it lies in ``pool``."""
        known = self.certificates
        pairs: list[tuple[x509.Certificate, x509.Certificate | None]] = [*pairwise(known)]
        last = known[-1]
        if last.issuer != last.subject and keys.fingerprint(last.key) != self.anchor.spki:
            pairs.append((last, self.anchor_certificate(pool)))
        return pairs


def valid_at(certificate: x509.Certificate, at: datetime) -> bool:
    """Whether ``at`` lies within the certificate's validity, both ends included (RFC 5280 section 4.1.2.5)."""
    return certificate.not_before <= at <= certificate.not_after


def signed_by(certificate: x509.Certificate, issuer: x509.PublicKey) -> bool:
    """Whether ``issuer`` signed ``certificate``; of published ones the table knows (``published.toml``)."""
    known = _published().get(keys.sha256(certificate.raw).hex())
    if known is not None and known == keys.fingerprint(issuer):
        return True
    return memo.verify(issuer, certificate.algorithm, certificate.signature, certificate.tbs)


def build(
    leaf: x509.Certificate,
    pool: Iterable[x509.Certificate],
    anchors: Anchors,
    tee: str,
    *,
    at: datetime,
    extra_critical: Iterable[str] = (),
    understood: Callable[[x509.Certificate], None] | None = None,
) -> Chain:
    """The chain from ``leaf`` to an anchor of ``tee``, every link checked.

    Args:
        leaf: the certificate that signed the evidence.
        pool: other certificates, in any order; those that do not belong are ignored.
        anchors: the roots that count. A root certificate in ``pool`` counts only if an anchor pins its key.
        at: the time to judge validity at.
        extra_critical: further critical extensions the caller understands.
        understood: called with each certificate, to apply a vendor's own profile; raises what it likes.

    Raises:
        NotGenuine: check ``<tee>.chain`` (signature, names, constraints, unpinned root) or ``<tee>.validity``.
        MissingCollateral: an issuer is absent and no anchor carries it.
    """
    try:
        return _build(leaf, pool, anchors, tee, at, _UNDERSTOOD | set(extra_critical), understood)
    except MalformedEvidence as error:  # a key or an extension inside a certificate that parsed as a whole
        raise NotGenuine(f"{tee}.chain", f"a certificate of the chain is unusable: {error.what}") from None


def _build(
    leaf: x509.Certificate,
    pool: Iterable[x509.Certificate],
    anchors: Anchors,
    tee: str,
    at: datetime,
    critical: set[str],
    understood: Callable[[x509.Certificate], None] | None,
) -> Chain:
    trusted = anchors.of(tee)
    given = (*(item.certificate for item in trusted if item.certificate is not None), *pool)
    candidates = [*{item.raw: item for item in given}.values()]  # roots come with every list of certificates
    path = [leaf]
    while True:
        current = path[-1]
        _usable(current, tee, at, critical)
        if understood is not None:
            understood(current)
        ends = current.issuer == current.subject
        anchor = _pinning(current, trusted) if ends or len(path) > 1 else None
        if anchor is not None:
            _self_consistent(current, anchor, tee)
            return Chain(tuple(path), anchor)
        bare = _anchored_issuer(current, trusted)
        if bare is not None:
            return Chain(tuple(path), bare)
        if ends:
            raise NotGenuine(
                f"{tee}.chain",
                f"root {x509.rfc4514(current.subject)!r} is not pinned",
                where=f"certificate {current.subject_cn}, public key sha-256 {keys.fingerprint(current.key)}",
                hint="name it with --anchors if you trust it; roots are never taken from the evidence",
            )
        if len(path) >= MAX_CHAIN:
            raise NotGenuine(f"{tee}.chain", f"chain is longer than {MAX_CHAIN} certificates")
        path.append(_issuer(current, candidates, trusted, tee, at, depth=len(path) - 1))


def _pinning(certificate: x509.Certificate, trusted: tuple[Anchor, ...]) -> Anchor | None:
    """The anchor that pins the key of ``certificate``: of several, one that is this certificate or the key alone."""
    digest = keys.fingerprint(certificate.key)
    found = [item for item in trusted if item.spki == digest]
    for item in found if len(found) > 1 else ():
        if item.certificate is None or item.certificate.raw == certificate.raw:
            return item
    return found[0] if found else None


def _usable(certificate: x509.Certificate, tee: str, at: datetime, critical: set[str]) -> None:
    x509.read_common_name(certificate.subject)
    if not valid_at(certificate, at):
        raise NotGenuine(
            f"{tee}.validity",
            f"certificate {certificate.subject_cn!r} is not valid at {zulu(at)}",
            where=f"valid {zulu(certificate.not_before)} to {zulu(certificate.not_after)}",
            hint="judge old evidence at its own time with --at; otherwise fetch a current certificate",
        )
    for item in certificate.extensions:
        if item.critical and item.oid not in critical:
            what = f"certificate {certificate.subject_cn!r} has an unknown critical extension {item.oid}"
            raise NotGenuine(f"{tee}.chain", what, where=f"byte {item.offset} of it")


def _self_consistent(root: x509.Certificate, anchor: Anchor, tee: str) -> None:
    """A root is signed by its own key, whatever issuer it names: else a pinned key could be dressed in an altered
    certificate. An intermediate that somebody named is not: it ends a chain as it was named, with its validity and its
    constraints."""
    named = anchor.certificate
    is_root = root.issuer == root.subject or anchor.key is None or (named and named.issuer == named.subject)
    if is_root and not signed_by(root, root.key):
        raise NotGenuine(f"{tee}.chain", f"root {root.subject_cn!r} is not signed by its own key", where=_where(root))
    if named is not None and not is_root and root.raw != named.raw:
        raise NotGenuine(
            f"{tee}.chain",
            f"certificate {root.subject_cn!r} has the key of an anchor, and is another certificate than was named",
            where=_where(root),
            hint="name this certificate, or its bare key, with --anchors",
        )


def _where(certificate: x509.Certificate) -> str:
    return f"certificate {certificate.subject_cn}"


def _anchored_issuer(certificate: x509.Certificate, trusted: tuple[Anchor, ...]) -> Anchor | None:
    """An anchor given as a bare key that signed ``certificate``."""
    for item in trusted:
        if item.key is not None and item.certificate is None and signed_by(certificate, item.key):
            return item
    return None


def _address(certificate: x509.Certificate) -> str:
    """Where a certificate says that its issuer's is, or empty."""
    found = certificate.extension(ISSUERS)
    try:
        entries = () if found is None else der.children(der.one(found.value, der.SEQUENCE, "aia"), "aia")
        for kind, name in (der.children(entry, "aia") for entry in entries):
            address = name.value[:MAX_ADDRESS].decode("ascii")
            if der.oid(kind) == CA_ISSUERS and name.tag == URI and re.fullmatch(r"https?://[!-~]+", address):
                return address
    except (MalformedEvidence, ValueError):  # an aid to whoever reads the error, no part of the chain
        return ""
    return ""


def _issuer(
    child: x509.Certificate,
    pool: list[x509.Certificate],
    trusted: tuple[Anchor, ...],
    tee: str,
    at: datetime,
    depth: int,
) -> x509.Certificate:
    named = [item for item in pool if item.subject == child.issuer and item.raw != child.raw]
    if not named:
        what, address = f"certificate of {x509.rfc4514(child.issuer)}", _address(child)
        hint = f"the certificate says that it is at {address}" if address else ""
        raise MissingCollateral(what, check=f"{tee}.chain", where=_where(child), hint=hint)
    for item in named if len(named) == 1 else _likely(child, named[:MAX_ALIKE], pool, trusted, at):
        if signed_by(child, item.key):
            _may_issue(item, tee, depth)
            return item
    raise NotGenuine(
        f"{tee}.chain",
        f"certificate {child.subject_cn!r} is not signed by {x509.rfc4514(child.issuer)!r}",
        where=_where(child),
        hint="the chain mixes certificates of different issuers or was altered; get the one that belongs to this leaf",
    )


def _likely(
    child: x509.Certificate,
    named: list[x509.Certificate],
    pool: list[x509.Certificate],
    trusted: tuple[Anchor, ...],
    at: datetime,
) -> list[x509.Certificate]:
    """Of several issuers by name those whose key signed ``child``; of several with one key (a CA certificate issued
    anew, or dressed up by a stranger) first the one that is an anchor, then one that is whole, itself signed, and
    valid."""
    signers = [item for item in named if _signs(item, child)]
    if len(signers) < 2:
        return signers
    above, own = {item.issuer for item in signers}, {item.certificate.raw for item in trusted if item.certificate}
    elders = [item for item in pool if item.subject in above][:MAX_ALIKE]

    def doubts(item: x509.Certificate) -> tuple[bool, bool, bool, bool]:
        held = any(_signs(elder, item) for elder in elders) or _anchored_issuer(item, trusted) is not None
        return item.raw not in own, not _whole(item), not held, not valid_at(item, at)

    return sorted(signers, key=doubts)


def _signs(issuer: x509.Certificate, child: x509.Certificate) -> bool:
    try:
        return issuer.subject == child.issuer and signed_by(child, issuer.key)
    except MalformedEvidence:  # a key that cannot be used
        return False


def _whole(issuer: x509.Certificate) -> bool:
    """Whether it can be read as an issuer, and is one."""
    try:
        usage = issuer.key_usage
        return issuer.is_ca and (usage is None or bool(usage & x509.KEY_CERT_SIGN))
    except MalformedEvidence:
        return False


def _may_issue(issuer: x509.Certificate, tee: str, depth: int) -> None:
    limit = issuer.path_length
    if limit is None:
        raise NotGenuine(f"{tee}.chain", f"certificate {issuer.subject_cn!r} is not a CA", where=_where(issuer))
    if depth > limit:
        raise NotGenuine(
            f"{tee}.chain",
            f"certificate {issuer.subject_cn!r} allows {limit} CAs below it, has {depth}",
            where=_where(issuer),
        )
    usage = issuer.key_usage
    if usage is not None and not usage & x509.KEY_CERT_SIGN:
        raise NotGenuine(
            f"{tee}.chain", f"certificate {issuer.subject_cn!r} may not sign certificates", where=_where(issuer)
        )
