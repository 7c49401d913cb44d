"""Starts a keep process and nothing else. Light to import, so that a keep boots while its launcher loads.

The keep gets two sockets and nothing else: ``control``, over which connections arrive as file descriptors, and
``device``, over which it asks for evidence. No path, no listening socket, no environment.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import NamedTuple

from fastness.errors import KeepFailed

_BOOT = (
    "import sys; sys.modules['ssl'] = None; sys.path.insert(0, sys.argv[1]); "
    "from fastness.keep.__main__ import main; main(sys.argv[2:])"
)
"""Without ``ssl``, as in an image: asyncio would load it, and a second OpenSSL, in which a keep has no part."""

_PACKAGES = os.path.abspath(os.path.join(__file__, *[os.pardir] * 4))  # noqa: PTH100, PTH118
"""Where ours lie. Not by pathlib, which would hold up the keep by a tenth of what starts it."""


class Spawned(NamedTuple):
    """A keep process and our ends of what it was given; ``words`` reads what it says until it is ready."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    device: socket.socket
    words: int
    debug: bool


def spawn(*, debug: bool = False, flagged: tuple[bytes, ...] = ()) -> Spawned:
    """Starts a keep process; ``flagged`` is the measured log of a compromised one that it succeeds.

    Raises:
        KeepFailed: the kernel would not start it.
    """
    control, keep_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device, keep_device = socket.socketpair()
    words, keep_words = os.pipe()
    inherited = (keep_control.fileno(), keep_device.fileno())
    arguments = [str(inherited[0]), str(inherited[1]), *(item.hex() for item in flagged)]
    command = [sys.executable, "-I", "-c", _BOOT, _PACKAGES, *arguments]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=keep_words,
            pass_fds=inherited,
            env={},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        for end in (control, device):
            end.close()
        os.close(words)
        raise KeepFailed(f"cannot start a keep: {error.strerror}") from None
    finally:
        for end in (keep_control, keep_device):
            end.close()
        os.close(keep_words)
    for end in (control, device):
        end.setblocking(False)
    return Spawned(process, control, device, words, debug)
