"""Explanations in Japanese: complete where it is promised, faithful to the English, and absent where nobody asked."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastness
from fastness import language
from fastness.appraise import policy as policies
from fastness.appraise.explain import text
from fastness.appraise.verdict import Verdict, appraise
from fastness.attestation import verify
from fastness.claims.finding import Outcome, table
from fastness.errors import FastnessError, NotGenuine, UsageError
from fastness.forge import snp
from fastness.language import LANGUAGES, japanese
from fastness.page import html
from fastness.tee import load

SOURCE = Path(fastness.__file__).parent
WORDS = tomllib.loads((SOURCE / "language/ja/words.toml").read_text("utf-8"))
HOLE = re.compile(r"\{\d\}")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
JA = language.of("ja")

EXPLAINED = (
    "appraise/verdict.py", "appraise/turn.py", "appraise/policy.py", "appraise/conditions.py", "bindings.py",
    "collateral/supply.py", "pki/chain.py", "tenant/decide.py", "tenant/deliver.py", "tenant/launch.py",
    *(str(place.relative_to(SOURCE)) for place in sorted((SOURCE / "tee").rglob("*.py"))),
)  # fmt: skip
"""Modules whose findings and hints people read in an explanation."""

TECHNICAL = re.compile(
    r"^[\W\d_]*$|^--|^0x|^\{0\}/sgx/|^\{\d\}([ ,:(]|\{\d\}|\))*$|^openssl|^fastness |^td_attributes|^\{\d\} (>=|<=)"
)


# the catalogue


def test_every_check_has_a_row_and_every_row_a_check() -> None:
    rows = tomllib.loads((SOURCE / "language/ja/checks.toml").read_text("utf-8"))
    found = {f"{tee}.{name}": row for tee, names in rows.items() for name, row in names.items()}
    assert found.keys() == table().keys()
    for check, (short, hint) in found.items():
        assert JAPANESE.search(short) or short == "QE identity", check
        assert JAPANESE.search(hint), check
        # what is typed is typed the same
        for word in re.findall(r"--[a-z-]+|`[^`]+`", table()[check].hint):
            assert word in hint, (check, word)


@pytest.mark.parametrize("section", ["fills", "texts"])
def test_translations_keep_what_stands_in_them(section: str) -> None:
    for english, said in WORDS[section].items():
        assert sorted(HOLE.findall(english)) == sorted(HOLE.findall(said)), english
        if re.search(r"[a-z]{3}", HOLE.sub("", english)):
            assert JAPANESE.search(said), english
        for word in re.findall(r"--[a-z-]+|`[^`]+`|docs/[a-z.-]+", english):
            assert word in said, english


def templates(node: ast.expr) -> list[str]:
    """What an expression may say, with a hole for each value; nothing for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts, holes = [], 0
        for item in node.values:
            if isinstance(item, ast.Constant):
                parts.append(str(item.value))
            else:
                parts.append(f"{{{holes}}}")
                holes += 1
        return ["".join(parts)]
    if isinstance(node, ast.IfExp):
        return templates(node.body) + templates(node.orelse)
    return []


