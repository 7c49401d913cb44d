"""Claims of genuine TPM evidence. No processor is claimed: what stands around a vTPM claims its own."""

from __future__ import annotations

from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.pki import keys
from fastness.tee.tpm import events
from fastness.tee.tpm import layout as at
from fastness.tee.tpm.verify import Proven

_HOST = "a vTPM run by the host is a root of trust for nobody but its owner"
_PARAVISOR = (
    "that Azure's paravisor named the key and the cloud: any guest at VMPL 0, or any TD, can in a report of its own"
)
_OBFUSCATED = "reset_count, restart_count and firmware_version are obfuscated for keys outside endorsement and platform"
_MEMORY = "a TPM measures what was started; it keeps nobody from reading memory afterwards"


def claims(genuine: Genuine[Proven]) -> Claims:
    """The normalised claims. ``extra["hardware"]`` names the TEE around a vTPM, whose claims the caller merges in."""
    proven = genuine.evidence
    evidence, bank = proven.evidence, proven.bank
    registers = evidence.pcrs[at.BANK_IDS[bank]]
    hardware = proven.way == "hardware-report"
    spans = {name: evidence.spans[name] for name in ("report_data",)}
    spans |= {f"tpm.{name}": evidence.spans[name] for name in ("clock", "firmware_version")}
    return Claims(
        tee="tpm",
        simulated=genuine.simulated,
        measurements={f"pcr{index}": value.hex() for index, value in sorted(registers.items())},
        report_data=evidence.quote.extra_data.hex(),
        hardware_id=_identity(proven),
        extra=_extra(proven),
        not_checked=(_PARAVISOR, _OBFUSCATED) if hardware else (_HOST, _OBFUSCATED, _MEMORY),
        spans=spans | {f"measurements.pcr{index}": evidence.spans["digest"] for index in registers},
        cloud="azure"
        if hardware and evidence.hcl
        else "google"
        if proven.way == "certificate" and proven.gce
        else None,
    )


def _identity(proven: Proven) -> str:
    """SHA-256 of the EK's SubjectPublicKeyInfo where the EK was proven, otherwise of the AK's.

    Not the AK's name: unless a credential ties it to the TPM, the attributes in it are unsigned, and one TPM could go
    by many names.
    """
    evidence = proven.evidence
    if proven.way == "credential" and evidence.ek_certificate is not None:
        return keys.fingerprint(evidence.ek_certificate.key)
    return keys.fingerprint(evidence.key)


def _extra(proven: Proven) -> dict[str, Any]:
    evidence, quote = proven.evidence, proven.evidence.quote
    found: dict[str, Any] = {
        "ak_trust": proven.way,
        "bank": proven.bank,
        "clock": quote.clock,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "safe": quote.safe,
        "firmware_version": f"{quote.firmware_version:016x}",
        "replayed": [f"pcr{index}" for index in proven.replayed],
    }
    if evidence.ak is not None and proven.way == "credential":
        found["ak_name"] = evidence.ak.name.hex()
        found["ak_attributes"] = [name for name in at.ATTRIBUTES if evidence.ak.has(name)]
    if evidence.log is not None:
        found |= events.facts(evidence.log, proven.bank, proven.replayed)
    if proven.way == "hardware-report" and evidence.hcl is not None:
        found["hardware"] = evidence.hcl.kind
        found["azure"] = {name.replace("-", "_"): value for name, value in evidence.hcl.configuration.items()}
        if evidence.hcl.user_data:
            found["azure"]["user_data"] = evidence.hcl.user_data.hex()
    if proven.way == "certificate" and proven.gce:
        found["gce"] = dict(proven.gce)
    return found
