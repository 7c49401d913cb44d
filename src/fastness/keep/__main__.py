"""The first process of a keep: isolates itself, makes its keys, says that it is ready, takes connections.

Started by a launcher with two sockets: ``control``, over which connections arrive as file descriptors, and ``device``,
over which evidence is asked for. Everything is imported before the doors close: after ``lock_down`` nothing opens or
loads any more.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from typing import TYPE_CHECKING

from fastness.sandbox import confine

if TYPE_CHECKING:
    from fastness.keep.integrity import Integrity
    from fastness.keep.protocol import Service

CONNECT, TERMINATE, READY = b"C", b"T", b"R"


def main(argv: list[str]) -> None:
    """Runs a keep until its work is done; never returns.

    Args:
        argv: the descriptors of ``control`` and ``device``; then, for the successor of a compromised keep, that keep's
            measured events in hexadecimal. Everything else the device's holder says when it is asked.
    """
    control, device = int(argv[0]), int(argv[1])
    flagged = tuple(bytes.fromhex(item) for item in argv[2:])
    isolated = confine.isolate(keep=(0, 1, 2, control, device))
    asyncio.run(_serve(control, device, flagged, isolated))


async def _serve(control_end: int, device_end: int, flagged: tuple[bytes, ...], isolated: confine.Isolated) -> None:
    gc.disable()  # nothing of what is imported is garbage, and looking takes a tenth of the time
    # imported after isolation, which must happen in a process with one thread, and before the doors close
    import concurrent.futures.thread  # noqa: F401 - asyncio.to_thread loads it on first use, which would be too late

    from fastness.keep.attest import Remote
    from fastness.keep.identity import Keep
    from fastness.keep.integrity import Integrity
    from fastness.keep.protocol import Service
    from fastness.seal import log

    gc.freeze()
    gc.enable()
    control = socket.socket(fileno=control_end)
    control.setblocking(False)
    device = Remote(socket.socket(fileno=device_end))
    events = tuple(map(log.parse_measured, flagged))
    keep = Keep(device.platform, device, debug=device.debug, flagged=events)
    integrity = Integrity()
    confined = confine.lock_down(isolated)
    service = Service(keep, confined.root, _leave, integrity)
    knowing = asyncio.create_task(asyncio.to_thread(_begin, integrity))
    watching = asyncio.create_task(service.watch())
    asyncio.get_running_loop().add_reader(control, _admit, control, service)
    control.send(READY)
    # from here on nothing reaches the host in clear: a traceback could carry what the workload was given
    os.dup2(sys.__stdout__.fileno() if sys.__stdout__ else 1, 2)
    await knowing
    await watching


def _begin(integrity: Integrity) -> None:
    """Measures this process, for which the first challenge waits, and warms the compiler while its tenant decides."""
    from fastness.keep import runtime

    integrity.know()
    with integrity.growing():
        runtime.warm()


def _admit(control: socket.socket, service: Service) -> None:
    try:
        word, handles, _, _ = socket.recv_fds(control, 1, 1)
    except BlockingIOError:
        return
    except OSError:
        word, handles = b"", []
    if word == CONNECT and handles:
        service.take(socket.socket(fileno=handles[0]))
        return
    for handle in handles:
        os.close(handle)
    if word in (b"", TERMINATE):  # the launcher is gone, or wants us gone
        _leave(0)


def _leave(status: int) -> None:
    """Ends the process at once, guest and all; the kernel clears its memory before anybody else has it."""
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
