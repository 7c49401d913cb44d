"""Loose parts: what TPM tools write into separate files, told apart by content and put into the one blob."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.tee.tpm import layout as at
from fastness.tee.tpm import structures
from fastness.wire import cbor, eventlog, pem, x509
from fastness.wire.cursor import Cursor

Pcrs = dict[int, dict[int, bytes]]
"""TPM_ALG_ID of a bank → index → digest."""

TOOLS_SIZES = (132, 532)
"""Sizes of TPML_PCR_SELECTION and TPML_DIGEST as tpm2-tools dumps them from memory (little endian, unpacked)."""


def recognise_part(data: bytes) -> str | None:
    """Which part of TPM evidence ``data`` is, a name of the blob's fields, or None; never raises.

    A bare signature has no mark of its own: what is as long as an RSA signature, and no text, is taken for one, last.
    """
    if attest(data)[:6] == at.MAGIC.to_bytes(4, "big") + at.ST_ATTEST_QUOTE.to_bytes(2, "big"):
        return "quote"
    if data[:4] == at.HCL_SIGNATURE:
        return "hcl_report"
    if eventlog.recognise(data):
        return "event_log"
    for name, read in (("ak", public_key), ("pcrs", pcrs)):
        try:
            read(data)
        except MalformedEvidence:
            continue
        return name
    return "signature" if _signature(data) else None


def attest(data: bytes) -> bytes:
    """A TPMS_ATTEST from a TPM2B_ATTEST, which has its size in front; what is none stands as it is."""
    return (
        data[2:]
        if data[2:6] == at.MAGIC.to_bytes(4, "big") and data[:2] == (len(data) - 2).to_bytes(2, "big")
        else data
    )


def _signature(data: bytes) -> bool:
    try:
        found = structures.signature(data)
    except MalformedEvidence:
        return False
    return found.scheme != 0 or (len(data) in (256, 384, 512) and not data.isascii())


def public_key(data: bytes) -> structures.Public | x509.PublicKey:
    """The AK: TPMT_PUBLIC, TPM2B_PUBLIC, or a SubjectPublicKeyInfo as DER or PEM."""
    if data.lstrip()[:10] == b"-----BEGIN":
        blocks = pem.unarmour(data, "PUBLIC KEY")
        if len(blocks) != 1:
            raise MalformedEvidence("ak", 0, "one PEM PUBLIC KEY", len(blocks))
        return x509.parse_public_key(blocks[0][1])
    return x509.parse_public_key(data) if data[:1] == b"\x30" else structures.public(data)


def pcrs(data: bytes) -> Pcrs:
    """Register values: JSON ``{"sha256": {"0": "hex", …}}``, a dump of tpm2-tools, or the blob's own CBOR map."""
    if len(data) > 65536:
        raise MalformedEvidence("pcrs", 0, "at most 65536 bytes", len(data))
    if data.lstrip()[:1] == b"{":
        return pcr_map(_from_json(data))
    if len(data) >= TOOLS_SIZES[0] and data[2:4] == b"\0\0":
        return _from_tools(data)
    return pcr_map(cbor.decode(data))


def pcr_map(value: Any) -> Pcrs:
    """A decoded map as register values: known banks, registers below 24, digests of the bank's size."""
    if not isinstance(value, dict) or not value:
        raise MalformedEvidence("pcrs", 0, "a map of banks", type(value).__name__)
    for bank, registers in value.items():
        if isinstance(bank, bool) or bank not in at.BANKS or not isinstance(registers, dict):
            raise MalformedEvidence("pcrs", 0, "a known bank and its registers", repr(bank)[:20])
        size = at.BANKS[bank][1]
        for index, digest in registers.items():
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < at.MAX_PCR:
                raise MalformedEvidence("pcrs.index", 0, f"0 to {at.MAX_PCR - 1}", repr(index)[:20])
            if not isinstance(digest, bytes) or len(digest) != size:
                raise MalformedEvidence("pcrs.digest", 0, f"{size} bytes", repr(digest)[:20])
    return value


def _from_json(data: bytes) -> dict[Any, Any]:
    import json

    try:
        document = json.loads(data.decode())
        return {
            at.BANK_IDS.get(bank, bank): {
                int(index): bytes.fromhex(digest.removeprefix("0x")) for index, digest in registers.items()
            }
            for bank, registers in document.items()
        }
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise MalformedEvidence("pcrs", 0, '{"bank": {"index": "hexadecimal"}}', "something else") from None


