"""Endorsements of a quote: the PCK chain to a pinned root, revocation, TCB info and QE identity.

Nothing depends on the quote's body here, so that a platform is judged once and remembered, keyed by everything that
decides the answer: TEE, roots, certification data and collateral, byte for byte (:mod:`fastness.pki.memory`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from fastness.claims.finding import Finding, Outcome
from fastness.errors import Malformed, MissingCollateral, NotGenuine
from fastness.pki import chain as chains
from fastness.pki import crl as crls
from fastness.pki import keys
from fastness.pki.anchors import Anchor, Anchors
from fastness.pki.memory import Memory, Window, window
from fastness.tee import Collateral, Document
from fastness.tee.dcap import documents, members, pck
from fastness.tee.dcap.documents import Identity, Signed, TcbInfo
from fastness.tee.dcap.tcb import Evaluation
from fastness.wire import x509
from fastness.wire.der import zulu

PCS = "https://api.trustedservices.intel.com"
_INFO = "tcb-info"
MAX_SETTLED = 64
MAX_ALIKE = 16
"""Most documents about one platform whose signatures are tried."""
D = TypeVar("D", TcbInfo, Identity)


class Platform(NamedTuple):
    """A PCK certificate that chains to ``anchor``; ``lookups`` say what the CRLs said."""

    anchor: Anchor
    leaf: x509.Certificate
    key: ec.EllipticCurvePublicKey
    pck: pck.Pck
    lookups: tuple[crls.Lookup, ...]


class Settled(NamedTuple):
    """What one platform's documents alone decide about values of a quote: the TCB, and what else was noted."""

    tcb: Evaluation
    findings: tuple[Finding, ...] = ()


class Endorsed(NamedTuple):
    """A platform with its TCB info and QE identity, and between which times that holds."""

    platform: Platform
    tcb: TcbInfo
    identity: Identity
    lookups: tuple[crls.Lookup, ...]
    findings: tuple[Finding, ...]
    window: Window
    settled: dict[Hashable, Settled | None]

    def settle(self, key: Hashable, answer: Settled | None) -> None:
        """Remembers what these documents alone decide about the values in ``key``; bounded."""
        if len(self.settled) >= MAX_SETTLED:
            self.settled.clear()
        self.settled[key] = answer


memory: Memory[Endorsed] = Memory(limit=128)


def key_of(tee: str, certification: bytes, collateral: Collateral, anchors: Anchors) -> Hashable:
    """Everything that decides the answer, time apart. Bytes remember their own hash, so this is cheap when reused."""
    held = _last.get(tee)
    if held is None or held[0] is not collateral or held[1] is not anchors:
        held = _last[tee] = collateral, anchors, _supplied(tee, collateral, anchors)
    return tee, certification, held[2]


_last: dict[str, tuple[Collateral, Anchors, Hashable]] = {}
"""What was supplied last for each TEE: immutable, so whoever supplies the same objects again has said the same."""


def _supplied(tee: str, collateral: Collateral, anchors: Anchors) -> Hashable:
    return (
        anchors.pins(tee),
        tuple([item.raw for item in collateral.certificates]),
        tuple([item.raw for item in collateral.crls]),
        tuple([(item.kind, item.data) for item in collateral.documents if item.kind in ("tcb-info", "qe-identity")]),
    )


def platform(
    tee: str,
    leaf: x509.Certificate,
    pool: Iterable[x509.Certificate],
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
) -> Platform:
    """The platform of the PCK certificate ``leaf``.

    Raises:
        NotGenuine: ``chain``, ``validity``, ``revocation``, or ``pck`` (role or SGX extension).
        MissingCollateral: an issuer is absent.
    """
    # (1) chain to a pinned root, each certificate in its role
    chain = chains.build(leaf, pool, anchors, tee, at=at)
    names = tuple(item.subject_cn for item in chain.certificates)
    roles = ((pck.LEAF,), (pck.PLATFORM_CA, pck.PROCESSOR_CA), (pck.ROOT,))
    if not 2 <= len(names) <= 3 or any(name not in role for name, role in zip(names, roles, strict=False)):
        raise NotGenuine(
            f"{tee}.pck",
            f"the PCK chain is {' < '.join(names)!r}, not PCK < PCK CA < root",
            where=f"certificate of {leaf.subject_cn!r}, serial {leaf.serial:x}",
            hint="another certificate of Intel's hierarchy stands where the PCK belongs",
        )
    try:
        facts, key = pck.read(leaf), keys.load(leaf.key)
    except Malformed as error:
        raise NotGenuine(f"{tee}.pck", f"PCK certificate: {error}", where=error.where) from None
    if not keys.is_on(key, "secp256r1"):
        raise NotGenuine(
            f"{tee}.pck",
            "the PCK is not a P-256 key",
            where=f"serial {leaf.serial:x}",
            hint="another certificate of Intel's hierarchy stands where the PCK belongs",
        )
    # (2) revocation: the leaf by its own CA, the CA by the root
    lookups = _looked_up(tee, chain, (*pool, *collateral.certificates), collateral, at)
    return Platform(chain.anchor, leaf, key, facts, lookups)


