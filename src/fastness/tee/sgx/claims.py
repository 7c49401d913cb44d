"""Claims of genuine SGX quotes."""

from __future__ import annotations

from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.tee.dcap import claims as shared
from fastness.tee.dcap import cpu
from fastness.tee.dcap.layout import bits
from fastness.tee.sgx import layout as at
from fastness.tee.sgx.evidence import Evidence


def claims(genuine: Genuine[Evidence]) -> Claims:
    """The normalised claims."""
    evidence = genuine.evidence
    if evidence.appraisal is None:
        raise TypeError("a genuine SGX quote carries its appraisal")
    quote, body = evidence.quote, evidence.body
    endorsed, evaluation = evidence.appraisal.endorsed, evidence.appraisal.tcb
    spans = evidence.spans
    return Claims(
        tee="sgx",
        cpu=cpu.from_fmspc(endorsed.platform.pck.fmspc),
        debug=bool(body.flags & at.SGX_DEBUG),
        simulated=genuine.simulated,
        tcb=shared.tcb(quote, endorsed, evaluation),
        tcb_status=evaluation.status,
        tcb_date=evaluation.date,
        advisory_ids=evaluation.advisories if evaluation.status is not None else None,
        measurements={"mrenclave": body.mrenclave.hex(), "mrsigner": body.mrsigner.hex()},
        report_data=body.report_data.hex(),
        hardware_id=endorsed.platform.pck.ppid.hex(),
        collateral=shared.collateral(endorsed),
        extra=_extra(evidence) | shared.platform(quote, endorsed),
        not_checked=shared.NOT_CHECKED,
        spans={
            "measurements.mrenclave": spans["mrenclave"],
            "measurements.mrsigner": spans["mrsigner"],
            "report_data": spans["report_data"],
            "debug": spans["attributes"],
            "sgx.attributes": spans["attributes"],
            "sgx.isv_prod_id": spans["isv_prod_id"],
            "sgx.isv_svn": spans["isv_svn"],
            "sgx.config_id": spans["config_id"],
        },
    )


def _extra(evidence: Evidence) -> dict[str, Any]:
    body = evidence.body
    return {
        "isv_prod_id": body.isv_prod_id,
        "isv_svn": body.isv_svn,
        "isv_ext_prod_id": body.isv_ext_prod_id.hex(),
        "isv_family_id": body.isv_family_id.hex(),
        "config_id": body.config_id.hex(),
        "config_svn": body.config_svn,
        "cpusvn": body.cpusvn.hex(),
        "miscselect": body.miscselect,
        "attributes": bits(body.flags, at.SGX_FLAGS),
        "xfrm": bits(body.xfrm, at.XFRM_BITS),
    }
