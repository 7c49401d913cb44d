"""The keep's process as PID 1 starts it: this Python once more, with two descriptors and nothing else."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from fastness.keep.__main__ import main; main(sys.argv[2:])"


@dataclass(frozen=True, slots=True)
class Started:
    """The keep's process, and our ends of its control and of its device."""

    pid: int
    control: socket.socket
    device: socket.socket


def start(flagged: tuple[bytes, ...] = ()) -> Started:
    """Starts the keep's process; ``flagged`` is the log of a compromised one that it succeeds.

    What it says goes to the console until it is ready, and nowhere afterwards.
    """
    control, keep_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device, keep_device = socket.socketpair()
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for sock in (keep_control, keep_device):
        sock.set_inheritable(True)
    words = [str(keep_control.fileno()), str(keep_device.fileno()), *(item.hex() for item in flagged)]
    command = [sys.executable, "-IBS", "-c", _BOOT, str(Path(__file__).resolve().parents[2]), *words]
    silent = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, nothing, 1)]
    pid = os.posix_spawn(sys.executable, command, {}, file_actions=silent)
    for end in (keep_control, keep_device):
        end.close()
    os.close(nothing)
    control.setblocking(False)
    return Started(pid, control, device)