def _looked_up(
    tee: str, chain: chains.Chain, pool: Iterable[x509.Certificate], collateral: Collateral, at: datetime
) -> tuple[crls.Lookup, ...]:
    """What the lists say of each certificate below the anchor."""
    return tuple(
        crls.look_up(item, issuer, collateral.crls, tee, at=at)
        if issuer is not None
        else crls.Lookup(item.subject_cn, why=f"no certificate of {item.issuer_cn!r}, so no CRL of it could be checked")
        for item, issuer in chain.links(pool)
    )


def complete(
    tee: str,
    base: Platform,
    pool: tuple[x509.Certificate, ...],
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
) -> Endorsed:
    """The platform with Intel's signed word on its TCB and on its quoting enclave.

    Raises:
        MissingCollateral: ``tcb-info`` or ``identity``: none for this platform, malformed, or not within its dates.
        NotGenuine: ``tcb-signature`` or ``identity-signature``, or the signer's chain.
    """
    facts = base.pck
    fmspc = facts.fmspc.hex().upper()
    # (6) TCB info
    infos = _parsed(tee, collateral, "tcb-info", documents.tcb_info, pool)
    matching = [
        item for item in infos if (item.signed.id, item.fmspc, item.pceid) == (tee.upper(), facts.fmspc, facts.pceid)
    ]
    what = f"TCB info of FMSPC {fmspc}, PCE {facts.pceid.hex()}"
    others = [f"{item.signed.id} {item.fmspc.hex().upper()} {item.pceid.hex()}" for item in infos]
    source = f"{PCS}/{tee}/certification/v4/tcb?fmspc={fmspc}"
    infos_now = _current(tee, "tcb-info", what, source, matching, at=at, others=others)
    info, signer = _signed(tee, "tcb", infos_now, pool, anchors, collateral, at=at)
    # (7) QE identity
    name = "TD_QE" if tee == "tdx" else "QE"
    found = _parsed(tee, collateral, "qe-identity", documents.identity, pool)
    same = [item for item in found if item.signed.id == name]
    what = f"identity of the quoting enclave ({name})"
    others = [item.signed.id for item in found]
    source = f"{PCS}/{tee}/certification/v4/qe/identity"
    identities = _current(tee, "identity", what, source, same, at=at, others=others)
    identity, other = _signed(tee, "identity", identities, pool, anchors, collateral, at=at, known=signer)
    signers = {item.leaf.raw: item for item in (signer, other)}
    lookups = base.lookups
    for chain in signers.values():
        lookups += _looked_up(tee, chain, pool, collateral, at)
    signed = [item.signed for item in infos] + [item.signed for item in found]
    dates = [date for item in signed for date in (item.issued, item.next_update)]
    roots = [item.certificate for item in anchors.of(tee) if item.certificate is not None]
    holds = window(at, (*pool, *roots), collateral.crls, dates)
    return Endorsed(base, info, identity, lookups, _findings(tee, lookups, base), holds, {})


def _parsed(
    tee: str,
    collateral: Collateral,
    kind: str,
    parse: Callable[[bytes], D],
    pool: tuple[x509.Certificate, ...],
) -> list[D]:
    found = []
    failure: MissingCollateral | NotGenuine | None = None
    for item in collateral.of(kind):
        try:
            found.append(parse(item.data))
        except Malformed as error:
            failure = failure or _altered(tee, kind, item, pool)
            failure = failure or MissingCollateral(
                f"well-formed {kind} document ({error})",
                check=f"{tee}.{_INFO if kind == _INFO else 'identity'}",
                where=item.source,
                hint="fetch it again from Intel, byte for byte",
            )
    if failure is not None and not found:  # what cannot be read beside what can harms nothing: an older version, say
        raise failure
    return found


