"""The language: every operator, what lifts a refusal, files that include files, and one form for one meaning."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appraise.test_policy import (
    AT,
    CURED,
    GENOA,
    MILAN,
    TDX,
    WRITTEN,
    accepting,
    anything,
    claims,
    judge,
    tables_of,
    without,
)  # fmt: skip
from fastness.appraise import fields, kinds, knowledge
from fastness.appraise import policy as policies
from fastness.appraise.lint import lint
from fastness.appraise.policy import parse
from fastness.appraise.verdict import appraise
from fastness.claims.finding import Outcome
from fastness.claims.model import Claims
from fastness.errors import UsageError
from forgeries import judge as judge_forged
from forgeries import make

COMPONENTS = [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]
FULL = TDX._replace(tcb={"components": COMPONENTS}, extra={"platform_instance_id": "aa" * 16})
MITIGATED = GENOA._replace(extra={**GENOA.extra, "mitigations": {"current": "0xb", "launch": "0x3"}})


@pytest.mark.parametrize(
    ("path", "condition", "holds"),
    [
        ("snp.mitigations.current", "{ bits = 0x0b }", True),
        ("snp.mitigations.current", "{ bits = 3 }", True),
        ("snp.mitigations.current", '{ bits = "0x3" }', True),
        ("snp.mitigations.current", "{ bits = 0x0f }", False),
        ("snp.mitigations.launch", "{ clear = 0x08 }", True),
        ("snp.mitigations.launch", "{ clear = 0x01 }", False),
        ("snp.vmpl", "{ clear = 3 }", True),
        ("hardware_id", "{ bits = 1 }", False),
        ("snp.mitigations.absent", "{ clear = 1 }", False),
    ],
)
def test_bit_masks(path: str, condition: str, holds: bool) -> None:
    assert judge(accepting(**{path.replace(".", "__"): condition, "debug": "false"}), MITIGATED).accepted is holds


@pytest.mark.parametrize(
    ("floors", "holds"),
    [
        (COMPONENTS, True),
        ([0] * 16, True),
        ([4, *COMPONENTS[1:]], False),
        ([0] * 15, False),
        ([*COMPONENTS[:-1], 1], False),
    ],
)
def test_components_each_have_a_floor(floors: list[int], holds: bool) -> None:
    assert judge(accepting(tcb__components=f"{{ at_least = {floors} }}"), FULL).accepted is holds


def test_floors_by_generation() -> None:
    rules = accepting(tcb__reported__snp='{ by_generation = { milan = ">=24", genoa = ">=23" } }', debug="false")
    assert judge(rules, GENOA).accepted
    assert not judge(rules, GENOA._replace(tcb={"reported": {"snp": 22}})).accepted
    assert not judge(rules, MILAN).accepted
    assert not judge(rules, GENOA._replace(cpu=GENOA.cpu._replace(generation="turin"))).accepted
    unknown = judge(rules, GENOA._replace(cpu=GENOA.cpu._replace(generation=None)))
    assert unknown.against[0].outcome is Outcome.UNKNOWN


def test_dates_with_grace() -> None:
    rules = accepting(tcb_date="{ days = 60, grace = 40 }")
    told = judge(rules, TDX)
    assert told.accepted
    assert any("in grace until 2026-11-09" in item.actual for item in told.findings)
    assert not any(
        "grace" in item.actual for item in judge(accepting(tcb_date="{ days = 100, grace = 9 }"), TDX).findings
    )
    assert not judge(accepting(tcb_date="{ days = 60, grace = 30 }"), TDX).accepted
    late = accepting(collateral__valid_until="{ days = 5 }")
    for days, holds in ((4, True), (6, False)):
        until = (AT - timedelta(days=days)).isoformat()
        assert judge(late, TDX._replace(collateral={"valid_until": until})).accepted is holds


def test_a_word_on_another_field_of_the_collateral_is_no_word_on_freshness() -> None:
    stale = TDX._replace(collateral={"valid_until": "2026-10-01T00:00:00Z", "evaluation_number": 18})
    rules = accepting(collateral__evaluation_number='">=17"')
    assert judge(rules, TDX).accepted
    assert [item.check for item in judge(rules, stale).against] == ["policy.freshness"]
    assert not judge(accepting(collateral__evaluation_number='">=19"'), TDX).accepted


def test_hardware_ids_are_listed_in_any_case_of_letters() -> None:
    denied = f'[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "stolen"\nwhen = {{ hardware_id = ["{"CD" * 64}"] }}\n'
    rules = accepting(debug="false")
    assert judge(rules, GENOA).accepted
    assert judge(rules + denied, GENOA).decided_by == "policy.rule.n"
    assert not judge(rules + denied, GENOA._replace(hardware_id=None)).accepted
    assert judge(rules + denied, GENOA._replace(hardware_id="ab" * 64)).accepted
    assert judge(accepting(hardware_id=f'"{"CD" * 64}"', debug="false"), GENOA).accepted
    assert judge(accepting(tdx__platform_instance_id=f'["{"aa" * 16}"]'), FULL).accepted


def test_a_value_of_another_kind_neither_accepts_nor_lifts_a_refusal() -> None:
    for condition in ('"true"', '{ not = "x" }', "1", '{ none = ["a"] }', "{ days = 1 }"):
        assert not judge(accepting(debug=condition), GENOA).accepted
        typo = f'[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = {{ debug = {condition} }}\n'
        assert not judge(accepting(debug="false") + typo, GENOA).accepted


def test_the_order_in_a_list_never_matters() -> None:
    for options in ('[">=24", 23]', '[23, ">=24"]', '["x", 23]', '[23, "x"]'):
        assert judge(accepting(tcb__reported__snp=options, debug="false"), GENOA).accepted


REFUSING = '[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = { "cpu.generation" = "genoa" }\nunless = { %s }\n'


def test_a_refusal_is_lifted_only_by_what_surely_holds() -> None:
    rules = accepting(debug="false") + REFUSING % 'hardware_id = "@mine", "tcb.reported.snp" = ">=23"'
    sets = f'[sets]\nmine = ["{"cd" * 64}"]\n'
    assert judge(sets + rules, GENOA).accepted
    for less in (GENOA._replace(hardware_id=None), GENOA._replace(hardware_id="00" * 64), GENOA._replace(tcb={})):
        refused = judge(sets + rules, less)
        assert refused.decided_by == "policy.rule.n"
        assert "lifted where" in refused.against[0].hint
    both = judge(sets + rules, GENOA._replace(tcb={"reported": {"snp": 22}}))
    assert "tcb.reported.snp = 22" in both.against[0].actual
    for wrong in ('[[rule]]\nid = "a"\neffect = "accept"\nwhen = { debug = false }\nunless = { tee = "snp" }\n',):
        with pytest.raises(UsageError, match="no 'unless'"):
            parse(wrong, "p")


def test_strict_accepts_a_listed_milan_by_an_including_policy(tmp_path: Path) -> None:
    cured = MILAN._replace(tcb={"reported": {"snp": 24}})
    assert judge(policies.load("strict"), cured).decided_by == "policy.rule.no-milan"
    ours = tmp_path / "ours.toml"
    ours.write_text(f'include = ["strict"]\n[sets]\nmilan-chips = ["{"cd" * 64}"]\n')
    listed = policies.load(str(ours))
    assert judge(listed, cured).accepted
    assert not judge(listed, MILAN).accepted
    assert judge(listed, cured._replace(hardware_id="00" * 64)).decided_by == "policy.rule.no-milan"
    assert judge(listed, CURED).accepted


@pytest.mark.parametrize("row", knowledge.advisories(), ids=lambda row: f"{row.name}-{row.generations[0]}-{row.path}")
def test_strict_refuses_each_known_hole_and_accepts_its_cure(row: knowledge.Advisory) -> None:
    base = {"reported": {"snp": 99, "microcode": 255}}
    platform = {**GENOA.extra["platform"]}
    strict = parse(f'include = ["strict"]\n[sets]\nmilan-chips = ["{"cd" * 64}"]\n', "p.toml")
    for generation in row.generations:
        for model, stepping in row.processors or ((17, 9),):
            cpu = GENOA.cpu._replace(generation=generation, model=model, stepping=stepping)

            def told(value: Any, cpu: Any = cpu) -> Claims:
                part = row.path.split(".")
                if part[0] == "tcb":
                    return GENOA._replace(cpu=cpu, tcb={"reported": {**base["reported"], part[-1]: value}})
                return GENOA._replace(
                    cpu=cpu, tcb=base, extra={**GENOA.extra, "platform": {**platform, part[-1]: value}}
                )

            good = row.cured if isinstance(row.cured, bool) else 99
            assert judge(strict, told(good)).accepted
            assert not judge(strict, told(row.bad)).accepted
    assert row.source
    assert row.date


def test_included_files_keep_their_lines(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "base.toml").write_text("# a line\n" + accepting(debug="false"))
    (tmp_path / "top.toml").write_text('include = ["deep/base.toml", "deep/no.toml"]\n')
    refusing = '\n\n[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = { "cpu.generation" = "milan" }\n'
    (tmp_path / "deep" / "no.toml").write_text('include = ["base.toml"]\n' + refusing)
    found = policies.load(str(tmp_path / "top.toml"))
    told = judge(found, MILAN)
    assert told.decided_by == "policy.rule.n"
    assert any(place.file.endswith("deep/no.toml") and place.line == 4 for place in told.against[0].where)
    assert "base.toml:2" in judge(found, GENOA).decided_by
    flat = parse(accepting(debug="false") + refusing, "flat.toml")
    assert found.digest == flat.digest


@pytest.mark.parametrize(
    ("files", "said", "place"),
    [
        ({"a": 'include = ["a.toml"]\n'}, "includes itself", "a.toml:1"),
        ({"a": 'include = ["b.toml"]\n', "b": '\ninclude = ["a.toml"]\n'}, "includes itself", "b.toml:2"),
        ({"a": 'include = ["gone.toml"]\n'}, "cannot be read", "a.toml:1"),
        ({"a": 'include = ["strikt"]\n'}, "cannot be read", "a.toml:1"),
        ({"a": 'include = "b.toml"\n'}, "list of text", "a.toml:1"),
        ({"a": 'include = ["b.toml"]\n', "b": "[[rules]]\n"}, "unknown key 'rules'", "b.toml:1"),
        (
            {"a": 'include = ["b.toml"]\n' + accepting(debug="false"), "b": accepting(debug="true")},
            "two rules",
            "a.toml:2",
        ),
        (
            {f"{'a' if n == 0 else n}": f'include = ["{n + 1}.toml"]\n' for n in range(12)},
            "at most 8 levels",
            "7.toml:1",
        ),
    ],
)
def test_an_include_that_cannot_be(tmp_path: Path, files: dict[str, str], said: str, place: str) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        policies.load(str(tmp_path / "a.toml"))
    where = caught.value.where
    assert place in where or "two rules" in said


@pytest.mark.parametrize("profile", policies.PROFILES)
def test_a_profile_equals_its_canonical_form(profile: str) -> None:
    found = policies.load(profile)
    again = parse(found.canonical, "elsewhere.toml")
    assert (again.canonical, again.digest, again.name) == (found.canonical, found.digest, profile)


def test_comments_layout_order_and_file_do_not_change_the_digest() -> None:
    one = (
        'id = "x"\n# why\n[sets]\nb = ["BB", "aa"]\na = []\n' + accepting(tcb__reported__snp='">= 23"', debug="false")
        + '[[waive]]\ncheck = "snp.revocation"\nwhy = "w"\n[[rule]]\nid = "z"\neffect = "refuse"\nwhy = "y"\n'
        'when = { cpu = { generation = ["milan", "genoa", "milan"] }, hardware_id = "@b" }\n'
    )  # fmt: skip
    two = (
        'id = "x"\n[[rule]]\neffect = "refuse"\nid = "z"\nwhy = "y"\n[rule.when]\nhardware_id = "@b"\n'
        '"cpu.generation" = [\n  "genoa", # newer\n  "milan",\n]\n'
        '[[rule]]\nid = "r"\neffect = "accept"\nrequire = { debug = false, tcb.reported.snp = ">=23" }\n'
        'when = { tee = ["tdx", "snp"] }\n[[waive]]\nwhy = "w"\ncheck = "snp.revocation"\n'
        '[sets]\na = []\nb = ["aa", "bb"]\n'
    )
    assert parse(one, "one.toml").canonical == parse(two, "two.toml").canonical
    for other in (
        two.replace(">=23", ">=24"),
        two.replace('"y"', '"x"'),
        two.replace('"aa"', '"ab"'),
        two.replace('"w"', '"v"'),
    ):
        assert parse(other, "two.toml").digest != parse(two, "two.toml").digest


signs = st.sampled_from([">=3", "< 9", "1..5", "2 .. 4", "@s"])
numbers = st.integers(-5, 300) | signs
hexadecimal = st.sampled_from(["AB", "cd", "!=ab", "@s"])


def nested(words: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every operator, around and beside ``words``."""
    return st.recursive(
        words,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3),
            st.builds(lambda x: {"not": x}, inner),
            st.builds(
                lambda x: {"by_generation": x}, st.dictionaries(st.sampled_from(["milan", "genoa"]), inner, min_size=1)
            ),
        ),
        max_leaves=5,
    ) | st.one_of(
        st.builds(lambda x: {"days": x}, st.integers(0, 400)),
        st.builds(lambda x, y: {"days": x, "grace": y}, st.integers(0, 400), st.integers(0, 40)),
        st.builds(lambda x: {"bits": x}, st.integers(1, 2**63)),
        st.builds(lambda x: {"clear": x}, st.sampled_from(["0x0f", 7])),
        st.builds(lambda x: {"at_least": x}, st.lists(st.integers(0, 9), min_size=1, max_size=4)),
    )


