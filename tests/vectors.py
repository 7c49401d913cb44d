"""Real evidence from real hardware, read in place: it lies beside the project and is never copied into it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2] / "shared" / "vectors"
needs_vectors = pytest.mark.skipif(not ROOT.is_dir(), reason=f"real evidence is not there: {ROOT}")


@dataclass(frozen=True)
class Case:
    """One folder of real evidence: ``files`` maps a role to bytes."""

    name: str
    path: Path
    facts: dict[str, Any]
    expected: dict[str, Any]
    at: datetime | None
    files: dict[str, bytes]
    document: dict[str, Any]


def case(name: str) -> Case:
    """The case ``<tee>/<folder>``; skips the test where it is absent."""
    path = ROOT / name
    if not path.is_dir():
        pytest.skip(f"real evidence is not there: {path}")
    document = json.loads((path / "case.json").read_text())
    when = document.get("verify_time")
    return Case(
        name,
        path,
        document.get("facts", {}),
        document.get("expected", {}),
        datetime.fromisoformat(when).astimezone(UTC) if when else None,
        {role: (path / file).read_bytes() for role, file in document["files"].items()},
        document,
    )


def names(tee: str) -> list[str]:
    """The cases of one TEE; empty where the vectors are absent."""
    folder = ROOT / tee
    return sorted(f"{tee}/{item.name}" for item in folder.iterdir() if item.is_dir()) if folder.is_dir() else []
