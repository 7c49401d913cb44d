"""Claims of genuine TDX quotes."""

from __future__ import annotations

from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.tee.dcap import claims as shared
from fastness.tee.dcap import cpu
from fastness.tee.dcap.layout import bits
from fastness.tee.tdx import layout as at
from fastness.tee.tdx.evidence import Body, Evidence

_REGISTERS = (
    "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrseam", "mrsignerseam", "mrconfigid", "mrowner", "mrownerconfig",
    "mr_servicetd", "init_servtd_hash", "cur_servtd_hash", "devinfo_hash",
)  # fmt: skip


def claims(genuine: Genuine[Evidence]) -> Claims:
    """The normalised claims."""
    evidence = genuine.evidence
    if evidence.appraisal is None:
        raise TypeError("a genuine TDX quote carries its appraisal")
    quote, body = evidence.quote, evidence.body
    endorsed, evaluation = evidence.appraisal.endorsed, evidence.appraisal.tcb
    registers = [name for name in _REGISTERS if body.has(name)]
    spans = evidence.spans
    places = {f"measurements.{name}": spans[name] for name in registers}
    return Claims(
        tee="tdx",
        cpu=cpu.from_fmspc(endorsed.platform.pck.fmspc),
        debug=bool(body.td_attributes & at.TUD),
        simulated=genuine.simulated,
        tcb=_tcb(body) | shared.tcb(quote, endorsed, evaluation),
        tcb_status=evaluation.status,
        tcb_date=evaluation.date,
        advisory_ids=evaluation.advisories if evaluation.status is not None else None,
        measurements={name: body.field(name).hex() for name in registers},
        report_data=body.report_data.hex(),
        hardware_id=endorsed.platform.pck.ppid.hex(),
        collateral=shared.collateral(endorsed),
        extra=_extra(body) | shared.platform(quote, endorsed),
        not_checked=shared.NOT_CHECKED,
        spans=places
        | {
            "report_data": spans["report_data"],
            "debug": spans["td_attributes"],
            "tdx.attributes": spans["td_attributes"],
            "tdx.xfam": spans["xfam"],
            "tcb.tee_tcb_svn": spans["tee_tcb_svn"],
        },
    )


def _tcb(body: Body) -> dict[str, Any]:
    svn = body.tee_tcb_svn
    found: dict[str, Any] = {"tee_tcb_svn": svn.hex(), "tdx_module": {"version": svn[1], "isvsvn": svn[0]}}
    if body.kind != at.BODY_TD10:
        found["tee_tcb_svn2"] = body.tee_tcb_svn2.hex()
    return found


def _extra(body: Body) -> dict[str, Any]:
    found: dict[str, Any] = {
        "td_report": {at.BODY_TD10: "1.0", at.BODY_TD15: "1.5", at.BODY_TD15_EX: "1.5-extended"}[body.kind],
        "attributes": bits(body.td_attributes, at.ATTRIBUTES),
        "xfam": bits(body.xfam, at.XFRM_BITS),
        "seam_attributes": body.seam_attributes.hex(),
    }
    if body.kind == at.BODY_TD15_EX:
        born = cpu.from_eax(int.from_bytes(body.field("init_tee_fmspc")[4:8], "little"), "report")
        found["vmid"] = body.field("vmid")[0]
        for name in (
            "td_id",
            "init_servtd_attr",
            "init_cpu_svn",
            "init_tee_tcb_svn",
            "init_tee_fmspc",
            "cur_servtd_attr",
        ):
            found[name] = body.field(name).hex()
        if born.generation is not None:
            found["init_generation"] = born.generation
    return found
