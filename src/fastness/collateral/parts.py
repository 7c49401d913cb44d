"""Evidence that lies in several files: which parts there are, and putting them into one.

A TEE whose evidence comes in parts exports ``recognise_part(data) -> name | None`` and
``assemble({name: data}, …) -> evidence``; where several may lie in one file or be of one name, ``split``, ``choose``
and ``apart``. What belongs together is told here, across TEEs: the certificate of a TPM's key among all certificates,
the TDX quote around a vTPM among the evidence.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from fastness import tee as tees
from fastness.collateral.heap import Found, Heap
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine, UsageError
from fastness.tee import Document
from fastness.wire import x509

if TYPE_CHECKING:
    from fastness.tee.tpm import hcl

TEES = ("tpm", "sev")
MAX_CHOICES = 4
"""Most keys, and most signatures, that are tried on one quote."""
EK_CERTIFICATE = bytes.fromhex("060567810508 01")
"""DER of 2.23.133.8.1, tcg-kp-EKCertificate: the usage of EK certificates (TCG EK credential profile 2.5, 3.5.16)."""

_NEEDED = {"tpm": ("quote", "signature", "ak", "pcrs")}
_NOT_ALONE = frozenset({"cek", "pek", "report", "launch", "proof"})
"""Parts of SEV evidence that speak of a platform or a guest, and of nobody without the chain."""


def assemble(heap: Heap) -> None:
    """Puts the parts in ``heap`` together. Parts that are short of one another become collateral.

    Raises:
        MalformedEvidence: parts that cannot be read.
        MissingCollateral: a quote without its signature, key or register values; a SEV guest without its platform.
        UsageError: the quotes of more than one TPM, the certificates of more than one SEV platform, the launches or
            proofs of more than one guest.
    """
    for name in TEES:
        parts = [document for (owner, _), document in heap.parts.items() if owner == name]
        if parts:
            found = _tpm(parts, heap) if name == "tpm" else _other(name, parts)
            for item in found:
                heap.add_evidence(item)
        for part in parts:
            heap.documents.setdefault((part.kind, part.data), part)


def _other(name: str, parts: list[Document]) -> list[Found]:
    module: Any = tees.load(name)
    found = []
    for own, source in module.apart(parts):
        places = {part.data: part.source for part in own}
        evidence = module.assemble(module.choose([(part.kind, part.data) for part in own], places))
        if evidence is not None:
            found.append(Found(name, evidence, source))
    alone = [part.source for part in parts if part.kind in _NOT_ALONE]
    if alone and not found:
        raise MissingCollateral("CEK and PEK certificates of the platform", check="sev.cek", where=alone[0])
    return found


def _tpm(parts: list[Document], heap: Heap) -> list[Found]:
    named: dict[str, bytes] = {}
    for part in parts:
        if part.kind == "quote" and named.get("quote", part.data) != part.data:
            raise UsageError("the quotes of more than one TPM", where=part.source, hint="verify one TPM at a time")
        # a TPM's own form of its key says more than a SubjectPublicKeyInfo (attributes: restricted, fixedTPM)
        if part.kind != "ak" or "ak" not in named or not _is_der(part.data):
            named[part.kind] = part.data
    if "quote" not in named:
        _unquoted(parts, heap)
        return []
    named["pcrs"] = _registers(named, parts) or named.get("pcrs") or _in_a_row(named["quote"], parts, heap)
    if named.pop("runtime_data", b"") and "hcl_report" not in named:
        named |= _runtime([part.data for part in parts if part.kind == "runtime_data"][:MAX_CHOICES], named, heap)
    _surroundings(named, heap)
    absent = [need for need in _NEEDED["tpm"] if not named.get(need)]
    if absent:
        raise MissingCollateral(
            f"{' and '.join(absent)} of the TPM quote", check="tpm.signature", where=parts[0].source
        )
    return [Found("tpm", _fitting(named, parts), parts[0].source)]


def _runtime(runtimes: list[bytes], named: dict[str, bytes], heap: Heap) -> dict[str, bytes]:
    """What Azure's runtime data adds: the HCL report around it; the key it names, where there is no other."""
    from fastness.collateral import hcl_forms
    from fastness.tee.tpm import hcl

    report = hcl_forms.around(runtimes, heap.evidence.values())
    if report is not None:
        return {"hcl_report": report}
    return {} if "ak" in named else {"ak": hcl.named_key(runtimes[0]).raw}


