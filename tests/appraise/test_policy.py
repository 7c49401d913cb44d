"""Policies: what a rule says, what silence means, and that a fault has a line, a column and a remedy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.appraise import policy as policies
from fastness.appraise.explain import text
from fastness.appraise.policy import Policy, parse
from fastness.appraise.verdict import Verdict, appraise
from fastness.claims.finding import Finding, Outcome, table
from fastness.claims.model import Claims, Cpu
from fastness.errors import UsageError
from fastness.wire.hexdump import Span

AT = datetime(2026, 11, 1, tzinfo=UTC)
GENOA = Claims(
    tee="snp",
    cpu=Cpu("amd", 25, 17, 1, "genoa", None, "report"),
    debug=False,
    tcb={"reported": {"snp": 23, "microcode": 84}},
    measurements={"launch": "ab" * 48},
    hardware_id="cd" * 64,
    extra={"policy": {"migrate_ma": False}, "platform": {"alias_check_complete": True}, "vmpl": 0},
    spans={"tcb.reported.snp": Span("reported_tcb", 0x180, 8)},
)
CURED = GENOA._replace(tcb={"reported": {"snp": 27, "microcode": 86}})
MILAN = GENOA._replace(cpu=GENOA.cpu._replace(generation="milan"))
TDX = Claims(
    tee="tdx",
    cpu=Cpu("intel", generation="sapphire-rapids"),
    debug=False,
    tcb_status="UpToDate",
    tcb_date="2026-08-01T00:00:00Z",
    advisory_ids=(),
    collateral={"valid_until": "2026-11-20T00:00:00Z", "evaluation_number": 18},
)
NIL = Claims(tee="nil", debug=False, simulated=True, measurements={"launch": "00" * 48})
CUSTOMER = """
[[rule]]
id = "no-r-type-of-q"
effect = "refuse"
why = "our contract"
when = { "cpu.vendor" = "amd", "cpu.generation" = "milan" }

[[rule]]
id = "s-t-u-of-q"
effect = "accept"
when = { "cpu.vendor" = "amd", "cpu.generation" = ["genoa", "turin", "milan"] }
require = { debug = false, "tcb.reported.snp" = ">=23" }

