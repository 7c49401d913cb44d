"""Claims of genuine SNP reports."""

from __future__ import annotations

from typing import Any

from fastness.claims.finding import Outcome
from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims, Cpu
from fastness.tee.snp import layout as at
from fastness.tee.snp.evidence import Evidence, spans
from fastness.tee.snp.verify import Proven

NOT_CHECKED = (
    "no field of a report can show that nobody with the machine in hand has read its keys off the memory bus",
    "host_data is chosen by the host: it speaks for nobody unless a policy or measured code checks it",
)
_TCBS = ("current", "reported", "committed", "launch")


def claims(genuine: Genuine[Proven]) -> Claims:
    """The normalised claims. After a live migration the launch TCB may be newer than the committed one."""
    proven = genuine.evidence
    evidence, generation = proven.evidence, proven.generation
    places = spans()
    found = {f"tcb.{name}": places[f"{name}_tcb"] for name in _TCBS}
    for name in _TCBS:
        for part in generation.tcb:
            found[f"tcb.{name}.{part}"] = places[f"{name}_tcb"]
    found |= {
        "measurements.launch": places["measurement"],
        "measurements.host_data": places["host_data"],
        "report_data": places["report_data"],
        "hardware_id": places["chip_id"],
        "debug": places["policy"],
        "cpu.generation": places["cpuid"],
        "snp.vmpl": places["vmpl"],
    }
    found |= {f"snp.policy.{name}": places["policy"] for name in at.POLICY_BITS}
    found |= {f"snp.platform.{name}": places["platform_info"] for name in at.PLATFORM_BITS}
    return Claims(
        tee="snp",
        cpu=_cpu(proven),
        debug=_bit(evidence.policy, at.POLICY_BITS["debug"]),
        simulated=genuine.simulated,
        tcb={name: at.tcb(getattr(evidence, f"{name}_tcb"), generation.tcb).claims() for name in _TCBS},
        measurements=_measurements(evidence),
        report_data=evidence.report_data.hex(),
        hardware_id=evidence.chip_id[: generation.hwid_size].hex() if any(evidence.chip_id) else None,
        extra=_extra(proven, owned=_owned(genuine)),
        not_checked=NOT_CHECKED,
        spans=found,
        cloud="aws" if (proven.leaf.csp or "").endswith(".amazonaws.com") else None,
    )


def _bit(value: int, bit: int) -> bool:
    return bool(value >> bit & 1)


def _cpu(proven: Proven) -> Cpu:
    generation = proven.generation
    cpuid = proven.evidence.cpuid
    if cpuid is not None:
        return Cpu("amd", *cpuid, generation.name, generation.product, "report")
    # a version 2 report names no processor: the line does, which Genoa shares with Bergamo and Siena
    name = generation.name if generation.name != "genoa" else None
    return Cpu("amd", generation.family, None, None, name, proven.leaf.product, "vcek")


def _measurements(evidence: Evidence) -> dict[str, str]:
    found = {
        "launch": evidence.measurement.hex(),
        "host_data": evidence.host_data.hex(),
        "id_key_digest": evidence.id_key_digest.hex(),
    }
    if evidence.author_key_enabled:
        found["author_key_digest"] = evidence.author_key_digest.hex()
    return found


def _owned(genuine: Genuine[Proven]) -> bool:
    """Whether the ID block beside the report held."""
    return any(item.check == "snp.id-block" and item.outcome is Outcome.HELD for item in genuine.findings)


def _extra(proven: Proven, *, owned: bool) -> dict[str, Any]:
    evidence, leaf = proven.evidence, proven.leaf
    unknown = evidence.platform_info & ~at.PLATFORM_KNOWN
    no_agent = evidence.report_id_ma == b"\xff" * 32
    found: dict[str, Any] = {
        "report_version": evidence.version,
        "guest_svn": evidence.guest_svn,
        "vmpl": None if evidence.vmpl == at.HOST_VMPL else evidence.vmpl,
        "asked_by_host": evidence.vmpl == at.HOST_VMPL,
        "policy": {name: _bit(evidence.policy, bit) for name, bit in at.POLICY_BITS.items()}
        | {"abi_major": evidence.policy >> 8 & 0xFF, "abi_minor": evidence.policy & 0xFF},
        "platform": {name: _bit(evidence.platform_info, bit) for name, bit in at.PLATFORM_BITS.items()},
        "platform_unknown": f"0x{unknown:x}" if unknown else None,
        "signing_key": "vlek" if leaf.kind == at.VLEK else "vcek",
        "csp_id": leaf.csp,
        "chip_id_masked": not any(evidence.chip_id),
        "chip_key_masked": evidence.masked,
        "author_key_enabled": evidence.author_key_enabled,
        "id_block": owned or None,
        "family_id": evidence.family_id.hex(),
        "image_id": evidence.image_id.hex(),
        "report_id": evidence.report_id.hex(),
        "report_id_ma": None if no_agent else evidence.report_id_ma.hex(),
        "firmware": {
            "current": ".".join(map(str, evidence.current_version)),
            "committed": ".".join(map(str, evidence.committed_version)),
        },
        "provisional": evidence.provisional,
        "leaf_product": leaf.product,
    }
    if evidence.launch_mit_vector is not None and evidence.current_mit_vector is not None:
        found["mitigations"] = {
            "launch": f"0x{evidence.launch_mit_vector:x}",
            "current": f"0x{evidence.current_mit_vector:x}",
            **{f"launch_bit{bit}": _bit(evidence.launch_mit_vector, bit) for bit in range(16)},
            **{f"current_bit{bit}": _bit(evidence.current_mit_vector, bit) for bit in range(16)},
        }
    return {name: value for name, value in found.items() if value is not None}
