"""Verification of Nitro attestation documents (AWS nsm-api, docs/attestation_process.md section 3).

1. The protected header is exactly ``{alg: ES384}`` and the unprotected one empty: no other algorithm is spoken of.
2. The leaf chains to a pinned root, by signature, names, basicConstraints, pathLen, keyUsage and validity at ``at``;
   every key is P-384 and every signature ECDSA with SHA-384. Extended key usage (TLS roles) plays no part. AWS sends
   the root first; any order is accepted, since names and signatures alone decide.
3. The leaf signs and does not issue: no CA, digitalSignature.
4. Certificates on CRLs that were supplied; without them for those that name one: not checked.
5. The signature over the received bytes holds under the leaf's key.
6. The document was made while the leaf was valid, and not after ``at`` (allowing five minutes of skew).
7. The leaf was issued for the module that the document names.
8. The registers that every document of its kind has are there.

Time: certificates must be valid at ``at``, not at the document's own timestamp. A leaf lives three hours and AWS
withdraws nothing sooner, so a document that outlives its leaf is stale; to judge an old one, say so with its time.
The age at ``at`` is a claim; how old is too old, and whose nonce, is for the policy.

Debug mode (registers 0 to 2 all zero) is a claim and a note, not a lack of genuineness.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.genuine import Genuine, vouch
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki import keys
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.nitro import layout
from fastness.tee.nitro.endorse import find
from fastness.tee.nitro.evidence import Evidence
from fastness.wire import cose, x509
from fastness.wire.der import zulu

SKEW = timedelta(minutes=5)
"""How far the document's clock may run ahead of ours."""

_EPOCH, _MILLISECOND, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1), timedelta(seconds=1)
_ES384 = "1.2.840.10045.4.3.3"
"""ecdsa-with-SHA384 (RFC 5758 section 3.2)."""

_AGAIN = "ask for a new document; this one was made up or altered"


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Evidence]:
    """A genuine document, up to the AWS root in ``anchors``.

    Raises:
        NotGenuine: ``nitro.algorithm``, ``chain``, ``validity``, ``leaf``, ``revocation``, ``signature``,
            ``timestamp``, ``module-id`` or ``registers``.
        MissingCollateral: a CA certificate is in neither bundle nor collateral.
    """
    # (1) one algorithm
    if evidence.message.headers != {cose.ALG: cose.ES384} or evidence.message.unprotected:
        where = str(evidence.spans["protected"])
        raise NotGenuine("nitro.algorithm", "the COSE headers are not exactly {alg: ES384}", where=where, hint=_AGAIN)
    try:
        # (2) the path, (3) the leaf and (4) revocation
        path = find(evidence, collateral, anchors, at, _profile)
    except MalformedEvidence as error:
        raise NotGenuine("nitro.chain", f"a certificate cannot be used: {error.what}", where=error.where) from None
    except MissingCollateral:
        # the bundle is signed too: altered, it looks as if an issuer were missing. The leaf's key was loaded before
        _signature(evidence, keys.load(evidence.certificate.key))
        raise
    # (5) the signature over the received bytes
    _signature(evidence, path.key)
    _timestamp(evidence, at)
    bound = _module(evidence)
    # (8) registers
    absent = [index for index in layout.MANDATORY_PCRS[evidence.kind] if index not in evidence.pcrs]
    if absent:
        what = f"register {absent[0]} is missing from an {evidence.kind} document"
        raise NotGenuine("nitro.registers", what, where=layout.PCRS[evidence.kind], hint=_AGAIN)
    findings = (path.revocation, *bound, *_notes(evidence))
    return vouch(evidence, anchors=(path.chain.anchor,), findings=findings, at=at)