[[rule]]
id = "anything-of-p-m-n"
effect = "accept"
when = { "cpu.vendor" = ["intel", "arm", "ibm"] }
require = { debug = false }
"""


def judge(rules: str | Policy, claims: Claims, *observed: Finding, **more: Any) -> Verdict:
    policy = rules if isinstance(rules, Policy) else parse(rules, "test.toml")
    return appraise((claims,), observed, policy, at=AT, **more)


def accepting(**when: str) -> str:
    conditions = ", ".join(f'"{name.replace("__", ".")}" = {value}' for name, value in when.items())
    return f'[[rule]]\nid = "r"\neffect = "accept"\nwhen = {{ tee = ["snp", "tdx"] }}\nrequire = {{ {conditions} }}\n'


def test_the_sentence_the_system_answers_to() -> None:
    refused = judge(CUSTOMER, MILAN)
    assert not refused.accepted
    assert refused.decided_by == "policy.rule.no-r-type-of-q"
    assert judge(CUSTOMER, GENOA).accepted
    assert judge(CUSTOMER, TDX).accepted
    assert not judge(CUSTOMER, NIL).accepted


def test_a_refusal_says_where_in_evidence_and_policy_why_and_what_would_turn_it() -> None:
    verdict = judge(CUSTOMER, GENOA._replace(tcb={"reported": {"snp": 20}}))
    finding = verdict.against[0]
    assert (finding.expected, finding.actual) == ("tcb.reported.snp >=23", "20")
    assert str(finding.where[0]) == "reported_tcb at byte 0x180, 8 bytes"
    assert str(finding.where[1]) == "test.toml:12 tcb.reported.snp"
    assert "line 12" in finding.hint
    shown = text(verdict)
    assert shown.splitlines()[-1] == (
        "would be accepted if tcb.reported.snp >=23 on the host or with test.toml:12 at >=20"
    )
    assert "refused by policy.rule.s-t-u-of-q" in shown


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("23", True), ("24", False), ('">=23"', True), ('">23"', False), ('"<=23"', True), ('"<23"', False),
        ('"!=23"', False), ('"20..25"', True), ('"24..25"', False), ("[1, 23]", True), ('[1, ">=24"]', False),
        ("{ not = 24 }", True), ("{ not = 23 }", False), ("true", False), ('"23"', False), ('">=0x17"', True),
        ('">=x"', False),
    ],
)  # fmt: skip
def test_numbers(condition: str, holds: bool) -> None:
    assert judge(accepting(tcb__reported__snp=condition, debug="false"), GENOA).accepted is holds


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{ none = [] }", True), ("{ only = [] }", False), ('{ only = ["INTEL-SA-1"] }', True),
        ('{ none = ["INTEL-SA-1"] }', False), ('{ none = ["INTEL-SA-2"] }', True), ('"INTEL-SA-1"', False),
    ],
)  # fmt: skip
def test_lists(condition: str, holds: bool) -> None:
    claims = TDX._replace(advisory_ids=("INTEL-SA-1",))
    assert judge(accepting(advisory_ids=condition), claims).accepted is holds


@pytest.mark.parametrize(
    ("condition", "holds"), [("{ days = 100 }", True), ("{ days = 30 }", False), ('">=2026-07"', True)]
)
def test_dates(condition: str, holds: bool) -> None:
    assert judge(accepting(tcb_date=condition), TDX).accepted is holds


def test_named_sets() -> None:
    rules = f'[sets]\nkeep = ["{"AB" * 48}"]\nother = []\n'
    assert judge(rules + accepting(measurements__launch='"@keep"'), GENOA).accepted
    assert not judge(rules + accepting(measurements__launch='"@other"'), GENOA).accepted


def test_refusals_override_whatever_the_order() -> None:
    blocks = CUSTOMER.strip().split("\n\n")
    for order in (blocks, blocks[::-1]):
        assert not judge("\n".join(order), MILAN).accepted


def test_nothing_is_accepted_by_default() -> None:
    verdict = judge("", GENOA)
    assert verdict.decided_by == "policy.default-deny"
    assert verdict.against[0].hint


@pytest.mark.parametrize(
    ("claims", "check"),
    [
        (GENOA._replace(debug=True), "policy.debug"),
        (GENOA._replace(debug=None), "policy.debug"),
        (TDX._replace(tcb_status="OutOfDate"), "policy.tcb-status"),
        (TDX._replace(collateral={"valid_until": "2026-10-01T00:00:00Z"}), "policy.freshness"),
    ],
)
def test_silence_gets_the_strict_answer(claims: Claims, check: str) -> None:
    silent = accepting(tee='["snp", "tdx"]')
    verdict = judge(silent, claims)
    assert [item.check for item in verdict.against] == [check]
    assert verdict.against[0].hint
    waived = judge(f'{silent}[[waive]]\ncheck = "{check}"\nwhy = "told so"\n', claims)
    assert waived.accepted
    assert [(item.check, item.because) for item in waived.findings if item.outcome is Outcome.WAIVED] == [
        (check, "told so")
    ]


def test_what_a_policy_speaks_about_is_its_own_word() -> None:
    spoken = accepting(debug="[true, false]", tcb_status='["UpToDate", "OutOfDate"]')
    assert judge(spoken, TDX._replace(debug=True, tcb_status="OutOfDate")).accepted


def test_what_is_not_checked_refuses_unless_waived_by_name() -> None:
    unknown = Finding("snp.revocation", Outcome.UNKNOWN, hint="fetch the CRL")
    rules = accepting(debug="false")
    assert judge(rules, GENOA, unknown).decided_by == "snp.revocation"
    for name in ("snp.revocation", "*.revocation"):
        assert judge(f'{rules}[[waive]]\ncheck = "{name}"\nwhy = "by hand"\n', GENOA, unknown).accepted
    assert not judge(f'{rules}[[waive]]\ncheck = "tdx.revocation"\nwhy = "x"\n', GENOA, unknown).accepted
    failed = unknown._replace(outcome=Outcome.FAILED)
    assert not judge(f'{rules}[[waive]]\ncheck = "snp.revocation"\nwhy = "x"\n', GENOA, failed).accepted


def test_an_absent_claim_never_accepts() -> None:
    assert not judge(accepting(snp__nothing="true"), GENOA).accepted
    assert "cannot tell" in judge(accepting(snp__nothing="true"), GENOA).against[0].actual
    only_when = '[[rule]]\nid = "r"\neffect = "accept"\nwhen = { tee = "snp", "cpu.stepping" = 9 }\n'
    assert judge(only_when, GENOA).decided_by == "policy.default-deny"


def test_a_refusing_rule_on_what_cannot_be_told_refuses() -> None:
    nitro = Claims(tee="nitro", debug=False)
    rules = (
        CUSTOMER + '\n[[rule]]\nid = "n"\neffect = "accept"\nwhen = { tee = "nitro" }\nrequire = { debug = false }\n'
    )
    verdict = judge(rules, nitro)
    assert verdict.decided_by == "policy.rule.no-r-type-of-q"
    assert "cannot tell cpu.vendor" in verdict.against[0].actual


def test_simulated_evidence_is_accepted_only_by_name() -> None:
    anything = '[[rule]]\nid = "r"\neffect = "accept"\nrequire = { debug = false }\n'
    assert [item.check for item in judge(anything, NIL).against] == ["policy.simulated"]
    assert judge(anything.replace("require", 'when = { tee = "nil" }\nrequire'), NIL).accepted
    assert "nil" not in parse(anything, "x").evidence_types()
    assert "nil" in policies.load("development").evidence_types()
    for profile in ("default", "strict"):
        assert "nil" not in policies.load(profile).evidence_types()
        assert not judge(policies.load(profile), NIL).accepted


def test_a_refusing_rule_on_debug_does_not_stand_for_an_accepting_ones_silence() -> None:
    refusing = '[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = { debug = true, "cpu.vendor" = "intel" }\n'
    claims = GENOA._replace(debug=True)
    assert not judge(accepting(tee='"snp"'), claims).accepted
    assert not judge(accepting(tee='"snp"') + refusing, claims).accepted


def test_nil_is_named_only_by_its_name() -> None:
    for written in ('{ not = "snp" }', '["snp", { not = "tdx" }]', '">a"'):
        rules = f'[[rule]]\nid = "r"\neffect = "accept"\nwhen = {{ tee = {written} }}\nrequire = {{ debug = false }}\n'
        assert "nil" not in parse(rules, "x").evidence_types()
        assert not judge(rules, NIL).accepted


def test_any_accepting_rule_that_holds_whole_will_do() -> None:
    silent = '[[rule]]\nid = "silent"\neffect = "accept"\nwhen = { tee = "snp" }\n'
    spoken = '[[rule]]\nid = "spoken"\neffect = "accept"\nwhen = { tee = "snp" }\nrequire = { debug = [true, false] }\n'
    for rules in (silent + spoken, spoken + silent):
        assert "'spoken'" in judge(rules, GENOA._replace(debug=True)).decided_by


def test_a_workload_is_given_only_where_a_rule_says_what_runs() -> None:
    rules = accepting(debug="false")
    assert judge(rules, GENOA).accepted
    assert [item.check for item in judge(rules, GENOA, measured=True).against] == ["policy.measurement"]
    assert judge(accepting(measurements__launch=f'"{"ab" * 48}"'), GENOA, measured=True).accepted


def test_profiles() -> None:
    assert judge(policies.load("strict"), CURED).accepted
    assert judge(policies.load("strict"), GENOA).decided_by == "policy.rule.rmpocalypse"
    assert judge(policies.load("strict"), MILAN).decided_by == "policy.rule.no-milan"
    assert judge(policies.load("default"), MILAN).accepted
    assert judge(policies.load("development"), NIL).accepted
    assert judge(policies.load("development"), TDX._replace(tcb_status="OutOfDate", debug=True)).accepted
    assert judge(policies.load("development"), Claims("tpm", debug=None)).accepted  # no such bit to speak of


ACCEPT = '[[rule]]\nid = "a"\neffect = "accept"\n'


@pytest.mark.parametrize(
    ("written", "place", "said", "hint"),
    [
        ("[[rules]]\n", "p.toml:1:1", "unknown key 'rules'", "'rule'"),
        ('[[rule]]\nid = "a"\neffct = "accept"\n', "p.toml:3:1", "unknown key 'effct'", "'effect'"),
        ('[[rule]]\nid = "a"\neffect = "allow"\n', "p.toml:3:1", "neither refuse nor accept", "refuse"),
        (f'{ACCEPT}when = {{ "cpu.vender" = 1 }}\n', "p.toml:4", "no claim is called", "'vendor'"),
        (f"{ACCEPT}when = {{ debugg = false }}\n", "p.toml:4", "no claim is called", "'debug'"),
        ('[[rule]]\nid = "a"\neffect = "accept"\n', "p.toml:1", "accepts everything", "when"),
        ('[[rule]]\nid = "a"\neffect = "refuse"\nwhy = "x"\n', "p.toml:1", "refuses everything", "when"),
        ('[[rule]]\nid = "a"\neffect = "refuse"\nwhen = { tee = "snp" }\n', "p.toml:1", "'why' must be text", "why"),
        ('[[rule]]\nid = "a"\neffect = "accept"\nwhen = { tee = "@x" }\n', "p.toml:4", "no set is called", "docs"),
        ('[[rule]]\nid = "a"\neffect = "accept"\nwhen = { tee = [] }\n', "p.toml:4", "never holds", ""),
        ('[[rule]]\nid = "a"\neffect = "accept"\nwhen = { debug = { maybe = 1 } }\n', "p.toml:4", "no claim", ""),
        ('[[waive]]\ncheck = "revocation"\nwhy = "x"\n', "p.toml:2:1", "not the id of a check", "<tee>"),
        ('rule = 1\n', "p.toml:1:1", "[[rule]]", ""),
        ("[sets]\nx = 1\n", "p.toml:2:1", "list of text", ""),
        ("id = \n", "p.toml:1", "not TOML", "shows the form"),
    ],
)  # fmt: skip
def test_a_fault_has_a_place_and_a_remedy(written: str, place: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(written, "p.toml")
    assert error.value.where.startswith(place), error.value.where
    assert said in error.value.what
    assert hint in error.value.hint


def test_two_rules_may_not_share_an_id() -> None:
    with pytest.raises(UsageError, match="two rules"):
        parse(accepting(debug="false") * 2, "p.toml")


def test_a_profile_name_with_a_typo_is_told(tmp_path: Any) -> None:
    with pytest.raises(UsageError) as error:
        policies.load("developmnt")
    assert "'development'" in error.value.hint


def test_every_finding_of_the_engine_has_a_row_in_the_table() -> None:
    for name in (
        "evidence-type",
        "default-deny",
        "no-claims",
        "simulated",
        "debug",
        "tcb-status",
        "freshness",
        "measurement",
    ):
        assert table()[f"policy.{name}"].hint


kinds = st.one_of(st.booleans(), st.integers(0, 30))
WRITTEN: dict[str, st.SearchStrategy[Any]] = {
    "tee": st.sampled_from(["snp", "tdx", "nil", "tpm"]),
    "cpu.vendor": st.sampled_from(["amd", "intel"]),
    "cpu.generation": st.sampled_from(["milan", "genoa", "emerald-rapids"]),
    "debug": st.booleans(),
    "simulated": st.booleans(),
    "tcb.reported.snp": st.integers(0, 30) | st.sampled_from([">=15", "<15", "10..20"]),
    "hardware_id": st.sampled_from(["aa", "bb"]),
    "snp.vmpl": st.integers(0, 3),
    "tcb_status": st.sampled_from(["UpToDate", "OutOfDate"]),
    "collateral.valid_until": st.sampled_from([">=2026-11-01", "<2026-11-01"]),
}
"""What each claim may be compared with; a value of another kind is as legal, and is tried too."""


def tables_of(rows: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Conditions on one to three of the claims."""
    some = st.lists(st.sampled_from(sorted(rows)), min_size=1, max_size=3, unique=True)
    return some.flatmap(lambda names: st.fixed_dictionaries({name: rows[name] for name in names}))


