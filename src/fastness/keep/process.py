"""The keep's process as PID 1 starts it: this Python once more, with two descriptors and nothing else.

Two ways: forked while PID 1 has done nothing yet (quick), or started afresh (whenever).
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from fastness.keep.__main__ import main; main(sys.argv[2:])"


class Started(NamedTuple):
    """The keep's process, and our ends of its control and of its device."""

    pid: int
    control: socket.socket
    device: socket.socket


def branch() -> Started:
    """The first keep's process: this one once more, so that a second interpreter need not start.

    Call it while this process has one thread and has done nothing that the keep should not inherit. The successor of a
    compromised keep is started afresh instead (:func:`start`).
    """
    control, keep_control, device, keep_device = _ends()
    pid = os.fork()
    if not pid:
        _become(keep_control, keep_device)
    return _theirs(pid, control, keep_control, device, keep_device)


def start(flagged: tuple[bytes, ...] = ()) -> Started:
    """Starts a keep's process; ``flagged`` is the log of a compromised one that it succeeds.

    What it says goes to the console until it is ready, and nowhere afterwards.
    """
    control, keep_control, device, keep_device = _ends()
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for sock in (keep_control, keep_device):
        sock.set_inheritable(True)
    words = [str(keep_control.fileno()), str(keep_device.fileno()), *(item.hex() for item in flagged)]
    command = [sys.executable, "-IBS", "-c", _BOOT, str(Path(__file__).resolve().parents[2]), *words]
    silent = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, nothing, 1)]
    pid = os.posix_spawn(sys.executable, command, {}, file_actions=silent)
    os.close(nothing)
    return _theirs(pid, control, keep_control, device, keep_device)


def _ends() -> tuple[socket.socket, socket.socket, socket.socket, socket.socket]:
    """Our end and the keep's of its control, then of its device."""
    return (*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET), *socket.socketpair())


def _theirs(
    pid: int, control: socket.socket, keep_control: socket.socket, device: socket.socket, keep_device: socket.socket
) -> Started:
    keep_control.close()
    keep_device.close()
    control.setblocking(False)
    return Started(pid, control, device)


def _become(control: socket.socket, device: socket.socket) -> NoReturn:
    """The child's side of a fork: its own descriptors, then the keep's ``main``, which closes all others."""
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        from fastness.keep.__main__ import main

        main([str(control.detach()), str(device.detach())])
        status = 0
    except BaseException:  # nothing of the parent's stack may run here
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
