"""Odd certificates, lists and documents that a verifier does not need, made byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fastness.collateral.gather import Gathered
from fastness.wire import der, x509

P384 = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200") + b"\4" + bytes(96)
"""A key whose point is not on its curve."""
ODD_CURVE = bytes.fromhex("305a301406072a8648ce3d020106092b2403030208010107034200") + b"\4" + bytes(64)
ECDSA = bytes.fromhex("300a06082a8648ce3d040303")
UNKNOWN = bytes.fromhex("300706052a03040506")
GARBLED_NAME = bytes.fromhex("3006310430020500")
EMPTY_NAME = b"\x30\x00"


def tlv(tag: int, *values: bytes) -> bytes:
    """One element."""
    value = b"".join(values)
    size = len(value)
    if size < 0x80:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """An extension; ``oid`` is DER in hexadecimal."""
    flag = b"\x01\x01\xff" if critical else b""
    return tlv(der.SEQUENCE, bytes.fromhex(oid), flag, tlv(der.OCTET_STRING, value))


CA = extension("0603551d13", bytes.fromhex("30030101ff"), critical=True)
BAD_CA = extension("0603551d13", b"\x04\x01\x00")
BAD_USAGE = extension("0603551d0f", b"\x30\x00")
BAD_PURPOSE = extension("0603551d25", b"\x04\x00")
CRITICAL = extension("06032a0304", b"\x05\x00", critical=True)


def certificate(
    subject: bytes, issuer: bytes, key: bytes, *extensions: bytes, serial: bytes = b"\x01", algorithm: bytes = ECDSA,
    validity: tuple[bytes, bytes] = (b"200101000000Z", b"450101000000Z"),
) -> bytes:  # fmt: skip
    """A certificate whose signature is no signature."""
    said = tlv(der.SEQUENCE, *(tlv(der.UTC_TIME, when) for when in validity))
    added = tlv(0xA3, tlv(der.SEQUENCE, *extensions)) if extensions else b""
    version = b"\xa0\x03\x02\x01\x02"
    body = tlv(der.SEQUENCE, version, tlv(der.INTEGER, serial), algorithm, issuer, said, subject, key, added)
    return tlv(der.SEQUENCE, body, algorithm, tlv(der.BIT_STRING, b"\x00" + b"no signature"))


def revocations(issuer: bytes, entries: bytes = b"", added: bytes = b"") -> bytes:
    """A list whose signature is no signature."""
    when = tlv(der.UTC_TIME, b"200101000000Z") + tlv(der.UTC_TIME, b"450101000000Z")
    listed = tlv(der.SEQUENCE, entries) if entries else b""
    body = tlv(der.SEQUENCE, b"\x02\x01\x01", ECDSA, issuer, when, listed, added)
    return tlv(der.SEQUENCE, body, ECDSA, tlv(der.BIT_STRING, b"\x00" + b"no signature"))


def name(text: str) -> bytes:
    """A Name of one common name."""
    return tlv(der.SEQUENCE, tlv(der.SET, tlv(der.SEQUENCE, b"\x06\x03\x55\x04\x03", tlv(der.UTF8, text.encode()))))


def _names(found: tuple[x509.Certificate, ...]) -> Iterator[bytes]:
    yield from (
        GARBLED_NAME,
        EMPTY_NAME,
        name("stranger"),
        name("SEV-VCEK"),
        name("SEV-VLEK"),
        name("Intel SGX TCB Signing"),
    )
    yield from {item.subject: None for item in found} | {item.issuer: None for item in found}


def certificates(found: tuple[x509.Certificate, ...]) -> Iterator[tuple[str, bytes]]:
    """Strangers beside ``found``: every name with every oddity."""
    keys = {"off its curve": P384, "of an odd curve": ODD_CURVE}
    oddities = {
        "plain": (),
        "ca": (CA,),
        "bad ca": (BAD_CA,),
        "bad usage": (CA, BAD_USAGE),
        "bad purpose": (BAD_PURPOSE,),
        "critical": (CA, CRITICAL),
    }
    for subject in _names(found):
        for issuer in (GARBLED_NAME, subject):
            for key, spki in keys.items():
                for odd, extensions in oddities.items():
                    label = f"{subject.hex()[:40]} {issuer == subject} {key} {odd}"
                    yield label, certificate(subject, issuer, spki, *extensions)
    for item in found:
        # the same key and name in a certificate that says other things
        yield f"twin of {item.subject_cn}", certificate(item.subject, item.issuer, item.key.raw, CA)
        yield f"twin ca of {item.subject_cn}", certificate(item.subject, item.subject, item.key.raw, BAD_CA)
        yield (
            f"run out twin of {item.subject_cn}",
            certificate(item.subject, item.issuer, item.key.raw, CA, validity=(b"000101000000Z", b"010101000000Z")),
        )
        yield f"garbled twin of {item.subject_cn}", certificate(GARBLED_NAME, item.issuer, item.key.raw, BAD_CA)
        yield f"odd algorithm {item.subject_cn}", certificate(item.subject, item.issuer, P384, CA, algorithm=UNKNOWN)


def lists(found: tuple[x509.Certificate, ...]) -> Iterator[tuple[str, bytes]]:
    """Lists of strangers, of odd content; none names an issuer of ``found``."""
    odd_entry = tlv(der.SEQUENCE, b"\x04\x00")
    for issuer in (GARBLED_NAME, EMPTY_NAME, name("stranger"), *(item.subject for item in found if not item.is_ca)):
        yield f"list of {issuer.hex()[:40]}", revocations(issuer)
        yield f"odd list of {issuer.hex()[:40]}", revocations(issuer, odd_entry)


def documents(gathered: Gathered) -> Iterator[tuple[str, bytes]]:
    """Documents that are none, or of somebody else."""
    yield "ocsp", bytes.fromhex("30030a0101")
    yield "odd ocsp", bytes.fromhex("300d0a0100a008300604010004010000")[:15]
    yield "odd key", P384
    yield "key of an odd curve", ODD_CURVE
    yield "manifest", b"<SoftwareIdentity/>"
    yield "odd manifest", b"<SoftwareIdentity><a>" + b"x" * 100
    yield "manifest of entities", b'<!DOCTYPE a [<!ENTITY b "c">]><SoftwareIdentity>&b;</SoftwareIdentity>'
    for body in (
        "{}",
        "[]",
        "1",
        '{"id":"TDX"}',
        '{"id":"TD_QE","version":2}',
        '{"id":"QE","version":2,"issueDate":1}',
    ):
        for kind in ("tcbInfo", "enclaveIdentity"):
            for signature in ("", "00", "zz", "00" * 64):
                yield f"{kind} {body} {signature[:4]}", f'{{"{kind}":{body},"signature":"{signature}"}}'.encode()
    yield "cut json", b'{"tcbInfo":{"id":"TDX"'
    yield "bundle", json.dumps({"schema": "fastness/bundle/v1", "items": []}).encode()
    yield "launch keys", b'{"schema":"fastness/sev-launch/v1"}'
    yield "acpi table", b"CCEL" + (56).to_bytes(4, "little") + bytes(48)
    yield "words", b"a README, say, with no evidence in it\n"
    yield (
        "certificate table",
        bytes.fromhex("4ab7b379bbac4fe4a02f05aef327c782")
        + (48).to_bytes(4, "little")
        + (4).to_bytes(4, "little")
        + bytes(24)
        + b"\x30\x02\x05\x00",
    )
    for document in gathered.collateral.documents:
        if document.kind in ("tcb-info", "qe-identity", "ocsp", "acpi-table"):
            for at in range(96, len(document.data), max(1, len(document.data) // 12)):
                changed = bytearray(document.data)
                changed[at] ^= 1
                yield f"{document.kind} changed at {at}", bytes(changed)
                yield f"{document.kind} cut at {at}", document.data[:at]
