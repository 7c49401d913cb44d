"""MRENCLAVE: what building an enclave page by page amounts to, and what a signed enclave says of itself.

Two forms of an enclave are read:

* an SGXS stream, the records of ECREATE, EADD and EEXTEND one after the other: its measurement is recomputed;
* a SIGSTRUCT (what ``gramine-sgx-sign`` leaves in ``keep.sig``), whose signature must hold: it names the measurement.

Gramine's loader, whose version and layout are part of the enclave, is only where Gramine is installed: without one of
the two nothing can be told, and nothing is.

Sources: Intel SDM volume 3D, ECREATE, EADD, EEXTEND (what each adds to MRENCLAVE), section 38.13 (SIGSTRUCT) and 39.1.3
(its signature). All integers little endian.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fastness.errors import Malformed, MalformedEvidence, UsageError
from fastness.image.measure import Machine, Parts, Row
from fastness.wire.cursor import Cursor

PAGE, CHUNK, RECORD = 4096, 256, 64
SIGSTRUCT_SIZE = 1808
MAX_PAGES = 1 << 20
"""Most pages of a stream: 4 GiB."""

ECREATE, EADD, EEXTEND, UNMEASURED = (name.ljust(8, b"\0") for name in (b"ECREATE", b"EADD", b"EEXTEND", b"UNMEASRD"))
PAGE_FLAGS = 0x707
"""SECINFO: R, W, X and the page type (0 SECS is never added, 1 TCS, 2 REG)."""

HEADER = bytes.fromhex("06000000e10000000000010000000000")
HEADER2 = bytes.fromhex("01010000600000006000000001000000")
VENDORS = (0, 0x8086)
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""DigestInfo of SHA-256 (RFC 8017 section 9.2)."""


@dataclass(frozen=True, slots=True)
class Sigstruct:
    """A SIGSTRUCT whose signature holds: measurement of the enclave, of its signer, and what the signer says of it."""

    mrenclave: bytes
    mrsigner: bytes
    isv_prod_id: int
    isv_svn: int
    debug: bool


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """One row, from ``parts.enclave``.

    Raises:
        UsageError: no enclave is there.
        Malformed: a SIGSTRUCT or stream that does not follow its format, or a signature that does not hold.
    """
    del machine  # an enclave is measured alike on every processor
    if not parts.enclave:
        raise UsageError("no enclave was made of this image", hint="install Gramine, or --enclave FILE")
    try:
        if len(parts.enclave) != SIGSTRUCT_SIZE:
            found = mrenclave(parts.enclave)
            return (Row("sgx", "Gramine enclave, from its pages", {"mrenclave": (found.hex(),)}),)
        signed = sigstruct(parts.enclave)
    except MalformedEvidence as error:
        raise Malformed(f"enclave: {error.what}", where=error.where, hint="sign the enclave again") from None
    debug = "; may be debugged" if signed.debug else ""
    note = f"Gramine enclave, as signed; product {signed.isv_prod_id}, SVN {signed.isv_svn}{debug}"
    measurements = {"mrenclave": (signed.mrenclave.hex(),), "mrsigner": (signed.mrsigner.hex(),)}
    return (Row("sgx", note, measurements),)


def mrenclave(stream: bytes) -> bytes:
    """MRENCLAVE of an SGXS stream: SHA-256 over its records, with the 256 bytes that follow each EEXTEND.

    Raises:
        MalformedEvidence: records out of order, pages outside the enclave, unaligned or given twice.
    """
    cursor = Cursor(stream)
    digest, size = _create(cursor)
    page, measured = -1, 0
    seen: set[int] = set()
    while cursor.remaining:
        at = cursor.offset
        record = cursor.take(RECORD, "record")
        tag, offset = record[:8], int.from_bytes(record[8:16], "little")
        if tag == EADD:
            _added(record, offset, size, at, seen)
            page, measured = offset, 0
            digest.update(record)
        elif tag in (EEXTEND, UNMEASURED):
            if page < 0 or offset != page + measured or measured == PAGE or any(record[16:]):
                raise MalformedEvidence(
                    "EEXTEND.offset", at + 8, "the next chunk of the page just added", f"0x{offset:x}"
                )
            measured += CHUNK
            chunk = cursor.take(CHUNK, "EEXTEND.data")
            if tag == EEXTEND:
                digest.update(record + chunk)
        else:
            raise MalformedEvidence("record", at, "EADD, EEXTEND or UNMEASRD", repr(tag))
    return digest.digest()


