"""The claims SGX and TDX share: processor, TCB, platform, collateral."""

from __future__ import annotations

from typing import Any

from fastness.tee.dcap.endorse import Endorsed
from fastness.tee.dcap.quote import Quote
from fastness.tee.dcap.tcb import Evaluation
from fastness.wire.der import zulu

NOT_CHECKED = (
    "no field of a quote can show that nobody with the machine in hand has read its keys off the memory bus",
)


def tcb(quote: Quote, endorsed: Endorsed, evaluation: Evaluation) -> dict[str, Any]:
    """Security versions: the platform's as the PCK certificate states them, and the quoting enclave's.

    Beside them the statuses that ``tcb_status`` converged from, so that one sees which part is to be updated.
    """
    facts = endorsed.platform.pck
    statuses = {
        "platform_status": evaluation.platform,
        "qe_status": evaluation.qe,
        "module_status": evaluation.module,
        "current_status": evaluation.now,
    }
    return {name: status for name, status in statuses.items() if status is not None} | {
        "cpusvn": facts.cpusvn.hex(),
        "components": list(facts.components),
        "pcesvn": facts.pcesvn,
        "qe_isvsvn": quote.qe_report.isv_svn,
    }


def platform(quote: Quote, endorsed: Endorsed) -> dict[str, Any]:
    """What the PCK certificate says of the platform; absent where it does not."""
    facts = endorsed.platform.pck
    found = {
        "fmspc": facts.fmspc.hex(),
        "pceid": facts.pceid.hex(),
        "sgx_type": facts.sgx_type,
        "platform_instance_id": facts.platform_instance.hex() if facts.platform_instance is not None else None,
        "dynamic_platform": facts.dynamic_platform,
        "cached_keys": facts.cached_keys,
        "smt_enabled": facts.smt_enabled,
        "quote_version": quote.version,
        "qe_id": quote.user_data[:16].hex(),
    }
    return {name: value for name, value in found.items() if value is not None}


def collateral(endorsed: Endorsed) -> dict[str, Any]:
    """Dates and numbers of the signed collateral used; ``valid_until`` covers the CRLs that were consulted."""
    info, identity = endorsed.tcb.signed, endorsed.identity.signed
    until = [info.next_update, identity.next_update]
    until += [item.until for item in endorsed.lookups if item.checked and item.until is not None]
    return {
        "evaluation_number": min(info.evaluation, identity.evaluation),
        "valid_from": zulu(max(info.issued, identity.issued)),
        "valid_until": zulu(min(until)),
        "tcb_info_issue_date": zulu(info.issued),
        "tcb_info_next_update": zulu(info.next_update),
        "tcb_info_version": info.version,
        "qe_identity_issue_date": zulu(identity.issued),
        "qe_identity_next_update": zulu(identity.next_update),
    }
