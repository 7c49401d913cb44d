"""NVIDIA's reference integrity manifests (RIM): what a driver's and a VBIOS's measurements may be.

A SWID tag (ISO/IEC 19770-2:2015; TCG RIM Information Model 1.01) with an enveloped XML signature. ``Meta`` states which
version it is for, ``Payload`` one ``Resource`` per measurement: its index from 0, whether it is of this manifest
(``active``) and its allowed digests ``Hash0``, ``Hash1`` …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import utils

from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki import chain
from fastness.pki.anchors import Anchors
from fastness.tee.nvgpu import endorse, layout, xml, xmlsig
from fastness.wire import x509

SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
HASH = "http://www.w3.org/2001/04/xmlenc#sha384"
MARK, MAKER = b"SoftwareIdentity", b"NVIDIA"
"""Words of every manifest of NVIDIA's (its element, its ``Entity``)."""
MAX_ALTERNATIVES = 64
FLOOR = "minSvn"
"""Attribute of records about opaque data (NVIDIA attestation-sdk, ``rim.cpp``: ``get_opaque_records``)."""

_ES384 = x509.Algorithm("1.2.840.10045.4.3.3", b"")


@dataclass(frozen=True, slots=True)
class Rim:
    """One manifest as read, unverified until :func:`authenticate` says so.

    ``version`` is upper case; ``allowed`` are the digests of each active index, ``listed`` all its indices; ``floors``
    how many active records ask for a least security version instead, which is not compared.
    """

    identity: str
    version: str
    product: str
    allowed: Mapping[int, tuple[bytes, ...]]
    listed: frozenset[int]
    signed: xmlsig.Signed
    floors: int = 0


@lru_cache(maxsize=32)
def read(data: bytes) -> Rim:
    """A manifest of at most 1 MiB.

    Raises:
        MalformedEvidence: not a SWID tag, signed in another way than NVIDIA's, an index twice.
    """
    root = xml.parse(data, "RIM")
    if root.name != (SWID, "SoftwareIdentity"):
        raise MalformedEvidence("RIM", 0, "a SoftwareIdentity", root.name[1][:60])
    signed = xmlsig.read(root)
    meta, payload = _one(root, "Meta"), _one(root, "Payload")
    version = meta.attributes.get(("", "colloquialVersion"), "")
    if not version or len(version) > 64:
        raise MalformedEvidence("colloquialVersion", 0, "a version", repr(version)[:60])
    allowed: dict[int, tuple[bytes, ...]] = {}
    listed: set[int] = set()
    floors = 0
    for item in payload.of(SWID, "Resource"):
        if any(local == FLOOR for _, local in item.attributes):
            floors += item.attributes.get(("", "active")) not in ("False", "false")
            continue
        index = _number(item, "index", layout.MAX_BLOCKS - 1)
        if index in listed:
            raise MalformedEvidence("Resource.index", 0, "each index once", f"{index} twice")
        listed.add(index)
        active = item.attributes.get(("", "active"))
        if active not in ("True", "False", "true", "false"):
            raise MalformedEvidence("Resource.active", 0, "True or False", repr(active)[:60])
        values = _values(item)
        if active in ("True", "true"):
            allowed[index] = values
    if not allowed:
        raise MalformedEvidence("Payload", 0, "an active measurement", "none")
    identity = root.attributes.get(("", "tagId"), "")[:256]
    product = meta.attributes.get(("", "product"), "")[:64]
    return Rim(identity, version.upper(), product, allowed, frozenset(listed), signed, floors)


def _one(root: xml.Element, name: str) -> xml.Element:
    found = root.of(SWID, name)
    if len(found) != 1:
        raise MalformedEvidence(name, 0, "one", len(found))
    return found[0]


def _number(item: xml.Element, name: str, limit: int) -> int:
    text = item.attributes.get(("", name), "")
    if not (text.isascii() and text.isdigit()) or len(text) > 4 or int(text) > limit:
        raise MalformedEvidence(f"Resource.{name}", 0, f"0 to {limit}", repr(text)[:60])
    return int(text)


def _values(item: xml.Element) -> tuple[bytes, ...]:
    count, size = _number(item, "alternatives", MAX_ALTERNATIVES), _number(item, "size", layout.MAX_VALUE)
    names = [(HASH, f"Hash{number}") for number in range(count)]
    hashes = {name for name in item.attributes if name[0] == HASH}
    if not count or hashes != set(names):
        raise MalformedEvidence("Resource.alternatives", 0, f"{count} digests, at least one", len(hashes))
    try:
        found = tuple(bytes.fromhex(item.attributes[name]) for name in names)
    except ValueError:
        raise MalformedEvidence("Resource.Hash", 0, "hexadecimal", item.attributes[names[0]][:60]) from None
    if any(len(value) != size for value in found):
        raise MalformedEvidence("Resource.size", 0, f"digests of {size} bytes", len(found[0]))
    return found


def authenticate(rim: Rim, anchors: Anchors, at: datetime) -> chain.Chain | str:
    """The chain that vouches for ``rim``; or, in words, why it counts for nothing although nobody lied.

    Raises:
        NotGenuine: ``nvgpu.rim-signature`` or ``nvgpu.rim-chain``.
    """
    again = f"fetch the manifest of version {rim.version[:40]} again from NVIDIA's RIM service"
    leaves = [item for item in rim.signed.certificates if not _issues(item)]
    if len(leaves) != 1 or not _holds(rim, leaves[0]):
        raise NotGenuine(
            "nvgpu.rim-signature",
            f"the manifest of version {rim.version[:40]!r} was altered, or not signed by the certificate in it",
            hint=again,
        )
    leaf = leaves[0]
    try:
        path = chain.build(leaf, rim.signed.certificates, endorse.line(anchors, "rim"), "nvgpu", at=at)
    except MissingCollateral as error:
        return f"{error.missing} is missing from it"
    except NotGenuine as error:
        if error.check == "nvgpu.validity":
            return error.what
        what = f"the manifest of version {rim.version[:40]!r}: {error.what}"
        raise NotGenuine("nvgpu.rim-chain", what, where=error.where, hint=error.hint or again) from None
    usage = leaf.key_usage
    if usage is None or not usage & x509.DIGITAL_SIGNATURE:
        raise NotGenuine("nvgpu.rim-chain", f"certificate {leaf.subject_cn!r} is not one that signs", hint=again)
    if rim.floors:
        return f"it asks for least security versions ({FLOOR}), which this verifier does not compare"
    return path


def _issues(certificate: x509.Certificate) -> bool:
    try:
        return certificate.is_ca
    except MalformedEvidence:
        return False


def _holds(rim: Rim, leaf: x509.Certificate) -> bool:
    half = xmlsig.SIGNATURE_SIZE // 2
    r, s = (int.from_bytes(part, "big") for part in (rim.signed.signature[:half], rim.signed.signature[half:]))
    try:
        signed = chain.memo.verify(leaf.key, _ES384, utils.encode_dss_signature(r, s), rim.signed.info)
    except MalformedEvidence:
        return False
    return signed and rim.signed.intact
