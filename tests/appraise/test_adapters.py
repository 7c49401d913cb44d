"""Policies in CEL and Rego: only a plain yes accepts, and everything around a rule still holds."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.appraise import policy as policies
from fastness.appraise.adapters import cel, engine, rego
from fastness.appraise.adapters.engine import Engine
from fastness.appraise.adapters.foreign import Foreign
from fastness.appraise.adapters.shape import shape
from fastness.appraise.answers import Told
from fastness.appraise.explain import text as explained
from fastness.appraise.lint import lint
from fastness.appraise.policy import Policy
from fastness.appraise.verdict import Verdict, appraise
from fastness.errors import UsageError
from fastness.forge import sgx, snp, tdx
from fastness.forge.model import Forged
from fastness.tee import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "policies"
AT = datetime(2026, 6, 20, tzinfo=UTC)
HAS = {name: importlib.util.find_spec(module) is not None for name, module in engine.MODULES.items()}
needs_cel = pytest.mark.skipif(not HAS["cel"], reason="common-expression-language is not installed (fastness[cel])")
needs_rego = pytest.mark.skipif(not HAS["rego"], reason="regopy is not installed (fastness[rego])")
SIMULATED = "require = { simulated = true, %s }\n"


def judged(policy: Policy, forged: Forged, *, measured: bool = False) -> Verdict:
    module = load(forged.tee)
    genuine = module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    return appraise([module.claims(genuine)], genuine.findings, policy, at=forged.at, measured=measured)


def rule(condition: str, more: str = "") -> Policy:
    """An accepting rule that also says that forges are meant, so that only ``condition`` decides."""
    return policies.parse(f'{more}\n[[rule]]\nid = "r"\neffect = "accept"\n{SIMULATED % condition}', "p.toml")


def asked(condition: str, claims: dict[str, Any]) -> tuple[Told, Any]:
    found = rule(condition).rules[0].require
    return next(item for item in found if isinstance(item, Foreign)).ask(claims, AT)


# CEL


@needs_cel
def test_cel_accepts_and_names_what_did_not_hold() -> None:
    good = rule('cel = """claims.tee == "snp" && claims.tcb.reported.snp >= 23"""')
    assert judged(good, snp.make({"generation": "genoa"})).accepted
    bad = rule('cel = """\nclaims.tee == "snp"  // ours\n&& claims.tcb.reported.snp >= 99\n&& claims.debug"""')
    verdict = judged(bad, snp.make({"generation": "genoa"}))
    assert not verdict.accepted
    finding = next(item for item in verdict.against if item.check == "policy.rule.r")
    assert finding.actual == "false: claims.tcb.reported.snp >= 99 (line 2); false: claims.debug (line 3)"
    assert finding.hint


@needs_cel
@pytest.mark.parametrize(
    ("expression", "told", "why"),
    [
        ("claims.nothing.here", Told.UNKNOWN, "there is no 'nothing'"),
        ("1", Told.UNKNOWN, "the answer is a int"),
        ("'true'", Told.UNKNOWN, "the answer is a str"),
        ("claims.a / 0 == 1", Told.UNKNOWN, ""),
        ("claims.a > 'x'", Told.UNKNOWN, ""),
        ("claims.a == 1", Told.YES, "true"),
        ("claims.a == 2", Told.NO, "false"),
        ("now < timestamp('2027-01-01T00:00:00Z')", Told.YES, "true"),
        ("has(claims.b) || claims.a == 1", Told.YES, "true"),
    ],
)
def test_only_a_plain_yes_of_cel_is_one(expression: str, told: Told, why: str) -> None:
    found, said = asked(f'cel = """{expression}"""', {"a": 1})
    assert found is told
    assert why in said


@needs_cel
def test_sets_are_reference_values() -> None:
    sets = '[sets]\ngood = ["AB", "7"]\n'
    found = rule('cel = "claims.a in reference.good && claims.b in reference.good"', sets).rules[0].require
    condition = next(item for item in found if isinstance(item, Foreign))
    assert condition.ask({"a": "ab", "b": 7}, AT)[0] is Told.YES
    assert condition.ask({"a": "ab", "b": 8}, AT)[0] is Told.NO


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a && b", ["a", "b"]),
        ("(a && b) && c", ["(a && b)", "c"]),
        ("a || b && c", ["a || b && c"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ("'x && y' == a && b // c && d\n", ["'x && y' == a", "b"]),
        ('r"\\" == a && f(b, [c && d])', ['r"\\" == a', "f(b, [c && d])"]),
        ('"""a && b""" == c && d', ['"""a && b""" == c', "d"]),
        ("a &&", ["a &&"]),
    ],
)
def test_conjunctions_are_taken_apart(text: str, expected: list[str]) -> None:
    assert [part.text for part in cel.parts(text)] == expected


