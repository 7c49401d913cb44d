"""Claims of genuine ``nil`` evidence. No processor is claimed: a simulation has none to speak of."""

from __future__ import annotations

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.tee.nil.evidence import Evidence


def claims(genuine: Genuine[Evidence]) -> Claims:
    """The normalised claims, always marked simulated."""
    evidence = genuine.evidence
    spans = evidence.spans
    return Claims(
        tee="nil",
        debug=evidence.debug,
        simulated=True,
        measurements={"launch": evidence.launch.hex(), "runtime": evidence.register.hex()},
        report_data=evidence.report_data.hex(),
        hardware_id=evidence.instance.hex(),
        not_checked=("SIMULATED: a host that lies cannot be told from one that does not",),
        spans={
            "measurements.launch": spans["launch"],
            "measurements.runtime": spans["register"],
            "report_data": spans["report_data"],
            "hardware_id": spans["instance"],
        },
    )
