"""The smallest change that would turn a refusal: computed, true, and honest where there is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from appraise.test_policy import GENOA, MILAN
from fastness.appraise.explain import text
from fastness.appraise.policy import parse
from fastness.appraise.turn import words
from fastness.appraise.verdict import Verdict, appraise
from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims

AT = datetime(2026, 11, 1, tzinfo=UTC)
FLOOR = """
[[rule]]
id = "floor"
effect = "accept"
when = { tee = "snp" }
require = { debug = false, "tcb.reported.snp" = ">=40" }
"""
TWO = (
    FLOOR
    + """
[[rule]]
id = "far"
effect = "accept"
when = { tee = "snp" }
require = { debug = true, "tcb.reported.snp" = ">=50", "snp.vmpl" = 3 }
"""
)


def judge(rules: str, claims: object = GENOA, observed: tuple[Finding, ...] = ()) -> Verdict:
    return appraise((claims,), observed, parse(rules, "ours.toml"), at=AT)  # type: ignore[arg-type]


def test_a_floor_can_be_met_by_the_host_or_moved_by_the_policy_and_the_change_works() -> None:
    verdict = judge(FLOOR)
    (change,) = verdict.would_turn
    assert change.host == "if tcb.reported.snp >=40 on the host"
    assert change.policy == "with ours.toml:6 at >=23"
    assert judge(FLOOR.replace(">=40", ">=23")).accepted
    assert judge(FLOOR, GENOA._replace(tcb={"reported": {"snp": 40}})).accepted
    assert text(verdict).splitlines()[-1] == (
        "would be accepted if tcb.reported.snp >=40 on the host or with ours.toml:6 at >=23"
    )


def test_of_several_rules_the_nearest_is_told() -> None:
    assert [item.check for item in judge(TWO).would_turn] == ["policy.rule.floor"]


def test_a_refusing_rule_wants_another_machine() -> None:
    rules = (
        FLOOR.replace(">=40", ">=1")
        + """
[[rule]]
id = "no-milan"
effect = "refuse"
why = "seed"
when = { "cpu.generation" = "milan" }
"""
    )
    (change,) = judge(rules, MILAN).would_turn
    assert change.host == "on a machine that it does not name"
    assert change.policy == "without rule 'no-milan' (ours.toml:8)"


def test_a_claim_of_the_machine_itself_is_not_changed_by_an_update() -> None:
    rules = FLOOR.replace('"tcb.reported.snp" = ">=40"', '"cpu.generation" = "turin"')
    (change,) = judge(rules).would_turn
    assert change.host == "on another machine, whose cpu.generation turin"
    assert change.policy == "with ours.toml:6 admitting genoa"


def test_an_unanswered_check_stands_in_the_way_beside_the_rule() -> None:
    gap = Finding("snp.revocation", Outcome.UNKNOWN, "a current CRL", "none", hint="a current CRL is supplied")
    changes = judge(FLOOR, observed=(gap,)).would_turn
    assert [item.check for item in changes] == ["snp.revocation", "policy.rule.floor"]
    assert changes[0].policy == 'with a [[waive]] of "snp.revocation" and a reason'


@pytest.mark.parametrize("tee", ["nitro", "tpm", "nvgpu"])
def test_where_debug_cannot_be_told_a_line_left_out_is_not_all(tee: str) -> None:
    silent = f'[[rule]]\nid = "a"\neffect = "accept"\nwhen = {{ tee = "{tee}" }}\n'
    asks = silent + "require = { debug = false }\n"
    waived = '[[waive]]\ncheck = "policy.debug"\nwhy = "none there"\n'
    claims = Claims(tee, debug=None, collateral={"valid_until": "2027-01-01T00:00:00Z"})
    (change,) = judge(asks, claims).would_turn
    assert change.policy == 'without ours.toml:5, with a [[waive]] of "policy.debug" and a reason'
    for rules in (asks, silent):
        (finding,) = judge(rules, claims).against
        assert finding.outcome is Outcome.UNKNOWN and "[[waive]] of policy.debug" in finding.hint
    assert not judge(asks + waived, claims).accepted
    assert judge(silent + waived, claims).accepted
    assert "waive" not in judge(silent, claims._replace(debug=True)).against[0].hint


def test_an_acceptance_has_nothing_to_turn_and_the_json_says_the_same() -> None:
    accepted = judge(FLOOR.replace(">=40", ">=1"))
    assert accepted.accepted
    assert words(accepted.against, AT) == ""
    assert accepted.to_json()["would_turn"] == []
    assert judge(FLOOR).to_json()["would_turn"][0]["policy"] == "with ours.toml:6 at >=23"


def test_every_built_in_profile_says_what_would_turn_it() -> None:
    for name in ("strict", "default"):
        from fastness.appraise import policy

        verdict = appraise((MILAN._replace(debug=True),), (), policy.load(name), at=AT)
        assert not verdict.accepted
        assert words(verdict.against, verdict.at).startswith("would be accepted ")