@given(st.text(max_size=80))
def test_any_text_is_taken_apart(text: str) -> None:
    assert cel.parts(text)


# Rego

FORMS = {
    "allow": "package p\nimport rego.v1\ndefault allow := false\nallow if input.a == 1\n",
    "matches": "default matches_snp_policy = false\nmatches_snp_policy = true { input.a == 1 }\n",
    "trust": "package policy\nimport rego.v1\ndefault executables := 33\nexecutables := 3 if input.a == 1\n"
    "hardware := 2\nconfiguration := 2\n",
}


def toml(text: str) -> str:
    return f"rego = {json.dumps(text)}"


@needs_rego
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_rego(form: str) -> None:
    for claims, told in (({"tee": "snp", "a": 1}, Told.YES), ({"tee": "snp", "a": 2}, Told.NO)):
        assert asked(toml(FORMS[form]), claims)[0] is told


@needs_rego
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("package p\nallow := input.nothing\n", "allow is undefined"),
        ("package p\nallow := 1\n", "allow is no truth value"),
        ('package p\nallow := "true"\n', "allow is no truth value"),
        ("package p\nallow := [true]\n", "allow is no truth value"),
        ("matches_tdx_policy = true\n", "matches_snp_policy is undefined"),
        ("package p\nexecutables := 3\nhardware := 2\nconfiguration := 96\n", "96, contraindicated"),
        ("package p\nexecutables := 3\nhardware := 2\nconfiguration := true\n", "not a trust claim"),
        ("package p\nexecutables := 3\nhardware := input.x\nconfiguration := 2\n", "hardware is affirming"),
        ("package p\nexecutables := 3\nhardware := 2\nconfiguration := 2\nfile_system := 33\n", "file-system: 33"),
        ('package p\ntrust_claims := {"executables": 3, "hardware": 2, "configuration": 2, "luck": 2}\n', "luck"),
    ],
)
def test_what_is_no_plain_yes_of_rego(text: str, why: str) -> None:
    told, said = asked(toml(text), {"tee": "snp"})
    assert told is not Told.YES
    assert why in said


@needs_rego
def test_an_error_while_it_is_asked_is_no_answer() -> None:
    told, said = asked(toml("package p\nimport rego.v1\nallow := true\nallow := false if input.a == 1\n"), {"a": 1})
    assert told is Told.UNKNOWN, said


@needs_rego
def test_time_is_the_time_of_judgement() -> None:
    limit = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp()) * 10**9
    policy = rule(toml(f"package p\nimport rego.v1\nallow if time.now_ns() < {limit}\n"))
    condition = next(item for item in policy.rules[0].require if isinstance(item, Foreign))
    assert condition.ask({}, AT)[0] is Told.YES
    assert condition.ask({}, datetime(2026, 8, 1, tzinfo=UTC))[0] is not Told.YES
    assert condition.ask({}, datetime.max)[0] is not Told.YES


@needs_rego
@pytest.mark.parametrize(
    "call", ['http.send({"url": "x"})', "opa.runtime()", "rand.intn(1, 2)", "net.lookup_ip_addr(1)"]
)
def test_rego_may_not_ask_the_world(call: str) -> None:
    with pytest.raises(UsageError, match="not in the evidence") as error:
        policies.parse(f"package p\n\nallow {{ {call} }}\n", "x.rego")
    assert error.value.where == "x.rego:3"
    assert policies.parse(f'package p\nallow := true # {call}\nx := "{call[:4]}"\n', "x.rego")


# as policies


@needs_rego
@pytest.mark.parametrize(
    "lie", [{}, {"policy": {"debug": True}}, {"reported": {"snp": 22}}, {"measurement": "5e" * 48}]
)
def test_a_policy_of_trustees_form(lie: dict[str, Any]) -> None:
    text = (EXAMPLES / "trustee.toml").read_text()
    mine = text.replace("require = { rego", "require = { simulated = true, rego")
    policy = policies.parse(mine, str(EXAMPLES / "trustee.toml"))
    forged = snp.make({"generation": "genoa"} | ({} if not lie else _spec(lie)))
    verdict = judged(policy, forged, measured=True)
    assert verdict.accepted is (not lie), explained(verdict)
    assert judged(policy, tdx.make({"version": 5})).accepted
    assert not judged(policies.parse(text, str(EXAMPLES / "trustee.toml")), forged).accepted  # simulated: not named


def _spec(lie: dict[str, Any]) -> dict[str, Any]:
    if "reported" in lie:
        return {"reported": {"boot_loader": 9, "tee": 1, "snp": 22, "microcode": 84}}
    return lie


