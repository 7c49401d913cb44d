"""Intel's Provisioning Certification Service, or a PCCS that mirrors it (version 4 of the interface).

Source: Intel SGX and TDX Provisioning Certification Service API 4.0; PCCS design guide. The signed documents are kept
byte by byte; the issuer chain comes in a header, as URL-encoded PEM.
"""

from __future__ import annotations

from fastness.collateral.wanted import DEFAULTS, INTEL_CERTIFICATES, PCS, Wanted, base

_TCB_CHAIN = ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")
_IDENTITY_CHAIN = ("sgx-enclave-identity-issuer-chain",)
_CRL_CHAIN = ("sgx-pck-crl-issuer-chain",)


def tcb_info(tee: str, fmspc: str) -> Wanted:
    """TCB info of ``fmspc`` (12 hexadecimal digits) for ``sgx`` or ``tdx``."""
    path = f"/{tee}/certification/v4/tcb?fmspc={fmspc.upper()}"
    return Wanted(f"pcs{path}", base(PCS) + path, ("tcb-info",), fmspc, _TCB_CHAIN)


def qe_identity(tee: str) -> Wanted:
    """Identity of the quoting enclave."""
    path = f"/{tee}/certification/v4/qe/identity"
    return Wanted(f"pcs{path}", base(PCS) + path, ("qe-identity",), headers=_IDENTITY_CHAIN)


def pck_crl(authority: str) -> Wanted:
    """The list of the PCK CA: ``platform`` or ``processor``."""
    path = f"/sgx/certification/v4/pckcrl?ca={authority}&encoding=der"
    return Wanted(f"pcs{path}", base(PCS) + path, ("crl",), headers=_CRL_CHAIN)


def root_crl() -> Wanted:
    """The list of the root CA: from Intel's certificate server, or from the mirror when one is configured."""
    if base(PCS) != DEFAULTS[PCS]:
        return Wanted("pcs/rootcacrl", base(PCS) + "/sgx/certification/v4/rootcacrl", ("crl",))
    return Wanted("pcs/rootcacrl", base(INTEL_CERTIFICATES) + "/IntelSGXRootCA.der", ("crl",))


def of_platform(tee: str, fmspc: str, authority: str) -> list[Wanted]:
    """Everything the quotes of a platform want."""
    return [tcb_info(tee, fmspc), qe_identity(tee), pck_crl(authority), root_crl()]