conditions = tables_of({path: words | kinds for path, words in WRITTEN.items()})
wide = st.lists(st.builds(lambda tee: ("accept", {"tee": tee}), st.sampled_from(["snp", "tdx", "nil"])), max_size=2)
"""Rules that hold for much, so that acceptances, and what turns them, are met often."""
rules = st.builds(
    list.__add__, wide, st.lists(st.tuples(st.sampled_from(["accept", "refuse"]), conditions), max_size=3)
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)


def _claimed(**told: Any) -> Claims:
    """Only what Intel's collateral says of its own TEEs is claimed of them."""
    return Claims(**told) if told["tee"] == "tdx" else Claims(**{**told, "tcb_status": None, "collateral": {}})


claims = st.builds(
    _claimed,
    tee=st.sampled_from(["snp", "tdx", "nil"]),
    cpu=st.builds(
        Cpu, vendor=st.sampled_from([None, "amd", "intel"]), generation=st.sampled_from([None, "milan", "genoa"])
    ),
    debug=st.sampled_from([None, True, False]),
    tcb=st.fixed_dictionaries({}, optional={"reported": st.dictionaries(st.just("snp"), st.integers(0, 30))}),
    hardware_id=st.sampled_from([None, "aa"]),
    simulated=st.booleans(),
    tcb_status=st.sampled_from([None, "UpToDate", "OutOfDate"]),
    collateral=st.sampled_from([{}, {"valid_until": "2026-11-20T00:00:00Z"}, {"valid_until": "2026-10-20T00:00:00Z"}]),
    extra=st.sampled_from([{}, {"vmpl": 0}]),
)


