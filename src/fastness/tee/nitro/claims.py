"""Claims of genuine Nitro documents. No processor is claimed: the document has none, not even the instance type."""

from __future__ import annotations

from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.tee.nitro import layout
from fastness.tee.nitro.evidence import Evidence
from fastness.tee.nitro.verify import is_debug, made_at, place
from fastness.wire.der import zulu

_NOT_CHECKED = (
    "the processor: a Nitro document names neither vendor nor instance type",
    "AWS itself: its hypervisor makes the document and its PKI signs it",
)
_TPM = "debug: a NitroTPM document has no debug bit; what the instance booted is in its registers alone"


def claims(genuine: Genuine[Evidence]) -> Claims:
    """The normalised claims: ``report_data`` is user_data; ``nitro.nonce`` and ``nitro.public_key`` stand beside."""
    evidence = genuine.evidence
    spans = evidence.spans
    paths = {f"measurements.{name}": span for name, span in spans.items() if name.startswith("pcr")}
    for name in (layout.MODULE_ID, "nonce", "public_key", "user_data"):
        if name in spans:
            paths["report_data" if name == "user_data" else f"nitro.{name}"] = spans[name]
    return Claims(
        tee="nitro",
        debug=is_debug(evidence),
        simulated=genuine.simulated,
        measurements={f"pcr{index}": value.hex() for index, value in evidence.pcrs.items()},
        report_data=evidence.user_data.hex() if evidence.user_data else None,
        collateral={"valid_until": zulu(evidence.certificate.not_after)},
        extra=_extra(genuine),
        not_checked=_NOT_CHECKED if evidence.kind == "enclave" else (*_NOT_CHECKED, _TPM),
        spans=paths,
        cloud="aws",
    )


def _extra(genuine: Genuine[Evidence]) -> dict[str, Any]:
    evidence = genuine.evidence
    made = made_at(evidence)
    extra: dict[str, Any] = {
        "kind": evidence.kind,
        "module_id": evidence.module_id,
        "digest": layout.SHA384,
        "timestamp": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "age_seconds": int((genuine.at - made).total_seconds()),
    }
    instance, mark, _ = evidence.module_id.rpartition("-")
    if mark and instance.startswith("i-"):
        extra["instance_id"] = instance
    found = place(evidence)
    if found is not None:
        extra["region"] = found[1]
    for name in ("nonce", "public_key", "user_data"):
        value: bytes | None = getattr(evidence, name)
        if value is not None:
            extra[name] = value.hex()
    if evidence.unknown:
        extra["unknown_fields"] = list(evidence.unknown)
    return extra
