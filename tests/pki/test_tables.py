"""The tables that verifiers read are those that people edit."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fastness.pki import anchors

TOOL = Path(__file__).resolve().parents[2] / "tools" / "tables.py"


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("tables", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_what_the_tool_makes_of_its_toml() -> None:
    assert tool().stale() == [], "python tools/tables.py"


def test_an_edited_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = tool()
    monkeypatch.setattr(tables, "PACKAGE", tmp_path)
    monkeypatch.setattr(tables, "TABLES", (("a.toml", "row"),))
    (tmp_path / "a.toml").write_text('[[row]]\nname = "x"\nsince = 2026-05-01\n')
    assert tables.stale() == ["a.toml"]
    monkeypatch.setattr("sys.argv", ["tables.py"])
    tables.main()
    assert tables.stale() == []
    assert "'since': '2026-05-01'" in tables.target("a.toml").read_text()
    (tmp_path / "a.toml").write_text('[[row]]\nname = "y"\n')
    assert tables.stale() == ["a.toml"]


def test_the_vendors_roots_are_those_of_the_toml() -> None:
    rows = tomllib.loads((tool().PACKAGE / "pki" / "anchors.toml").read_text("utf-8"))["anchor"]
    assert [(item.tee, item.spki) for item in anchors.vendor().items] == [(row["tee"], row["spki"]) for row in rows]
