"""GPUs count only where their evidence is bound to the CPU's, each device once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastness import attestation
from fastness.appraise.policy import parse
from fastness.attestation import Question
from fastness.collateral.gather import Gathered
from fastness.collateral.heap import Found
from fastness.forge import nvgpu, snp
from fastness.pki.anchors import Anchors
from fastness.result import Result
from fastness.tee import Collateral

NONCE = "5a" * 32
RULES = """
[[rule]]
id = "cpu"
effect = "accept"
when = { tee = "snp" }
require = { debug = false, "composite.gpus" = ">=2", simulated = true }
[[rule]]
id = "gpu"
effect = "accept"
when = { tee = "nvgpu" }
require = { debug = [true, false], "composite.gpus" = ">=2", simulated = true }
[[waive]]
check = "*.revocation"
why = "forged"
[[waive]]
check = "policy.debug"
why = "forged"
"""


def ask(*given: Any) -> tuple[Result, ...]:
    found = tuple(Found(item.tee, item.evidence, str(index)) for index, item in enumerate(given))
    collateral, anchors = Collateral(), Anchors()
    for item in given:
        collateral, anchors = collateral + item.collateral, anchors + item.anchors
    gathered = Gathered(found, collateral, ())
    at = given[0].at
    return attestation.answer(gathered, Question(at, None, None, parse(RULES, "p.toml"), anchors, None))


def cpu(nonce: str = NONCE) -> Any:
    return snp.make({"report_data": nonce + "00" * 32})


def gpu(nonce: str = NONCE, **spec: Any) -> Any:
    return nvgpu.make({"nonce": nonce, **spec})


def counted(results: tuple[Result, ...]) -> set[Any]:
    return {(item.claims or {}).get("composite", {}).get("gpus") for item in results}


def test_two_gpus_and_a_cpu_over_one_nonce() -> None:
    results = ask(cpu(), gpu(), gpu())
    assert counted(results) == {2}
    assert [item.verdict for item in results] == ["accept", "accept"]


def test_the_same_gpu_twice_is_one() -> None:
    one = gpu()
    again = replace(one, evidence=one.evidence)
    results = ask(cpu(), one, again)
    assert counted(results) == {1}
    assert {item.verdict for item in results} == {"refuse"}


def test_a_gpu_over_another_nonce_a_switch_and_a_forgery_are_not_counted() -> None:
    for other in (gpu("11" * 32), gpu(kind="switch"), gpu(lie="signature")):
        results = ask(cpu(), gpu(), other)
        assert 2 not in counted(results)
        assert "accept" not in {item.verdict for item in results}


def test_a_guest_without_gpus_has_no_such_claim() -> None:
    results = ask(cpu())
    assert counted(results) == {None}
    refused = [item for item in results[0].findings if item.outcome.value == "not-checked"]
    assert any("composite.gpus" in item.expected for item in refused)
