"""The page on policies is true: its examples are read, its table of fields is the lint's, its commands are commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fastness.appraise import owners, reference
from fastness.appraise.conditions import OPERATORS
from fastness.appraise.lint import lint
from fastness.appraise.policy import parse
from fastness.cli.parsing import Parser
from fastness.errors import UsageError
from forgeries import judge, make

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "policy.md").read_text("utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
KEY = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
OTHER = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7L"
    "tkBoN79R9Q=="
)


def whole(block: str) -> str:
    """An example with its ellipses filled in."""
    block = block.replace("<hex>", "ab" * 48).replace("<SHA-256 of the image>", "cd" * 32)
    block = block.replace("<chip id>", "ef" * 64).replace("<of the payload>", "12" * 32)
    return re.sub(r'"MCow\w*…"', f'"{KEY}"', re.sub(r'"MFkw\w*…"', f'"{OTHER}"', block))


def test_the_fields_are_those_of_the_lint() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "policy_doc.py", "--check"], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][:30])
def test_examples_are_read_and_the_lint_has_nothing_against_their_fields(block: str, tmp_path: Path) -> None:
    text = whole(block)
    if "fastness/reference-values/v1" in text:
        assert reference.parse(text.encode(), "x").rows
        return
    if "fastness/keys/v1" in text:
        assert owners.parse(text.encode(), "x").threshold == 2
        return
    values = next(whole(item) for item in BLOCKS if "reference-values/v1" in item)
    keys = next(whole(item) for item in BLOCKS if "fastness/keys/v1" in item)
    (tmp_path / "auditors.toml").write_text(keys)
    for name in ("keep-images.toml", "ours.dsse.json", "lab.corim", "university.dsse.json"):
        (tmp_path / name).write_text(values)
    if "reference" not in text:
        text = 'reference = ["keep-images.toml"]\n' + text
    found = lint(parse(text, str(tmp_path / "p.toml")))
    assert not {item.kind for item in found} & {"unknown-field", "wrong-kind", "unknown-check", "contradiction"}


def test_an_instance_with_a_nitrotpm_is_accepted_as_the_page_says() -> None:
    text = next(whole(item) for item in BLOCKS if "our-instances" in item)
    registers = {str(index): "ab" * 48 for index in (4, 7, 12)}
    assert judge(make("nitro", kind="nitrotpm", pcrs=registers), text).accepted
    for index in registers:
        verdict = judge(make("nitro", kind="nitrotpm", pcrs=registers | {index: "cd" * 48}), text)
        assert not verdict.accepted and f"measurements.pcr{index} " in verdict.against[0].expected
    assert not judge(make("nitro", pcrs=registers), text).accepted  # an enclave, whose registers mean something else


def test_every_operator_and_remark_is_on_the_page() -> None:
    for name in OPERATORS:
        assert f"{name} =" in PAGE, name
    source = (ROOT / "src/fastness/appraise/lint.py").read_text("utf-8")
    for kind in set(re.findall(r'Remark\(\s*"([a-z-]+)"', source)):
        assert f"`{kind}`" in PAGE, kind


@pytest.mark.parametrize("line", re.findall(r"^\$ fastness policy (.+?)(?:  .*)?$", PAGE, re.MULTILINE))
def test_commands_of_the_page_parse(line: str) -> None:
    module = import_module("fastness.cli.policy")
    parser = Parser(prog="policy")
    module.configure(parser)
    parser.parse_args(shlex.split(line.split(" >>", maxsplit=1)[0]))


def test_reading_the_page_s_key_needs_a_real_one() -> None:
    text = whole(next(item for item in BLOCKS if "fastness/keys/v1" in item)).replace(KEY, KEY[:-8] + "AAAAAAAA")
    with pytest.raises(UsageError):
        owners.parse(text.encode(), "x")
