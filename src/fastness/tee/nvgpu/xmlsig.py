"""Enveloped XML signatures, restricted to the one shape NVIDIA's manifests have (W3C XML Signature 1.1).

``SignedInfo``, ``SignatureValue`` and ``KeyInfo`` of one ``Signature``, a child of the root and the only one anywhere;
one ``Reference``, to the whole document (URI ``""``, or the root's own id), transformed by enveloped-signature and then
Canonical XML. So nothing can be signed but the tree that is read: no wrapping, no XPath, no XSLT, no reference outside.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Callable, Container
from dataclasses import dataclass

from fastness.errors import MalformedEvidence
from fastness.tee.nvgpu import xml
from fastness.wire import x509

DS = "http://www.w3.org/2000/09/xmldsig#"
ENVELOPED = DS + "enveloped-signature"
CANONICAL = frozenset(("http://www.w3.org/2006/12/xml-c14n11", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"))
ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
DIGESTS: dict[str, Callable[[bytes], hashlib._Hash]] = {
    "http://www.w3.org/2001/04/xmldsig-more#sha384": hashlib.sha384,
    "http://www.w3.org/2001/04/xmlenc#sha512": hashlib.sha512,
}
SIGNATURE_SIZE = 96
MAX_CERTIFICATES = 8


@dataclass(frozen=True, slots=True)
class Signed:
    """What an enveloped signature says: ``intact`` is whether the document has the digest that was signed.

    ``info`` is the canonical SignedInfo, ``signature`` r ‖ s over it, ``certificates`` those in KeyInfo, unverified.
    """

    intact: bool
    info: bytes
    signature: bytes
    certificates: tuple[x509.Certificate, ...]


def read(root: xml.Element) -> Signed:
    """The signature of the document ``root``.

    Raises:
        MalformedEvidence: another shape or algorithm than those above.
    """
    found = [item for item in root.walk() if item.name == (DS, "Signature")]
    if len(found) != 1 or not any(item is found[0] for item in root.elements):
        raise _bad("Signature", "one, right below the root", f"{len(found)} in the document")
    signature = found[0]
    info, value, key_info = _children(signature, "SignedInfo", "SignatureValue", "KeyInfo")
    method, algorithm, reference = _children(info, "CanonicalizationMethod", "SignatureMethod", "Reference")
    _one_of(method, CANONICAL)
    _one_of(algorithm, {ECDSA_SHA384})
    intact = _reference(root, signature, reference)
    raw = _base64(value)
    if len(raw) != SIGNATURE_SIZE:
        raise _bad("SignatureValue", f"{SIGNATURE_SIZE} bytes", len(raw))
    return Signed(intact, xml.canonical(info), raw, _certificates(key_info))


def _reference(root: xml.Element, signature: xml.Element, reference: xml.Element) -> bool:
    own = [f"#{value}" for (_, local), value in root.attributes.items() if local.lower() == "id" and value]
    uri = reference.attributes.get(("", "URI"))
    if uri is None or uri not in ("", *own):
        raise _bad("Reference", "the whole document", repr(uri)[:60])
    transforms, method, value = _children(reference, "Transforms", "DigestMethod", "DigestValue")
    enveloped, canonical = _children(transforms, "Transform", "Transform")
    _one_of(enveloped, {ENVELOPED})
    _one_of(canonical, CANONICAL)
    digest = DIGESTS[_one_of(method, DIGESTS.keys())]
    return hmac.compare_digest(digest(xml.canonical(root, signature)).digest(), _base64(value))


def _certificates(key_info: xml.Element) -> tuple[x509.Certificate, ...]:
    found = [item for part in key_info.of(DS, "X509Data") for item in part.of(DS, "X509Certificate")]
    if not 1 <= len(found) <= MAX_CERTIFICATES:
        raise _bad("X509Data", f"1 to {MAX_CERTIFICATES} certificates", len(found))
    return tuple(x509.certificate(_base64(item)) for item in found)


def _children(parent: xml.Element, *names: str) -> tuple[xml.Element, ...]:
    """The children of ``parent``, which must be exactly these, in this order, with nothing but space between."""
    if [item.name for item in parent.elements] != [(DS, name) for name in names] or parent.text.strip():
        have = ", ".join(item.name[1] for item in parent.elements)
        raise _bad(parent.name[1], "exactly " + ", ".join(names), have[:80] or "none")
    return parent.elements


def _one_of(element: xml.Element, known: Container[str]) -> str:
    algorithm = element.attributes.get(("", "Algorithm"), "")
    if algorithm not in known or element.elements or element.text.strip():
        raise _bad(element.name[1], "a known algorithm without parameters", repr(algorithm)[:80])
    return algorithm


def _base64(element: xml.Element) -> bytes:
    try:
        if element.elements:
            raise ValueError("elements inside")
        return binascii.a2b_base64("".join(element.text.split()).encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise _bad(element.name[1], "base64", error) from None


def _bad(field: str, need: object, have: object) -> MalformedEvidence:
    return MalformedEvidence(field, 0, need, have)