advisories = st.lists(st.sampled_from(["INTEL-SA-1", "INTEL-SA-2"]), max_size=3)
tables = tables_of(
    {path: nested(words | st.booleans()) for path, words in WRITTEN.items()}
    | {
        path: nested(numbers | st.booleans())
        for path in ("snp.mitigations.current", "composite.gpus", "tcb.components")
    }
    | {path: nested(hexadecimal | signs.filter(lambda text: text != "1..5")) for path in ("measurements.launch",)}
    | {
        "snp.csp_id": nested(st.sampled_from(["AB", "x y", 'q"\\\n\x7f', "é", "!=a"])),
        "tcb_date": nested(st.sampled_from([">=2026-07", "<2026-08-01", "2026-08-01", "!=2026-08-01T09:00:00+09:00"])),
        "advisory_ids": st.builds(lambda name, x: {name: x}, st.sampled_from(["none", "only"]), advisories),
        "cloud": nested(st.sampled_from(["azure", "aws"])),
    }
)
rule_values = st.lists(
    st.tuples(st.sampled_from(["accept", "refuse"]), tables, tables, st.text(max_size=5)), min_size=1, max_size=5
)


def toml_of(rules: Any) -> str:
    from fastness.appraise import canonical

    out = ['[sets]\ns = ["ab", "CD"]\n']
    for index, (effect, when, more, why) in enumerate(rules):
        name = "require" if effect == "accept" else "unless"
        out.append(
            f'[[rule]]\nid = "r{index}"\neffect = "{effect}"\nwhy = {canonical.value("w" + why)}\n'
            f"when = {canonical.value(when)}\n{name} = {canonical.value(more)}\n"
        )
    return "\n".join(out)