def without(whole: Claims) -> list[Claims]:
    """``whole`` less each of its claims; that a root is simulated is no claim, but who vouches."""
    empty = Claims(tee=whole.tee)
    return [
        whole._replace(**{name: getattr(empty, name)}) for name in Claims._fields if name not in ("tee", "simulated")
    ]


def written(given_rules: list[tuple[str, dict[str, Any]]]) -> str:
    blocks = []
    for index, (effect, conditions) in enumerate(given_rules):
        body = ", ".join(
            f'"{key}" = {str(value).lower() if isinstance(value, bool) else repr(value)}'
            for key, value in conditions.items()
        )
        blocks.append(f'[[rule]]\nid = "r{index}"\neffect = "{effect}"\nwhy = "w"\nwhen = {{ {body} }}\n')
    return "".join(blocks)


@given(rules, conditions, claims)
def test_adding_a_refusal_never_turns_a_refusal_into_an_acceptance(base: Any, extra: Any, given_claims: Claims) -> None:
    before = judge(written(base), given_claims).accepted
    after = judge(written([*base, ("refuse", extra)]), given_claims).accepted
    assert before or not after


@given(rules, claims, st.randoms())
def test_the_order_of_rules_never_changes_the_verdict(base: Any, given_claims: Claims, random: Any) -> None:
    shuffled = list(base)
    random.shuffle(shuffled)
    assert judge(written(base), given_claims).accepted is judge(written(shuffled), given_claims).accepted


