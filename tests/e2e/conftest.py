"""Real processes: a host that serves, the command line that deploys, in a home of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import wasmtime

HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $x (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "hello from a keep\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 18))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))
    (call $x (i32.const 7))))
"""
# copies stdin to stdout until it ends
CAT = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $r (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (loop $again
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65536))
      (if (call $r (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 12)) (then unreachable))
      (if (i32.load (i32.const 12)) (then
        (i32.store (i32.const 4) (i32.load (i32.const 12)))
        (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        (br $again))))))
"""
SPIN = '(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))'
TRAP = """
(module (memory (export "memory") 1)
  (func $inner unreachable) (func $outer (call $inner)) (func (export "_start") (call $outer)))
"""
UNGRANTED = """
(module (import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (func (export "_start")))
"""
# says that it waits, waits for the end of its input, says goodbye
PATIENT = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $r (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $x (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "goodbye\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 16))
    (drop (call $r (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 12)))
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 8))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))
    (call $x (i32.const 3))))
"""
PROGRAMS = {"patient": PATIENT, "hello": HELLO, "cat": CAT, "spin": SPIN, "trap": TRAP, "ungranted": UNGRANTED}


@dataclass
class Done:
    """A finished command."""

    code: int
    out: bytes
    err: str


@dataclass
class Home:
    """A person's machine: programs, a home folder, the command line."""

    path: Path
    url: str = ""
    hosts: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        return {**keep, "HOME": str(self.path), "XDG_DATA_HOME": str(self.path / "data"),
                "XDG_STATE_HOME": str(self.path / "state"), "NO_COLOR": "1"}  # fmt: skip

    def wasm(self, name: str) -> Path:
        place = self.path / f"{name}.wasm"
        if not place.exists():
            place.write_bytes(wasmtime.wat2wasm(PROGRAMS[name]))
        return place

    def start(self, *words: object, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fastness", *map(str, words)]
        return subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, cwd=self.path
        )

    def do(self, *words: object, stdin: bytes | None = None, timeout: float = 60) -> Done:
        process = self.start(*words, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL)
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Done(process.returncode, out, err.decode())

    def serve(self, *words: object) -> subprocess.Popen[bytes]:
        host = self.start("host", "serve", "--listen", "127.0.0.1:0", *words)
        self.hosts.append(host)
        if host.stderr is None:
            raise AssertionError
        for line in iter(host.stderr.readline, b""):
            if match := re.search(rb"listening on (http://\S+)", line):
                self.url = match[1].decode()
                return host
        raise AssertionError("the host did not start")

    def deploy(self, name: str | Path, *words: object, stdin: bytes | None = None) -> Done:
        place = name if isinstance(name, Path) else self.wasm(name)
        return self.do("deploy", place, "--host", self.url, *words, stdin=stdin)


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            if int(stat[1]) == pid and stat[0] != "Z":
                found.append(int(entry.name))
    return found


def runs(pid: int) -> bool:
    """Whether the process is there and not a zombie waiting for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: object, seconds: float = 20) -> bool:
    """Whether ``condition()`` becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    for host in home.hosts:
        if host.poll() is None:
            host.send_signal(signal.SIGTERM)
            try:
                host.wait(15)
            except subprocess.TimeoutExpired:
                host.kill()
        host.communicate()