@given(rule_values)
def test_a_policy_equals_its_canonical_serialisation(rules: Any) -> None:
    found = parse(toml_of(rules), "p.toml")
    again = parse(found.canonical, "q.toml")
    assert (again.canonical, again.digest) == (found.canonical, found.digest)


@given(rule_values, claims)
def test_the_canonical_form_gives_the_same_verdicts(rules: Any, given_claims: Claims) -> None:
    found = parse(toml_of(rules), "p.toml")
    again = parse(found.canonical, "q.toml")
    one, two = judge(found, given_claims), judge(again, given_claims)
    assert one.accepted is two.accepted
    assert {(item.check, item.outcome) for item in one.findings} == {
        (item.check, item.outcome) for item in two.findings
    }


@given(rule_values, st.randoms())
def test_the_order_of_rules_never_changes_the_digest(rules: Any, random: Any) -> None:
    blocks = toml_of(rules).split("\n[[rule]]")
    head, rest = blocks[0], blocks[1:]
    shuffled = list(rest)
    random.shuffle(shuffled)
    one, two = (parse("\n[[rule]]".join([head, *order]), "p.toml") for order in (rest, shuffled))
    assert one.digest == two.digest


@given(rule_values, tables, tables, claims)
def test_adding_a_refusal_never_accepts_whatever_would_lift_it(
    base: Any, when: Any, unless: Any, given_claims: Claims
) -> None:
    before = judge(toml_of(base), given_claims).accepted
    after = judge(toml_of([*base, ("refuse", when, unless, "")]), given_claims).accepted
    assert before or not after


