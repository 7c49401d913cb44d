"""The way in is true: links lead somewhere, commands are commands, pictures are what the code draws."""

from __future__ import annotations

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from fastness.appraise.verdict import WAIVABLE
from fastness.claims.finding import table
from fastness.cli import diagram
from fastness.cli.main import COMMANDS
from fastness.cli.parsing import Parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def commands() -> list[str]:
    found = []
    for line in (ROOT / "README.md").read_text("utf-8").splitlines():
        match = re.match(r"(?:\./dev|\$ fastness) (.+?)(?:\s+#.*)?$", line)
        if match and match[1] != "test":  # ./dev itself runs the tests
            found.append(match[1].replace("…", ""))
    return found


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_readme_parse(command: str) -> None:
    words = shlex.split(command)
    assert words[0] in COMMANDS, command
    module = import_module(f"fastness.cli.{words[0]}")
    parser = Parser(prog=words[0])
    module.configure(parser)
    parser.parse_args(words[1 : words.index("--") if "--" in words else None])


def test_every_command_there_is_has_a_module_and_help() -> None:
    for name in COMMANDS:
        module = import_module(f"fastness.cli.{name}")
        parser = Parser(prog=name)
        module.configure(parser)
        assert parser.format_help()


def test_pictures_are_what_the_code_draws() -> None:
    assert (ROOT / "docs" / "architecture.svg").read_text("utf-8") == diagram.svg()
    assert (ROOT / "docs" / "architecture.md").read_text("utf-8") == diagram.markdown()


def test_the_readme_is_short_and_names_two_commands() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 120
    assert "./dev demo" in text
    assert "./dev test" in text


def left_open() -> set[str]:
    """Checks that our verifiers can leave unanswered: findings written with ``Outcome.UNKNOWN``."""
    found = set()
    for file in (ROOT / "src" / "fastness").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding" and len(node.args) > 1:
                check, outcome = (ast.unparse(item).strip("f'") for item in node.args[:2])
                if outcome == "Outcome.UNKNOWN":
                    found |= {check.replace("{tee}", tee) for tee in ("sgx", "tdx")}
    return found


def test_what_may_be_waived_is_what_can_stay_unanswered() -> None:
    marked = {check for check, row in table().items() if row.waivable}
    assert marked == left_open() | WAIVABLE
