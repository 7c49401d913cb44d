"""A TPM's quote as programs keep it, taken apart into what the TPM itself gave: attest, signature, registers, key.

=================== ==================================================================================================
program             form
=================== ==================================================================================================
Trustee's attesters JSON with ``message``, ``signature`` and ``pcrs``, a list from register 0 upwards
keylime's agents    ``r<attest>:<signature>:<registers>``, each in base64, the last as tpm2-tools dumps it
Intel's client      JSON with ``quote``, ``signature`` and ``pcrs``: the quoted registers, one after the other
go-tpm-tools        protocol buffer ``attest.Attestation``, or its JSON: one quote for each bank, of which the strongest
                    is taken, and perhaps an SNP report or a TDX quote, in fields
tpm2_pcrread        YAML: a bank, and below it ``index : 0xdigest``
tpm2_quote          what it prints: ``quoted``, ``signature`` and ``pcrs``, which are as tpm2_pcrread's
tpm2_pcrread -o     the registers one after the other, with nothing that says so: put together beside the quote
others              JSON with ``quote``, ``signature`` and ``pcrs``: digests by index, of the bank the quote selects
=================== ==================================================================================================
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastness.collateral import encodings, snp_forms, tdx_forms
from fastness.collateral.protobuf import fields
from fastness.errors import MalformedEvidence

_KEYLIME = rb"\s*r([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)\s*"
_BANK = rb"\s*(sha1|sha256|sha384|sha512)\s*:[ \t]*\r?\n((?:[ \t]+\d+[ \t]*:[ \t]*0x[0-9A-Fa-f]+[ \t]*\r?\n?)+)"
_PRINTED = rb"\s*quoted:\s*([0-9A-Fa-f]+)\s+signature:\s+alg:\s*\w+\s+sig:\s*([0-9A-Fa-f]+)\s+pcrs:[ \t]*\r?\n"
_INDENTED = rb"[ \t]*(?:(sha1|sha256|sha384|sha512)|\d+)[ \t]*:"
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


def of_fields(value: Mapping[str, Any]) -> tuple[list[bytes], dict[str, Any]]:
    """The pieces of a JSON object in which the parts of a quote stand apart, and what else is in it."""
    for read, names in _READERS:
        if set(names) <= set(value):
            pieces = list(read(*(value[name] for name in names)))
            return pieces, {name: item for name, item in value.items() if name not in names} if pieces else {}
    return [], {}


def _quoted(quote: Any, signature: Any, pcrs: Any) -> Iterator[bytes]:
    message, signed = encodings.octets(quote), encodings.octets(signature)
    if isinstance(pcrs, list):
        values = _listed(pcrs)
    else:
        values = _indexed(pcrs, message) if isinstance(pcrs, dict) else _flat(pcrs, message)
    if message and signed and values:
        yield from (message, signed, values)


def _listed(values: list[Any]) -> bytes:
    """Registers from 0 upwards, of one bank."""
    rows = [encodings.octets(item) for item in values] if len(values) <= REGISTERS else []
    bank = _SIZES.get(len(rows[0])) if rows else None
    return b"" if bank is None else _registers(bank, dict(enumerate(rows)))


def _flat(values: Any, message: bytes) -> bytes:
    """The quoted registers one after the other, in the order the quote selects them."""
    rest, banks = encodings.octets(values), {}
    for name, size, indices in _selected(message):
        banks[name] = {str(index): rest[place * size :][:size].hex() for place, index in enumerate(indices)}
        rest = rest[len(indices) * size :] if len(rest) >= len(indices) * size else b"too short"
    return json.dumps(banks).encode() if banks and not rest else b""


def _indexed(values: dict[str, Any], message: bytes) -> bytes:
    """Digests by index, of the only bank that is quoted; banks by name as they are."""
    if set(values) & set(_SIZES.values()):
        return json.dumps(values).encode()
    banks = _selected(message)
    known = {name: item for name, item in values.items() if name.isdecimal() and isinstance(item, str)}
    return _registers(banks[0][0], {int(name): encodings.octets(item) for name, item in known.items()}) if (
        len(banks) == 1 and 0 < len(known) <= REGISTERS) else b""  # fmt: skip


def _selected(message: bytes) -> list[tuple[str, int, tuple[int, ...]]]:
    """Name and size of the banks, and the registers, that a quote selects; nothing where it is none."""
    from fastness.tee.tpm import layout, parts, structures

    try:
        return [(*layout.BANKS[bank], indices) for bank, indices in structures.quote(parts.attest(message)).selection]
    except MalformedEvidence:
        return []


def _attestation(key: Any, quotes: Any) -> Iterator[bytes]:
    """``attest.Attestation`` in JSON, as Go and as protojson write it."""
    listed = quotes[:REGISTERS] if isinstance(quotes, list) else []
    found = [row for item in listed if isinstance(item, dict) for row in _in_json(item)]
    if found:
        yield from (encodings.octets(key), *max(found)[1])


def _in_json(item: Mapping[str, Any]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    message, signature = encodings.octets(item.get("quote")), encodings.octets(item.get("raw_sig", item.get("rawSig")))
    listed = item.get("pcrs")
    listed = listed if isinstance(listed, dict) else {}
    named, values = listed.get("hash"), listed.get("pcrs")
    bank = next((number for number, name in _HASHES.items() if named in (number, name.upper())), None)
    if message and signature and bank is not None and isinstance(values, dict) and len(values) <= REGISTERS:
        rows = {int(index): encodings.octets(row) for index, row in values.items() if index.isdecimal()}
        yield bank, (message, signature, _registers(_HASHES[bank], rows))


_READERS: tuple[tuple[Callable[..., Iterator[bytes]], tuple[str, ...]], ...] = (
    (_quoted, ("message", "signature", "pcrs")),
    (_quoted, ("quote", "signature", "pcrs")),
    (_attestation, ("ak_pub", "quotes")),
    (_attestation, ("akPub", "quotes")),
)


def of_text(data: bytes) -> list[bytes]:
    """The pieces of keylime's or tpm2_pcrread's text; empty for any other."""
    found = re.fullmatch(_KEYLIME, data)
    if found is not None:
        try:
            return [binascii.a2b_base64(part, strict_mode=True) for part in found.groups()]
        except binascii.Error:
            return []
    printed = re.match(_PRINTED, data)
    if printed is not None:
        rows = (line.lstrip() for line in data[printed.end() :].splitlines() if re.match(_INDENTED, line))
        values = b"".join(line + b"\n" if line[:3] == b"sha" else b" " + line + b"\n" for line in rows)
        return [encodings.octets(part.decode()) for part in printed.groups()] + of_text(values)
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
