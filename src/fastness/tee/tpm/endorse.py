"""Endorsements of a TPM: what travels inside the evidence, and what Google writes into its AK certificates."""

from __future__ import annotations

from typing import Any

from fastness.errors import MalformedEvidence
from fastness.tee import Collateral
from fastness.tee.tpm import layout as at
from fastness.tee.tpm.evidence import Evidence
from fastness.wire import der, x509

_GCE = ("zone", "project_number", "project_id", "instance_id", "instance_name")


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """The hardware evidence around the vTPM: the SNP report of the HCL report, or the TDX quote when it came along."""
    if evidence.hcl is None:
        return ()
    if evidence.hcl.kind == "snp":
        return (("snp", evidence.hcl.hardware),)
    return (("tdx", evidence.td_quote),) if evidence.td_quote is not None else ()


def enclosed(evidence: Evidence) -> Collateral:
    """Certificates inside the blob: AK, EK and their issuers."""
    leaves = (evidence.ak_certificate, evidence.ek_certificate)
    return Collateral(certificates=(*(item for item in leaves if item is not None), *evidence.certificates))


def gce(certificate: x509.Certificate) -> dict[str, Any]:
    """Instance information of a Google AK certificate; empty when it has none.

    GCEInstanceInfo is a SEQUENCE of zone, project number, project id, instance id, instance name and, context tag 0,
    security properties (google/go-tpm-tools, ``server/instance_info.go``).

    Raises:
        MalformedEvidence: the extension is there and not of that form.
    """
    found = certificate.extension(at.GCE_INSTANCE_INFO)
    if found is None:
        return {}
    parts = der.children(der.one(found.value, der.SEQUENCE, "instanceInfo", found.offset), "instanceInfo")
    if not 5 <= len(parts) <= 6:
        raise MalformedEvidence("instanceInfo", found.offset, "5 or 6 elements", len(parts))
    claims: dict[str, Any] = {}
    for name, node in zip(_GCE, parts, strict=False):
        if name.endswith(("number", "instance_id")):
            claims[name] = str(der.integer(node, f"instanceInfo.{name}") % (1 << 64))  # Google writes them as int64
        else:
            claims[name] = der.expect(node, der.UTF8, f"instanceInfo.{name}").value.decode("utf-8", "replace")
    if len(parts) == 6:
        claims |= _security(parts[5])
    return claims


def _security(node: der.Node) -> dict[str, Any]:
    """GCESecurityProperties: explicit context tags 0 security version, 1 whether it is a production machine."""
    name = "instanceInfo.securityProperties"
    if node.tag != 0xA0:
        raise MalformedEvidence(name, node.offset, "context tag 0", f"0x{node.tag:02x}")
    inner, end = der.read(node.value, 0, node.inner, name)
    whole = inner if inner.tag == der.SEQUENCE and end == len(node.value) else node
    claims: dict[str, Any] = {}
    for item in der.children(whole, name):
        if item.tag == 0xA0:
            claims["security_version"] = der.integer(der.one(item.value, der.INTEGER, name, item.inner), name)
        elif item.tag == 0xA1:
            claims["is_production"] = der.boolean(der.one(item.value, der.BOOLEAN, name, item.inner), name)
    return claims
