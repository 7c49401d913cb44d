"""Which TEE bytes may belong to, from their first few, so that only that TEE's parsers are loaded.

A guess costs nothing when wrong: the TEE's own ``recognise`` decides, and what no guess names is shown to all of them.
"""

from __future__ import annotations

from fastness import tee as tees

SNP_SIGNED, SNP_REPORT = 0x2A0, 0x4A0
ANSWER_HEAD = 32
_OPEN_ENCLAVE = b"\1\0\0\0\2\0\0\0"
TABLE_ENTRY = 24
MAX_ENTRIES = 16


def _swapped(guid: bytes) -> bytes:
    """A GUID with its first three fields little endian."""
    return guid[3::-1] + guid[5:3:-1] + guid[7:5:-1] + guid[8:]


_TABLE_GUIDS = frozenset(
    order
    for guid in (
        "63da758de6644564adc5f4b93be8accd",  # VCEK
        "a8074bc2a25a483eaae639c045a0b8a1",  # VLEK
        "4ab7b379bbac4fe4a02f05aef327c782",  # ASK, ASVK
        "c0b406a4a803495297433fb6014cd0ae",  # ARK
        "92f81bc358114d3d97ffd19f88dc67ea",  # CRL
    )
    for order in (bytes.fromhex(guid), _swapped(bytes.fromhex(guid)))
)
"""GHCB specification 2.0 section 4.1.8.1: GUIDs of the certificate table; most producers write them in the order of
RFC 4122, some in Microsoft's."""


def likely(data: bytes) -> tuple[str, ...]:
    """Names of TEEs worth asking first, best first."""
    head = data[:8]
    version, kind = int.from_bytes(head[:2], "little"), int.from_bytes(head[4:8], "little")
    if version in (4, 5) and kind == 0x81:
        return ("tdx",)
    if 3 <= version <= 5 and head[2:4] in (b"\x02\0", b"\x03\0"):
        return ("sgx", "tdx")
    if head[2:4] == b"\0\0" and 1 < version < 16 and len(data) >= SNP_SIGNED:
        return ("snp",)
    if head[:4] in (b"HCLA", b"\xffTCG") or data[2:6] == b"\xffTCG":
        return ("tpm",)
    if head[:2] == b"\x11\xe0":
        return ("nvgpu",)
    return _cbor(data[:18])


def _cbor(head: bytes) -> tuple[str, ...]:
    if head[1:3] == b"\x01\x6f":  # our own TPM blob: {1: text of 15, …}
        return ("tpm",)
    if head[:1] == b"\x84" or head[:2] == b"\xd2\x84":
        # COSE_Sign1 (RFC 9052): AWS signs with ES384, a software root with ES256, and the header begins with that
        return ("nil", "nitro") if b"\xa1\x01\x26" in head else ("nitro", "nil")
    if head[:3] == b"\xd9\x01\x8f" or head[:3] == b"\xd9\x03\x8b":  # CCA collection: tags 399 and 907
        return ("cca",)
    return ()


def evidence_of(data: bytes) -> str | None:
    """The TEE that recognises ``data`` as its evidence, asking the likely ones only."""
    return next((name for name in likely(data) if recognises(name, data)), None)


def endorsement(data: bytes) -> bool:
    """Whether ``data`` is a certificate or a revocation list in DER."""
    if data[:1] != b"\x30":
        return False
    from fastness.errors import MalformedEvidence
    from fastness.wire import x509

    for read in (x509.certificate, x509.crl):
        try:
            read(data)
        except MalformedEvidence:
            continue
        return True
    return False


def answered(data: bytes) -> bytes:
    """The report in what SNP firmware answers to a guest, the quote in a report of Open Enclave's, anything else as it
    is.

    MSG_REPORT_RSP (AMD 56860, chapter 7): status 0 and the report's size, 32 bits each, 24 reserved bytes, the report,
    and the rest of the guest's buffer. ``oe_report_header_t`` (Open Enclave, ``internal/report.h``): version 1 and type
    2 (remote), 32 bits each, the quote's size, 64 bits, the quote.
    """
    if data.startswith(_OPEN_ENCLAVE) and int.from_bytes(data[8:16], "little") == len(data) - 16:
        return data[16:]
    end = ANSWER_HEAD + SNP_REPORT
    head = bytes(4) + SNP_REPORT.to_bytes(4, "little") + bytes(24)
    return data[ANSWER_HEAD:end] if data.startswith(head) and len(data) >= end and not any(data[end:]) else data


def any_evidence(data: bytes) -> str | None:
    """The same, asking all that :func:`evidence_of` has not."""
    asked = likely(data)
    return next((name for name in tees.NAMES if name not in asked and recognises(name, data)), None)


def recognises(name: str, data: bytes) -> bool:
    """Whether TEE ``name`` takes ``data`` for its evidence."""
    try:
        module = tees.load(name)
    except ModuleNotFoundError:  # a TEE left out of this installation recognises nothing
        return False
    return module.recognise(data)


def snp_identity(data: bytes) -> str | None:
    """Which half of an SNP ID block ``data`` is, by size, version and reserved bits (AMD 56860, SNP_LAUNCH_FINISH)."""
    if len(data) == 96 and data[0x50:0x54] == b"\x01\0\0\0" and data[0x5A] & 2 and not any(data[0x5C:]):
        return "snp-id-block" if data[0x5B] < 4 else None
    if len(data) == 4096 and data[:4] == b"\x01\0\0\0" and not any(data[8:0x40]) and data[0x240:0x244] == b"\x02\0\0\0":
        return "snp-id-auth"
    return None


def certificate_table(data: bytes) -> list[bytes] | None:
    """The blobs of an AMD certificate table (entries of GUID 16, offset 4, size 4, little endian, zero entry last).

    None when ``data`` is no such table: an entry out of bounds, or none of a GUID that is known, in either byte order.
    Source: GHCB specification section 4.1.8.1.
    """
    blobs: list[bytes] = []
    known = False
    for at in range(0, min(len(data) - TABLE_ENTRY, MAX_ENTRIES * TABLE_ENTRY) + 1, TABLE_ENTRY):
        entry = data[at : at + TABLE_ENTRY]
        if not any(entry):
            return blobs if known else None
        offset, size = int.from_bytes(entry[16:20], "little"), int.from_bytes(entry[20:24], "little")
        if size > len(data) - offset or (size and offset <= at):
            return None
        known = known or entry[:16] in _TABLE_GUIDS
        if size:
            blobs.append(data[offset : offset + size])
    return None