@given(rule_values, claims)
def test_removing_claims_never_accepts_in_the_whole_language(rules: Any, given_claims: Claims) -> None:
    found = parse(toml_of(rules), "p.toml")
    before = judge(found, given_claims).accepted
    for less in without(given_claims):
        assert before or not judge(found, less).accepted


@given(rule_values, claims)
def test_every_refusal_has_a_hint_in_the_whole_language(rules: Any, given_claims: Claims) -> None:
    verdict = judge(toml_of(rules), given_claims)
    assert verdict.accepted or (verdict.against and all(item.hint for item in verdict.against))


@given(rule_values, anything, anything, anything)
def test_no_claims_make_the_whole_language_raise(rules: Any, one: Any, two: Any, three: Any) -> None:
    odd = Claims(
        tee="snp", debug=one, tcb={"reported": {"snp": two}, "components": three}, hardware_id=three, tcb_date=two,
        advisory_ids=None, extra={"vmpl": one, "mitigations": {"current": two}}, measurements={"launch": three},
        composite={"gpus": one}, cloud=two,
    )  # fmt: skip
    assert appraise((odd,), (), parse(toml_of(rules), "p.toml"), at=AT, measured=True).findings


def kinds_of(text: str) -> set[str]:
    return {item.kind for item in lint(parse(text, "p"))}


