"""A machine that really boots: QEMU, OVMF and swtpm; its registers are read from the host once the kernel runs.

QEMU is killed, which leaves the TPM running with its registers as they were; then a new data channel is handed to it.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

FIRMWARE = Path("/usr/share/ovmf/OVMF.fd")
BANKS = {"sha256": (0x000B, 32), "sha384": (0x000C, 48)}
SET_DATA_CHANNEL = 0x10
PCR_READ = 0x17E
BOOT_TIMEOUT = 120.0

HIGH_HALF = 0xFFFFFFFF80000000
"""Where Linux maps itself: the firmware and the kernel's EFI stub run far below."""


def qemu() -> tuple[str, tuple[int, int]]:
    """QEMU and its version; skips the test where anything of what a boot needs is absent."""
    programs = {name: shutil.which(name) for name in ("qemu-system-x86_64", "swtpm")}
    missing = [name for name, path in programs.items() if path is None]
    if missing or not FIRMWARE.exists():
        pytest.skip(f"needs {', '.join(missing) or FIRMWARE} (apt install qemu-system-x86 ovmf swtpm)")
    program = str(programs["qemu-system-x86_64"])
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
    major, minor = words[words.index("version") + 1].split(".")[:2]
    return program, (int(major), int(minor))


def registers(folder: Path, arguments: list[str], *, memory: int) -> dict[str, dict[int, str]]:
    """Bank → PCR → value of a q35 machine started with ``arguments``, when its kernel runs."""
    program, _ = qemu()
    control, monitor = folder / "tpm", folder / "monitor"
    state = ["--tpmstate", f"dir={folder}", "--ctrl", f"type=unixio,path={control}", "--flags", "startup-clear"]
    tpm = subprocess.Popen(["swtpm", "socket", "--tpm2", *state], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _appears(control, tpm)
        # without cx16, which this emulation of QEMU 7.2 gets wrong for newer kernels
        machine = ["-M", "q35", "-accel", "tcg", "-cpu", "max,-cx16", "-m", str(memory), "-bios", str(FIRMWARE)]
        quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "null", "-no-reboot", "-no-shutdown"]
        device = ["-chardev", f"socket,id=t,path={control}", "-tpmdev", "emulator,id=t,chardev=t"]
        device += ["-device", "tpm-crb,tpmdev=t", "-qmp", f"unix:{monitor},server=on,wait=off"]
        guest = subprocess.Popen(
            [program, *machine, *quiet, *device, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _appears(monitor, guest)
            _wait_for_kernel(monitor)
        finally:
            guest.kill()
            guest.wait()
        return _read(control)
    finally:
        tpm.kill()
        tpm.wait()


def _appears(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if path.exists():
            return
        assert process.poll() is None, f"{process.args!r} died"
        time.sleep(0.05)
    raise TimeoutError(path)


def _wait_for_kernel(monitor: Path) -> None:
    end = time.monotonic() + BOOT_TIMEOUT
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(monitor))
        with sock.makefile("rw") as stream:
            stream.readline()
            _ask(stream, "qmp_capabilities")
            while time.monotonic() < end:
                text = _ask(stream, "human-monitor-command", **{"command-line": "info registers"})
                if int(text.split("IP=")[1].split()[0], 16) >= HIGH_HALF:  # EIP before long mode
                    return
                time.sleep(0.2)
    raise TimeoutError("no kernel ran")


def _ask(stream, command: str, **arguments: str) -> str:  # type: ignore[no-untyped-def]
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    while "return" not in (answer := json.loads(stream.readline())):
        assert "error" not in answer, answer
    return answer["return"] if isinstance(answer["return"], str) else ""


def _read(control: Path) -> dict[str, dict[int, str]]:
    ours, theirs = socket.socketpair()
    with ours, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(control))
        with theirs:
            socket.send_fds(sock, [struct.pack(">I", SET_DATA_CHANNEL)], [theirs.fileno()])
        assert sock.recv(4) == bytes(4)
        return {bank: {index: _pcr(ours, bank, index) for index in range(16)} for bank in BANKS}


def _pcr(sock: socket.socket, bank: str, index: int) -> str:
    number, size = BANKS[bank]
    body = struct.pack(">IHB3s", 1, number, 3, (1 << index).to_bytes(3, "little"))
    sock.sendall(struct.pack(">HII", 0x8001, 10 + len(body), PCR_READ) + body)
    answer = sock.recv(4096)
    assert struct.unpack_from(">I", answer, 6)[0] == 0
    return answer[-size:].hex()
