"""Whether KVM runs a keep's kernel here: found out by running it, with a bounded wait.

``/dev/kvm`` that opens may still hang a guest (a kernel built for para-virtual machines only, a nested machine without
support), so the keep's own kernel and root are started under it without a TPM: PID 1 then says that it has no evidence,
and ends. What came of it is remembered for this boot of the host, this QEMU and this image.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fastness import folders
from fastness.host.launch.qemu import Program

PATIENCE = 10.0
"""Seconds a guest has; it needs about one where KVM works."""

WORKS, FAILS = "it works", "it fails: "
RETRY = 600.0
"""Seconds after which a failure is looked into again: a module may be loaded by then, or the load be gone."""

SIGN = b"this machine offers no evidence"
DEVICE = Path("/dev/kvm")


def quiet(_: str) -> None:
    """Nobody waits at a terminal."""


def trouble(program: Program, kernel: Path, initrd: Path, tell: Callable[[str], None] = quiet) -> str:
    """Why KVM is of no use here; empty when it is. ``tell`` hears of what has to be waited for."""
    if not DEVICE.exists():
        return "/dev/kvm is not there"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by this user"
    place = _memory(program, kernel, initrd)
    remembered = _recall(place)
    if remembered is not None:
        return remembered
    tell(f"trying whether KVM runs a keep's kernel here: at most {PATIENCE:g} s, and what comes of it is remembered")
    found = _try(program, kernel, initrd)
    _keep(place, found)
    return found


def _recall(place: Path) -> str | None:
    """What is remembered: that it works, for this boot of the host; that it does not, for ten minutes."""
    try:
        text, age = place.read_text("utf-8"), time.time() - place.stat().st_mtime
    except OSError:
        return None
    if text == WORKS:
        return ""
    return text.removeprefix(FAILS) if text.startswith(FAILS) and 0 <= age < RETRY else None


def _keep(place: Path, found: str) -> None:
    """Whole or not at all: half a word must not read as success."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(FAILS + found if found else WORKS, "utf-8")
        temporary.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _memory(program: Program, kernel: Path, initrd: Path) -> Path:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    parts = (
        boot,
        program.path,
        str(program.version),
        *(f"{item}:{item.stat().st_mtime_ns}" for item in (kernel, initrd)),
    )
    return folders.cache() / f"kvm-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def _try(program: Program, kernel: Path, initrd: Path) -> str:
    command = [
        program.path, "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512", "-nodefaults", "-no-user-config",
        "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd),
        "-append", "console=ttyS0 panic=-1 reboot=t",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that cannot be killed is left to the kernel
            process.communicate(timeout=PATIENCE)
        return f"a guest hangs: it said nothing of use within {PATIENCE:g} s"
    if SIGN in said:
        return ""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return f"a guest does not start: {lines[-1][:200] if lines else 'no word of why'}"
