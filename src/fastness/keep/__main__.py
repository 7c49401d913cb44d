"""The first process of a keep: isolates itself, makes its keys, says that it is ready, takes connections.

Started by a launcher with two sockets: ``control``, over which connections arrive as file descriptors, and ``device``,
over which evidence is asked for. Everything is imported before the doors close: after ``lock_down`` nothing opens or
loads any more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING

from fastness.sandbox import confine

if TYPE_CHECKING:
    from fastness.keep.protocol import Service

CONNECT, TERMINATE, READY = b"C", b"T", b"R"


def main(argv: list[str]) -> None:
    """Runs a keep until its work is done; never returns."""
    parser = argparse.ArgumentParser(prog="fastness-keep")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--device", type=int, required=True)
    parser.add_argument("--platform", required=True)
    parser.add_argument("--tee", required=True)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--flagged", default="", help="log of a compromised keep, events in hexadecimal, by commas")
    options = parser.parse_args(argv)
    isolated = confine.isolate(keep=(0, 1, 2, options.control, options.device))
    asyncio.run(_serve(options, isolated))


async def _serve(options: argparse.Namespace, isolated: confine.Isolated) -> None:
    # imported after isolation, which must happen in a process with one thread, and before the doors close
    import concurrent.futures.thread  # noqa: F401 - asyncio.to_thread loads it on first use, which would be too late

    from fastness.keep.attest import Remote
    from fastness.keep.identity import Keep
    from fastness.keep.integrity import Integrity
    from fastness.keep.protocol import Service
    from fastness.seal import log

    control = socket.socket(fileno=options.control)
    control.setblocking(False)
    device = Remote(options.tee, socket.socket(fileno=options.device))
    flagged = tuple(log.parse_measured(bytes.fromhex(item)) for item in options.flagged.split(",") if item)
    keep = Keep(options.platform, device, debug=options.debug, flagged=flagged)
    integrity = Integrity()
    confined = confine.lock_down(isolated)
    with integrity.growing():
        service = Service(keep, confined.root, _leave, integrity)
    watching = asyncio.create_task(service.watch())
    asyncio.get_running_loop().add_reader(control, _admit, control, service)
    control.send(READY)
    # from here on nothing reaches the host in clear: a traceback could carry what the workload was given
    os.dup2(sys.__stdout__.fileno() if sys.__stdout__ else 1, 2)
    await watching


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
