"""The example: a risk score over private records, in C and in MicroPython, both from the manifests as they stand."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

import guests
from fastness.keep import stage
from fastness.workload import written

FOLDER = Path(__file__).parents[2] / "examples/risk"
EXPECTED = b"records 8\nmean risk 0.4607\nhigh risk 3\n"


def run(binary: bytes, name: str, root: Path) -> guests.Done:
    manifest, assets = written.load_assets(
        written.parse((FOLDER / name).read_text(), name), lambda source: (FOLDER / source).read_bytes()
    )
    stage.write(root, manifest, assets, {"weights": (FOLDER / "weights").read_bytes()})
    return guests.run(binary, manifest, (FOLDER / "records.csv").read_bytes(), root)


def test_c(tmp_path: Path) -> None:
    done = run((FOLDER / "risk.wasm").read_bytes(), "fastness.toml", tmp_path)
    assert (done.ended.code, done.stdout, done.stderr) == (0, EXPECTED, b"")


def test_micropython(tmp_path: Path) -> None:
    done = run(guests.micropython(), "micropython.toml", tmp_path)
    assert (done.ended.code, done.stdout, done.stderr) == (0, EXPECTED, b"")


def test_the_binary_is_the_one_whose_hash_is_written_down() -> None:
    told = (FOLDER / "risk.wasm.sha256").read_text().split()[0]
    assert sha256((FOLDER / "risk.wasm").read_bytes()).hexdigest() == told


def test_the_binary_is_built_from_its_source(tmp_path: Path) -> None:
    clang = shutil.which("clang")
    if clang is None or b"Debian clang version 14.0.6" not in subprocess.check_output([clang, "--version"]):
        pytest.skip("needs Debian 12's clang")
    subprocess.run([FOLDER / "build.sh", tmp_path / "again.wasm"], check=True)
    assert (tmp_path / "again.wasm").read_bytes() == (FOLDER / "risk.wasm").read_bytes()
