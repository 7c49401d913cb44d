"""The sandbox, each time in a process of its own: what a keep can no longer do, and what it still can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from fastness.sandbox import kernel, namespaces, seccomp
from fastness.sandbox.probe import probe

FEATURES = [
    "limits", "no-new-privileges", "dies-with-parent", "namespaces", "private-files", "private-root",
    "no-capabilities", "not-dumpable", "landlock", "seccomp",
]  # fmt: skip

BEFORE = """
import ctypes, json, os, socket, sys, threading, tomllib
import concurrent.futures.thread
from pathlib import Path
from fastness.sandbox import confine
def attempt(action):
    try:
        action()
    except (OSError, ValueError) as error:
        return type(error).__name__
    return "allowed"
isolated = confine.isolate()
"""

WITHOUT_NAMESPACES = "isolated = confine.Isolated(None, isolated.features)\n"
NOR_LANDLOCK = """
from fastness.sandbox import landlock
from fastness.sandbox.kernel import lacks
landlock.restrict = lambda root: lacks("landlock", "taken away")
"""
WAYS = {
    "namespaces": "",
    "landlock-only": WITHOUT_NAMESPACES,
    "namespaces-only": NOR_LANDLOCK,
    "seccomp-only": WITHOUT_NAMESPACES + NOR_LANDLOCK,
}

AFTER = """
confined = confine.lock_down(isolated)
held = {item.name for item in confined.features if item.available}
def tell(value):
    os.write(1, json.dumps(value).encode())
    os._exit(0)
"""


def confined(code: str, before: str = BEFORE, *, lines: str = "") -> Any:
    text = before + lines + AFTER + textwrap.dedent(code)
    env = {"PYTHONPATH": ":".join(sys.path), "HOST_VARIABLE": "leak"}
    done = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def held(*names: str) -> None:
    missing = [f"{item.name}: {item.reason}" for item in probe() if item.name in names and not item.available]
    if missing:
        pytest.skip("; ".join(missing))


def test_probe_tells_every_measure_and_leaves_the_caller_alone() -> None:
    features = probe()
    assert [item.name for item in features] == FEATURES
    assert all(item.available or item.reason for item in features)
    assert Path("/etc/passwd").exists()


ESCAPES = {
    "read a file of the host": "lambda: open('/etc/passwd')",
    "read its own code": "lambda: open(confine.__file__)",
    "list a folder of the host": "lambda: os.listdir('/etc')",
    "make a TCP socket": "lambda: socket.socket()",
    "make a UDP socket": "lambda: socket.socket(type=socket.SOCK_DGRAM)",
    "make a Unix socket": "lambda: socket.socket(socket.AF_UNIX)",
    "start a program": "lambda: os.execv(sys.executable, ['python', '-c', ''])",
    "fork": "lambda: os.fork()",
    "open its own memory": "lambda: open('/proc/self/mem', 'rb')",
    "open the memory of its parent": "lambda: open(f'/proc/{os.getppid()}/mem', 'rb')",
    "signal its parent": "lambda: os.kill(os.getppid(), 0)",
    "trace its parent": "lambda: kernel.checked(kernel.LIBC.ptrace(16, os.getppid(), 0, 0))",
    "unshare again": "lambda: kernel.unshare(0x10000000)",
    "mount": "lambda: kernel.mount('x', '/', 'tmpfs', 0)",
    "become dumpable": "lambda: kernel.prctl(4, 1)",
    "raise a limit": "lambda: __import__('resource').setrlimit(4, (1 << 40, 1 << 40))",
    "change its user": "lambda: os.setuid(1)",
    "make an io_uring": "lambda: kernel.call(425, 1, 0)",
    "write to another process": "lambda: kernel.call(311, os.getppid(), 0, 0, 0, 0, 0)",
    "call by the x32 numbers": "lambda: kernel.call(0x40000000 + 39)",
}


@pytest.mark.parametrize("without", WAYS.values(), ids=WAYS)
def test_what_a_keep_cannot_do(without: str) -> None:
    held("landlock", "seccomp")
    attempts = "{" + ", ".join(f"{name!r}: attempt({action})" for name, action in ESCAPES.items()) + "}"
    code = f"from fastness.sandbox import kernel\nimport resource\ntell({attempts})"
    before = BEFORE.replace(
        "from fastness.sandbox import confine", "from fastness.sandbox import confine, kernel\nimport resource"
    )
    result = confined(code, before, lines=without)
    assert {name for name, outcome in result.items() if outcome == "allowed"} == set()


def test_environment_and_descriptors_of_the_host_are_gone() -> None:
    with Path("/etc/passwd").open() as file:
        os.set_inheritable(file.fileno(), True)
        text = f"{BEFORE}{AFTER}tell([dict(os.environ), attempt(lambda: os.fstat({file.fileno()}))])"
        env = {"PYTHONPATH": ":".join(sys.path), "HOST_VARIABLE": "leak"}
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, env=env, capture_output=True, close_fds=False, timeout=60, check=True)
    assert json.loads(done.stdout) == [{}, "OSError"]


def test_the_private_folder_can_be_written_and_is_bounded() -> None:
    held("private-files")
    code = """
        small = attempt(lambda: Path(confined.root, "a").write_bytes(b"x"))
        other = attempt(lambda: Path("/outside").write_bytes(b"x"))
        large = attempt(lambda: Path(confined.root, "b").write_bytes(bytes(2 << 20)))
        tell([small, other, large])
    """
    before = BEFORE.replace("isolate()", "isolate(size=1 << 20)") + "__import__('signal').signal(25, 1)\n"
    small, other, large = confined(code, before)
    assert (small, large) == ("allowed", "OSError")
    assert other != "allowed"


def test_without_namespaces_there_is_no_folder() -> None:
    assert confined("tell(confined.root)", lines=WITHOUT_NAMESPACES) is None


def test_nothing_is_seen_outside() -> None:
    points = [Path(point) for point in namespaces.MOUNT_POINTS if Path(point).is_dir()]
    before = [sorted(point.iterdir()) for point in points]
    confined("tell(0)")
    assert before == [sorted(point.iterdir()) for point in points]


def test_more_threads_are_refused() -> None:
    lines = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    confine.lock_down(isolated)
except Exception as error:
    os.write(1, json.dumps(str(error)).encode())
    os._exit(0)
"""
    assert "one thread" in confined("", lines=lines)


