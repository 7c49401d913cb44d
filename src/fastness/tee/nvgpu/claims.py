"""Claims of genuine NVIDIA reports. No processor is claimed: a report speaks for one device alone."""

from __future__ import annotations

from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.tee.nvgpu import layout
from fastness.tee.nvgpu.evidence import Evidence
from fastness.wire.der import zulu

_TEXTS = {
    "driver_version": layout.DRIVER,
    "chip_sku": layout.CHIP_SKU,
    "chip_sku_mod": layout.CHIP_SKU_MOD,
    "project": layout.PROJECT,
    "project_sku": layout.PROJECT_SKU,
    "project_sku_mod": layout.PROJECT_SKU_MOD,
}
_RAW = {"sku": layout.SKU, "board_id": layout.BOARD, "fwid": layout.FWID, "switch_pdi": layout.SWITCH_PDI}
_NOT_CHECKED = (
    "the machine: a report does not say which one the device is in; only evidence of its CPU over the same nonce does",
    "the other devices: a report does not say how many there are",
)
_DEBUG = "debug: no manifests were compared, and only NVIDIA's production manifests tell DevTools mode apart"


def claims(genuine: Genuine[Evidence]) -> Claims:
    """The normalised claims: ``report_data`` is the nonce of whoever asked.

    ``debug`` is False where every measurement is one that NVIDIA's manifests allow: they list no debug firmware, and
    a device in DevTools mode measures otherwise. Without manifests nothing can be said.
    """
    evidence = genuine.evidence
    spans = {f"measurements.{name}": span for name, span in evidence.spans.items() if name[1:].isdigit()}
    spans |= {
        f"nvgpu.{name}": evidence.spans[name] for name in (*_TEXTS, *_RAW, "vbios_version") if name in evidence.spans
    }
    spans["report_data"] = evidence.spans["nonce"]
    path = evidence.path
    production = evidence.compared is not None
    return Claims(
        tee="nvgpu",
        debug=False if production else None,
        simulated=genuine.simulated,
        measurements={f"m{index:02d}": value.hex() for index, value in evidence.measurements.items()},
        report_data=evidence.nonce.hex(),
        hardware_id=_hardware(evidence),
        collateral={"valid_until": zulu(min(item.not_after for item in path))} if path else {},
        extra=_extra(evidence),
        not_checked=_NOT_CHECKED if production else (*_NOT_CHECKED, _DEBUG),
        spans=spans,
    )


def _hardware(evidence: Evidence) -> str | None:
    """Serial number of the certificate of the boot ROM, the leaf's issuer: it holds the number fused into the chip."""
    return f"{evidence.path[1].serial:x}" if len(evidence.path) > 1 else None


def _extra(evidence: Evidence) -> dict[str, Any]:
    extra: dict[str, Any] = {"kind": evidence.kind}
    if evidence.path:
        # "GH100 A01 GSP FMC LF": chip, stepping, microcontroller
        extra["chip"] = evidence.path[0].subject_cn.split(" ", 1)[0]
        # what NVIDIA's own verifiers call ueid
        extra["ueid"] = str(evidence.path[0].serial)
    for name, kind in _TEXTS.items():
        text = evidence.text(kind)
        if text is not None:
            extra[name] = text
    if evidence.vbios is not None:
        extra["vbios_version"] = evidence.vbios
    for name, kind in _RAW.items():
        if evidence.opaque.get(kind):
            extra[name] = evidence.opaque[kind].hex()
    extra |= _switches(evidence)
    if evidence.compared is not None:
        extra["manifests"] = list(evidence.compared)
    return extra


def _switches(evidence: Evidence) -> dict[str, Any]:
    """What is on or off, where the device wrote a value that has a meaning."""
    found: dict[str, Any] = {}
    for name, kind in (("nvdec0", layout.NVDEC0), ("protected_pcie", layout.PROTECTED_PCIE)):
        value = layout.STATUS.get(evidence.opaque.get(kind, b""))
        if value is not None:
            found[name] = value
    if layout.FEATURE in evidence.opaque:
        number = int.from_bytes(evidence.opaque[layout.FEATURE], "little")
        found["feature"] = layout.FEATURES.get(number, f"unknown ({number})")
    return found
