"""Endorsements of NVIDIA reports: the chain of five lies beside the report, in any order, only its root pinned.

Leaf (GSP or FSP firmware, made by the device itself), boot ROM, provisioner, chip identity, NVIDIA Device Identity CA.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha384

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki import chain, keys
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.nvgpu import layout
from fastness.tee.nvgpu.evidence import Evidence
from fastness.wire import der, x509

MAX_LEAVES = 64
"""Most leaves tried against one report: the devices of one machine, several times over."""

_ES384 = "1.2.840.10045.4.3.3"
"""ecdsa-with-SHA384 (RFC 5758 section 3.2)."""

_AGAIN = "ask the device for a new report"


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """Nothing: the chain lies beside the report."""
    return Collateral()


def line(anchors: Anchors, name: str) -> Anchors:
    """The anchors of one line, ``device`` or ``rim``: neither root speaks for what the other signs.

    Anchors that the caller named without a line count for both.
    """
    return Anchors(tuple(item for item in anchors.of("nvgpu") if item.line in (name, "")))


def signers(evidence: Evidence, pool: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """The certificates in ``pool`` under whose key the signature of the report holds.

    Trust is not decided here: whatever this finds must still chain to an anchor. More than one, if beside the leaf lies
    an altered copy of it.

    Raises:
        NotGenuine: ``nvgpu.signature``, there are device certificates and it holds under none.
        MissingCollateral: there is no device certificate.
    """
    leaves = sorted((item for item in pool if _is_leaf(item)), key=lambda item: not has_fwid(item))
    if found := [item for item in leaves[:MAX_LEAVES] if _signed(evidence, item)]:
        return found
    if any(has_fwid(item) for item in leaves):
        raise NotGenuine(
            "nvgpu.signature",
            "the signature holds under the key of none of the device certificates",
            where=str(evidence.spans["signature"]),
            hint="the report was altered, or it is another device's: " + _AGAIN,
        )
    raise MissingCollateral(
        "certificate chain of the device",
        check="nvgpu.chain",
        hint="supply the PEM chain that the driver gives out beside the report",
    )


def _is_leaf(certificate: x509.Certificate) -> bool:
    try:
        return not certificate.is_ca and isinstance(keys.load(certificate.key), ec.EllipticCurvePublicKey)
    except MalformedEvidence:
        return False


def has_fwid(certificate: x509.Certificate) -> bool:
    """Whether a certificate is one that a device made for its firmware."""
    return any(certificate.extension(oid) is not None for oid in (layout.DEVICE_ID, layout.TCB_INFO))


def _signed(evidence: Evidence, certificate: x509.Certificate) -> bool:
    key = keys.load(certificate.key)
    if not keys.is_on(key, "secp384r1"):
        return False
    half = layout.SIGNATURE_SIZE // 2
    r, s = (int.from_bytes(part, "big") for part in (evidence.signature[:half], evidence.signature[half:]))
    return keys.verify_ecdsa(key, r, s, sha384(evidence.signed).digest(), SHA384())


def path_of(evidence: Evidence, pool: tuple[x509.Certificate, ...], anchors: Anchors, at: datetime) -> chain.Chain:
    """The chain from the first signer that has one. Raises like :func:`signers` and :func:`path`."""
    failures: list[NotGenuine | MissingCollateral] = []
    for leaf in signers(evidence, pool):
        try:
            return path(leaf, pool, anchors, at)
        except (NotGenuine, MissingCollateral) as error:
            failures.append(error)
    raise min(failures, key=lambda error: isinstance(error, NotGenuine))  # what can be fetched comes first


def path(leaf: x509.Certificate, pool: Iterable[x509.Certificate], anchors: Anchors, at: datetime) -> chain.Chain:
    """The chain from ``leaf`` to the device root; every key on P-384, every signature ECDSA with SHA-384."""

    def profile(certificate: x509.Certificate) -> None:
        key = keys.load(certificate.key)
        if not keys.is_on(key, "secp384r1"):
            found = keys.common_bits(key)
            raise NotGenuine("nvgpu.leaf", f"certificate {certificate.subject_cn!r} has a {found} key, not P-384")
        if certificate.algorithm.oid != _ES384:
            raise NotGenuine("nvgpu.chain", f"certificate {certificate.subject_cn!r} is not signed with ECDSA-SHA384")
        usage = certificate.key_usage
        if certificate is leaf and (usage is None or not usage & x509.DIGITAL_SIGNATURE):
            raise NotGenuine("nvgpu.leaf", f"certificate {certificate.subject_cn!r} is not one that signs reports")

    return chain.build(leaf, pool, line(anchors, "device"), "nvgpu", at=at, understood=profile)


def fwids(leaf: x509.Certificate) -> tuple[bytes, ...]:
    """The SHA-384 digests of firmware that the leaf was made for.

    TCG DICE Attestation Architecture 1.1 section 6.1: ``DiceTcbInfo`` (fwids in [6]); and the older form of
    2.23.133.5.4.1, SEQUENCE {version, SubjectPublicKeyInfo, FWID}. FWID is SEQUENCE {hash algorithm, OCTET STRING}.
    """
    found: list[bytes] = []
    for oid in (layout.DEVICE_ID, layout.TCB_INFO):
        extension = leaf.extension(oid)
        if extension is None:
            continue
        parts = der.children(der.one(extension.value, der.SEQUENCE, "FWID", extension.offset), "FWID")
        if oid == layout.DEVICE_ID:
            found += [_fwid(item) for item in parts[2:3]]
        else:
            lists = [item for item in parts if item.tag == 0xA6]
            found += [_fwid(item) for one in lists for item in der.children(one, "fwids")]
    return tuple(value for value in found if any(value))


def _fwid(node: der.Node) -> bytes:
    parts = der.children(der.expect(node, der.SEQUENCE, "FWID"), "FWID")
    if len(parts) != 2 or der.oid(parts[0], "FWID.hashAlg") != layout.SHA384:
        raise MalformedEvidence("FWID", node.offset, "a SHA-384 digest", node.raw[:16].hex())
    value = der.expect(parts[1], der.OCTET_STRING, "FWID.digest").value
    if len(value) != layout.HASH_SIZE:
        raise MalformedEvidence("FWID.digest", parts[1].offset, f"{layout.HASH_SIZE} bytes", len(value))
    return value
