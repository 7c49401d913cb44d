"""The keep's process as PID 1 forks it: what it inherits, and that it never returns into its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
FIRST = """
import os, signal, sys
from fastness.keep import process
secret = os.open({leak!r}, os.O_RDONLY)  # inherited across exec, were nothing closed
os.set_inheritable(secret, True)
keep = process.branch()
from fastness.keep.supervise import _answer
class Holder:
    tee, platform, debug, measured = "nil", "nil", False, []
    def extend(self, measured): self.measured.append(measured)
import threading
threading.Thread(target=_answer, args=(keep.device, Holder()), daemon=True).start()
keep.control.setblocking(True)
keep.control.settimeout(60)
print(keep.control.recv(1))
import time
for _ in range(200):  # it says that it is ready, and then falls silent
    if os.readlink(f"/proc/{{keep.pid}}/fd/2") == os.devnull:
        break
    time.sleep(0.1)
links = [os.readlink(f"/proc/{{keep.pid}}/fd/{{name}}") for name in os.listdir(f"/proc/{{keep.pid}}/fd")]
print({leak!r} in links, [os.readlink(f"/proc/{{keep.pid}}/fd/{{number}}") for number in (0, 1, 2)])
keep.control.send(b"T")
print(os.waitstatus_to_exitcode(os.waitpid(keep.pid, 0)[1]))
"""


def test_a_keep_process_has_its_two_descriptors_and_nothing_else(tmp_path: Path) -> None:
    leak = tmp_path / "open in pid 1"
    leak.write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", FIRST.format(leak=str(leak))],
        capture_output=True, text=True, timeout=90, check=False, env={"PYTHONPATH": SOURCE, "MARK": "x"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    silent = [os.devnull] * 3
    assert done.stdout.splitlines() == ["b'R'", f"False {silent}", "0"], done.stderr


def test_a_child_that_cannot_begin_ends_and_never_returns_into_its_parent() -> None:
    words = """
import os, sys
from fastness.keep import process
sys.modules["fastness.keep.__main__"] = None  # its import fails in the child
keep = process.branch()
print(os.waitstatus_to_exitcode(os.waitpid(keep.pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", words],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": SOURCE},
    )  # fmt: skip
    assert done.stdout == "1\n", done.stderr
    assert "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr
