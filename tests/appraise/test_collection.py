"""Collections with something bad in them: it is a row that says what is wrong, and the others are judged."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from kept import ANY, GENOA, line, row

from fastness.appraise import records
from fastness.cli.main import main
from fastness.collateral import gather
from fastness.errors import UsageError
from fastness.forge import snp
from fastness.tenant import records as tenants

WAIVE_ALL = "".join(f'[[waive]]\ncheck = "{check}"\nwhy = "w"\n' for check in ("policy.unreadable", "policy.no-claims"))


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    place = tmp_path / "ours.toml"
    place.write_text(ANY + WAIVE_ALL)
    return place


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["policy", *map(str, words), "--at", "2026-06-01"])
    out, err = capsys.readouterr()
    return code, out, err


BAD = {
    "not JSON": (b"{\n", "a record that is not JSON"),
    "not UTF-8": (b'{"genuine": true, "id": "\xff"}\n', "a record that is not JSON"),
    "a number that is none": (line("x").replace(b"false", b"NaN"), "a record that is not JSON"),
    "too long": (b"[" * (records.MAX_LINE + 9) + b"\n", "a record has at most 1048576 bytes"),
    "another document": (b'{"name": "x"}\n', "a record that cannot be read: KeyError 'genuine'"),
    "claims of another kind": (line("x", claims={"tee": 1}), "a record that cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["try", "plan", "diff"])
def test_a_bad_line_is_a_row_and_the_others_are_judged(
    command: str, name: str, tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "keeps.jsonl"
    bad, said = BAD[name]
    kept.write_bytes(line("first") + bad + b"\n" + line("fourth"))
    words = [command, *[policy] * (2 if command == "diff" else 1), kept]
    code, out, err = asked(capsys, *words)
    (told,) = (text for text in out.splitlines() if "keeps.jsonl:2" in text)
    assert code == 1
    assert said in told
    assert "policy.unreadable" in told
    assert "1 unreadable" in err
    code, out, _ = asked(capsys, *words, "--json")
    document = json.loads(out)
    assert (code, document["summary"]["unreadable"]) == (1, 1)
    if command == "try":
        assert [item["verdict"] for item in document["results"]] == ["accept", "refuse", "accept"]
        assert said in document["results"][1]["error"]["message"]
    else:
        assert document["summary"]["records"] == 3
        (change,) = document["changes"] if command == "diff" else [
            item for item in document["changes"] if item["by"] == "policy.unreadable"
        ]  # fmt: skip
        assert (change["before"], change["after"]) == (None, False)
        assert said in change["why"]


def test_a_first_line_that_is_cut_hides_nobody(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keeps").write_bytes(line("first")[40:] + line("second"))
    code, out, _ = asked(capsys, "try", policy, tmp_path / "keeps")
    assert (code, [text.split()[2] for text in out.splitlines()[1:]]) == (1, [f"{tmp_path}/keeps:1", "second"])


def test_a_document_that_is_cut_is_one_row(tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.json").write_text(json.dumps(row("cut"), indent=2)[:-1])
    (tmp_path / "good.json").write_text(json.dumps({"results": [row("a"), 7, row("b")]}, indent=2))
    code, out, _ = asked(capsys, "try", policy, tmp_path / "cut.json", tmp_path / "good.json")
    told = [(text.split()[0], text.split()[2]) for text in out.splitlines()[1:]]
    cut, middle = str(tmp_path / "cut.json"), f"{tmp_path}/good.json#1"
    assert (code, told) == (1, [("refuse", cut), ("accept", "a"), ("refuse", middle), ("accept", "b")])


def test_several_results_in_one_line_are_all_judged(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = GENOA._replace(debug=True)
    document = {"schema": "fastness/verdicts/v1", "results": [row("a"), row("b", older)]}
    (tmp_path / "lines").write_text(json.dumps(document) + "\n" + json.dumps([row("c")]) + "\n")
    code, out, _ = asked(capsys, "try", policy, tmp_path / "lines", "--json")
    told = {item["id"]: item["verdict"] for item in json.loads(out)["results"]}
    assert (code, told) == (1, {"a": "accept", "b": "refuse", "c": "accept"})


@pytest.mark.parametrize("text", [b"", b"\n\n"])
@pytest.mark.parametrize("command", ["try", "plan"])
def test_nothing_to_judge_accepts_nothing(
    command: str, text: bytes, tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_bytes(text)
    code, out, err = asked(capsys, command, policy, tmp_path / "empty")
    assert (code, out) == (2, "")
    assert "no record was found" in err
    code, out, _ = asked(capsys, command, policy, tmp_path / "empty", "--json")
    assert (code, json.loads(out)["schema"]) == (2, "fastness/error/v1")
    (tmp_path / "good").write_bytes(line("good"))
    code, out, _ = asked(capsys, "try", policy, tmp_path / "empty", tmp_path / "good")
    assert (code, [text.split()[0] for text in out.splitlines()[1:]]) == (1, ["accept", "refuse"])


@pytest.mark.parametrize(
    "text", [b'{\n"results": [], "claims": 0}', b'{"of": "fastness/verdicts/v1", "results": []}\n']
)
@pytest.mark.parametrize("command", ["try", "plan"])
def test_a_document_of_no_results_accepts_nothing(
    command: str, text: bytes, tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").write_bytes(text)
    code, out, err = asked(capsys, command, policy, tmp_path / "none")
    assert code == 1
    assert "a document of no results" in out
    assert "1 unreadable" in err


def test_a_path_that_is_not_there_ends_it_before_it_began(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good").write_bytes(line("good"))
    code, out, err = asked(capsys, "plan", policy, tmp_path / "good", tmp_path / "goood")
    assert (code, out) == (2, "")
    assert "there is no such file or folder" in err


def test_anchors_that_are_not_there_are_told_for_records_too(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good").write_bytes(line("good"))
    code, out, err = asked(capsys, "try", policy, tmp_path / "good", "--anchors", tmp_path / "none.pem")
    assert (code, out) == (2, "")
    assert "the anchor file cannot be read" in err


def test_records_come_through_a_pipe_whole(tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"".join(line(str(index)) for index in range(9)),))
    writer.start()
    code, _, err = asked(capsys, "try", policy, pipe)
    writer.join()
    assert (code, err) == (0, "9 accepted, 0 refused, 0 unreadable\n")


def test_a_name_writes_no_row_of_its_own(tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keeps").write_bytes(line("a\naccept  snp  b", genuine=False))
    for command in ("try", "plan"):
        code, out, _ = asked(capsys, command, policy, tmp_path / "keeps")
        assert code == 1
        assert not any(text.startswith("accept  snp") for text in out.splitlines())


def test_what_was_not_genuine_says_so_in_json_too(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"kind": "not-genuine", "check": "snp.signature", "message": "altered", "where": "", "hint": "again"}
    (tmp_path / "keeps").write_bytes(line("a", genuine=False, claims=None, error=error))
    _, out, _ = asked(capsys, "try", policy, tmp_path / "keeps", "--json")
    (item,) = json.loads(out)["results"]
    assert (item["tee"], item["genuine"], item["error"]) == ("snp", False, error)
    (tmp_path / "again").write_text(json.dumps(item) + "\n")
    _, out, _ = asked(capsys, "try", policy, tmp_path / "again", "--json")
    assert json.loads(out)["results"] == [item]


def machines(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "report").write_bytes(snp.make({"generation": "turin", "table": True}).evidence)
    (folder.parent / "root.der").write_bytes(snp.vendor("turin")[0].value.raw)


def verdicts(capsys: pytest.CaptureFixture[str], folder: Path, *more: object) -> tuple[int, dict[str, str]]:
    words = ["try", "development", folder, *more, "--anchors", folder.parent / "root.der"]
    code, out, _ = asked(capsys, *words)
    rows = [text.split() for text in out.splitlines()[1:]]
    return code, {str(Path(item[2]).relative_to(folder)): item[0] for item in rows}


def test_a_folder_too_large_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machines(tmp_path / "all", "a", "b", "c")
    real = gather.Sorter.sort

    def sort(self: gather.Sorter, data: bytes, source: str, *rest: Any) -> bool:
        if "/b/" in source:
            raise UsageError("more than 4096 pieces", where=source, hint="fewer")
        return real(self, data, source, *rest)

    monkeypatch.setattr(gather.Sorter, "sort", sort)
    assert verdicts(capsys, tmp_path / "all") == (1, {"a/report": "accept", "b": "refuse", "c/report": "accept"})


def test_a_file_that_cannot_be_read_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machines(tmp_path / "all", "a", "b")
    (tmp_path / "all" / "notes").write_text("above them all")
    real = gather._read

    def read(path: str) -> bytes:
        if path.endswith(("b/report", "notes")):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(gather, "_read", read)
    told = {"notes": "refuse", "a/report": "accept", "b/report": "refuse"}
    assert verdicts(capsys, tmp_path / "all") == (1, told)


def test_a_link_that_leads_nowhere_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines(tmp_path / "all", "a")
    (tmp_path / "all" / "a" / "gone").symlink_to(tmp_path / "nowhere")
    assert verdicts(capsys, tmp_path / "all") == (1, {"a/gone": "refuse", "a/report": "accept"})


def test_a_named_folder_without_evidence_is_a_row_beside_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines(tmp_path / "all", "a")
    (tmp_path / "all" / "none").mkdir()
    found = verdicts(capsys, tmp_path / "all", tmp_path / "all" / "none")
    assert found == (1, {"a/report": "accept", "none": "refuse"})


def test_a_damaged_verdict_of_a_keep_that_runs_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("one", "two"):
        tenants.remember(name, row(name))
    tenants.verdicts()[0].write_text('{"schema": "fastness/verdict/v1", "gen')
    code, out, err = asked(capsys, "plan", policy)
    assert code == 1
    assert "one.json:1  policy.unreadable" in out
    assert "2 records: " in err
    assert err.splitlines()[0].endswith("1 unreadable")


def test_a_folder_of_recorded_results_accepts_nobody(
    tmp_path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever may put evidence there could write itself a verdict."""
    (tmp_path / "all" / "in").mkdir(parents=True)
    (tmp_path / "all" / "in" / "b.jsonl").write_bytes(line("b"))
    code, out, err = asked(capsys, "try", policy, tmp_path / "all")
    assert (code, out) == (2, "")
    assert "only recorded results" in err
    code, out, err = asked(capsys, "try", policy, tmp_path / "all", tmp_path / "all" / "in" / "b.jsonl")
    assert (code, [text.split()[0] for text in out.splitlines()[1:]]) == (1, ["accept", "refuse"])
    assert "b.jsonl holds recorded results: nothing in it is verified again" in err


def test_a_recorded_result_beside_evidence_is_left_aside_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines(tmp_path / "all", "a")
    (tmp_path / "all" / "a" / "old.json").write_bytes(line("old"))
    words = ["try", "development", tmp_path / "all", "--anchors", tmp_path / "root.der"]
    code, out, err = asked(capsys, *words)
    assert (code, len(out.splitlines())) == (0, 2)
    assert "old.json: a recorded result beside evidence: name it to have it judged" in err