def test_lint_of_fields() -> None:
    base = accepting(measurements__launch='"ab"').replace("require = {", "require = { %s,")
    assert "unknown-field" in kinds_of(base % '"snp.vmlp" = 0')
    for good in ('"snp.vmpl" = 0', '"snp.policy.smt" = false', '"tcb.current.fmc" = ">=1"', '"snp.csp_id" = "x"'):
        assert not {"unknown-field", "wrong-kind"} & kinds_of(base % good)
    for wrong in ('debug = "false"', '"snp.vmpl" = "0"', "hardware_id = 3", "tcb_date = { bits = 1 }",
                  "advisory_ids = 1",
                  '"tcb.reported.snp" = { by_generation = { genoa = true } }', '"snp.vmpl" = ">a"'):  # fmt: skip
        assert "wrong-kind" in kinds_of(base % wrong)
    two = '[[rule]]\nid = "r"\neffect = "accept"\nwhen = { "snp.vmpl" = ">=2" }\nrequire = { "snp.vmpl" = %s }\n'
    assert "contradiction" in kinds_of(two % "0")
    assert "contradiction" in kinds_of(two % '"<2"')
    assert "contradiction" not in kinds_of(two % '"<3"')
    assert "unreachable" in kinds_of(
        base % "debug = false" + '[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = { debug = false }\n'
    )
    assert "unreachable" not in kinds_of(
        base % "debug = false" + '[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = { debug = true }\n'
    )
    waive = '[[waive]]\ncheck = "%s"\nwhy = "w"\n'
    assert "unknown-check" in kinds_of(base % "debug = false" + waive % "snp.revokation")
    assert "never-waived" in kinds_of(base % "debug = false" + waive % "snp.chain")
    for check in ("snp.revocation", "*.revocation", "policy.debug"):
        assert not {"never-waived", "unknown-check"} & set(kinds_of(base % "debug = false" + waive % check))
    assert "no-measurement" in kinds_of(base.replace("launch", "host_data") % "debug = false")


