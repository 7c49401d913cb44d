"""Endorsements of a SEV platform: keys as AMD's formats carry them, and who may sign whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, Hash

from fastness.errors import MalformedEvidence, UsageError
from fastness.pki import keys
from fastness.tee import Collateral, Document
from fastness.tee.sev import layout as at
from fastness.tee.sev.evidence import AmdCertificate, Evidence, SevCertificate, amd_certificate, sev_certificate
from fastness.wire import x509
from fastness.wire.x509 import PublicKey

_RSA_HEAD = bytes.fromhex("300d06092a864886f70d0101010500")
"""DER AlgorithmIdentifier of rsaEncryption (RFC 3279 section 2.3.1)."""

_HASHES: dict[int, type[SHA256] | type[SHA384]] = {
    at.RSA_SHA256: SHA256, at.ECDSA_SHA256: SHA256, at.RSA_SHA384: SHA384, at.ECDSA_SHA384: SHA384,
}  # fmt: skip


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """SEV certificates are not X.509: they are part of the evidence."""
    return Collateral()


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    head = bytes((size,)) if size < 0x80 else bytes((0x82,)) + size.to_bytes(2, "big")
    return bytes((tag,)) + head + body


def public_key(certificate: AmdCertificate) -> PublicKey:
    """The RSA key as a SubjectPublicKeyInfo, which is what anchors pin."""
    numbers = (certificate.modulus, certificate.exponent)
    body = b"".join(_der(2, value.to_bytes(value.bit_length() // 8 + 1, "big")) for value in numbers)
    return x509.parse_public_key(_der(0x30, _RSA_HEAD + _der(3, b"\0" + _der(0x30, body))))


def rsa_key(certificate: AmdCertificate) -> rsa.RSAPublicKey:
    """The key of an ARK or ASK."""
    return keys.rsa_key(certificate.modulus, certificate.exponent)


def ec_key(certificate: SevCertificate) -> ec.EllipticCurvePublicKey:
    """The key of a SEV certificate."""
    curve = ec.SECP256R1 if certificate.curve == 1 else ec.SECP384R1
    return keys.ec_point(curve, certificate.point, f"{certificate.kind}.key")


def amd_signed(certificate: AmdCertificate, by: AmdCertificate) -> bool:
    """Whether ``by`` signed ``certificate``: RSA-PSS, SHA-256 for 2048 bits, SHA-384 for 4096; little endian."""
    hashing = SHA256 if by.modulus.bit_length() <= 2048 else SHA384
    return _pss(rsa_key(by), certificate.signature[::-1], certificate.signed, hashing)


def _pss(key: rsa.RSAPublicKey, signature: bytes, data: bytes, hashing: type[SHA256] | type[SHA384]) -> bool:
    try:
        key.verify(signature, data, padding.PSS(padding.MGF1(hashing()), hashing.digest_size), hashing())
    except (InvalidSignature, ValueError):
        return False
    return True


def sev_signed(certificate: SevCertificate, by: SevCertificate | AmdCertificate) -> bool:
    """Whether one of the slots of ``certificate`` holds a signature by ``by``."""
    usage = by.usage if isinstance(by, AmdCertificate) else {kind: code for code, kind in at.USAGES.items()}[by.kind]
    for slot in certificate.slots:
        if slot.usage != usage or slot.algorithm not in _HASHES:
            continue
        if isinstance(by, AmdCertificate):
            size = (by.modulus.bit_length() + 7) // 8
            whole = slot.algorithm in (at.RSA_SHA256, at.RSA_SHA384) and not any(slot.signature[size:])
            if whole and _pss(rsa_key(by), slot.signature[:size][::-1], certificate.signed, _HASHES[slot.algorithm]):
                return True
        elif ecdsa(by, slot.algorithm, slot.signature, certificate.signed):
            return True
    return False


def ecdsa(by: SevCertificate, algorithm: int, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` (r and s, 72 bytes each, little endian; zeros behind) over ``data`` is ``by``'s."""
    if algorithm not in (at.ECDSA_SHA256, at.ECDSA_SHA384) or algorithm != by.algorithm or any(signature[144:]):
        return False
    hashing = _HASHES[algorithm]
    digest = Hash(hashing())
    digest.update(data)
    r, s = (int.from_bytes(signature[start : start + 72], "little") for start in (0, 72))
    return keys.verify_ecdsa(ec_key(by), r, s, digest.finalize(), hashing())


MAX_ALIKE = 8
"""Most parts of one kind that are looked through."""


MAX_GUESTS = 64
"""Most guests of one platform whose reports are verified in one go."""


def apart(parts: list[Document]) -> list[tuple[list[Document], str]]:
    """The parts of each guest, and where they come from: several reports beside one chain are several guests.

    Raises:
        UsageError: more than :data:`MAX_GUESTS` reports; launches or proofs of more than one guest.
    """
    for kind, word in (("launch", "launches"), ("proof", "proofs")):
        alike = [part.source for part in parts if part.kind == kind]
        if len(alike) > 1:
            what = f"the {word} of {len(alike)} SEV guests"
            raise UsageError(what, where=_places(alike), hint="verify one guest at a time")
    reports = [part for part in parts if part.kind == "report"]
    if len(reports) > MAX_GUESTS:
        raise UsageError(
            f"the reports of {len(reports)} SEV guests, more than {MAX_GUESTS}",
            where=_places(part.source for part in reports),
            hint="verify fewer guests at a time",
        )
    if not reports:
        return [(parts, parts[0].source)]
    rest = [part for part in parts if part.kind != "report"]
    return [([*rest, report], report.source) for report in reports]


