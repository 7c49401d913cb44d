"""TPM evidence as a value: parse, unparse, show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.pki import keys
from fastness.tee.tpm import hcl, structures
from fastness.tee.tpm import layout as at
from fastness.tee.tpm.parts import Pcrs, assemble, covered, in_a_row, pcr_map, public_key, recognise_part
from fastness.wire import cbor, eventlog, x509
from fastness.wire.hexdump import Span

__all__ = ["Evidence", "assemble", "covered", "in_a_row", "parse", "recognise", "recognise_part", "show", "unparse"]

_SCHEMES = {at.ALG_RSASSA: "RSASSA", at.ALG_RSAPSS: "RSAPSS", at.ALG_ECDSA: "ECDSA"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of TPM evidence. ``key`` is the AK as a SubjectPublicKeyInfo, ``ak`` its public area where given.

    ``spans`` are places in ``raw``. What the blob does not carry is None.
    """

    raw: bytes
    quote: structures.Quote
    signature: structures.Signature
    key: x509.PublicKey
    ak: structures.Public | None
    pcrs: Pcrs
    log: eventlog.EventLog | None
    ak_certificate: x509.Certificate | None
    ek_certificate: x509.Certificate | None
    activation: bytes | None
    hcl: hcl.Report | None
    td_quote: bytes | None
    certificates: tuple[x509.Certificate, ...]
    spans: Mapping[str, Span]


def recognise(data: bytes) -> bool:
    """Whether ``data`` is the blob: a CBOR map that starts with its profile."""
    text = at.PROFILE.encode()
    return data[:1] in b"\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac" and data[1:3] == b"\x01\x6f" and data[3:18] == text


def parse(data: bytes) -> Evidence:
    """TPM evidence from its blob (at most 4.25 MiB, of which the event log 4 MiB).

    Raises:
        MalformedEvidence: not the deterministic encoding, a field missing, unknown, too large or malformed.
    """
    fields = _fields(data)
    certificates = fields.get(12, [])
    if not isinstance(certificates, list) or len(certificates) > at.MAX_CERTIFICATES:
        raise MalformedEvidence("certificates", 0, f"an array of at most {at.MAX_CERTIFICATES}", "another")
    ak = public_key(fields[4])
    key = ak.spki if isinstance(ak, structures.Public) else ak
    if fields[4] != ak.raw:
        raise MalformedEvidence("ak", _place(data, fields[4]), "TPMT_PUBLIC without size, or DER", "another form")
    keys.load(key)  # a point off its curve is malformed, not a matter of trust
    quote = structures.quote(fields[2])
    signature = structures.signature(fields[3])
    return Evidence(
        raw=data,
        quote=quote,
        signature=signature,
        key=key,
        ak=ak if isinstance(ak, structures.Public) else None,
        pcrs=pcr_map(fields[5]),
        log=eventlog.parse(fields[6]) if 6 in fields else None,
        ak_certificate=x509.certificate(fields[7]) if 7 in fields else None,
        ek_certificate=x509.certificate(fields[8]) if 8 in fields else None,
        activation=fields.get(9),
        hcl=hcl.parse(fields[10]) if 10 in fields else None,
        td_quote=fields.get(11),
        certificates=tuple(x509.certificate(_bytes("certificates", item, 16384)) for item in certificates),
        spans=_spans(data, fields, quote),
    )


def _fields(data: bytes) -> dict[int, Any]:
    if len(data) > at.MAX_BLOB:
        raise MalformedEvidence("tpm evidence", 0, f"at most {at.MAX_BLOB} bytes", len(data))
    fields = cbor.decode(data, canonical=True)
    if not isinstance(fields, dict) or not at.REQUIRED <= set(fields) <= {1, *at.BLOB}:
        raise MalformedEvidence("tpm evidence", 0, f"the fields of {at.PROFILE}", "others")
    if fields[1] != at.PROFILE:
        raise MalformedEvidence("profile", 0, at.PROFILE, repr(fields[1])[:60])
    for key, limit in at.LIMITS.items():
        if key in fields:
            _bytes(at.BLOB[key], fields[key], limit)
    return fields


def _bytes(name: str, value: Any, limit: int) -> bytes:
    if not isinstance(value, bytes) or not 1 <= len(value) <= limit:
        raise MalformedEvidence(name, 0, f"1 to {limit} bytes", repr(value)[:40])
    return value


def _place(data: bytes, part: bytes) -> int:
    return max(0, data.find(part))


def _spans(data: bytes, fields: dict[int, Any], quote: structures.Quote) -> dict[str, Span]:
    found: dict[str, Span] = {}
    position = 0
    for key in sorted(fields):
        if key not in at.LIMITS:
            continue
        position = data.index(fields[key], position)  # keys are in order, so each part stands after the one before
        found[at.BLOB[key]] = Span(at.BLOB[key], position, len(fields[key]))
        position += len(fields[key])
    base = found["quote"].offset
    return found | {
        name: Span(f"quote.{span.field}", base + span.offset, span.size) for name, span in quote.spans.items()
    }


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return evidence.raw


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning)."""
    quote = evidence.quote
    banks = ", ".join(f"{at.BANKS[bank][0]}:{','.join(map(str, indices))}" for bank, indices in quote.selection)
    meanings = {
        "quote": "TPMS_ATTEST as signed",
        "report_data": "chosen by who asked: nonce, or hash that binds session and keys",
        "clock": f"{quote.clock} ms, {quote.reset_count} resets, {quote.restart_count} restarts, safe {quote.safe}",
        "firmware_version": f"0x{quote.firmware_version:016x}",
        "selection": f"registers {banks}",
        "digest": "hash over the selected registers",
        "signer": "qualified name of the key that signed",
        "signature": f"by the attestation key: {_SCHEMES.get(evidence.signature.scheme, 'bare')}",
        "ak": f"attestation key, sha-256 {keys.fingerprint(evidence.key)}{_attributes(evidence.ak)}",
        "event_log": f"{len(evidence.log.events) if evidence.log else 0} measured events",
        "ak_certificate": "who vouches for the attestation key",
        "ek_certificate": "who vouches for the TPM",
        "activation": "secret that only this TPM could open",
        "hcl_report": f"hardware report around the vTPM, and the keys it binds{_around(evidence.hcl)}",
        "td_quote": "TDX quote around the vTPM",
    }
    rows = [(name, span.offset, span.size, meanings[name]) for name, span in evidence.spans.items()]
    return sorted([*rows, *_registers(evidence)], key=lambda row: row[1])


def _registers(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Each register value as (name, offset, size, meaning); they stand in order, after the key."""
    rows = []
    position = evidence.spans["ak"].offset + evidence.spans["ak"].size
    for bank, registers in evidence.pcrs.items():
        name, size = at.BANKS[bank]
        for index, digest in registers.items():
            position = evidence.raw.index(digest, position)
            rows.append((f"pcr{index}.{name}", position, size, f"value of register {index}"))
            position += size
    return rows


def _attributes(ak: structures.Public | None) -> str:
    return f": {', '.join(name for name in at.ATTRIBUTES if ak.has(name))}" if ak is not None else ""


def _around(report: hcl.Report | None) -> str:
    if report is None:
        return ""
    told = ", ".join(f"{name} {value}" for name, value in sorted(report.configuration.items()))
    return f": {report.kind}, runtime data of hash {report.bound.hex()}; {told}"
