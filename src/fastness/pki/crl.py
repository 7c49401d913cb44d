"""Certificate revocation lists: looked up for issuers, judged at a time, signed by the CA that speaks for the serial.

A CRL counts only if its issuer's key signed it. It clears a certificate only where ``at`` lies between thisUpdate and
nextUpdate; what it lists is revoked at every time from the earlier of its thisUpdate and the date of the revocation.
A missing CRL is not an error here: the verifier turns it into the finding ``<tee>.revocation`` (not checked).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from fastness.errors import MalformedEvidence, NotGenuine
from fastness.pki.chain import memo
from fastness.wire import x509
from fastness.wire.der import zulu


class Lookup(NamedTuple):
    """What the lists said of one certificate: ``checked`` with a good list, or why not."""

    subject: str
    checked: bool = False
    why: str = ""
    until: datetime | None = None


def look_up(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Iterable[x509.Crl],
    tee: str,
    *,
    at: datetime,
) -> Lookup:
    """Looks ``certificate`` up in the lists of its ``issuer``.

    Raises:
        NotGenuine: check ``<tee>.revocation``: the certificate is on a good list; or no list in this issuer's name
            carries a signature that holds (somebody lies).
    """
    subject = certificate.subject_cn
    named = [item for item in lists if item.issuer == issuer.subject]
    if not named:
        return Lookup(subject, why=f"no CRL of {issuer.subject_cn!r} was supplied")
    good = [item for item in named if _authentic(item, issuer)]
    if not good:
        raise NotGenuine(
            f"{tee}.revocation",
            f"a CRL that names {issuer.subject_cn!r} is not signed by it",
            where=f"CRL of {issuer.subject_cn}",
            hint="fetch the CRL again from the vendor",
        )
    why, until = "", None
    for item in sorted(good, key=lambda entry: entry.this_update, reverse=True):
        since = _since(item, certificate.serial, tee)
        # a list from after the time asked about still says what was revoked before it
        if since is not None and min(since, item.this_update) <= at:
            raise NotGenuine(
                f"{tee}.revocation",
                f"certificate {subject!r} (serial {certificate.serial:x}) is revoked since {zulu(since)}",
                where=f"CRL of {issuer.subject_cn}",
                hint="do not use this machine: its vendor withdrew the certificate",
            )
        if item.next_update is None or not item.this_update <= at <= item.next_update:
            end = zulu(item.next_update) if item.next_update else "no nextUpdate"
            span = f"{zulu(item.this_update)} to {end}"
            why = f"the CRL of {issuer.subject_cn!r} ({span}) does not cover the time"
        elif not item.speaks_of(certificate):  # what it lists is revoked; what it does not list may be on another
            why = f"the CRL of {issuer.subject_cn!r} speaks of some certificates only"
        elif until is None:
            until = item.next_update
    return Lookup(subject, checked=True, until=until) if until is not None else Lookup(subject, why=why)


def _since(item: x509.Crl, serial: int, tee: str) -> datetime | None:
    try:
        return item.revocation(serial)
    except MalformedEvidence as error:
        raise NotGenuine(f"{tee}.revocation", f"the CRL of {item.issuer_cn!r} is unusable: {error.what}") from None


def _authentic(item: x509.Crl, issuer: x509.Certificate) -> bool:
    usage = issuer.key_usage
    allowed = usage is None or bool(usage & x509.CRL_SIGN)
    return allowed and memo.verify(issuer.key, item.algorithm, item.signature, item.tbs)