def _create(cursor: Cursor) -> tuple[hashlib._Hash, int]:
    record = cursor.take(RECORD, "ECREATE")
    frame, size = int.from_bytes(record[8:12], "little"), int.from_bytes(record[12:20], "little")
    if record[:8] != ECREATE or any(record[20:]) or not 1 <= frame <= 64:
        raise MalformedEvidence("ECREATE", 0, "ECREATE, a state save frame of 1 to 64 pages", repr(record[:8]))
    if size < 2 * PAGE or size & (size - 1):
        raise MalformedEvidence("ECREATE.size", 12, "a power of two of at least two pages", size)
    return hashlib.sha256(record), size


def _added(record: bytes, offset: int, size: int, at: int, seen: set[int]) -> None:
    flags = int.from_bytes(record[16:24], "little")
    if offset % PAGE or offset >= size or offset in seen or len(seen) >= MAX_PAGES:
        raise MalformedEvidence("EADD.offset", at + 8, "a page of the enclave, given once", f"0x{offset:x}")
    if flags & ~PAGE_FLAGS or flags >> 8 not in (1, 2) or any(record[24:]):
        raise MalformedEvidence("EADD.flags", at + 16, "R, W, X and type TCS or REG", f"0x{flags:x}")
    seen.add(offset)


def sigstruct(data: bytes) -> Sigstruct:
    """The SIGSTRUCT in ``data``, 1808 bytes.

    Raises:
        MalformedEvidence: another size or header, reserved bytes, or a signature that does not hold.
    """
    cursor = Cursor(data)
    if cursor.take(16, "HEADER") != HEADER:
        raise MalformedEvidence("HEADER", 0, HEADER.hex(), data[:16].hex())
    vendor = cursor.little(4, "VENDOR")
    cursor.take(4, "DATE")
    if cursor.take(16, "HEADER2") != HEADER2 or vendor not in VENDORS:
        raise MalformedEvidence("HEADER2", 24, HEADER2.hex(), data[24:40].hex())
    cursor.take(4, "SWDEFINED")
    cursor.zeros(84, "RESERVED")
    modulus, exponent = cursor.take(384, "MODULUS"), cursor.little(4, "EXPONENT")
    signature = cursor.little(384, "SIGNATURE")
    cursor.take(28, "MISCSELECT")
    attributes = cursor.little(8, "ATTRIBUTES")
    cursor.take(24, "ATTRIBUTEMASK")
    measured = cursor.take(32, "ENCLAVEHASH")
    cursor.zeros(16, "RESERVED")
    cursor.take(16, "ISVEXTPRODID")
    product, svn = cursor.little(2, "ISVPRODID"), cursor.little(2, "ISVSVN")
    cursor.zeros(12, "RESERVED")
    cursor.take(768, "Q1 and Q2")  # aids to the processor: quotients that follow from the signature
    cursor.done("SIGSTRUCT")
    if exponent != 3 or not _holds(int.from_bytes(modulus, "little"), signature, data[:128] + data[900:1028]):
        raise MalformedEvidence("SIGNATURE", 516, "an RSA-3072 signature that holds", "another")
    return Sigstruct(measured, hashlib.sha256(modulus).digest(), product, svn, bool(attributes & 2))


def _holds(modulus: int, signature: int, text: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256 and exponent 3 (RFC 8017 section 8.2.2): the whole encoded message compared."""
    if modulus.bit_length() != 3072 or not 0 < signature < modulus:
        return False
    digest = _DIGEST_INFO + hashlib.sha256(text).digest()
    encoded = b"\x00\x01" + b"\xff" * (384 - 3 - len(digest)) + b"\x00" + digest
    return pow(signature, 3, modulus) == int.from_bytes(encoded, "big")
