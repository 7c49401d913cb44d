"""What a policy compares claims with: words that exist, signs that are signs, versions, dates and numbers as such.

Each fault here would, in a refusing rule, let everything pass, or end the command with a traceback.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appraise.test_policy import AT, CURED, GENOA, MILAN, TDX, accepting, judge
from fastness.appraise import knowledge
from fastness.appraise.lint import lint
from fastness.appraise.policy import load, parse
from fastness.appraise.verdict import appraise
from fastness.appraise.vocabulary import STATUSES, fault
from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims
from fastness.cli.verify import lines
from fastness.errors import UsageError
from fastness.page import html
from fastness.result import Result
from fastness.tee.dcap import tcb
from fastness.wire import toml

REFUSING = '[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = { %s }\n'
OPEN = '[[rule]]\nid = "all"\neffect = "accept"\nwhen = { tee = ["snp", "tdx"] }\n'
FMSPC = TDX._replace(extra={"fmspc": "b0c06f000000"})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"cpu.generation" = "Milan"', "'milan'"),
        ('"cpu.generation" = ["genoa", "milna"]', "'milan'"),
        ('"cpu.generation" = { not = "turn" }', "'turin'"),
        ('"cpu.generation" = "!=millan"', "'milan'"),
        ('"tcb.reported.snp" = { by_generation = { milna = "<24" } }', "'milan'"),
        ('"cpu.vendor" = "AMD"', "'amd'"),
        ('"cpu.vendor" = " amd"', "neither a word"),
        ('"cpu.vendor" = ""', "neither a word"),
        ('tee = "sev-snp"', "snp"),
        ('tee = "SNP"', "'snp'"),
        ('tcb_status = "Uptodate"', "'UpToDate'"),
        ('cloud = "AWS"', "'aws'"),
        ('hardware_id = "0xabcd"', "hexadecimal"),
        ('hardware_id = "abc"', "hexadecimal"),
        ('hardware_id = "@typed"', "hexadecimal"),
        ('"measurements.launch" = "@typed"', "hexadecimal"),
        ('advisory_ids = { none = ["intel-sa-00960"] }', "INTEL-SA-"),
        ('advisory_ids = { none = ["@typed"] }', "name of a set"),
        ('tcb_date = "=>2026-01-01"', "neither a word"),
        ('tcb_date = "==2026-01-01"', "neither a word"),
        ('tcb_date = ">==2026-01-01"', "nothing to compare"),
        ('tcb_date = ">=2026-13-01"', "no date"),
        ('tcb_date = "2026-02-30"', "no date"),
        ('"tcb.reported.snp" = "20..10"', "no number"),
        ('"tcb.reported.snp" = "20.."', "neither a word"),
        (f'"tcb.reported.snp" = {2**64}', "64 bits"),
        (f'"tcb.reported.snp" = ">={2**64}"', "64 bits"),
        (f'"tcb.reported.snp" = "1..{2**64}"', "64 bits"),
        (f'"tcb.components" = {{ at_least = [{2**64}] }}', "operand"),
        (f'"snp.mitigations.current" = {{ bits = "{2**64:#x}" }}', "64 bits"),
        (f'"tcb.reported.snp" = ">={"9" * 5000}"', "nothing to compare"),
        (f'"tcb.reported.snp" = "1..{"9" * 5000}"', "digits"),
        (f'"tcb.reported.snp" = 0x{"f" * 5000}', "64 bits"),
        (f'"tcb.reported.snp" = {"9" * 5000}', "digits"),
        ('"tcb.reported.snp" = nan', "float"),
        ('tcb_date = 2026-01-01', "date is not a condition"),
        ('tcb_date = 2026-01-01T00:00:00Z', "datetime is not"),
    ],
)  # fmt: skip
def test_what_no_evidence_can_say_is_an_error(written: str, said: str) -> None:
    for effect in ("refuse", "accept"):
        with pytest.raises(UsageError) as error:
            parse('[sets]\ntyped = ["0xAB"]\n' + REFUSING.replace("refuse", effect) % written, "p.toml")
        assert said in error.value.what
        assert error.value.where.startswith("p.toml")
        assert error.value.hint


def test_nesting_without_end_is_an_error() -> None:
    with pytest.raises(UsageError, match="nested too deep"):
        toml.parse("a = " + "[" * 100_000 + "]" * 100_000, "p.toml")


def test_every_word_of_intel_s_algorithm_is_known() -> None:
    assert set(tcb._WITH_OUT_OF_DATE) | set(tcb._WITH_OUT_OF_DATE.values()) <= STATUSES
    assert not any(fault("cpu.generation", row.generation) for row in knowledge.processors())


@pytest.mark.parametrize("written", ["B0C06F000000", "b0c06f000000"])
def test_hexadecimal_is_found_in_either_case(written: str) -> None:
    assert judge(OPEN, FMSPC).accepted
    for condition in (f'"{written}"', f'["{written}"]', f'{{ not = "!={written}" }}'):
        assert not judge(OPEN + REFUSING % f'"tdx.fmspc" = {condition}', FMSPC).accepted
    assert not judge(accepting(hardware_id=f'"!={"CD" * 64}"', debug="false"), GENOA).accepted
    listed = GENOA._replace(composite={"gpu_ids": [written]})
    assert not judge(accepting(composite__gpu_ids='{ none = ["B0C06F000000"] }', debug="false"), listed).accepted


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (">=1.9.3", True), (">=1.55.20", True), (">=1.55.22", False), (">1.100.0", False), ("<1.100.0", True),
        ("<=1.55.21", True), ("!=1.55.21", False), (">=1.55", True), (">=2.0", False), (">=1.5a.0", None),
    ],
)  # fmt: skip
def test_versions_compare_part_by_part(condition: str, holds: bool | None) -> None:
    claims = GENOA._replace(extra={"firmware": {"current": "1.55.21"}})
    rules = accepting(snp__firmware__current=f'"{condition}"', debug="false")
    verdict = judge(rules, claims)
    assert verdict.accepted is bool(holds)
    assert holds is not None or verdict.against[0].outcome is Outcome.UNKNOWN


def test_versions_in_hexadecimal_compare_at_one_width() -> None:
    for current, holds in (("96.00.A0.00.01", True), ("96.00.5E.00.01", False), ("96.00.99.00.1", False)):
        claims = GENOA._replace(extra={"firmware": {"current": current}})
        assert judge(accepting(snp__firmware__current='">=96.00.9F.00.01"', debug="false"), claims).accepted is holds


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (">=2026-08-01", True), ("<=2026-08-01", True), (">2026-08-01", False), ("2026-08-01", True),
        ("!=2026-08-01", False), ("2026-08-02", False), (">=2026-08-01T00:00:00", True),
        (">=2026-08-01T00:00:00Z", True), (">=2026-08-01T00:00:01Z", False), ("<2026-08-01T09:00:01+09:00", True),
        ("<2026-08-01T09:00:00+09:00", False), (">=2026-08", True),
    ],
)  # fmt: skip
def test_dates_compare_at_the_precision_written(condition: str, holds: bool) -> None:
    assert judge(accepting(tcb_date=f'"{condition}"'), TDX).accepted is holds


def test_what_cannot_be_told_of_the_tcb_or_the_collateral_refuses() -> None:
    for missing, check in (({"tcb_status": None}, "policy.tcb-status"), ({"collateral": {}}, "policy.freshness")):
        verdict = judge(OPEN, TDX._replace(**missing))
        assert [(item.check, item.outcome, item.actual) for item in verdict.against] == [
            (check, Outcome.UNKNOWN, "cannot tell")
        ]
        assert judge(OPEN + f'[[waive]]\ncheck = "{check}"\nwhy = "w"\n', TDX._replace(**missing)).accepted
    assert judge(OPEN, TDX).accepted
    assert judge(OPEN, GENOA).accepted  # AMD says no such word


@pytest.mark.parametrize("name", ["host_data", "mrconfigid", "mrowner", "mrownerconfig", "mrseam", "mrsignerseam"])
def test_the_host_s_word_and_the_module_do_not_say_what_runs(name: str) -> None:
    rules = accepting(**{f"measurements__{name}": f'"{"ab" * 48}"', "debug": "false"})
    claims = TDX._replace(measurements={name: "ab" * 48})
    assert judge(rules, claims).accepted
    verdict = judge(rules, claims, measured=True)
    assert [item.check for item in verdict.against] == ["policy.measurement"]
    mrtd = accepting(measurements__mrtd=f'"{"ab" * 48}"', debug="false")
    assert judge(mrtd, TDX._replace(measurements={"mrtd": "ab" * 48}), measured=True).accepted


def test_what_is_known_to_be_wrong_decides_before_what_cannot_be_told() -> None:
    unseen = Finding("snp.revocation", Outcome.UNKNOWN, "looked up", "no CRL", hint="fetch it")
    verdict = judge(OPEN + REFUSING % '"cpu.generation" = "milan"', MILAN, unseen)
    assert verdict.decided_by == "policy.rule.n"
    assert [item.check for item in verdict.against] == ["policy.rule.n", "snp.revocation"]
    assert judge(OPEN, MILAN, unseen).decided_by == "snp.revocation"


@pytest.mark.parametrize(
    ("rules", "claims", "changed", "host", "policy"),
    [
        (accepting(tcb_date="{ days = 10, grace = 5 }"), TDX, ("{ days = 10, grace = 5 }", "{ days = 92 }"),
         "if tcb_date at most 10 days old, or 5 more in grace on the host", "with p.toml:5 at { days = 92 }"),
        (accepting(tcb__reported__snp='{ by_generation = { genoa = ">=40", turin = ">=4" } }', debug="false"), GENOA,
         (">=40", ">=23"), "if tcb.reported.snp >=40 (genoa) on the host", "with p.toml:5 at >=23 for genoa"),
        (accepting(measurements__launch='"aa"', debug="false"), GENOA, ('"aa"', f'"{"ab" * 48}"'),
         "if what runs there had measurements.launch aa", f"with p.toml:5 admitting {'ab' * 48}"),
        (accepting(hardware_id='"aa"', debug="false"), GENOA, ('"aa"', f'"{"cd" * 64}"'),
         "on another machine, whose hardware_id aa", f"with p.toml:5 admitting {'cd' * 64}"),
        (accepting(collateral__evaluation_number='">=99"'), TDX, (">=99", ">=18"),
         "with collateral whose collateral.evaluation_number >=99", "with p.toml:5 at >=18"),
    ],
)  # fmt: skip
def test_the_smallest_change_turns_it(rules: str, claims: Claims, changed: Any, host: str, policy: str) -> None:
    (change,) = appraise((claims,), (), parse(rules, "p.toml"), at=AT).would_turn
    assert (change.host, change.policy) == (host, policy)
    assert judge(rules.replace(*changed), claims).accepted


def test_a_refusal_that_can_be_lifted_says_by_what() -> None:
    rules = OPEN + REFUSING % 'tee = "snp"'
    rules += 'unless = { "tcb.reported.snp" = { by_generation = { genoa = ">=27" } } }\n'
    (change,) = appraise((GENOA,), (), parse(rules, "p.toml"), at=AT).would_turn
    assert change.host == "where tcb.reported.snp is >=27 (genoa) (p.toml:10)"
    assert judge(rules, CURED).accepted


def test_a_rule_on_what_the_evidence_does_not_say_can_be_narrowed() -> None:
    nitro = Claims("nitro", debug=False, collateral={"valid_until": "2027-01-01T00:00:00Z"})
    rules = OPEN.replace("snp", "nitro") + REFUSING % '"cpu.vendor" = "amd", "cpu.generation" = "milan"'
    (change,) = appraise((nitro,), (), parse(rules, "p.toml"), at=AT).would_turn
    assert change.host == "with evidence that says cpu.vendor"
    assert change.policy == "with rule 'n' (p.toml:5) for TEEs that say it alone"
    assert judge(rules.replace('when = { "cpu', 'when = { tee = ["snp", "sev"], "cpu'), nitro).accepted


def test_a_file_reached_by_two_ways_counts_once(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "base.toml").write_text(OPEN)
    (tmp_path / "sites" / "tokyo.toml").write_text('include = ["../base.toml"]\n')
    (tmp_path / "ours.toml").write_text('include = ["base.toml", "sites/tokyo.toml"]\n')
    assert [rule.id for rule in load(str(tmp_path / "ours.toml")).rules] == ["all"]


def test_the_page_lists_what_would_turn_it() -> None:
    rules = accepting(tcb__reported__snp='">=40"', hardware_id='"aa"', debug="false")
    verdict = appraise((GENOA,), (), parse(rules, "p.toml"), at=AT)
    shown = html([Result("snp", genuine=True, at=AT).with_verdict(verdict)])
    assert shown.count("<li>") == 2
    assert f"<li>on another machine, whose hardware_id aa or with p.toml:5 admitting {'cd' * 64}</li>" in shown
    assert "overflow-wrap:anywhere" in shown.partition("h1{")[0]


def test_verify_explains_a_refusal_in_full() -> None:
    verdict = appraise((GENOA,), (), parse(accepting(tcb__reported__snp='">=40"', debug="false"), "p.toml"), at=AT)
    shown = lines(Result("snp", genuine=True, at=AT).with_verdict(verdict))
    assert "  ✗ policy.rule.r: failed: expected tcb.reported.snp >=40, found 23" in shown
    assert "      where    reported_tcb at byte 0x180, 8 bytes" in shown
    assert "      where    p.toml:5 tcb.reported.snp" in shown
    assert shown[-1] == "would be accepted if tcb.reported.snp >=40 on the host or with p.toml:5 at >=23"
    assert shown[-2] == f"policy     p, sha-256 {verdict.policy_digest}"


def test_a_vtpm_has_the_processor_it_rests_on() -> None:
    rules = '[[rule]]\nid = "v"\neffect = "accept"\nwhen = { tee = "tpm", "cpu.generation" = "genoa" }\n'
    kinds = [item.kind for item in lint(parse(rules + 'require = { "measurements.pcr4" = "aa" }\n', "p"))]
    assert kinds == []


def test_remarks_on_broken_firmware_can_be_copied() -> None:
    hints = {item.hint for item in lint(parse(OPEN, "p")) if item.kind == "known-bad"}
    assert 'refuse milan unless "snp.platform.alias_check_complete" = true' in hints
    assert 'refuse genoa model 0x11 stepping 1 unless "tcb.reported.microcode" = ">=86"' in hints
    row = knowledge.advisories()[0]
    assert replace(row, steppings=("11-1", "11-2")).on == " model 0x11 stepping 1 or model 0x11 stepping 2"
