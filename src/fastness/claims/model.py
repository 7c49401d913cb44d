"""Claims: what genuine evidence says, normalised. What the evidence cannot say is absent, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fastness.wire.hexdump import Span

Tree = Mapping[str, Any]
"""Nested mappings of scalars and lists of scalars; hexadecimal for bytes, ISO 8601 in Zulu for times."""
NOT_WHAT_RUNS = frozenset({
    "host_data", "mrconfigid", "mrowner", "mrownerconfig", "mrseam", "mrsignerseam", "devinfo_hash",
})  # fmt: skip
"""Measurements that say nothing of the code that was started: the host's own word (SNP firmware ABI, table 23; Intel
TDX module ABI, TD_PARAMS), the TDX module and devices."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Cpu(NamedTuple):
    """The processor. ``family``, ``model``, ``stepping`` as CPUID gives them (extended parts added in).

    ``source`` says where it comes from: ``report``, ``vcek``, ``pck``, ``table`` or ``none``.
    """

    vendor: str | None = None
    family: int | None = None
    model: int | None = None
    stepping: int | None = None
    generation: str | None = None
    product: str | None = None
    source: str = "none"


class Claims(NamedTuple):
    """One normalised shape for every TEE.

    Attributes:
        tee: folder name of the TEE.
        cpu: the processor.
        debug: whether the host may look inside; None when the evidence cannot say.
        simulated: whether a simulated root vouches: nothing is protected.
        tcb: firmware versions by name, nested (``tcb["reported"]["microcode"]``).
        tcb_status: the vendor's own word on the TCB (Intel's spelling), where there is one.
        tcb_date: the vendor's date of that TCB level, ISO 8601.
        advisory_ids: advisories the vendor names for that level.
        measurements: register name → hexadecimal digest (``launch``, ``rtmr0``, ``pcr4`` …).
        report_data: what the guest put into the evidence, hexadecimal.
        hardware_id: what names the chip or machine, hexadecimal, where the evidence has it.
        collateral: ``valid_until``, ``evaluation_number`` … of the signed collateral used.
        extra: what only this TEE has, under its own name: ``extra["policy"]`` is looked up as ``snp.policy``.
        not_checked: what this evidence cannot show or the verifier does not look at, in sentences.
        spans: claim path → where in the evidence it stands.
        cloud: ``aws``, ``azure`` or ``google``, where the evidence itself says so.
        composite: what evidence beside it adds once it is bound to this one (``gpus``, ``gpu_ids``).
    """

    tee: str
    cpu: Cpu = Cpu()
    debug: bool | None = None
    simulated: bool = False
    tcb: Tree = _NOTHING
    tcb_status: str | None = None
    tcb_date: str | None = None
    advisory_ids: tuple[str, ...] | None = None
    measurements: Mapping[str, str] = _NOTHING
    report_data: str | None = None
    hardware_id: str | None = None
    collateral: Tree = _NOTHING
    extra: Tree = _NOTHING
    not_checked: tuple[str, ...] = ()
    spans: Mapping[str, Span] = _NOTHING
    cloud: str | None = None
    composite: Tree = _NOTHING

    def tree(self) -> dict[str, Any]:
        """The claims as one nested mapping with absent values left out: what policy rules look into, and JSON."""
        cpu = {name: value for name, value in self.cpu._asdict().items() if value is not None}
        whole: dict[str, Any] = {
            "tee": self.tee,
            "cpu": cpu,
            "debug": self.debug,
            "simulated": self.simulated,
            "tcb": dict(self.tcb),
            "tcb_status": self.tcb_status,
            "tcb_date": self.tcb_date,
            "advisory_ids": None if self.advisory_ids is None else list(self.advisory_ids),
            "measurements": dict(self.measurements),
            "report_data": self.report_data,
            "hardware_id": self.hardware_id,
            "collateral": dict(self.collateral),
            "cloud": self.cloud,
            "composite": dict(self.composite),
            self.tee: dict(self.extra),
        }
        return {name: value for name, value in whole.items() if value is not None and value != {}}
