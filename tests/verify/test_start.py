"""What `fastness verify` loads: the start of a process is most of its time, and grows by one import at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fastness
from vectors import case

PROGRAM = """
import json, sys
before = set(sys.modules)
from fastness.cli.main import main
code = main(["verify", *sys.argv[1:], "--offline", "--json"])
sys.stdout.flush()
print(json.dumps([code, sorted(set(sys.modules) - before)]), file=sys.stderr)
"""
HEAVY = {
    "asyncio", "cryptography.hazmat.backends.openssl.backend", "cryptography.hazmat.primitives.asymmetric.rsa",
    "cryptography.hazmat.primitives.serialization", "cryptography.x509", "dataclasses", "hashlib", "hmac",
    "importlib.resources", "inspect", "pathlib", "socket", "ssl", "subprocess", "tarfile", "threading", "tomllib",
    "zipfile",
}  # fmt: skip
RSA = {"cryptography.hazmat.primitives.asymmetric.rsa"}


@pytest.mark.parametrize(
    ("name", "needs"),
    [("tdx/v4-uptodate", set()), ("sgx/v3-config-swhardening", set()), ("snp/milan-v3-vcek-azure", RSA)],
)
def test_verifying_loads_nothing_heavy(name: str, needs: set[str]) -> None:
    found = case(name)
    assert found.at is not None
    files = [str(found.path / file) for file in found.document["files"].values()]
    command = [sys.executable, "-c", PROGRAM, *files, "--at", found.at.isoformat()]
    environment = {"PYTHONPATH": str(Path(fastness.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert json.loads(done.stdout)["genuine"] is True
    code, loaded = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    assert HEAVY & set(loaded) == needs