def _altered(tee: str, kind: str, document: Document, pool: tuple[x509.Certificate, ...]) -> NotGenuine | None:
    """The refusal of a document that does not follow its schema because it was altered: its signature tells."""
    try:
        raw, _, signature = members.envelope(document.data, "tcbInfo" if kind == _INFO else "enclaveIdentity")
    except Malformed:
        return None
    signers = [p256(item) for item in pool if item.subject_cn == pck.TCB_SIGNING]
    if signers and not any(key is not None and verifies(key, signature, raw) for key in signers):
        return _forged(tee, "tcb" if kind == _INFO else "identity", document.source)
    return None


def _forged(tee: str, check: str, where: str) -> NotGenuine:
    return NotGenuine(
        f"{tee}.{check}-signature",
        f"the signature over {'TCB info' if check == 'tcb' else 'the QE identity'} is not by {pck.TCB_SIGNING}",
        where=where,
        hint="it was altered or written anew after Intel signed it; keep the response byte for byte",
    )


def _current(
    tee: str, check: str, what: str, source: str, found: list[D], *, at: datetime, others: list[str]
) -> list[D]:
    """The documents that hold at ``at``, issued ≤ at < next update: the highest evaluation number first."""
    if not found:
        supplied = ", ".join(sorted(set(others))) or "none"
        raise MissingCollateral(what, source, check=f"{tee}.{check}", where=f"supplied: {supplied}")
    good = [item for item in found if item.signed.issued <= at < item.signed.next_update]
    if not good:
        item = found[0].signed
        raise MissingCollateral(
            f"{what} that holds at {zulu(at)}",
            source,
            check=f"{tee}.{check}",
            where=f"supplied: issued {zulu(item.issued)}, next update {zulu(item.next_update)}",
        )
    return sorted(good, key=lambda item: item.signed.evaluation, reverse=True)


def _signed(
    tee: str,
    check: str,
    found: list[D],
    pool: tuple[x509.Certificate, ...],
    anchors: Anchors,
    collateral: Collateral,
    *,
    at: datetime,
    known: chains.Chain | None = None,
) -> tuple[D, chains.Chain]:
    """The first of ``found`` that Intel signed, with its signer's chain: an altered copy beside it harms nothing."""
    failures: list[NotGenuine] = []
    for item in found[:MAX_ALIKE]:
        try:
            return item, _signer(tee, check, item.signed, pool, anchors, collateral, at=at, known=known)
        except NotGenuine as error:
            failures.append(error)
    raise failures[0]


def _signer(
    tee: str,
    check: str,
    signed: Signed,
    pool: tuple[x509.Certificate, ...],
    anchors: Anchors,
    collateral: Collateral,
    *,
    at: datetime,
    known: chains.Chain | None = None,
) -> chains.Chain:
    """The chain of the TCB signing certificate whose key signed the raw bytes."""
    named = {item.raw: item for item in pool if item.subject_cn == pck.TCB_SIGNING}
    if not named:
        raise MissingCollateral(f"{pck.TCB_SIGNING} certificate", f"{PCS} (issuer chain header)", check=f"{tee}.chain")
    failure: NotGenuine | MissingCollateral | None = None
    for item in named.values():
        key = p256(item)
        if key is None or not verifies(key, signed.signature, signed.raw):
            continue
        if known is not None and known.leaf.raw == item.raw:
            return known
        try:
            return chains.build(item, pool, anchors, tee, at=at)
        except (NotGenuine, MissingCollateral) as error:
            failure = error
    places = (item.source for item in collateral.documents if signed.raw in item.data)
    raise failure or _forged(tee, check, next(places, ""))


def p256(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey | None:
    """The key of ``certificate`` if it is a P-256 key."""
    try:
        key = keys.load(certificate.key)
    except Malformed:
        return None
    return key if keys.is_on(key, "secp256r1") else None


def verifies(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` (r ‖ s, 32 bytes each, big endian) over ``data`` holds under ``key``, with SHA-256."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return keys.verify_over(key, r, s, data, keys.ECDSA_SHA256)


def _findings(tee: str, lookups: tuple[crls.Lookup, ...], base: Platform) -> tuple[Finding, ...]:
    why = dict.fromkeys(f"{item.subject}: {item.why}" for item in lookups if not item.checked)
    if not why:
        return ()
    ca = "platform" if base.leaf.issuer_cn == pck.PLATFORM_CA else "processor"
    return (
        Finding(
            f"{tee}.revocation",
            Outcome.UNKNOWN,
            expected="every certificate looked up in a current CRL of its issuer",
            actual="; ".join(why),
            because="a revoked platform looks like any other",
            hint=f"{PCS}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der and IntelSGXRootCA.der",
        ),
    )
