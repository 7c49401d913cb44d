"""The progress of judging again: a bar where somebody watches and the end is known, else a count, else nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fastness.cli import tally
from fastness.cli.main import main


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, size: int, count: int) -> list[str]:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    seen = tally.Tally()
    seen.size = size
    for _ in range(count):
        seen.read += 10
        seen(True, False, "rule")
    seen.end()
    return screen.getvalue().split("\r")[1:]


def test_a_bar_grows_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, last = shown(monkeypatch, 20_000, 2 * tally.EVERY)
    assert first.startswith(f"[{'#' * 8}{' ' * 22}]  25%  500 records, 500 would now be refused")
    assert "  50%  1000 records" in second
    assert last.startswith(f"[{'#' * 30}] 100%  1000 records")
    assert last.endswith("\n")


def test_of_a_stream_the_count_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = shown(monkeypatch, 0, tally.EVERY)
    assert first == "500 records, 500 would now be refused "


def test_what_reading_finds_out_is_told_to_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"schema": "fastness/verdict/v1", "tee": "snp", "genuine": False, "id": "x"}
    lines = (json.dumps(record) + "\n") * (2 * tally.EVERY)
    (tmp_path / "keeps.jsonl").write_text(lines)
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    main(["policy", "plan", "strict", str(tmp_path / "keeps.jsonl")])
    rows = screen.getvalue().split("\r")
    assert "]  50%  500 records" in rows[1]
    assert "] 100%  1000 records" in rows[2]


def test_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    seen = tally.Tally()
    for _ in range(tally.EVERY):
        seen(None, True, "rule")
    seen.end()
    assert screen.getvalue() == ""
