"""Records judged again, and what lint says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fastness.appraise import policy as policies
from fastness.appraise import records
from fastness.appraise.lint import lint
from fastness.appraise.policy import parse
from fastness.appraise.verdict import appraise
from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims, Cpu
from fastness.cli.main import main
from fastness.errors import Malformed, UsageError

AT = datetime(2026, 11, 1, tzinfo=UTC)
GENOA = Claims(
    "snp",
    Cpu("amd", 25, 17, 1, "genoa", None, "report"),
    debug=False,
    tcb={"reported": {"snp": 23}},
    extra={"policy": {"migrate_ma": False}, "platform": {"alias_check_complete": True}},
)
ANY = '[[rule]]\nid = "a"\neffect = "accept"\nwhen = { tee = "snp" }\nrequire = { debug = false }\n'
WAIVER = '[[waive]]\ncheck = "snp.revocation"\nwhy = "w"\n'


def line(claims: Claims, policy: str = ANY, *observed: Finding) -> str:
    return json.dumps(appraise((claims,), observed, parse(policy, "p.toml"), at=AT).to_json())


def test_claims_come_back_as_they_were() -> None:
    assert records.claims(json.loads(json.dumps(GENOA.tree()))).tree() == GENOA.tree()


def test_the_waiver_of_the_old_policy_does_not_carry_over() -> None:
    row = line(GENOA, ANY + WAIVER, Finding("snp.revocation", Outcome.UNKNOWN, hint="fetch the CRL"))
    item = records.read(row, "x")
    assert item.accepted
    assert not records.judge(item, parse(ANY, "p"), at=AT, measured=False).accepted
    assert records.judge(item, parse(ANY + WAIVER, "p"), at=AT, measured=False).accepted


@pytest.mark.parametrize("genuine", [None, False, "yes"])
def test_what_was_not_genuine_is_refused(genuine: Any) -> None:
    item = records.record({**json.loads(line(GENOA)), "genuine": genuine}, "x")
    assert not records.judge(item, parse(ANY, "p"), at=AT, measured=False).accepted


@pytest.mark.parametrize(("check", "told"), [("snp.signature", "snp.signature"), ("", "policy.no-claims")])
@pytest.mark.parametrize("genuine", [None, False])
def test_why_it_was_not_genuine_decides_and_no_waiver_helps(check: str, told: str, genuine: Any) -> None:
    error = {"check": check, "message": "the report was altered", "hint": "get it again"}
    item = records.record({"genuine": genuine, "claims": {}, "error": error}, "x")
    first = records.judge(item, parse(ANY, "p"), at=AT, measured=False).against[0]
    assert (first.check, first.actual, first.hint) == (told, "the report was altered", "get it again")
    waived = ANY + WAIVER.replace("snp.revocation", "snp.*")
    assert not records.judge(item, parse(waived, "p"), at=AT, measured=False).accepted


@pytest.mark.parametrize("text", ["{", "[]", "1", "{}x", '{"genuine": true}', '{"genuine": true, "claims": {"tee": 1}}',
                                  '{"genuine": true, "claims": {"tee": "snp"}}', '{"findings": [{}]}',
                                  '{"verdict": "maybe"}', "[" * 100000])  # fmt: skip
def test_a_damaged_record_is_told_with_its_line(text: str) -> None:
    with pytest.raises(Malformed) as error:
        records.read(text, "keeps:7")
    assert error.value.where == "keeps:7"


def test_strict_refuses_firmware_open_to_entrysign() -> None:
    strict = policies.load("strict")
    cured = Claims("snp", GENOA.cpu, debug=False, tcb={"reported": {"snp": 27, "microcode": 86}}, extra=GENOA.extra)
    assert appraise((cured,), (), strict, at=AT).accepted
    old = Claims("snp", GENOA.cpu, debug=False, tcb={"reported": {"snp": 22}}, extra=GENOA.extra)
    assert appraise((old,), (), strict, at=AT).decided_by == "policy.rule.entrysign"


def test_plan_and_diff_say_what_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, new, old = tmp_path / "keeps", tmp_path / "new.toml", tmp_path / "old.toml"
    kept.write_text(line(GENOA) + "\n")
    old.write_text(ANY)
    new.write_text(ANY + '[[rule]]\nid = "no"\neffect = "refuse"\nwhy = "w"\nwhen = { "cpu.generation" = "genoa" }\n')
    for words in (["plan", str(new)], ["diff", str(old), str(new)]):
        assert main(["policy", *words, str(kept), "--at", "2026-11-01", "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        assert document["summary"]["now-refused"] == 1
        assert document["changes"][0]["by"] == "policy.rule.no"
    assert main(["policy", "try", str(old), str(kept), "--at", "2026-11-01"]) == 0


def test_lint() -> None:
    def kinds(text: str) -> set[str]:
        return {item.kind for item in lint(parse(text, "p"))}

    assert {"no-measurement", "revoked-generation", "known-bad"} <= kinds(ANY)
    assert kinds(ANY.replace("debug = false", '"cpu.vendor" = "intel"')) == {"contradiction"}
    assert kinds(ANY + '[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = { tee = "snp" }\n') == {"unreachable"}
    assert kinds("") == {"accepts-nothing"}
    assert "known-bad" not in {item.kind for item in lint(policies.load("strict"))}


def test_a_table_inside_a_rule_keeps_its_lines() -> None:
    with pytest.raises(UsageError) as error:
        parse('[[rule]]\nid = "a"\neffect = "accept"\n[rule.when]\ntee = "snp"\ndebugg = false\n', "p.toml")
    assert error.value.where == "p.toml:6:1"