def _from_tools(data: bytes) -> Pcrs:
    """``tpm2_quote --pcr``: TPML_PCR_SELECTION, u32 count of TPML_DIGEST, and those, as the C structures lie."""
    cursor = Cursor(data)
    count = cursor.little(4, "pcrs.count")
    if not 1 <= count <= 16:
        raise MalformedEvidence("pcrs.count", 0, "1 to 16 banks", count)
    wanted: list[tuple[int, int]] = []
    for _ in range(count):
        bank = cursor.little(2, "pcrs.hash")
        size = cursor.little(1, "pcrs.sizeofSelect")
        bits = int.from_bytes(cursor.take(4, "pcrs.pcrSelect")[: min(size, 4)], "little")
        cursor.take(1, "pcrs.alignment")
        wanted += [(bank, index) for index in range(32) if bits >> index & 1]
    cursor.zeros(TOOLS_SIZES[0] - cursor.position, "pcrs.unused")
    digests = [digest for _ in range(_few(cursor)) for digest in _digest_list(cursor)]
    cursor.done("pcrs")
    if len(digests) != len(wanted):
        raise MalformedEvidence("pcrs.digests", cursor.offset, f"{len(wanted)} digests", len(digests))
    found: Pcrs = {}
    for (bank, index), digest in zip(wanted, digests, strict=True):
        found.setdefault(bank, {})[index] = digest
    return pcr_map(found)


def _few(cursor: Cursor) -> int:
    start = cursor.offset
    count = cursor.little(4, "pcrs.lists")
    if count > 32:
        raise MalformedEvidence("pcrs.lists", start, "at most 32 lists", count)
    return count


def _digest_list(cursor: Cursor) -> list[bytes]:
    start = cursor.offset
    count = cursor.little(4, "pcrs.digests.count")
    if count > 8:
        raise MalformedEvidence("pcrs.digests.count", start, "at most 8 digests", count)
    found = []
    for slot in range(8):
        at_slot, size = cursor.offset, cursor.little(2, "pcrs.digest.size")
        body = cursor.take(64, "pcrs.digest")
        if size > 64:
            raise MalformedEvidence("pcrs.digest.size", at_slot, "at most 64", size)
        if slot < count:
            found.append(body[:size])
    return found


def covered(values: bytes, quoted: bytes) -> bytes | None:
    """The registers in ``values`` that the quote in ``quoted`` selects, as the blob has them; None where one is
    missing, or they are not those that were quoted. Programs write all registers of every bank beside a quote of a
    few: the others are nobody's word, and go no further.

    Raises:
        MalformedEvidence: one of the two cannot be read.
    """
    known, quote = pcrs(values), structures.quote(attest(quoted))
    hashing = {32: "sha256", 48: "sha384", 64: "sha512"}.get(len(quote.digest))
    wanted = [(bank, index) for bank, indices in quote.selection for index in indices]
    if hashing is None or any(index not in known.get(bank, {}) for bank, index in wanted):
        return None
    if hashlib.new(hashing, b"".join(known[bank][index] for bank, index in wanted)).digest() != quote.digest:
        return None
    found: Pcrs = {}
    for bank, index in wanted:
        found.setdefault(bank, {})[index] = known[bank][index]
    return cbor.encode(found)


def in_a_row(values: bytes, quoted: bytes) -> bytes | None:
    """Digests one after the other (``tpm2_pcrread -o``, ``tpm2_quote -F values``) as the blob has registers: they are
    those that the quote in ``quoted`` selects, in its order, if they are as long. None where they are not.

    Raises:
        MalformedEvidence: the quote cannot be read.
    """
    cursor, found = Cursor(values), Pcrs()
    selection = structures.quote(attest(quoted)).selection
    if sum(at.BANKS[bank][1] * len(indices) for bank, indices in selection) != len(values):
        return None
    for bank, indices in selection:
        found[bank] = {index: cursor.take(at.BANKS[bank][1], "pcrs") for index in indices}
    return cbor.encode(found)


def assemble(parts: Mapping[str, bytes], certificates: tuple[bytes, ...] = ()) -> bytes:
    """The one blob from loose ``parts``, named as in :mod:`fastness.tee.tpm.layout`; ``certificates`` DER issuers.

    Raises:
        MalformedEvidence: a required part is absent, an unknown one given, or one cannot be read.
    """
    unknown = [name for name in parts if name not in at.KEYS or name == "certificates"]
    absent = [at.BLOB[key] for key in sorted(at.REQUIRED - {1}) if at.BLOB[key] not in parts]
    if unknown or absent:
        raise MalformedEvidence("parts", 0, "the parts of the layout", f"unknown {unknown}, absent {absent}")
    fields: dict[int, Any] = {1: at.PROFILE}
    fields |= {at.KEYS[name]: data for name, data in parts.items() if name not in ("ak", "pcrs")}
    ak = public_key(parts["ak"])
    fields[at.KEYS["ak"]] = ak.raw
    fields[at.KEYS["quote"]] = attest(parts["quote"])
    fields[at.KEYS["pcrs"]] = pcrs(parts["pcrs"])
    if certificates:
        fields[at.KEYS["certificates"]] = list(certificates)
    return cbor.encode(fields)