def spoken(name: str) -> Iterator[tuple[str, str]]:
    """(module, template) of every finding's and every error's words that stand in the source."""
    for node in ast.walk(ast.parse((SOURCE / name).read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        given = [item.value for item in node.keywords if item.arg == "hint"]
        if called in ("Finding", "Change", "add"):
            given += node.args + [item.value for item in node.keywords if item.arg in ("expected", "actual", "because")]
        for item in given:
            yield from ((name, said) for said in templates(item) if " " in said)


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_is_said_in_an_explanation_is_in_the_catalogue(name: str) -> None:
    sample = [f"x{number}" for number in range(9)]
    for _, template in spoken(name):
        if not TECHNICAL.search(template):
            said = template.format(*sample)
            assert JA.say(said) != said, f"no Japanese of: {template}"


def test_no_translation_is_of_what_nobody_says() -> None:
    whole = "\n".join(place.read_text("utf-8") for place in SOURCE.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*(?:f?")', "", whole).replace('\\"', '"')
    for english in WORDS["texts"]:
        longest = max(re.split(r"\{\d\}", english), key=len).strip(" (")
        assert longest in source, f"nobody says: {english}"


@given(st.text(max_size=60))
def test_any_text_is_said(said: str) -> None:
    assert isinstance(JA.say(said), str)
    assert JA.column(said, 5)[: len(said)] == said


def test_a_template_of_two_parts_comes_before_the_part() -> None:
    said = JA.say("not tee snp, cpu.generation one of genoa, turin")
    assert said == "tee snp, cpu.generation が次のいずれか（genoa, turin）でない"
    assert JA.say("tcb.reported.snp is >=27 (genoa) (strict:32)") == "tcb.reported.snp が >=27（genoa）（strict:32）"


def test_a_hole_is_said_too_and_the_longer_template_comes_first() -> None:
    assert JA.say("no accepting rule holds for tee snp (SIMULATED)") == (
        "tee snp（SIMULATED、模擬）に成り立つ受理規則がない"
    )
    assert JA.say("after this: give evidence") == "次を行うこと（証拠を渡してください）"
    assert JA.say("nothing like this is anywhere") == "nothing like this is anywhere"


def test_wide_letters_take_two_columns() -> None:
    assert JA.column("証拠", 8) == "証拠    "
    assert language.ENGLISH.column("ab", 4) == "ab  "


# explanations


def judged(source: str) -> Verdict:
    module, forged = load("snp"), snp.make({"generation": "milan", "crl": "none"})
    genuine = module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    return appraise([module.claims(genuine)], genuine.findings, policies.parse(source, "p.toml"), at=forged.at)


RULES = """
[[rule]]
id = "no-milan"
effect = "refuse"
why = "種を取り出せる"
when = { "cpu.generation" = "milan" }
[[rule]]
id = "ours"
effect = "accept"
require = { "tcb.reported.snp" = ">=200", "snp.no_such" = true }
"""


def test_a_refusal_explains_itself_in_japanese() -> None:
    verdict = judged(RULES)
    lines = text(verdict, JA).splitlines()
    assert lines[-2].startswith("拒否: policy.rule.no-milan による。ポリシー p（sha-256 ")
    assert lines[-1].startswith("次のようにすれば受理されます: ")
    assert "その規則が挙げないマシンを使うこと" in lines[-1]
    whole = "\n".join(lines)
    for word in ("期待", "実際", "対処", "場所", "理由", "種を取り出せる", "p.toml:2", "tcb.reported.snp", ">=200"):
        assert word in whole
    assert "snp.revocation（ASK または ASVK が失効していない）: 未確認" in whole
    # nothing is said in English but what is no sentence
    assert not re.search(r"\b(expected|found|hint|because|would be|the evidence)\b", whole)


def test_an_acceptance_explains_itself_in_japanese() -> None:
    source = '[[rule]]\nid = "a"\neffect = "accept"\nrequire = { simulated = true }\n'
    source += '[[waive]]\ncheck = "snp.revocation"\nwhy = "手で見る"\n'
    lines = text(judged(source), JA).splitlines()
    assert lines[-1].startswith("受理: 規則 'a'（p.toml:1） による。")
    assert any("免除" in line for line in lines)


def test_english_is_what_it_was() -> None:
    verdict = judged(RULES)
    assert text(verdict) == text(verdict, language.ENGLISH)
    assert text(verdict).splitlines()[-2].startswith("refused by policy.rule.no-milan, policy p (sha-256 ")


def test_the_page_is_in_japanese() -> None:
    forged = snp.make({"generation": "milan"})
    parts = [forged.evidence, *(item.raw for item in forged.collateral.certificates)]
    result = verify(*parts, at=forged.at, policy=policies.parse(RULES, "p.toml"), anchors=forged.anchors)
    page = html([result], JA)
    assert page.startswith("<!doctype html>\n<html lang=ja>")
    for word in ("拒否", "<h2>所見</h2>", "<h2>クレーム</h2>", "<h2>確認していないこと</h2>", "次のすべてを行えば"):
        assert word in page
    assert "メモリバス" in unescape(page)
    assert "<html lang=en>" in html([result])
    error = verify(*parts, at=forged.at)
    page = html([error], JA)
    assert "真正でない" in page
    assert "連鎖は固定された ARK に至る" in page


def test_errors_keep_their_english_where_there_is_no_other() -> None:
    error = NotGenuine("snp.leaf", "something quite new", hint="and what to do about it")
    assert JA.trouble(error.kind, error.check, error.what) == (
        "成り立たない: 末端証明書は AMD が作るもの（something quite new）"
    )
    assert JA.advice("snp.leaf", error.hint).endswith("（and what to do about it）")
    assert JA.advice("", "and what to do about it") == "and what to do about it"
    assert JA.trouble("usage", "", "x") == "使い方の誤り（x）"
    assert JA.trouble("usage", "", "not a time: 'x'") == "使い方の誤り（not a time: 'x'）"


def kinds(base: type[FastnessError]) -> set[str]:
    return {base.kind}.union(*(kinds(item) for item in base.__subclasses__()))


def test_every_kind_of_error_and_outcome_has_a_word() -> None:
    import fastness.collateral.http
    import fastness.devices.failure
    import fastness.forge.sev_firmware
    import fastness.seal.transport  # noqa: F401 - their errors

    assert kinds(FastnessError) == WORDS["kinds"].keys()
    assert {item.value for item in Outcome} == WORDS["outcomes"].keys()


# which language


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja"}, "ja"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "FASTNESS_LANG": "en"}, "en"),
        ({"LANG": "jam"}, "en"),
        ({"LANG": "", "FASTNESS_LANG": "ja"}, "ja"),
    ],
)
def test_the_environments_language(environment: dict[str, str], code: str) -> None:
    assert language.wished(environment) == code


def test_a_language_nobody_has() -> None:
    for act in (lambda: language.of("fr"), lambda: language.wished({"FASTNESS_LANG": "fr"})):
        with pytest.raises(UsageError, match="no language is called 'fr'") as error:
            act()
        assert error.value.hint == "one of " + ", ".join(LANGUAGES)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "FASTNESS_LANG"))}
    return subprocess.run(
        [sys.executable, "-m", "fastness", *words], capture_output=True, check=False, env={**clean, **environment}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("evidence")
    forged = snp.make({"generation": "genoa"})
    (place / "report.bin").write_bytes(forged.evidence)
    for index, item in enumerate(forged.collateral.certificates):
        (place / f"{index}.der").write_bytes(item.raw)
    return str(place)


def test_the_command_line_speaks_japanese(folder: str) -> None:
    for words, environment in (
        (("--lang", "ja"), {}),
        (("--lang=ja",), {"LANG": "C"}),
        ((), {"LANG": "ja_JP.UTF-8", "PYTHONUTF8": "1"}),
    ):
        done = run("verify", folder, *words, **environment)
        assert done.returncode == 4
        assert "真正性     いいえ" in done.stdout.decode()
        assert "エラー: 成り立たない: 連鎖は固定された ARK に至る" in done.stderr.decode()


def test_json_is_the_same_in_every_language(folder: str) -> None:
    at = ("--at", "2026-06-01T00:00:00Z")
    plain, other = (run("verify", folder, "--json", *at, *words) for words in ((), ("--lang", "ja")))
    assert json.loads(plain.stdout) == json.loads(other.stdout)
    assert plain.returncode == other.returncode


def test_what_is_wrong_with_the_wish_itself(folder: str) -> None:
    for words, environment in ((("--lang", "fr"), {}), (("--lang",), {}), ((), {"FASTNESS_LANG": "fr"})):
        done = run("verify", folder, *words, **environment)
        assert done.returncode == 2
        assert b"language" in done.stderr
    # what follows -- is the workload's own
    done = run("run", "none.wasm", "--", "--lang", "fr")
    assert b"language" not in done.stderr


def test_a_terminal_that_cannot_show_it_gets_english(folder: str) -> None:
    done = run("verify", folder, "--lang", "ja", PYTHONIOENCODING="ascii")
    assert b"this output cannot carry ja" in done.stderr
    assert b"genuine    NO" in done.stdout


def test_english_loads_no_catalogue() -> None:
    words = "import sys; from fastness.cli.main import main; code = main(['verify', 'none']); "
    words += "print([n for n in sys.modules if 'japanese' in n or n == 'unicodedata'])"
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True, env={**os.environ, "LANG": "C"}
    )
    assert done.stdout.strip() == "[]"
    assert japanese.Japanese.code == "ja"
