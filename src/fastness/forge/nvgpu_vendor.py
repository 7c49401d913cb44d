"""The fake NVIDIA behind :mod:`fastness.forge.nvgpu`: certificates, manifests and OCSP responses."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha384

from cryptography import x509 as pyca
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from fastness.tee.nvgpu import xml, xmlsig
from fastness.wire import x509


@dataclass(frozen=True, slots=True)
class Link:
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: pyca.Certificate

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def read(self) -> x509.Certificate:
        """The certificate as our own value."""
        return x509.certificate(self.der)


def issue(
    name: str,
    issuer: Link | None,
    start: datetime,
    end: datetime,
    *,
    ca: bool = True,
    signs: bool | None = None,
    curve: ec.EllipticCurve | None = None,
    extra: Sequence[tuple[str, bytes]] = (),
    purpose: pyca.ObjectIdentifier | None = None,
    digest: SHA256 | SHA384 | None = None,
) -> Link:
    """A certificate under ``issuer`` (or itself); ``signs``: digitalSignature, by default where it is no CA."""
    key = ec.generate_private_key(curve or ec.SECP384R1())
    signs = not ca if signs is None else signs
    subject = pyca.Name([pyca.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        pyca.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(pyca.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(pyca.BasicConstraints(ca, None), critical=True)
        .add_extension(pyca.KeyUsage(signs, False, False, False, not signs, ca, ca, False, False), critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(pyca.ExtendedKeyUsage([purpose]), critical=False)
    for oid, value in extra:
        builder = builder.add_extension(pyca.UnrecognizedExtension(pyca.ObjectIdentifier(oid), value), critical=False)
    return Link(key, builder.sign(issuer.key if issuer else key, digest or SHA384()))


def sign_raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """r ‖ s, 48 bytes each, of ECDSA with SHA-384."""
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def manifest(
    version: str,
    product: str,
    allowed: Mapping[int, Sequence[bytes]],
    count: int,
    chain: Sequence[Link],
    *,
    floor: bool = False,
) -> bytes:
    """A signed manifest that lists indices 0 to ``count`` - 1 and gives values for those in ``allowed``.

    With ``floor``, one record more asks for a least security version in the opaque data.
    """
    rows = []
    for index in sorted({*range(count), *allowed}):
        values = allowed.get(index, (bytes(48),))
        hashes = " ".join(f'h:Hash{number}="{value.hex()}"' for number, value in enumerate(values))
        rows.append(
            f'<s:Resource type="Measurement" index="{index}" active="{index in allowed}" '
            f'alternatives="{len(values)}" {hashes} name="Measurement_{index}" size="48"/>'
        )
    if floor:
        rows.append(
            '<s:Resource type="Measurement" index="65573" active="True" name="svn" '
            'xmlns:o="https://example.invalid/opaque-data" o:minSvn="1"/>'
        )
    body = (
        '<s:SoftwareIdentity xmlns:s="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" '
        f'xmlns:h="http://www.w3.org/2001/04/xmlenc#sha384" name="{product}" tagId="forged-{version}" tagVersion="0">\n'
        '  <s:Entity name="NVIDIA Corporation" role="softwareCreator tagCreator"/>\n'
        f'  <s:Meta colloquialVersion="{version}" edition="GPU" product="{product}"/>\n'
        f"  <s:Payload>{''.join(rows)}</s:Payload>\n</s:SoftwareIdentity>"
    )
    return sign_xml(body, chain)


def sign_xml(body: str, chain: Sequence[Link]) -> bytes:
    """``body`` with an enveloped signature by the first of ``chain`` as the last child of its root."""
    before, mark, after = body.rpartition("</")
    method = "http://www.w3.org/2006/12/xml-c14n11"
    digest = base64.b64encode(sha384(xml.canonical(xml.parse(body.encode()))).digest()).decode()
    info = (
        f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{method}"/>'
        f'<ds:SignatureMethod Algorithm="{xmlsig.ECDSA_SHA384}"/><ds:Reference URI=""><ds:Transforms>'
        f'<ds:Transform Algorithm="{xmlsig.ENVELOPED}"/><ds:Transform Algorithm="{method}"/></ds:Transforms>'
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )
    certificates = "".join(
        f"<ds:X509Certificate>{base64.b64encode(link.der).decode()}</ds:X509Certificate>" for link in chain
    )

    def whole(value: bytes) -> bytes:
        signature = (
            f'<ds:Signature xmlns:ds="{xmlsig.DS}">{info}<ds:SignatureValue>{base64.b64encode(value).decode()}'
            f"</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>"
        )
        return (before + signature + mark + after).encode()

    found = xmlsig.read(xml.parse(whole(bytes(xmlsig.SIGNATURE_SIZE))))
    return whole(sign_raw(chain[0].key, found.info))


def response(
    subject: Link,
    issuer: Link,
    at: datetime,
    *,
    state: str = "good",
    responder: Link | None = None,
    named: Link | None = None,
    age: timedelta = timedelta(hours=1),
) -> bytes:
    """An OCSP response on ``subject``: ``good``, ``revoked``, ``hold`` or ``unknown``; by its issuer or ``responder``.

    ``named`` is whom the CertID names instead; ``age`` how long before ``at`` it was made, for a day.
    """
    reason = {"revoked": pyca.ReasonFlags.key_compromise, "hold": pyca.ReasonFlags.certificate_hold}.get(state)
    status = {"good": ocsp.OCSPCertStatus.GOOD, "unknown": ocsp.OCSPCertStatus.UNKNOWN}
    signer = responder or issuer
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            (named or subject).certificate,
            issuer.certificate,
            SHA256(),
            status.get(state, ocsp.OCSPCertStatus.REVOKED),
            at - age,
            at - age + timedelta(days=1),
            at - age if reason else None,
            reason,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH if responder is None else ocsp.OCSPResponderEncoding.NAME,
                      signer.certificate)
    )  # fmt: skip
    if responder is not None:
        builder = builder.certificates([responder.certificate])
    return builder.sign(signer.key, SHA384()).public_bytes(Encoding.DER)
