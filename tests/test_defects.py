"""Defects found in existing verifiers (B1–B42), by number: lies we must not believe, habits we must not have.

Those that one TEE's tests hold are in ``tests/tee`` under the same names; here are the rest.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fastness import tee as tees
from fastness.appraise import policy as policies
from fastness.appraise.verdict import Verdict, appraise
from fastness.claims.finding import Finding
from fastness.collateral import wanted
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import nitro as forged_nitro
from fastness.forge import sgx as forged_sgx
from fastness.forge import tdx as forged_tdx
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchors, vendor
from fastness.tee import Collateral

SOURCES = Path(__file__).resolve().parents[1] / "src" / "fastness"
ACCEPT = '[[rule]]\nid = "r"\neffect = "accept"\nwhen = {}\nrequire = {}\n'
MAKERS = {"sgx": forged_sgx.make, "tdx": forged_tdx.make}


def verify(forged: Forged, **changed: Any) -> Any:
    """Genuine evidence, with what travels inside it."""
    given = replace(forged, **changed)
    module = tees.load(given.tee)
    evidence = module.parse(given.evidence)
    return module.verify(evidence, module.enclosed(evidence) + given.collateral, given.anchors, at=given.at)


def refused(forged: Forged, *checks: str, **changed: Any) -> None:
    with pytest.raises((NotGenuine, MissingCollateral)) as error:
        verify(forged, **changed)
    assert error.value.check in checks, error.value.check  # type: ignore[attr-defined]


def judge(forged: Forged, policy: str) -> Verdict:
    genuine = verify(forged)
    claims = tees.load(forged.tee).claims(genuine)._replace(simulated=False)
    parsed = policies.load(policy) if policy in policies.PROFILES else policies.parse(policy, "test.toml")
    return appraise((claims,), genuine.findings, parsed, at=forged.at)


def checks_of(findings: tuple[Finding, ...]) -> set[str]:
    return {item.check for item in findings}


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_b01_qe_identity_is_verified_and_applied(tee: str) -> None:
    refused(MAKERS[tee]({"lie": "identity-signature"}), f"{tee}.identity-signature")
    refused(MAKERS[tee]({"lie": "qe-identity"}), f"{tee}.qe-identity")


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_b02_the_attestation_key_is_bound_to_the_qe(tee: str) -> None:
    refused(MAKERS[tee]({"lie": "qe-binding"}), f"{tee}.qe-binding")


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_b03_a_quote_without_its_signature_section_never_passes(tee: str) -> None:
    forged = MAKERS[tee]({})
    body = {"sgx": 48 + 384, "tdx": 48 + 584}[tee]
    for end in (body, body + 4, body + 4 + 128, len(forged.evidence) - 1):
        with pytest.raises((MalformedEvidence, NotGenuine, MissingCollateral)):
            verify(forged, evidence=forged.evidence[:end])


def test_b11_tcb_info_is_verified_and_its_status_told() -> None:
    refused(forged_sgx.make({"lie": "tcb-signature"}), "sgx.tcb-signature")
    for status in ("OutOfDate", "Revoked", "ConfigurationNeeded"):
        forged = forged_sgx.make({"status": status})
        assert tees.load("sgx").claims(verify(forged)).tcb_status == status
        assert "policy.tcb-status" in checks_of(judge(forged, "default").against)


def test_b14_older_collateral_is_refused_by_its_number_and_its_date() -> None:
    rule = ACCEPT.format('{ tee = "tdx" }', '{ "collateral.evaluation_number" = ">=18" }')
    assert judge(forged_tdx.make({"evaluation_number": 18}), rule).accepted
    assert not judge(forged_tdx.make({"evaluation_number": 17}), rule).accepted
    forged = forged_tdx.make({})
    refused(forged, "tdx.tcb-info", "tdx.identity", at=forged.at + timedelta(days=400))


def test_b15_debug_is_refused_by_default_everywhere() -> None:
    for forged in (forged_sgx.make({"debug": True}), forged_tdx.make({"debug": True})):
        for profile in ("default", "strict"):
            verdict = judge(forged, profile)
            assert not verdict.accepted
            assert any("debug" in item.expected for item in verdict.against)


def test_b19_evidence_in_a_certificate_speaks_for_the_key_of_that_very_session() -> None:
    """The tenant compares the attested key with the one the TLS session in use ended at, not with a fetched one."""
    source = (SOURCES / "tenant" / "decide.py").read_text()
    assert "binding.session-key" in source
    from fastness.claims.finding import table

    assert table()["binding.session-key"].spec


def test_b20_no_assert_decides_anything() -> None:
    found = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assert):
                found.append(f"{path.name}:{node.lineno}")
    assert not found


def test_b20_optimised_python_refuses_the_same() -> None:
    code = """