def _profile(certificate: x509.Certificate, leaf: bool) -> None:
    """Nitro's PKI is P-384 and ECDSA with SHA-384 throughout (attestation_process.md section 3.2.3)."""

    def refuse(check: str, what: str) -> NotGenuine:
        name = certificate.subject_cn
        return NotGenuine(check, f"certificate {name!r} {what}", where=f"certificate {name}", hint=_AGAIN)

    key = keys.load(certificate.key)
    if not keys.is_on(key, "secp384r1"):
        raise refuse("nitro.leaf", f"has a {keys.common_bits(key)} key, not P-384")
    if certificate.algorithm.oid != _ES384:
        raise refuse("nitro.chain", f"is signed with {certificate.algorithm.oid}, not SHA-384")
    usage = certificate.key_usage
    if leaf and (certificate.is_ca or (usage is not None and not usage & x509.DIGITAL_SIGNATURE)):
        raise refuse("nitro.leaf", "is not one that signs documents")


def _signature(evidence: Evidence, key: keys.Key) -> None:
    signature = evidence.message.signature
    r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    signed = evidence.message.to_be_signed()
    if not keys.is_on(key, "secp384r1") or not keys.verify_over(key, r, s, signed, keys.ECDSA_SHA384):
        raise NotGenuine(
            "nitro.signature",
            "the signature does not hold under the key of the certificate",
            where=str(evidence.spans["signature"]),
            hint=_AGAIN,
        )


def made_at(evidence: Evidence) -> datetime:
    """When the document says it was made."""
    return _EPOCH + evidence.timestamp * _MILLISECOND


def _timestamp(evidence: Evidence, at: datetime) -> None:
    # (6) the document's own time
    made, leaf = made_at(evidence), evidence.certificate
    # X.509 counts whole seconds, the document milliseconds
    if not leaf.not_before <= made < leaf.not_after + _SECOND:
        raise NotGenuine(
            "nitro.timestamp",
            f"the document says it was made at {zulu(made)}, when its certificate was not valid",
            where=f"valid {zulu(leaf.not_before)} to {zulu(leaf.not_after)}",
            hint=_AGAIN,
        )
    if made > at + SKEW:
        raise NotGenuine(
            "nitro.timestamp",
            f"the document was made at {zulu(made)}, after the time it is judged at",
            where=f"judged at {zulu(at)}",
            hint="set the clock of this machine, or give the right time with --at",
        )


def place(evidence: Evidence) -> tuple[str, str] | None:
    """Module and region from the leaf's common name ``<module>.<region>.aws``, or None where it has another form."""
    parts = evidence.certificate.subject_cn.split(".")
    return (parts[0], parts[1]) if len(parts) >= 3 and parts[2] == "aws" and all(parts) else None


def _module(evidence: Evidence) -> tuple[Finding, ...]:
    # (7) the module
    found = place(evidence)
    if found is None:
        actual = f"the leaf is called {evidence.certificate.subject_cn!r}"
        return (Finding("nitro.module-id", Outcome.UNKNOWN, "a leaf called <module>.<region>.aws", actual),)
    if found[0] != evidence.module_id:
        raise NotGenuine(
            "nitro.module-id",
            f"the document names module {evidence.module_id!r}, its certificate {found[0]!r}",
            where=str(evidence.spans[layout.MODULE_ID]),
            hint="the document speaks of another module than the one that signed it; ask for a new one",
        )
    return ()


def is_debug(evidence: Evidence) -> bool | None:
    """Whether an enclave runs in debug mode; None for instances, which have no such mode."""
    if evidence.kind != "enclave":
        return None
    return {evidence.pcrs.get(index, layout.ZERO) for index in layout.DEBUG_PCRS} == {layout.ZERO}


def _notes(evidence: Evidence) -> list[Finding]:
    notes = []
    if is_debug(evidence):
        where = tuple(Where.of(span) for name, span in evidence.spans.items() if name in ("pcr0", "pcr1", "pcr2"))
        text = "PCR 0 to 2 are zero: the enclave runs in debug mode, its console is open and nothing is measured"
        notes.append(Finding("nitro.debug", Outcome.NOTE, actual=text, where=where))
    if evidence.unknown:
        text = "signed fields that the specification does not have: " + ", ".join(evidence.unknown[:8])
        notes.append(Finding("nitro.unknown-fields", Outcome.NOTE, actual=text))
    return notes
