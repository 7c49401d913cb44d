"""The claims as other services' policies know them: Trustee's and Intel Trust Authority's names beside ours.

Ours are all there (``docs/policy.md``), at the top. Added to them:

* Trustee, under the TEE's name: ``snp.measurement``, ``snp.report_data``, ``snp.reported_tcb_bootloader`` … ,
  ``snp.policy_debug_allowed`` …, ``snp.platform_smt_enabled``, ``tdx.quote.body.mr_td``, ``rtmr_0`` …, ``mr_seam``,
  ``tcb_svn``, ``tdx.quote.header.tee_type``, ``tdx.td_attributes.*``, ``tdx.tcb_status``, ``tdx.advisory_ids``,
  ``sgx.quote.body.mr_enclave``, ``mr_signer``, ``isv_prod_id``, ``isv_svn``. Numbers are numbers, truths are truths.
* Intel Trust Authority, at the top: ``sgx_mrenclave``, ``sgx_mrsigner``, ``sgx_isvprodid``, ``sgx_isvsvn``,
  ``sgx_is_debuggable``, ``sgx_report_data``, ``tdx_mrtd``, ``tdx_rtmr0`` …, ``tdx_mrseam``, ``tdx_mrsignerseam``,
  ``tdx_mrconfigid``, ``tdx_mrowner``, ``tdx_mrownerconfig``, ``tdx_is_debuggable``, ``tdx_report_data``,
  ``tdx_tee_tcb_svn``, ``attester_type``, ``attester_tcb_status``, ``attester_advisory_ids``, ``attester_tcb_date``.

Sources: Trustee ``deps/verifier/src/{snp,tdx,sgx}/``; Intel Trust Authority, attestation tokens. What a service's own
verifier alone sees (``collateral_expiration_status``, ``uefi_event_logs``) is absent: who asks for it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SNP_TCB = {"bootloader": "boot_loader", "tee": "tee", "snp": "snp", "microcode": "microcode", "fmc": "fmc"}
_SNP_POLICY = {
    "policy_abi_major": "abi_major", "policy_abi_minor": "abi_minor", "policy_smt_allowed": "smt",
    "policy_migrate_ma": "migrate_ma", "policy_debug_allowed": "debug", "policy_single_socket": "single_socket",
}  # fmt: skip
_SNP_PLATFORM = {"platform_smt_enabled": "smt", "platform_tsme_enabled": "tsme"}
_TDX_BODY = {
    "mr_td": "mrtd", "mr_seam": "mrseam", "mrsigner_seam": "mrsignerseam", "mr_config_id": "mrconfigid",
    "mr_owner": "mrowner", "mr_owner_config": "mrownerconfig", **{f"rtmr_{n}": f"rtmr{n}" for n in range(4)},
}  # fmt: skip
_ITA_TDX = ("mrtd", "mrseam", "mrsignerseam", "mrconfigid", "mrowner", "mrownerconfig", *(f"rtmr{n}" for n in range(4)))
_HEADERS = {"tdx": "81000000", "sgx": "00000000"}
INTEL_QE = "939a7233f79c4ca9940a0db3957f0607"
"""QE vendor id of every quote this version verifies (Intel's quoting enclave), as Trustee writes it."""


def shape(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``tree`` (:meth:`~fastness.claims.model.Claims.tree`) with the names of other services; ours come first."""
    tee = tree.get("tee")
    maker = {"snp": _snp, "tdx": _tdx, "sgx": _sgx}.get(tee if isinstance(tee, str) else "")
    if maker is None or not isinstance(own := tree.get(str(tee), {}), Mapping):
        return dict(tree)
    beside, inside = maker(tree)
    return {**_present(beside), **tree, str(tee): {**_present(inside), **own}}


def _present(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is there, without what is absent: an undefined claim is undefined, in their language too."""
    whole = {name: _present(item) if isinstance(item, Mapping) else item for name, item in found.items()}
    return {name: item for name, item in whole.items() if item is not None and item != {}}


def _in(tree: Mapping[str, Any], *path: str) -> Any:
    """What stands at ``path``; None for nothing."""
    value: Any = tree
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _snp(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names: dict[str, Any] = {
        "measurement": _in(tree, "measurements", "launch"),
        "report_data": tree.get("report_data"),
        "chip_id": tree.get("hardware_id"),
        "init_data": _in(tree, "measurements", "host_data"),
    }
    names |= {f"reported_tcb_{theirs}": _in(tree, "tcb", "reported", ours) for theirs, ours in _SNP_TCB.items()}
    names |= {theirs: _in(tree, "snp", "policy", ours) for theirs, ours in _SNP_POLICY.items()}
    return {}, names | {theirs: _in(tree, "snp", "platform", ours) for theirs, ours in _SNP_PLATFORM.items()}


def _intel(tree: Mapping[str, Any], tee: str) -> dict[str, Any]:
    return {
        "attester_type": tee.upper(),
        "attester_tcb_status": tree.get("tcb_status"),
        "attester_tcb_date": tree.get("tcb_date"),
        "attester_advisory_ids": tree.get("advisory_ids"),
        f"{tee}_report_data": tree.get("report_data"),
        f"{tee}_is_debuggable": tree.get("debug"),
    }


def _quote(tree: Mapping[str, Any], tee: str, body: Mapping[str, Any]) -> dict[str, Any]:
    header = {"tee_type": _HEADERS[tee], "vendor_id": INTEL_QE, "version": _in(tree, tee, "quote_version")}
    return {
        "quote": {"header": header, "body": {**body, "report_data": tree.get("report_data")}},
        "tcb_status": tree.get("tcb_status"),
        "advisory_ids": tree.get("advisory_ids"),
    }


def _tdx(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    svn = _in(tree, "tcb", "tee_tcb_svn")
    body = {theirs: _in(tree, "measurements", ours) for theirs, ours in _TDX_BODY.items()} | {"tcb_svn": svn}
    ours = {f"tdx_{name}": _in(tree, "measurements", name) for name in _ITA_TDX} | {"tdx_tee_tcb_svn": svn}
    return _intel(tree, "tdx") | ours, _quote(tree, "tdx", body) | {"td_attributes": _in(tree, "tdx", "attributes")}


def _sgx(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    enclave, signer = (_in(tree, "measurements", name) for name in ("mrenclave", "mrsigner"))
    product, svn = (_in(tree, "sgx", name) for name in ("isv_prod_id", "isv_svn"))
    body = {"mr_enclave": enclave, "mr_signer": signer, "isv_prod_id": product, "isv_svn": svn}
    ours = {"sgx_mrenclave": enclave, "sgx_mrsigner": signer, "sgx_isvprodid": product, "sgx_isvsvn": svn}
    return _intel(tree, "sgx") | ours, _quote(tree, "sgx", body)