@needs_rego
def test_a_policy_of_intels_form() -> None:
    policy = rule(f"rego = {{ file = {json.dumps(str(EXAMPLES / 'ita-sgx.rego'))} }}")
    assert judged(policy, sgx.make({})).accepted
    assert not judged(policy, sgx.make({"isv_svn": 2})).accepted
    assert not judged(policy, tdx.make({"version": 4})).accepted


@needs_cel
def test_a_policy_of_one_expression() -> None:
    policy = policies.load(str(EXAMPLES / "amd-or-intel.cel"))
    assert policy.rules[0].id == policy.name == "amd-or-intel"
    assert "nil" not in policy.evidence_types()
    module, forged = load("snp"), snp.make({"generation": "genoa"})
    genuine = module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    claims = module.claims(genuine)
    # the strict answers hold for what no rule of ours speaks about
    verdict = appraise([claims], (), policy, at=AT, measured=True)
    assert [item.check for item in verdict.against] == ["policy.simulated"]
    verdict = appraise([claims._replace(simulated=False)], (), policy, at=AT, measured=True)
    assert [item.check for item in verdict.against] == ["policy.measurement"]
    assert appraise([claims._replace(simulated=False)], (), policy, at=AT).accepted
    refused = judged(policy, snp.make({"generation": "milan"}))
    assert "policy.rule.amd-or-intel" in {item.check for item in refused.against}


@needs_cel
def test_digest_and_canonical_form_hold_the_text() -> None:
    policy = policies.parse("claims.debug == false", "a.cel")
    again = policies.parse(policy.canonical, "b.toml")
    assert again.digest == policy.digest
    assert policies.parse("claims.debug == true", "a.cel").digest != policy.digest
    assert lint(policy)  # an acceptance without a measurement is remarked


@needs_cel
def test_a_refusing_rule_refuses_what_cannot_be_told() -> None:
    text = '[[rule]]\nid = "no"\neffect = "refuse"\nwhy = "w"\nwhen = {{ cel = "{}" }}\n'
    more = text + '[[rule]]\nid = "r"\neffect = "accept"\nrequire = {{ simulated = true }}\n'
    for expression, accepted in (("claims.nothing == 1", False), ("claims.debug", True), ("!claims.debug", False)):
        verdict = judged(policies.parse(more.format(expression), "p.toml"), snp.make({"generation": "genoa"}))
        assert verdict.accepted is accepted, expression


@needs_cel
def test_included_and_named_files(tmp_path: Path) -> None:
    (tmp_path / "theirs.cel").write_text("claims.simulated && false")
    (tmp_path / "ours.toml").write_text('include = ["theirs.cel"]\n')
    assert [item.id for item in policies.load(str(tmp_path / "ours.toml")).rules] == ["theirs"]
    for written, told in (
        ("cel = 1", "must be text"),
        ('cel = { fiel = "x" }', "unknown key"),
        ('cel = { file = "none.cel" }', "cannot be read"),
        ('cel = " "', "empty text"),
    ):
        (tmp_path / "bad.toml").write_text(f'[[rule]]\nid = "r"\neffect = "accept"\nrequire = {{ {written} }}\n')
        with pytest.raises(UsageError, match=told) as error:
            policies.load(str(tmp_path / "bad.toml"))
        assert error.value.where
    (tmp_path / "latin.cel").write_bytes(b"'\xe9' == 'x'")
    with pytest.raises(UsageError, match="not UTF-8"):
        policies.parse(
            '[[rule]]\nid="r"\neffect="accept"\nrequire={ cel = { file = "latin.cel" } }', str(tmp_path / "p")
        )


