"""The tool that changes conditions: each change is one, is in its place, and what is recorded is read back."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SOURCE = '''"""Words: a == b."""
LIMIT = 2 << 3

def judge(one, two):
    """Of one == two."""
    if not one or two in (1, 2):
        raise ValueError(f"{one == two}: é", one and two)
    hint = one < two
    return [
        Finding("x", Outcome.FAILED, hint="a" if one else "b"),
        any(one) and 3 <= two < LIMIT,
    ]
'''


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    import mutants
    import mutate

    return mutants, mutate


def test_what_is_changed(tools: Any) -> None:
    found = tools[0].mutants("x.py", SOURCE)
    assert Counter(item.kind for item in found) == {
        "bound": 3, "not": 1, "and/or": 6, "comparison": 3, "refusal": 1, "finding": 1, "quantifier": 1,
    }  # fmt: skip
    changes = {item.change for item in found}
    assert "LIMIT = 2 << 3 → LIMIT = (2 << 3) - 1" in changes
    assert "not one or two in (1, 2) → two in (1, 2)" in changes
    assert "3 <= two < LIMIT → 3 - 1 <= two < LIMIT" in changes
    assert "3 <= two < LIMIT → 3 <= two <= LIMIT" in changes
    assert "Outcome.FAILED → Outcome.NOTE" in changes


def test_a_change_leaves_the_rest_as_it_was(tools: Any) -> None:
    for item in tools[0].mutants("x.py", SOURCE):
        assert ast.dump(ast.parse(item.source)) != ast.dump(ast.parse(SOURCE))
        before, after = SOURCE.splitlines(), item.source.splitlines()
        assert len(before) == len(after)
        assert before[: item.line - 1] == after[: item.line - 1]
        assert item.function == ("" if item.line == 2 else "judge")


def test_a_row_of_the_page_is_read_back(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutants, mutate = tools
    page = tmp_path / "mutation.md"
    page.write_text("", "utf-8")
    monkeypatch.setattr(mutate, "PAGE", page)
    file = "tee/nil/verify.py"
    made = mutants.mutants(file, SOURCE)
    told = [mutate.Told(item, "survived" if item.kind == "not" else "killed") for item in made]
    row = mutate.row(told, len(told) + 1, 7)
    mutate.record({file: row})
    assert mutate.recorded(page.read_text("utf-8")) == {file: row}
    assert row.kinds[mutants.KINDS.index("not")] == "0/1" and row.run.endswith("16 of 17, seed 7")
    mutate.record({})
    assert mutate.recorded(page.read_text("utf-8")) == {file: row}
    assert "15 killed, 1 survived" in page.read_text("utf-8")
    missed = next(item for item in told if item.outcome == "survived")
    for outcome, cell, same in (("killed", "1/1", 0), ("equivalent", "", 1)):
        later = mutate.again(row, [missed._replace(outcome=outcome)])
        assert (later.kinds[mutants.KINDS.index("not")], later.equivalent, later.survivors) == (cell, same, ())


def test_a_mutant_is_put_in_place_of_what_was_loaded(tmp_path: Path) -> None:
    """In a process of its own: the function, the number, and whoever imported it."""
    package = tmp_path / "src" / "fastness"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(
        "LIMIT = 2\n\nclass A:\n    @property\n    def low(self):\n        return 1 < LIMIT\n"
    )
    (package / "two.py").write_text("from fastness.one import LIMIT\n\ndef limit():\n    return LIMIT\n")
    (package / "three.py").write_text("LIMIT = 2\n")
    script = f"""
import sys
sys.path[:0] = [{str(tmp_path / "src")!r}, {str(TOOLS)!r}]
import mutant_tests
from fastness import one, two, three
file = one.__file__
source = open(file).read()
assert mutant_tests.in_place(file, "A.low", source.replace("1 < LIMIT", "1 > LIMIT"))
assert one.A().low is False
assert mutant_tests.in_place(file, "", source.replace("= 2", "= 0"))
assert (one.LIMIT, two.limit(), three.LIMIT) == (0, 0, 2) and one.A().low is True
assert not mutant_tests.in_place(file, "", source.replace("= 2", "= 0"))
assert not mutant_tests.in_place(file, "B", source)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("body", "said"),
    [("assert 1 == 2", "tests/test_a.py::test_second"), ("__import__('os')._exit(5)", "no single test")],
)
def test_a_test_that_is_red_without_a_mutant_is_named(body: str, said: str, tools: Any, tmp_path: Path) -> None:
    mutate = tools[1]
    (tmp_path / "tests").mkdir()
    (tmp_path / "tools").symlink_to(TOOLS)
    tests = f"def test_first() -> None:\n    assert 1\n\n\ndef test_second() -> None:\n    {body}\n"
    (tmp_path / "tests" / "test_a.py").write_text(tests)
    with pytest.raises(SystemExit) as ended:
        mutate.Tests(mutate.Group(("tests/*.py",), ("tee/nil/verify.py",)), tmp_path)
    assert f"is red without any mutant ({said}" in str(ended.value)