def _registers(named: dict[str, bytes], parts: list[Document]) -> bytes | None:
    """The quoted registers, of whichever of several dumps has them; None where none does."""
    module: Any = tees.load("tpm")
    for values in [part.data for part in parts if part.kind == "pcrs"][:MAX_CHOICES]:
        try:
            found: bytes | None = module.covered(values, named["quote"])
        except MalformedEvidence:
            continue
        if found is not None:
            return found
    return None


def _in_a_row(quote: bytes, parts: list[Document], heap: Heap) -> bytes:
    """The quoted registers, of bytes that say nothing of themselves and are as long; empty where there are none.

    Some are as long as an RSA signature, and were taken for one: those must be what was quoted.
    """
    module: Any = tees.load("tpm")
    bare = [part for part in parts if part.kind == "signature"][:MAX_CHOICES]
    pairs = [(part, module.in_a_row(part.data, quote)) for part in (*heap.unknown, *bare)]
    fits = [(part, found) for part, found in pairs if found is not None]
    held = [pair for pair in fits if module.covered(pair[1], quote) is not None]
    for part, found in held or fits:
        if part in heap.unknown:
            heap.settle(part)
        elif not held:
            continue
        registers: bytes = found
        return registers
    return b""


def _fitting(named: dict[str, bytes], parts: list[Document]) -> bytes:
    """The evidence of ``named``; where several keys or signatures lie about (EK and AK), of those that fit."""
    module: Any = tees.load("tpm")
    evidence: bytes = module.assemble(named)
    keys = [part.data for part in parts if part.kind == "ak"][:MAX_CHOICES]
    signatures = [part.data for part in parts if part.kind == "signature"][:MAX_CHOICES]
    if len(keys) < 2 and len(signatures) < 2:
        return evidence
    short = {name: data for name, data in named.items() if name != "event_log"}  # which is long, and signed by nobody
    for key, signature in product([named["ak"], *keys], [named["signature"], *signatures]):
        chosen = {"ak": key, "signature": signature}
        try:
            module.signing_hash(module.parse(module.assemble(short | chosen)))
        except (MalformedEvidence, NotGenuine):
            continue
        fitting: bytes = module.assemble(named | chosen)
        return fitting
    return evidence


def _unquoted(parts: list[Document], heap: Heap) -> None:
    """HCL reports and runtime data without a quote: of no TPM, but the SNP report in one is evidence of its machine,
    and what stands around another one is not that machine's.

    Raises:
        MalformedEvidence: not an HCL report, or no runtime data.
        NotGenuine: it stands around or beside a report that does not carry the hash of its runtime data.
        MissingCollateral: the TDX quote, where it holds a TD report, which nobody but that machine can check; any
            hardware report, where runtime data is all there is.
    """
    named = {kind: [part for part in parts if part.kind == kind] for kind in ("hcl_report", "runtime_data")}
    if not any(named.values()):
        return
    from fastness.collateral import hcl_forms
    from fastness.tee.tpm import hcl

    for part in named["hcl_report"]:
        report = hcl.parse(part.data)
        _carried(report, f"{part.source}, runtime data at byte {0x20 + 0x4A0 + 20}")
        if report.kind == "snp":
            heap.add_evidence(Found("snp", report.hardware, part.source))
            continue
        quotes = [found for found in heap.evidence.values() if found.tee == "tdx"]
        beside = hcl_forms.around([report.runtime], quotes)
        if beside is None:
            raise MissingCollateral("the quote of the TD", check="tpm.signature", where=part.source)
        _carried(hcl.parse(beside), part.source)
    for part in named["runtime_data"][:MAX_CHOICES]:
        beside = hcl_forms.around([part.data], heap.evidence.values())
        if beside is not None:
            _carried(hcl.parse(beside), part.source)
        elif not heap.evidence:
            what = "the SNP report or TDX quote that carries the hash of this runtime data"
            raise MissingCollateral(what, check="tpm.hardware", where=part.source)