def _places(sources: Iterable[str]) -> str:
    """The files of what a host may have mixed, each once, for whoever has to tell them apart."""
    names = list(dict.fromkeys(name for name in sources if name))
    return ", ".join(names[:MAX_ALIKE]) + (f" and {len(names) - MAX_ALIKE} more" if len(names) > MAX_ALIKE else "")


def choose(parts: Iterable[tuple[str, bytes]], sources: Mapping[bytes, str] = MappingProxyType({})) -> dict[str, bytes]:
    """Of several parts of a kind, those that belong together: AMD's roots of every line may lie beside a platform's
    chain, a PEK's request beside the PEK, a tenant's Diffie-Hellman key beside the platform's.

    Altered copies beside a whole chain are passed over; otherwise they are what is verified, and refused. ``sources``
    says where each part lies.

    Raises:
        MalformedEvidence: a damaged certificate beside a chain that is not whole.
        UsageError: the certificates of more than one platform.
    """
    alike: dict[str, list[bytes]] = {}
    for kind, data in parts:
        alike.setdefault(kind, []).append(data)
    found = {kind: known[-1] for kind, known in alike.items()}
    several = at.UNKNOWN in found or any(len(known) > 1 for known in alike.values())
    if not {"cek", "pek"} <= found.keys() or not several:
        return found
    damaged: list[MalformedEvidence] = []
    sev = {kind: _read(alike.get(kind, ()), kind, sev_certificate, damaged) for kind in at.SIGNING}
    amd = {kind: _read(alike.get(kind, ()), kind, amd_certificate, damaged) for kind in ("ark", "ask")}
    pairs = [(cek, pek) for cek in sev["cek"] for pek in sev["pek"] if _holds(sev_signed, pek, cek)]
    rooted = [pair for pair in pairs if any(_holds(sev_signed, pair[0], ask) for ask in amd["ask"])]
    pairs = rooted or pairs
    platforms = {cek.raw: pek.raw for cek, pek in pairs}
    if len(platforms) > 1:
        raise UsageError(
            f"the certificates of {len(platforms)} SEV platforms",
            where=_places(sources.get(raw, "") for pair in platforms.items() for raw in pair),
            hint="verify one platform at a time",
        )
    owned = [pair for pair in pairs if any(_holds(sev_signed, pair[1], oca) for oca in sev["oca"])]
    fitting = list((owned or pairs)[0]) if pairs else []
    for pek in fitting[1:]:
        fitting += sorted((oca for oca in sev["oca"] if _holds(sev_signed, pek, oca)), key=_unsigned)[:1]
        fitting += [pdh for pdh in sev["pdh"] if _holds(sev_signed, pdh, pek)][:1]
    signed = [pek for _, pek in pairs]
    astray = [pek for pek in sev["pek"] if pek not in signed and any(slot.usage != at.NO_USAGE for slot in pek.slots)]
    whole = len(fitting) == len(at.SIGNING)
    if damaged and not whole:
        raise damaged[0]
    lost = bool(astray) and not whole
    if lost:  # its signature is by no CEK here, which is told when it is verified
        found["pek"] = astray[0].raw
    if not pairs or lost:
        return found
    if whole:
        found.pop(at.UNKNOWN, None)
    asks, arks = _above(fitting[0], amd["ask"], amd["ark"])
    names = {at.ARK_USAGE: "ark", at.ASK_USAGE: "ask"}
    own = {item.kind: item.raw for item in fitting}
    return {**found, **own, **{names[item.usage]: item.raw for item in (*asks, *arks)}}


def _above(
    cek: SevCertificate, asks: list[AmdCertificate], arks: list[AmdCertificate]
) -> tuple[list[AmdCertificate], list[AmdCertificate]]:
    """The ASK that signed ``cek`` and the ARK above it, one that signed itself if there is; each in a list of one."""
    named = [ask for ask in asks if _holds(sev_signed, cek, ask)]
    pairs = [(ask, ark) for ask in named for ark in arks
             if ask.certifying_id == ark.key_id and _holds(amd_signed, ask, ark)]  # fmt: skip
    pairs.sort(key=lambda pair: not _holds(amd_signed, pair[1], pair[1]))
    return ([pairs[0][0]], [pairs[0][1]]) if pairs else (named[:1], [])


Certificate = TypeVar("Certificate")


def _read(
    known: Sequence[bytes],
    kind: str,
    parse: Callable[[bytes, str], Certificate],
    damaged: list[MalformedEvidence],
) -> list[Certificate]:
    """Those of ``known`` that can be read; what is wrong with the others goes to ``damaged``."""
    found = []
    for data in known[:MAX_ALIKE]:
        try:
            found.append(parse(data, kind))
        except MalformedEvidence as error:
            damaged.append(error)
    return found


def _unsigned(certificate: SevCertificate) -> bool:
    return not _holds(sev_signed, certificate, certificate)


def _holds(signed: Callable[..., bool], certificate: object, by: object) -> bool:
    try:
        return signed(certificate, by)
    except MalformedEvidence:  # a key that is none
        return False