import sys
sys.path[:0] = sys.argv[1:]
from fastness import tee as tees
from fastness.errors import NotGenuine
from fastness.forge import sgx
for lie in ("signature", "qe-binding", "qe-signature", "chain"):
    forged = sgx.make({"lie": lie})
    module = tees.load("sgx")
    evidence = module.parse(forged.evidence)
    try:
        module.verify(evidence, module.enclosed(evidence) + forged.collateral, forged.anchors, at=forged.at)
    except NotGenuine:
        continue
    raise SystemExit(lie)
"""
    done = subprocess.run(
        [sys.executable, "-O", "-c", code, str(SOURCES.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_b26_the_host_offers_exactly_the_requests_it_documents() -> None:
    """There is nothing behind them to protect: no request of a host gives workload, secret or verdict."""
    import fastness.host.server as server

    documented = {line.split()[0] + line.split()[1] for line in (server.__doc__ or "").splitlines() if "/v1/" in line}
    assert documented == {
        "GET/v1/capacity",
        "GET/v1/platform",
        "GET/v1/keeps",
        "POST/v1/keeps",
        "POST/v1/keeps/ID/secret",
        "DELETE/v1/keeps/ID",
        "GET/v1/keeps/ID/channel",
    }


def test_b27_an_empty_policy_refuses_everything() -> None:
    for forged in (forged_sgx.make({}), forged_tdx.make({}), forged_nitro.make({})):
        verdict = judge(forged, "")
        assert not verdict.accepted
        assert "policy.default-deny" in checks_of(verdict.against)


def test_b30_no_fall_back_on_what_has_expired() -> None:
    forged = forged_tdx.make({})
    verify(forged)
    refused(forged, "tdx.tcb-info", "tdx.identity", at=forged.at + timedelta(days=400))
    refused(forged, "tdx.tcb-info", "tdx.identity", "tdx.chain", collateral=Collateral())


def test_b35_hardware_is_allowed_by_name_and_the_result_says_what_no_evidence_shows() -> None:
    forged = forged_tdx.make({"ppid": "c3" * 16})
    rule = ACCEPT.format('{ tee = "tdx" }', '{ hardware_id = "@ours" }')
    assert judge(forged, f'[sets]\nours = ["{"c3" * 16}"]\n{rule}').accepted
    assert not judge(forged, f'[sets]\nours = ["{"c4" * 16}"]\n{rule}').accepted
    claims = tees.load("tdx").claims(verify(forged))
    assert any("memory bus" in sentence for sentence in claims.not_checked)


def test_b38_certificates_are_judged_without_tls_roles() -> None:
    """PCK and Nitro leaves have no server role, no alternative name and no such need."""
    for forged in (forged_sgx.make({}), forged_nitro.make({})):
        assert verify(forged).anchors


def test_b40_a_verdict_is_made_anew_for_every_release() -> None:
    """No earlier verdict can be presented: what releases takes the session it was made in."""
    import inspect

    from fastness.tenant.deliver import Delivery

    assert next(iter(inspect.signature(Delivery.release).parameters)) == "attested"
    assert "Attested" in str(inspect.signature(Delivery.release).parameters["attested"].annotation)


def test_b41_collateral_comes_from_its_maker_by_default() -> None:
    hosts = {url.split("/")[2].split(".", 1)[1] for url in wanted.DEFAULTS.values()}
    assert hosts == {"amd.com", "trustedservices.intel.com", "attestation.nvidia.com", "ndis.nvidia.com"}


def test_b04_vendor_roots_do_not_vouch_for_fakes() -> None:
    for forged in (forged_sgx.make({}), forged_tdx.make({}), forged_nitro.make({})):
        refused(forged, f"{forged.tee}.chain", anchors=vendor())
        with pytest.raises((NotGenuine, MissingCollateral)):
            verify(forged, anchors=Anchors())


def test_results_are_one_json_document() -> None:
    assert json.loads(json.dumps(judge(forged_sgx.make({}), "default").to_json()))["schema"] == "fastness/verdict/v1"