@pytest.mark.parametrize("without", WAYS.values(), ids=WAYS)
def test_a_guest_still_runs(without: str) -> None:
    before = BEFORE.replace(
        "isolated = ", "import guests\nfrom fastness.workload.manifest import Manifest\nisolated = "
    )
    before = before.replace("isolated = ", "binary = guests.start('unreachable')\nisolated = ", 1)
    code = """
        ended = guests.runtime.compile(binary, Manifest()).run(0, 1, 2)
        tell([ended.kind, ended.backtrace != ()])
    """
    assert confined(code, before, lines=without) == ["trap", True]


def test_streams_of_a_guest_still_flow() -> None:
    lines = r"""
import guests
write = '(import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))'
memory = r'(memory (export "memory") 1) (data (i32.const 0) "\08\00\00\00\02\00\00\00hi")'
body = "(drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))"
binary = guests.start(body, write, memory)
"""
    assert confined("tell(guests.run(binary).stdout.decode())", lines=lines) == "hi"


def test_root_in_a_mapped_namespace_has_no_capability() -> None:
    held("landlock", "seccomp")
    code = "from_proc = attempt(lambda: os.chroot('/')); tell(from_proc)"
    assert confined(code) == "PermissionError"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_it_holds_for_an_ordinary_user_too() -> None:
    before = BEFORE.replace("isolated = ", "os.setgroups([]); os.setgid(65534); os.setuid(65534)\nisolated = ")
    names = confined("tell(sorted(held))", before)
    held("namespaces")
    assert set(names) == set(FEATURES)


@pytest.mark.parametrize("machine", list(seccomp.MACHINES.values()), ids=list(seccomp.MACHINES))
def test_the_filter_is_well_formed_for_each_machine(machine: seccomp.Machine) -> None:
    code = seccomp.program(machine, files=True, pid=1)
    assert len(code) % 8 == 0
    assert len(code) // 8 < 4096
    smaller = seccomp.program(machine, files=False, pid=1)
    assert len(smaller) < len(code)


def test_the_table_matches_the_headers_of_this_machine() -> None:
    import re

    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if kernel.MACHINE != "x86_64" or not header.is_file():
        pytest.skip("needs the kernel headers of x86_64")
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", header.read_text())}
    tables = seccomp.ALWAYS | seccomp.FILES | {name: row[0] for name, row in seccomp.WHEN.items()}
    tables |= {"clone3": seccomp.CLONE3, "tgkill": seccomp.TGKILL}
    assert {name: row[0] for name, row in tables.items()} == {name: numbers[name] for name in tables}
