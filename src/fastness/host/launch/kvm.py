"""Whether KVM runs a keep's kernel here: found out by running it, with a bounded wait.

``/dev/kvm`` that opens may still hang a guest (a kernel built for para-virtual machines only, a nested machine without
support), so the keep's own kernel and root are started under it without a TPM: PID 1 then says that it has no evidence,
and ends. What came of it is remembered for this boot of the host, this QEMU and this image.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from fastness.host.launch.qemu import Program

PATIENCE = 10.0
"""Seconds a guest has; it needs about one where KVM works."""

SIGN = b"this machine offers no evidence"
DEVICE = Path("/dev/kvm")


def trouble(program: Program, kernel: Path, initrd: Path) -> str:
    """Why KVM is of no use here; empty when it is."""
    if not DEVICE.exists():
        return "/dev/kvm is not there"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by this user"
    place = _memory(program, kernel, initrd)
    try:
        return place.read_text("utf-8")
    except OSError:
        pass
    found = _try(program, kernel, initrd)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(found, "utf-8")
    except OSError:
        return found
    return found


def _memory(program: Program, kernel: Path, initrd: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    parts = (
        boot,
        program.path,
        str(program.version),
        *(f"{item}:{item.stat().st_mtime_ns}" for item in (kernel, initrd)),
    )
    return Path(base) / "fastness" / f"kvm-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


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
        process.communicate()
        return f"a guest hangs: it said nothing of use within {PATIENCE:g} s"
    if SIGN in said:
        return ""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return f"a guest does not start: {lines[-1][:200] if lines else 'no word of why'}"