def test_every_condition_of_the_profiles_fits_its_field() -> None:
    for profile in policies.PROFILES:
        for rule in policies.load(profile).rules:
            for item in (*rule.when, *rule.require, *rule.unless):
                assert not kinds.unknown(item)
                assert not kinds.mismatch(item)


def test_the_host_s_own_word_is_no_measurement() -> None:
    rules = accepting(measurements__host_data=f'"{"11" * 32}"', debug="false")
    host = GENOA._replace(measurements={"host_data": "11" * 32})
    assert [item.check for item in judge(rules, host, measured=True).against] == ["policy.measurement"]
    by = accepting(measurements__launch=f'{{ by_generation = {{ genoa = "{"ab" * 48}" }} }}', debug="false")
    assert judge(by, GENOA, measured=True).accepted
    negated = accepting(measurements__launch='{ not = "00" }', debug="false")
    assert [item.check for item in judge(negated, GENOA, measured=True).against] == ["policy.measurement"]


def test_fields_are_found_by_their_exact_name_first() -> None:
    exact = fields.of("snp", "snp.policy.abi_major")
    assert exact is not None
    assert exact.kind == "number"
    assert fields.of("snp", "tdx.fmspc") is None
    assert fields.anywhere("snp.policy")


@pytest.mark.parametrize(
    ("when", "changed"),
    [
        ("debug = true", {"debug": "yes"}),
        ('"tcb.reported.snp" = ["x", 24]', {}),
        ('"tcb.reported.snp" = [24, "x"]', {}),
    ],
)
def test_a_refusal_that_cannot_be_told_refuses_whatever_the_kind(when: str, changed: dict[str, Any]) -> None:
    rules = accepting(debug='[true, false, "yes"]')
    refusing = f'[[rule]]\nid = "n"\neffect = "refuse"\nwhy = "w"\nwhen = {{ {when} }}\n'
    claims = GENOA._replace(**changed)
    assert judge(rules, claims).accepted or changed
    verdict = judge(rules + refusing, claims)
    assert "policy.rule.n" in {item.check for item in verdict.against}


def test_one_claim_has_one_condition_however_it_is_written() -> None:
    twice = accepting(debug="false").replace("when = {", 'when = { cpu = { vendor = "amd" }, "cpu.vendor" = "intel",')
    with pytest.raises(UsageError, match="stands here twice"):
        parse(twice, "p.toml")


@pytest.mark.parametrize(("bits", "good"), [(1 << 28, True), (0, False), (1 << 28 | 1 << 29, False)])
def test_strict_refuses_an_exposed_td(bits: int, good: bool) -> None:
    """SEPT_VE_DISABLE must be set, MIGRATABLE must not (research Q27)."""
    forged = make("tdx", fields={"td_attributes": bits.to_bytes(8, "little").hex()})
    verdict = judge_forged(forged, "strict")
    assert verdict.accepted is good
    assert good or verdict.decided_by == "policy.rule.td-exposed"