@given(rules, claims)
def test_removing_claims_never_turns_a_refusal_into_an_acceptance(base: Any, given_claims: Claims) -> None:
    before = judge(written(base), given_claims).accepted
    for less in without(given_claims):
        assert before or not judge(written(base), less).accepted


@given(rules, claims)
def test_every_refusal_has_a_finding_with_a_hint(base: Any, given_claims: Claims) -> None:
    verdict = judge(written(base), given_claims)
    assert verdict.accepted or (verdict.against and all(item.hint for item in verdict.against))
    assert verdict.decided_by
    assert text(verdict)


@given(rules, anything, anything, anything)
def test_no_claims_make_the_engine_raise(base: Any, one: Any, two: Any, three: Any) -> None:
    odd = Claims(
        tee="snp", debug=one, tcb={"reported": {"snp": two}}, hardware_id=three, collateral={"valid_until": one}
    )
    verdict = judge(written(base), odd)
    assert verdict.to_json()["verdict"] in ("accept", "refuse")


@pytest.mark.parametrize(
    ("words", "hint"), [("a policy", "`fastness policy show default` shows the form"), ("x = 1", "one of id,")]
)
def test_a_policy_that_is_none_has_a_hint(words: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        policies.parse(words, "ours")
    assert caught.value.hint.startswith(hint)


def test_a_policy_without_a_name_says_where() -> None:
    for name, where in (("", "''"), ("absent.toml", "absent.toml")):
        with pytest.raises(UsageError, match="cannot be read") as caught:
            policies.load(name)
        assert caught.value.where == where
