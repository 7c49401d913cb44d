"""What the tests of SGX and TDX share: collateral of a real case, judging a forged spec."""

from __future__ import annotations

from typing import Any

from fastness.claims.finding import Outcome
from fastness.claims.model import Claims
from fastness.forge import sgx, tdx
from fastness.forge.model import Forged
from fastness.tee import Collateral, Document, load
from fastness.wire import pem, x509
from vectors import Case

FORGES = {"sgx": sgx, "tdx": tdx}
KINDS = {"tcb_info": "tcb-info", "qe_identity": "qe-identity", "ccel": "event-log", "ccel_table": "acpi-table"}


def collateral(case: Case) -> Collateral:
    certificates = [
        x509.certificate(der)
        for role in ("pck_crl_issuer_chain", "tcb_signing_chain")
        if role in case.files
        for _, der in pem.unarmour(case.files[role])
    ]
    lists = [x509.crl(case.files[role]) for role in ("pck_crl", "root_ca_crl") if role in case.files]
    documents = [Document(kind, case.files[role]) for role, kind in KINDS.items() if role in case.files]
    return Collateral(tuple(certificates), tuple(lists), tuple(documents))


def judge(forged: Forged) -> tuple[Claims, dict[str, Outcome]]:
    tee = load(forged.tee)
    evidence = tee.parse(forged.evidence)
    assert tee.unparse(evidence) == forged.evidence
    genuine = tee.verify(evidence, forged.collateral, forged.anchors, at=forged.at)
    return tee.claims(genuine), {item.check: item.outcome for item in genuine.findings}


def made(tee: str, **spec: Any) -> tuple[Claims, dict[str, Outcome]]:
    return judge(FORGES[tee].make(spec))
