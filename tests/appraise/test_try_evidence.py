"""`policy try`, `diff` and `plan` over evidence itself: files and folders, told apart by content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastness.cli.main import main
from fastness.forge import snp

RULES = """
[[rule]]
id = "floor"
effect = "accept"
when = {{ tee = "snp" }}
require = {{ debug = false, "tcb.reported.snp" = ">={floor}" }}
[[waive]]
check = "*.revocation"
why = "forged"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two reports, one of an older firmware, and one that is not genuine; a root; two policies."""
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    for name, spec in (
        ("a", {}),
        ("b", {"tcb": {"boot_loader": 9, "tee": 1, "snp": 20, "microcode": 84, "fmc": 2}}),
        ("c", {"lie": "signature"}),
    ):
        forged = snp.make({"generation": "turin", "table": True, **spec})
        (evidence / name).write_bytes(forged.evidence)
    (tmp_path / "root.der").write_bytes(snp.vendor("turin")[0].value.raw)
    for floor in (1, 22):
        (tmp_path / f"{floor}.toml").write_text(RULES.format(floor=floor))
    return tmp_path


def run(*words: object) -> int:
    return main(["policy", *map(str, words)])


def test_a_table_of_verdicts_over_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = (folder / "evidence", "--anchors", folder / "root.der", "--at", "2026-06-01")
    assert run("try", folder / "22.toml", *common) == 1
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:3] == ["verdict", "tee", "evidence"]
    lines = {Path(row[2]).name: row[0] for row in rows}
    assert lines == {"a": "accept", "b": "refuse", "c": "refuse"}
    assert run("try", folder / "22.toml", *common, "--json") == 1
    assert json.loads(capsys.readouterr().out)


def test_which_verdicts_differ_over_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = (folder / "evidence", "--anchors", folder / "root.der", "--at", "2026-06-01")
    assert run("diff", folder / "1.toml", folder / "22.toml", *common) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("accept -> refuse")
    assert "/b" in line


def test_evidence_and_records_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", str(folder / "evidence/a"), "--anchors", str(folder / "root.der"), "--at", "2026-06-01"]
    assert main([*words, "--offline", "--json"]) == 0
    (folder / "record.json").write_text(capsys.readouterr().out)
    common = (folder / "evidence/b", folder / "record.json", "--anchors", folder / "root.der", "--at", "2026-06-01")
    assert run("try", folder / "1.toml", *common) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_without_the_root_evidence_is_refused_and_said_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("try", folder / "1.toml", folder / "evidence/a", "--at", "2026-06-01") == 1
    told = capsys.readouterr().out
    assert "tpm." in told or "snp." in told or "cca." in told
    assert "--anchors" in told


def test_a_path_that_is_not_there(folder: Path) -> None:
    assert run("try", folder / "1.toml", folder / "nothing") == 2