def _carried(report: hcl.Report, where: str) -> None:
    from hmac import compare_digest  # nothing else here needs it

    if not compare_digest(report.bound.ljust(64, b"\0"), report.report_data):
        raise NotGenuine(
            "tpm.hardware",
            "the hardware report does not carry the hash of the runtime data around it",
            where=where,
            hint="one of the two was altered or belongs to another machine",
        )


def _is_der(data: bytes) -> bool:
    return data[:1] == b"\x30" or data.lstrip()[:5] == b"-----"


def _surroundings(named: dict[str, bytes], heap: Heap) -> None:
    """The key's certificate, the EK's, the event log and the quote around it, from among everything else."""
    logs = sorted(heap.of("event-log"), key=lambda log: _of_a_td(log.data))
    if len(logs) > 1:
        logs = sorted(logs[:MAX_CHOICES], key=lambda log: (_of_a_td(log.data), not _is_whole(log.data)))
    if logs and "event_log" not in named:
        named["event_log"] = logs[0].data
    if "hcl_report" in named:
        from fastness.tee.tpm import hcl

        report = hcl.parse(named["hcl_report"])
        named.setdefault("ak", report.ak.raw)
        quotes = [found.data for found in heap.evidence.values() if found.tee == "tdx" and report.kind == "tdx"]
        bound = report.bound.ljust(64, b"\0")
        # of several the one that speaks for the runtime data; a single one that does not is refused for that
        for quote in sorted(quotes, key=lambda data: hcl.quoted_data(data) != bound)[:1]:
            named["td_quote"] = quote
    for raw, certificate in heap.certificates.items():
        if "ak" not in named and not certificate.is_ca and len(heap.certificates) == 1 and not _is_ek(certificate):
            named["ak"] = certificate.key.raw
        if "ak" in named and certificate.key.bits and certificate.key.bits in named["ak"]:
            named.setdefault("ak_certificate", raw)
        elif _is_ek(certificate):
            named.setdefault("ek_certificate", raw)


def _is_whole(log: bytes) -> bool:
    """Whether a log can be read to its end."""
    from fastness.wire import eventlog

    try:
        eventlog.parse(log)
    except MalformedEvidence:
        return False
    return True


def _of_a_td(log: bytes) -> bool:
    """Whether a log is a CCEL: its header names register 1, or SHA-384 as the only algorithm (PFP 1.06, table 20)."""
    return log[:4] == b"\1\0\0\0" or log[56:62] == b"\1\0\0\0\x0c\0"


def _is_ek(certificate: x509.Certificate) -> bool:
    """Of a key that decrypts: Google's vTPMs have a signing key too, whose certificates had the usage of EKs."""
    usage = certificate.extension(x509.EXTENDED_KEY_USAGE)
    return usage is not None and EK_CERTIFICATE in usage.value and not certificate.signs_only


def log_alone(heap: Heap) -> MissingCollateral | MalformedEvidence | None:
    """Why an event log without a quote is not genuine: nothing signs it. None when there is no log."""
    if heap.evidence:
        return None
    logs, written = heap.of("event-log"), heap.of("event-log-json")
    if written:
        return MissingCollateral("the quote that signs this event log", check="tdx.signature", where=written[0].source)
    if not logs:
        return None
    from fastness.wire import eventlog

    try:
        eventlog.parse(logs[0].data)
    except MalformedEvidence as error:
        return error
    return MissingCollateral("the quote that signs this event log", check="tpm.signature", where=logs[0].source)
