"""TPM structures as values: TPMS_ATTEST of a quote, TPMT_PUBLIC, TPMT_SIGNATURE (TPM 2.0 Library, Part 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from fastness.errors import MalformedEvidence
from fastness.tee.tpm import layout as at
from fastness.wire import der, x509
from fastness.wire.cursor import Cursor
from fastness.wire.hexdump import Span

Selection = tuple[tuple[int, tuple[int, ...]], ...]
"""(TPM_ALG_ID of a bank, indices in ascending order), in the order the TPM hashed them."""


@dataclass(frozen=True, slots=True)
class Quote:
    """TPMS_ATTEST with type TPM_ST_ATTEST_QUOTE (sections 10.12.8 and 10.12.12).

    ``clock`` is in milliseconds; ``safe`` says that the clock has not gone back; ``digest`` is over the selected
    registers. ``spans`` are places of the fields in ``raw``.
    """

    raw: bytes
    signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    selection: Selection
    digest: bytes
    spans: Mapping[str, Span]


def quote(data: bytes) -> Quote:
    """A TPMS_ATTEST that fills ``data``.

    Raises:
        MalformedEvidence: wrong magic, not a quote, a size that does not fit, a bank twice, leftovers.
    """
    cursor, spans = Cursor(data), {}
    if cursor.big(4, "magic") != at.MAGIC:
        raise MalformedEvidence("magic", 0, f"TPM_GENERATED 0x{at.MAGIC:08x}", data[:4].hex())
    kind = cursor.big(2, "type")
    if kind != at.ST_ATTEST_QUOTE:
        raise MalformedEvidence("type", 4, "TPM_ST_ATTEST_QUOTE 0x8018", f"0x{kind:04x}")
    signer = cursor.sized(2, "qualifiedSigner", limit=68, order="big")
    spans["signer"] = Span("qualifiedSigner", cursor.offset - len(signer), len(signer))
    extra = cursor.sized(2, "extraData", limit=at.MAX_EXTRA, order="big")
    spans["report_data"] = Span("extraData", cursor.offset - len(extra), len(extra))
    spans["clock"] = Span("clockInfo", cursor.offset, 17)
    clock, resets, restarts = (cursor.big(size, "clockInfo") for size in (8, 4, 4))
    safe = cursor.big(1, "clockInfo.safe")
    if safe > 1:
        raise MalformedEvidence("clockInfo.safe", cursor.offset - 1, "0 or 1", safe)
    spans["firmware_version"] = Span("firmwareVersion", cursor.offset, 8)
    firmware = cursor.big(8, "firmwareVersion")
    start = cursor.offset
    selection = _selection(cursor)
    spans["selection"] = Span("pcrSelect", start, cursor.offset - start)
    digest = cursor.sized(2, "pcrDigest", limit=64, order="big")
    spans["digest"] = Span("pcrDigest", cursor.offset - len(digest), len(digest))
    cursor.done("TPMS_ATTEST")
    return Quote(data, signer, extra, clock, resets, restarts, safe == 1, firmware, selection, digest, spans)


def _selection(cursor: Cursor) -> Selection:
    """TPML_PCR_SELECTION (section 10.9.7)."""
    start = cursor.offset
    count = cursor.big(4, "pcrSelect.count")
    if not 1 <= count <= 16:
        raise MalformedEvidence("pcrSelect.count", start, "1 to 16 banks", count)
    banks: dict[int, tuple[int, ...]] = {}
    for _ in range(count):
        start = cursor.offset
        bank = cursor.big(2, "pcrSelect.hash")
        if bank not in at.BANKS or bank in banks:
            raise MalformedEvidence("pcrSelect.hash", start, "known and distinct banks", f"0x{bank:04x}")
        bits = int.from_bytes(cursor.sized(1, "pcrSelect.pcrSelect", limit=4), "little")
        if bits >> at.MAX_PCR:
            raise MalformedEvidence("pcrSelect.pcrSelect", start + 3, f"registers below {at.MAX_PCR}", hex(bits))
        banks[bank] = tuple(index for index in range(at.MAX_PCR) if bits >> index & 1)
    return tuple(banks.items())


@dataclass(frozen=True, slots=True)
class Public:
    """TPMT_PUBLIC (section 12.2.4): ``raw`` without the TPM2B size; ``scheme`` and ``scheme_hash`` 0 when none is set.

    ``spki`` is the same key as a SubjectPublicKeyInfo. ``symmetric`` is (algorithm, key bits) of a storage key.
    """

    raw: bytes
    kind: int
    name_hash: str
    attributes: int
    policy: bytes
    symmetric: tuple[int, int]
    scheme: int
    scheme_hash: int
    spki: x509.PublicKey

    @property
    def name(self) -> bytes:
        """TPM2B_NAME: algorithm ‖ hash of the public area (Part 1 section 16)."""
        return at.BANK_IDS[self.name_hash].to_bytes(2, "big") + hashlib.new(self.name_hash, self.raw).digest()

    def has(self, attribute: str) -> bool:
        """Whether TPMA_OBJECT has ``attribute``, a name of :data:`fastness.tee.tpm.layout.ATTRIBUTES`."""
        return bool(self.attributes >> at.ATTRIBUTES[attribute] & 1)


def public(data: bytes) -> Public:
    """A TPMT_PUBLIC, or a TPM2B_PUBLIC (with its size in front), of an RSA or ECC key that fills ``data``."""
    if len(data) >= 2 and int.from_bytes(data[:2], "big") == len(data) - 2:
        data = data[2:]
    cursor = Cursor(data)
    kind = cursor.big(2, "publicArea.type")
    if kind not in (at.ALG_RSA, at.ALG_ECC):
        raise MalformedEvidence("publicArea.type", 0, "an RSA or ECC key", f"0x{kind:04x}")
    name_hash = cursor.big(2, "publicArea.nameAlg")
    if name_hash not in at.BANKS or name_hash == at.ALG_SHA1:
        raise MalformedEvidence("publicArea.nameAlg", 2, "SHA-256, SHA-384 or SHA-512", f"0x{name_hash:04x}")
    attributes = cursor.big(4, "publicArea.objectAttributes")
    if attributes & ~sum(1 << bit for bit in at.ATTRIBUTES.values()):
        raise MalformedEvidence("publicArea.objectAttributes", 4, "reserved bits of zero", f"0x{attributes:08x}")
    policy = cursor.sized(2, "publicArea.authPolicy", limit=64, order="big")
    symmetric = cursor.big(2, "parameters.symmetric")
    bits = 0
    if symmetric != at.ALG_NULL:
        bits = cursor.big(2, "parameters.symmetric.keyBits")
        cursor.big(2, "parameters.symmetric.mode")
    scheme = cursor.big(2, "parameters.scheme")
    scheme_hash = cursor.big(2, "parameters.scheme.hashAlg") if scheme != at.ALG_NULL else 0
    key = _rsa(cursor) if kind == at.ALG_RSA else _ecc(cursor)
    cursor.done("publicArea")
    chosen = 0 if scheme == at.ALG_NULL else scheme
    return Public(data, kind, at.BANKS[name_hash][0], attributes, policy, (symmetric, bits), chosen, scheme_hash, key)


def _rsa(cursor: Cursor) -> x509.PublicKey:
    start = cursor.offset
    bits = cursor.big(2, "parameters.keyBits")
    exponent = cursor.big(4, "parameters.exponent") or 65537
    modulus = cursor.sized(2, "unique.rsa", limit=1024, order="big")
    if len(modulus) * 8 != bits:
        raise MalformedEvidence("parameters.keyBits", start, f"{len(modulus) * 8}, the size of the modulus", bits)
    return rsa_spki(int.from_bytes(modulus, "big"), exponent)


def _ecc(cursor: Cursor) -> x509.PublicKey:
    start = cursor.offset
    curve = cursor.big(2, "parameters.curveID")
    if curve not in at.CURVES:
        raise MalformedEvidence("parameters.curveID", start, "P-256, P-384 or P-521", f"0x{curve:04x}")
    if cursor.big(2, "parameters.kdf") != at.ALG_NULL:
        raise MalformedEvidence("parameters.kdf", start + 2, "TPM_ALG_NULL", "another")
    oid, size = at.CURVES[curve]
    x, y = (cursor.sized(2, f"unique.ecc.{part}", limit=size, order="big").rjust(size, b"\0") for part in "xy")
    return _spki(_oid("1.2.840.10045.2.1") + _oid(oid), b"\x04" + x + y)


def rsa_spki(modulus: int, exponent: int) -> x509.PublicKey:
    """An RSA key as the DER SubjectPublicKeyInfo that certificates hold (RFC 3279 section 2.3.1)."""
    return _spki(_oid("1.2.840.113549.1.1.1") + b"\x05\x00", _tlv(0x30, _integer(modulus) + _integer(exponent)))


def _spki(algorithm: bytes, bits: bytes) -> x509.PublicKey:
    return x509.parse_public_key(_tlv(0x30, _tlv(0x30, algorithm) + _tlv(0x03, b"\0" + bits)))


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes((tag, size)) + value
    width = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | width)) + size.to_bytes(width, "big") + value


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = bytes((first * 40 + second,))
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.insert(0, arc & 0x7F | 0x80)
        body += bytes(groups)
    return _tlv(0x06, body)


@dataclass(frozen=True, slots=True)
class Signature:
    """TPMT_SIGNATURE (section 11.3.4). ``value`` is the RSA signature, or r ‖ s padded to equal halves.

    ``scheme`` and ``hash`` are 0 for a bare signature, which says neither.
    """

    scheme: int
    hash: int
    value: bytes


def signature(data: bytes) -> Signature:
    """A TPMT_SIGNATURE that fills ``data``, or an ECDSA-Sig-Value in DER (``tpm2_quote -f plain``); bytes that are
    neither are a bare signature.

    Raises:
        MalformedEvidence: an unknown hash, a size that does not fit.
    """
    pair = _der_pair(data)
    if pair is not None:
        return Signature(at.ALG_ECDSA, 0, pair)
    cursor = Cursor(data)
    scheme = int.from_bytes(data[:2], "big")
    if scheme not in (at.ALG_RSASSA, at.ALG_RSAPSS, at.ALG_ECDSA) or not _fits(data, scheme):
        if not 64 <= len(data) <= 1024:
            raise MalformedEvidence("signature", 0, "64 to 1024 bytes, or a TPMT_SIGNATURE", len(data))
        return Signature(0, 0, data)
    cursor.take(2, "signature.sigAlg")
    digest = cursor.big(2, "signature.hash")
    if digest not in at.BANKS:
        raise MalformedEvidence("signature.hash", 2, "SHA-1, SHA-256, SHA-384 or SHA-512", f"0x{digest:04x}")
    first = cursor.sized(2, "signature.value", limit=1024, order="big")
    if scheme == at.ALG_ECDSA:
        second = cursor.sized(2, "signature.value", limit=66, order="big")
        width = max(len(first), len(second))
        first = first.rjust(width, b"\0") + second.rjust(width, b"\0")
    cursor.done("signature")
    return Signature(scheme, digest, first)


def _der_pair(data: bytes) -> bytes | None:
    """r ‖ s of a DER ECDSA-Sig-Value (RFC 3279 section 2.2.3), or None."""
    if data[:1] != b"\x30" or len(data) > 144:
        return None
    try:
        parts = der.children(der.one(data, der.SEQUENCE, "signature"), "signature")
        numbers = [der.integer(item, "signature") for item in parts]
    except MalformedEvidence:
        return None
    if len(numbers) != 2 or min(numbers) <= 0:
        return None
    width = max((number.bit_length() + 7) // 8 for number in numbers)
    return b"".join(number.to_bytes(width, "big") for number in numbers)


def _fits(data: bytes, scheme: int) -> bool:
    """Whether the sizes inside add up to the whole: what tells a TPMT_SIGNATURE from a bare one."""
    end = 6 + int.from_bytes(data[4:6], "big")
    if scheme == at.ALG_ECDSA:
        end += 2 + int.from_bytes(data[end : end + 2], "big")
    return end == len(data)
