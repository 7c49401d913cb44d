"""What a verdict says of rules, waivers and silence, condition by condition."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fastness.appraise import verdict as engine
from fastness.appraise.policy import Policy, Waiver, load, parse
from fastness.appraise.verdict import Verdict, appraise, refuse_evidence
from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims, Cpu
from fastness.errors import Malformed, UsageError
from fastness.wire.hexdump import Span

AT = datetime(2026, 11, 1, tzinfo=UTC)
SNP = Claims(
    "snp", Cpu("amd", generation="genoa"), debug=False, measurements={"launch": "ab" * 48}, extra={"vmpl": 0},
    spans={"snp.vmpl": Span("vmpl", 0x30, 4), "debug": Span("policy", 8, 8)},
)  # fmt: skip
TDX = Claims(
    "tdx", Cpu("intel"), debug=False, tcb_status="UpToDate", collateral={"valid_until": "2026-11-20T00:00:00Z"}
)
RULE = '[[rule]]\nid = "r"\neffect = "{}"\nwhy = "ours"\nwhen = {{ {} }}\n'
ACCEPT = RULE.format("accept", 'tee = ["snp", "tdx", "nitro"]')


def judge(rules: str | Policy, *claims: Claims, observed: tuple[Finding, ...] = (), **more: Any) -> Verdict:
    policy = parse(rules, "test.toml") if isinstance(rules, str) else rules
    return appraise(claims or (SNP,), observed, policy, at=AT, **more)


def against(verdict: Verdict) -> list[tuple[str, Outcome]]:
    return [(item.check, item.outcome) for item in verdict.against]


def included(policy: Policy) -> Policy:
    """The same policy with everything in it from another file."""
    return replace(
        policy, waivers=tuple(replace(item, file="inc.toml") for item in policy.waivers),
        rules=tuple(replace(rule, file="inc.toml") for rule in policy.rules),
    )  # fmt: skip


WAIVED = ACCEPT + '[[waive]]\ncheck = "policy.debug"\nwhy = "told so"\n'


@pytest.mark.parametrize("elsewhere", [False, True])
def test_findings_stand_in_the_file_of_their_rule(elsewhere: bool) -> None:
    file = "inc.toml" if elsewhere else "test.toml"
    rules = ACCEPT + RULE.format("refuse", '"snp.vmpl" = 0').replace('"r"', '"n"')
    for text, claims in ((rules, SNP), (WAIVED, SNP._replace(debug=True)), (ACCEPT, SNP._replace(debug=True))):
        policy = parse(text, "test.toml")
        plain = replace(
            policy, waivers=tuple(replace(item, file="") for item in policy.waivers),
            rules=tuple(replace(rule, file="") for rule in policy.rules),
        )  # fmt: skip
        verdict = judge(included(policy) if elsewhere else plain, claims)
        assert verdict.findings
        assert {item.where[-1].file for item in verdict.findings} == {file}
        if verdict.accepted:
            assert verdict.decided_by == f"rule 'r' ({file}:1)"


def test_a_condition_stands_in_its_own_file() -> None:
    policy = parse(ACCEPT + 'require = { "snp.vmpl" = 0 }\n', "test.toml")
    for file in ("", "inc.toml"):
        rule = policy.rules[0]
        asked = tuple(replace(item, file=file) for item in rule.require)
        verdict = judge(replace(policy, rules=(replace(rule, require=asked),)))
        assert verdict.findings[0].where[-1].file == (file or "test.toml")
        assert verdict.findings[0].where[0].field == "vmpl"


def test_where_a_claim_stands_is_told() -> None:
    found = judge(ACCEPT, SNP._replace(debug=True)).against[0]
    assert [place.field for place in found.where] == ["policy", "r"]
    refused = judge(ACCEPT + RULE.format("refuse", '"snp.vmpl" = 0, tee = "snp"').replace('"r"', '"n"')).against[0]
    assert [place.field for place in refused.where] == ["vmpl", "n"]
    assert [place.field for place in judge(ACCEPT + 'require = { tee = "snp" }\n').findings[0].where] == ["tee"]


def test_without_claims_nothing_is_accepted() -> None:
    verdict = appraise((), (), parse(ACCEPT, "test.toml"), at=AT)
    assert (verdict.accepted, verdict.decided_by) == (False, engine.NO_CLAIMS)


def test_all_claims_must_be_accepted() -> None:
    assert judge(ACCEPT, SNP, TDX).accepted
    for claims in ((SNP, TDX._replace(debug=True)), (TDX._replace(debug=True), SNP)):
        assert against(judge(ACCEPT, *claims)) == [("policy.debug", Outcome.FAILED)]


@pytest.mark.parametrize(
    ("check", "outcome", "then"),
    [
        ("policy.debug", Outcome.HELD, Outcome.HELD), ("policy.debug", Outcome.NOTE, Outcome.NOTE),
        ("policy.debug", Outcome.FAILED, Outcome.WAIVED), ("policy.debug", Outcome.UNKNOWN, Outcome.WAIVED),
        ("policy.simulated", Outcome.FAILED, Outcome.FAILED), ("policy.simulated", Outcome.UNKNOWN, Outcome.WAIVED),
        ("snp.tcb-order", Outcome.FAILED, Outcome.FAILED),
    ],
)  # fmt: skip
def test_a_waiver_waives_what_is_open(check: str, outcome: Outcome, then: Outcome) -> None:
    policy = replace(parse(ACCEPT, "test.toml"), waivers=(Waiver("*", "told so", 1),))
    assert judge(policy, observed=(Finding(check, outcome),)).findings[0].outcome is then
    assert judge(ACCEPT, observed=(Finding(check, outcome),)).findings[0].outcome is outcome


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        (SNP, []), (TDX, []), (SNP._replace(debug=None), [("policy.debug", Outcome.UNKNOWN)]),
        (SNP._replace(debug=True), [("policy.debug", Outcome.FAILED)]),
        (SNP._replace(tcb_status="OutOfDate"), [("policy.tcb-status", Outcome.FAILED)]),
        (SNP._replace(collateral={"valid_until": "2026-10-31T23:59:59Z"}), [("policy.freshness", Outcome.FAILED)]),
        (SNP._replace(collateral={"valid_until": "2026-11-01T00:00:00Z"}), []),
        (SNP._replace(collateral={"valid_until": 5}), [("policy.freshness", Outcome.FAILED)]),
        (TDX._replace(tcb_status=None), [("policy.tcb-status", Outcome.UNKNOWN)]),
        (TDX._replace(tcb_status="OutOfDate"), [("policy.tcb-status", Outcome.FAILED)]),
        (TDX._replace(collateral={}), [("policy.freshness", Outcome.UNKNOWN)]),
        (Claims("nitro", debug=False), [("policy.freshness", Outcome.UNKNOWN)]),
        (SNP._replace(simulated=True), [("policy.simulated", Outcome.FAILED)]),
    ],
)  # fmt: skip
def test_silence_is_answered_strictly(claims: Claims, found: list[tuple[str, Outcome]]) -> None:
    assert against(judge(ACCEPT, claims)) == found
    said = 'require = { debug = [true, false], tcb_status = ["UpToDate", "OutOfDate"] }\n'
    if claims.tcb_status and claims.debug is not None:
        kinds = {check for check, _ in against(judge(ACCEPT + said, claims))}
        assert not kinds & {"policy.debug", "policy.tcb-status"}
    if "valid_until" in claims.collateral:
        spoken = 'require = { "collateral.valid_until" = { not = "2020-01-01" } }\n'
        assert "policy.freshness" not in dict(against(judge(ACCEPT + spoken, claims)))


def test_the_status_that_is_there_is_told() -> None:
    for status, told_ in (("OutOfDate", "OutOfDate"), (None, "cannot tell"), ("", "cannot tell")):
        assert judge(ACCEPT, TDX._replace(tcb_status=status)).against[0].actual == told_


def test_what_runs_is_asked_only_where_something_is_given_to_it() -> None:
    assert judge(ACCEPT).accepted
    assert against(judge(ACCEPT, measured=True)) == [("policy.measurement", Outcome.UNKNOWN)]
    named = f'require = {{ "measurements.launch" = "{"ab" * 48}" }}\n'
    assert judge(ACCEPT + named, measured=True).accepted
    simulated = ACCEPT + "require = { simulated = true }\n"
    assert judge(simulated, SNP._replace(simulated=True), measured=True).accepted


def test_of_accepting_rules_one_that_holds_whole_decides() -> None:
    strict = ACCEPT.replace('"r"', '"s"') + 'require = { "snp.vmpl" = 1 }\n'
    spoken = ACCEPT.replace('"r"', '"d"') + "require = { debug = [true, false] }\n"
    debug = SNP._replace(debug=True)
    for rules in (strict + ACCEPT + spoken, spoken + strict + ACCEPT, ACCEPT + spoken):
        assert judge(rules, debug).decided_by.startswith("rule 'd'")
    assert against(judge(strict, debug)) == [("policy.rule.s", Outcome.FAILED)]
    missed = judge(ACCEPT + 'require = { "snp.vmpl" = 1, tee = "snp", "snp.policy.abi" = 3 }\n')
    assert against(missed) == [("policy.rule.r", Outcome.FAILED), ("policy.rule.r", Outcome.UNKNOWN)]


def test_what_is_known_to_be_wrong_comes_before_what_cannot_be_told_and_both_before_nothing() -> None:
    unknown = Finding("snp.revocation", Outcome.UNKNOWN)
    told = judge(ACCEPT, SNP._replace(debug=True), observed=(unknown,))
    assert against(told) == [("policy.debug", Outcome.FAILED), ("snp.revocation", Outcome.UNKNOWN)]
    nothing = appraise((), (unknown,), parse(ACCEPT, "test.toml"), at=AT)
    assert [item.check for item in nothing.against] == ["snp.revocation", engine.NO_CLAIMS]


REFUSE = RULE.replace('"r"', '"n"')


@pytest.mark.parametrize(
    ("when", "unless", "refused"),
    [
        ('"snp.vmpl" = 0', "", True), ('"snp.vmpl" = 1', "", False), ('"snp.nothing" = 1', "", True),
        ('"snp.vmpl" = 1, "snp.nothing" = 1', "", False), ('"snp.nothing" = 1, "snp.vmpl" = 1', "", False),
        ('"snp.vmpl" = 0', "debug = false", False), ('"snp.vmpl" = 0', "debug = true", True),
        ('"snp.vmpl" = 0', 'debug = false, "snp.nothing" = 1', True), ('"snp.nothing" = 1', "debug = false", False),
    ],
)  # fmt: skip
def test_a_refusing_rule_holds_unless_it_is_known_not_to(when: str, unless: str, refused: bool) -> None:
    rules = ACCEPT + REFUSE.format("refuse", when) + (f"unless = {{ {unless} }}\n" if unless else "")
    assert judge(rules).accepted is not refused


def told(when: str, unless: str = "") -> Finding:
    rules = ACCEPT + REFUSE.format("refuse", when) + (f"unless = {{ {unless} }}\n" if unless else "")
    return judge(rules).against[0]


def test_a_refusal_says_what_it_saw() -> None:
    seen = told('"snp.vmpl" = 0, tee = "snp"')
    assert (seen.actual, seen.because) == ("snp.vmpl = 0, tee = snp", "ours")
    assert "use a machine that rule 'n' does not name" in seen.hint
    unseen = told('"snp.nothing" = 1')
    assert unseen.actual == f"{engine.CANNOT_TELL}snp.nothing"
    assert "does not say snp.nothing" in unseen.hint
    both = told('"snp.vmpl" = 0, "snp.nothing" = 1')
    assert both.actual == f"{engine.CANNOT_TELL}snp.nothing (snp.vmpl = 0)"


def test_a_refusal_says_what_would_lift_it() -> None:
    for unless, what, how in (
        ("debug = true", "debug = false", "debug is true (test.toml:"),
        ('"snp.nothing" = 1', "cannot tell snp.nothing", "snp.nothing is 1 (test.toml:"),
    ):
        lifted = told('"snp.vmpl" = 0', unless)
        assert lifted.actual == f"snp.vmpl = 0, {what}"
        assert lifted.hint.startswith(f"{engine.LIFTED}{how}")
    some = told('"snp.vmpl" = 0', 'debug = false, "snp.nothing" = 1')
    assert some.actual == "snp.vmpl = 0, cannot tell snp.nothing"


def test_a_requirement_says_what_is_there() -> None:
    missed = judge(ACCEPT + 'require = { "snp.vmpl" = 1, "snp.nothing" = 2, tee = "snp" }\n')
    rows = [(item.actual, item.outcome, bool(item.hint)) for item in missed.findings]
    assert rows == [("0", Outcome.FAILED, True), ("cannot tell", Outcome.UNKNOWN, True)]
    held = judge(ACCEPT + 'require = { "snp.vmpl" = 0 }\n').findings[0]
    assert (held.actual, held.outcome, held.hint) == ("0", Outcome.HELD, "")


def test_grace_is_told_where_there_is_a_date_to_tell_it_of() -> None:
    rules = ACCEPT + "require = { tcb_date = { days = 10, grace = 10 } }\n"
    dated = TDX._replace(tcb_date="2026-10-18T00:00:00Z")
    assert "in grace until 2026-11-07" in judge(rules, dated).findings[0].actual
    assert judge(rules, TDX).findings[0].actual == "cannot tell"
    odd = judge(rules, TDX._replace(tcb_date="someday")).findings[0]
    assert (odd.actual, odd.outcome) == ("someday", Outcome.UNKNOWN)


def test_nothing_accepts_what_no_rule_names() -> None:
    found = judge(RULE.format("accept", 'tee = "tdx"')).against[0]
    assert "no accepting rule holds for tee snp" in found.actual and "SIMULATED" not in found.actual
    assert "this policy can accept tdx" in found.hint
    assert "SIMULATED" in judge("", SNP._replace(simulated=True)).against[0].actual
    assert "can accept nothing" in judge("").against[0].hint


@pytest.mark.parametrize(("size", "cut"), [(136, False), (137, True)])
def test_long_values_are_cut(size: int, cut: bool) -> None:
    shown = engine._shown("a" * size)
    assert (shown == "a" * size) is not cut
    assert len(shown) == 136
    assert [engine._shown(value) for value in (True, False, 1, 0)] == ["true", "false", "1", "0"]


def test_evidence_that_no_rule_could_accept_is_refused_before_it_is_asked_for() -> None:
    def refused(rules: str, *has: str) -> Finding:
        verdict = refuse_evidence(parse(rules, "test.toml"), has, at=AT)
        assert (verdict.accepted, verdict.decided_by) == (False, "policy.evidence-type")
        return verdict.findings[0]

    found = refused(ACCEPT, "sev", "mips")
    assert (found.outcome, found.expected) == (Outcome.FAILED, "evidence of nitro, snp, tdx")
    assert (found.actual, "SIMULATED" in found.actual) == ("sev, unknown", False)
    assert "or add a rule that names sev, unknown" in found.hint
    simulated = refused(ACCEPT, "nil")
    refusal = refuse_evidence(parse(ACCEPT, "test.toml"), ("nil",), at=AT)
    assert [(change.host, change.policy) for change in refusal.would_turn] == [
        ("on a host with evidence of nitro, snp, tdx", "with a rule that accepts nil (SIMULATED)")  # no waiver helps
    ]
    nothing = refuse_evidence(parse("", "test.toml"), ("snp",), at=AT)
    assert [change.host for change in nothing.would_turn] == [""]
    assert simulated.actual == "nil (SIMULATED)"
    assert "nil protects nothing" in simulated.hint
    assert refused("", "snp").expected == "evidence of nothing"
    assert parse(ACCEPT + REFUSE.format("refuse", 'tee = "sgx"'), "p").evidence_types() == {"nitro", "snp", "tdx"}


def test_waivers_are_found_by_name() -> None:
    policy = parse(ACCEPT + '[[waive]]\ncheck = "*.revocation"\nwhy = "by hand"\n', "test.toml")
    assert policy.waiver("snp.revocation") and not policy.waiver("snp.revocations")


def sized(path: Path, start: bytes, size: int) -> str:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return str(path)


def test_policies_have_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(ACCEPT.ljust(1 << 20), "utf-8")
    assert load(str(path)).rules
    path.write_text(ACCEPT.ljust((1 << 20) + 1), "utf-8")
    with pytest.raises(UsageError, match="at most 1048576 bytes"):
        load(str(path))
    with pytest.raises((UsageError, Malformed)) as error:
        load(sized(path, b" {", 48 << 20))
    assert "at most" not in str(error.value)
    with pytest.raises(UsageError, match="at most 50331648 bytes"):
        load(sized(path, b" {", (48 << 20) + 1))


def test_a_policy_that_is_not_text_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        load(sized(tmp_path / "p.toml", b"\xff", 9))
    with pytest.raises(UsageError, match="cannot be read") as error:
        load(str(tmp_path / "nothing"))
    assert "did you mean" not in error.value.hint and "one of strict" in error.value.hint
    with pytest.raises(UsageError, match="cannot be read") as error:
        load("strikt")
    assert "did you mean 'strict'?" in error.value.hint


def test_owners_are_asked_for_where_they_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(ACCEPT, "utf-8")
    monkeypatch.setenv("FASTNESS_OWNERS", "owners.toml")
    for name in ("strict", str(path)):
        for owners in (None, "others.toml"):
            with pytest.raises(UsageError, match="is not signed, and owners are asked for"):
                load(name, owners)
        assert load(name, "").rules
    monkeypatch.delenv("FASTNESS_OWNERS")
    assert load(str(path)).rules