@pytest.mark.parametrize(
    ("name", "text", "where", "told"),
    [
        pytest.param("a.cel", "claims.a ==\n 3 &", "a.cel:2", "CEL: Syntax error", marks=needs_cel),
        pytest.param("a.rego", "package p\n\nallow {\n input.a = = 1 }", "a.rego:4", "Invalid", marks=needs_rego),
        pytest.param("a.rego", "allow {\n input.a = = 1 }", "a.rego:2", "Invalid", marks=needs_rego),
        pytest.param("a.rego", "package p\nfoo := 1\n", "a.rego:1", "no answer", marks=needs_rego),
        pytest.param("a.rego", 'package p["x"]\nallow := 1\n', "a.rego:1", "plain name", marks=needs_rego),
    ],
)
def test_faults_have_a_place(name: str, text: str, where: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        policies.parse(text, name)
    assert error.value.where == where
    assert error.value.hint


# the engine


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    for language in ("cel", "rego"):
        with pytest.raises(UsageError, match="not installed") as error:
            Engine(language, {})
        assert error.value.hint == f"pip install 'fastness[{language}]'"


@needs_rego
def test_an_engine_that_takes_too_long_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = (
        "package p\nimport rego.v1\nallow if {\n"
        + "\n".join(f" x{n} := input.l[_]" for n in range(9))
        + "\n x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 == -1\n}\n"
    )
    policy = rule(toml(slow))
    condition = next(item for item in policy.rules[0].require if isinstance(item, Foreign))
    told, said = condition.ask({"l": list(range(60))}, AT)
    assert told is Told.UNKNOWN
    assert "limit of time" in said or "no answer" in said
    assert condition.ask({"l": []}, AT)[0] is Told.NO  # the next question has a new child


@needs_cel
def test_an_engine_that_dies_gives_no_answer() -> None:
    found = Engine("cel", {"parts": ["claims.a == 1"], "reference": {}})
    assert found.check() == ("", 0)
    question = {"input": {"a": 1}, "now": AT.isoformat(), "ns": 0}
    assert found.ask(question) == [{"value": True}]
    if found._child is None:
        raise AssertionError
    found._child.kill()
    found._child.wait()
    assert "ended without an answer" in found.ask(question)[0]["error"]
    assert found.ask(question) == [{"value": True}]
    assert "not JSON" in found.ask({"input": {"a": float("nan")}})[0]["error"]
    assert "larger than" in found.ask({"input": "x" * (2 << 20)})[0]["error"]


@needs_cel
def test_the_child_can_open_nothing() -> None:
    found = Engine("cel", {"parts": ["true"], "reference": {}})
    assert found.check() == ("", 0)
    if found._child is None:
        raise AssertionError
    status = Path(f"/proc/{found._child.pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert Path(f"/proc/{found._child.pid}/environ").read_bytes() == b""


def test_policies_without_them_load_no_engine() -> None:
    words = "import sys; from fastness.appraise import policy; policy.load('strict'); "
    words += "print([n for n in sys.modules if 'adapters' in n])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# any claims at all

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8) | st.floats()
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(["tee", "tcb", "snp", "tdx", "sgx", "measurements", "a", "debug"])


@given(st.dictionaries(NAMES, TREES | st.sampled_from(["snp", "tdx", "sgx"]), max_size=6))
def test_any_claims_are_shaped(tree: dict[str, Any]) -> None:
    found = shape(tree)
    for name, value in tree.items():  # ours are never overwritten
        assert found[name] is value or (isinstance(value, dict) and value.items() <= found[name].items())


@needs_cel
@needs_rego
def test_any_claims_are_judged() -> None:
    conditions = [
        next(item for item in rule(text).rules[0].require if isinstance(item, Foreign))
        for text in ('cel = "claims.tcb.reported.snp >= 1 && claims.a"', toml(FORMS["allow"]), toml(FORMS["trust"]))
    ]

    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(NAMES, TREES, max_size=6))
    def never_raises(tree: dict[str, Any]) -> None:
        for condition in conditions:
            told, why = condition.ask(tree, AT)
            assert isinstance(why, str)
            if told is Told.YES:
                assert tree["a"] == 1

    never_raises()


@needs_rego
def test_one_engine_answers_each_question_for_itself() -> None:
    condition = next(item for item in rule(toml(FORMS["allow"])).rules[0].require if isinstance(item, Foreign))
    for _ in range(3):
        assert condition.ask({"a": 1}, AT)[0] is Told.YES
        assert condition.ask({"a": 2}, AT)[0] is Told.NO
        assert condition.ask({}, AT)[0] is Told.NO


# the command line


@needs_rego
def test_verify_and_try_by_the_command_line(tmp_path: Path) -> None:
    forged = sgx.make({})
    (tmp_path / "quote.bin").write_bytes(forged.evidence)
    run = [sys.executable, "-m", "fastness"]
    done = subprocess.run(
        [*run, "policy", "check", str(EXAMPLES / "ita-sgx.rego")], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    assert "ita-sgx" in done.stdout + done.stderr
    shown = subprocess.run([*run, "policy", "show", str(EXAMPLES / "ita-sgx.rego")], capture_output=True, check=False)
    assert shown.stdout.splitlines()[:2] == (EXAMPLES / "ita-sgx.rego").read_bytes().splitlines()[:2]
    bad = tmp_path / "bad.rego"
    bad.write_text("package p\nallow {\n input.a = = 1\n}\n")
    done = subprocess.run(
        [*run, "verify", str(tmp_path / "quote.bin"), "--policy", str(bad), "--offline"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{bad}:3" in done.stderr


def test_answers_of_rego_are_told_apart() -> None:
    assert rego.package("# package x\npackage a.b\n") == "a.b"
    assert rego.form("allow := 1\nexecutables := 3") == ("allow", 1)
    assert rego.form("x := 1") is None
    assert rego.answers("allow", None, "snp")[0][0] is Told.NO
