"""The page of checks is generated, and no check is without a test."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastness.claims.finding import table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("checks_doc", ROOT / "tools" / "checks_doc.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_check_has_a_test(tool):
    assert tool.uncovered() == []


def test_the_page_is_current(tool):
    assert (ROOT / "docs" / "checks.md").read_text() == tool.page(table(), tool.tests()), "python tools/checks_doc.py"


def test_every_check_says_what_it_must():
    for check in table().values():
        assert check.short and check.long.endswith(".") and check.hint and check.spec, check.id
        assert re.fullmatch(r"[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*", check.id)


def test_a_check_without_a_test_is_found(tool):
    assert tool.coverage("snp.nowhere-tested", {"tests/tee/test_snp_x.py": "snp.nowhere-tested-either"}) == []
    assert tool.coverage("sgx.chain", {"tests/tee/test_dcap_x.py": 'lie("chain")', "tests/x.py": '"chain"'}) == [
        "tests/tee/test_dcap_x.py"
    ]


HEAVY = (
    "cryptography.x509", "cryptography.hazmat.primitives.serialization", "asyncio", "click", "rich", "requests", "ssl",
    "http.client", "urllib.request", "importlib.resources", "fastness.tee.nvgpu", "fastness.tee.nitro",
)  # fmt: skip


def test_verifying_a_quote_loads_nothing_heavy(tmp_path):
    case = ROOT.parent / "shared" / "vectors" / "tdx" / "v4-uptodate"
    if not case.is_dir():
        pytest.skip(f"real evidence is not there: {case}")
    files = [str(path) for path in case.iterdir() if path.name != "case.json"]
    words = ["verify", *files, "--at", "2025-07-04T10:16:31Z", "--json", "--offline"]
    code = f"import sys; from fastness.cli.main import main; code = main({words!r})"
    code += "; sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-300:]
    loaded = set(done.stderr.decode().split())
    assert not loaded & set(HEAVY)
    assert "fastness.tee.tpm" not in loaded and "fastness.collateral.http" not in loaded
