"""A TPM's quote as programs keep it, taken apart into what the TPM itself gave: attest, signature, registers, key.

=================== ==================================================================================================
program             form
=================== ==================================================================================================
Trustee's attesters JSON with ``message``, ``signature`` and ``pcrs``, a list from register 0 upwards
keylime's agents    ``r<attest>:<signature>:<registers>``, each in base64, the last as tpm2-tools dumps it
go-tpm-tools        protocol buffer ``attest.Attestation``: one quote for each bank, of which the strongest is taken,
                    and perhaps an SNP report or a TDX quote, in fields
tpm2_pcrread        YAML: a bank, and below it ``index : 0xdigest``
=================== ==================================================================================================
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastness.collateral import snp_forms, tdx_forms, text
from fastness.collateral.protobuf import fields
from fastness.errors import MalformedEvidence

_KEYLIME = rb"\s*r([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)\s*"
_BANK = rb"\s*(sha1|sha256|sha384|sha512)\s*:[ \t]*\r?\n((?:[ \t]+\d+[ \t]*:[ \t]*0x[0-9A-Fa-f]+[ \t]*\r?\n?)+)"
_ROW = rb"(\d+)[ \t]*:[ \t]*0x([0-9A-Fa-f]+)"
_SIZES = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}
_HASHES = {0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
"""``tpm.HashAlgo``: TPM_ALG_ID of the banks that count."""
REGISTERS = 24
"""Of a TPM (PC Client Platform TPM Profile 1.05, section 4.6)."""


_AROUND = {8: snp_forms.of_attestation, 9: tdx_forms.of_quote}
"""Evidence of the machine around the TPM, in the fields of ``attest.Attestation``."""


def _registers(bank: str, rows: Mapping[int, bytes]) -> bytes:
    return json.dumps({bank: {str(index): row.hex() for index, row in rows.items()}}).encode()


def trustee(value: Mapping[str, Any]) -> Iterator[bytes]:
    """The pieces of a JSON object with ``message``, ``signature`` and ``pcrs``."""
    message, signature = text.octets(value["message"]), text.octets(value["signature"])
    listed = value["pcrs"] if isinstance(value["pcrs"], list) else []
    rows = [text.octets(item) for item in listed] if len(listed) <= REGISTERS else []
    bank = _SIZES.get(len(rows[0])) if rows else None
    if message and signature and bank is not None:
        yield from (message, signature, _registers(bank, dict(enumerate(rows))))


def of_text(data: bytes) -> list[bytes]:
    """The pieces of keylime's or tpm2_pcrread's text; empty for any other."""
    found = re.fullmatch(_KEYLIME, data)
    if found is not None:
        try:
            return [binascii.a2b_base64(part, strict_mode=True) for part in found.groups()]
        except binascii.Error:
            return []
    banks: dict[str, dict[str, str]] = {}
    position = 0
    while (block := re.compile(_BANK).match(data, position)) is not None:
        banks[block[1].decode()] = {row[0].decode(): row[1].decode() for row in re.findall(_ROW, block[2])}
        position = block.end()
    return [json.dumps(banks).encode()] if banks and not data[position:].strip() else []


def of_bytes(data: bytes) -> list[bytes]:
    """The pieces of an ``attest.Attestation``; empty for anything else."""
    try:
        found = fields(data)
        quotes = [quote for number, value in found if number == 2 for quote in _quote(value)]
    except MalformedEvidence:
        return []
    if not quotes:
        return []
    # 1 AK, 3 event log, 6 and 7 certificates, 8 an SNP report, 9 a TDX quote
    around = [piece for number, value in found if number in _AROUND for piece in _AROUND[number](value)]
    return [*max(quotes)[1], *(value for number, value in found if number in (1, 3, 6, 7) and value), *around]


def _quote(data: bytes) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """(bank, attest, signature and registers) of a ``tpm.Quote`` over a bank that counts."""
    found = dict(fields(data))
    listed = fields(found.get(3, b""))
    bank = int.from_bytes(dict(listed).get(1, b""), "big")
    rows: dict[int, bytes] = {}
    for number, value in listed:
        if number == 2:
            entry = dict(fields(value))
            rows[int.from_bytes(entry.get(1, b""), "big")] = entry.get(2, b"")
    if bank in _HASHES and {1, 2} <= set(found) and rows:
        yield bank, (found[1], found[2], _registers(_HASHES[bank], rows))
