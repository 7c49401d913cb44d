"""Running the command in this process, and what the real evidence must come to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import vectors
from fastness.cli.main import main

NOW = datetime(2026, 11, 23, tzinfo=UTC)
"""When cases without a time of their own are judged."""

STAGES = {
    "parse": {3},
    "signature": {4},
    "chain": {4, 5},
    "binding": {4},
    "log": {4},
    "freshness": {4},
    "time": {4, 5},
    "collateral": {4, 5},
}
"""Exit codes that answer a negative case, by the stage it must fall at."""

LACKING = ("tpm/azure-tdx-vtpm-live", "tpm/log-debian10", "tpm/log-gce-ubuntu2404-snp")
"""Cases whose folder holds no collateral for the quote, or no quote at all."""


@dataclass(frozen=True)
class Answer:
    code: int
    document: dict[str, Any]
    words: str


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Answer:
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return Answer(code, json.loads(out) if out.strip() else {}, err)


def installed(tee: str) -> None:
    if find_spec(f"fastness.tee.{tee}") is None:
        pytest.skip(f"no {tee} in this tree")


def options(case: vectors.Case) -> list[str]:
    """The options a person would give for a case."""
    words = ["--json", "--offline"]
    if case.at is not None:
        words += ["--at", case.at.isoformat()]
    nonce = case.document.get("inputs", {}).get("expected_nonce")
    words += ["--nonce", nonce] if nonce else []
    for name in ("cpak_pub.pem", "ak_pub.pem"):
        if (case.path / name).exists() and not (case.path / "hcl_report.bin").exists():
            words += ["--anchors", str(case.path / name)]
    return words


def every() -> list[str]:
    tees = ("snp", "sev", "sgx", "tdx", "nitro", "cca", "tpm", "nvgpu")
    return [name for tee in tees for name in vectors.names(tee)]


def needs(case: vectors.Case) -> None:
    installed(case.name.split("/")[0])
    if case.name.startswith("tpm/azure-snp"):
        installed("snp")
