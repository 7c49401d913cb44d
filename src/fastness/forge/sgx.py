"""Forged SGX quotes. Beside the keys of :mod:`fastness.forge.dcap`: ``mrenclave``, ``mrsigner`` (hexadecimal),
``isv_prod_id``, ``isv_svn``, ``config_svn``."""

from __future__ import annotations

from fastness.forge.dcap import LIES, Body, Maker, Spec, report, understood
from fastness.forge.model import Forged
from fastness.tee.dcap import layout


def body(spec: Spec) -> Body:
    """The enclave's report."""
    flags = layout.SGX_INIT | layout.SGX_MODE64 | (layout.SGX_DEBUG if spec.get("debug") else 0)
    raw = report(
        cpusvn=bytes(16),
        attributes=flags.to_bytes(8, "little") + (0xE7).to_bytes(8, "little"),
        mrenclave=bytes.fromhex(spec.get("mrenclave", "e1" * 32)),
        mrsigner=bytes.fromhex(spec.get("mrsigner", "51" * 32)),
        isv_prod_id=spec.get("isv_prod_id", 7),
        isv_svn=spec.get("isv_svn", 3),
        config_svn=spec.get("config_svn", 0),
        report_data=bytes.fromhex(spec.get("report_data", "d4" * 64)),
    )
    return Body(layout.BODY_SGX, raw)


def make(spec: Spec) -> Forged:
    """A forged SGX quote with its collateral and anchors."""
    understood(spec, LIES)
    return Maker("sgx", spec).forged(body(spec))
