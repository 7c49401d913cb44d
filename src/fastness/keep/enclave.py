"""The keep as one process: Gramine's, inside an SGX enclave. It holds its device, its keys and the workload at once.

::

    host ═ TCP on 127.0.0.1, port by the kernel ═ this process ─ /dev/attestation ─▶ quote
           (ciphertext)

Gramine gives a process no descriptors of another one, so there is no second. What PID 1 keeps apart in a machine is
here kept apart by WebAssembly alone: namespaces, seccomp and Landlock are the host kernel's, which is not trusted, and
Gramine emulates none. In their place: files are those of the measured manifest and a tmpfs inside the enclave, no
process can be started, and the host reads nothing. What the host gives is the end of standard input (to end the keep);
what it gets is one line, ``ready PORT``, then silence. Arguments and environment are the manifest's.

Source: Gramine documentation 1.9, "Manifest syntax", "Attestation", "Features".
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import threading
import traceback
from pathlib import Path

from fastness.devices import REPORT_DATA_SIZE, Quote, gramine
from fastness.errors import FastnessError, KeepFailed
from fastness.keep import seats
from fastness.keep.fresh import FreshIntegrity
from fastness.keep.hardware import Hardware
from fastness.keep.identity import Keep
from fastness.keep.protocol import Service
from fastness.seal import log
from fastness.streams.mux import MAX_STREAMS

DEBUG = "debug"
FAILED = 7
"""Exit status of a keep that could not start, as :class:`~fastness.errors.KeepFailed` has it."""

ROOT = Path("/")
FILES = Path("/tmp/root")  # noqa: S108 - a tmpfs inside the enclave, which nobody else sees
"""Where assets and secret files are laid out: the manifest mounts a tmpfs there."""

WORKERS = 6
"""Threads for what blocks. An enclave has a fixed number of them, and Python would take more on a larger machine."""


class Own:
    """The device, in the process that asks it. Every method raises what it raises as a FastnessError."""

    platform = tee = "sgx"

    def __init__(self, *, debug: bool) -> None:
        if not gramine.present(ROOT):
            raise KeepFailed("no /dev/attestation is here: this is no enclave of Gramine's")
        self.debug = debug
        self._hardware = Hardware("gramine", self.tee, debug=debug)
        self.quote(bytes(REPORT_DATA_SIZE))  # a keep that cannot prove itself does not start

    def quote(self, report_data: bytes) -> Quote:
        """A quote over ``report_data``."""
        return self._hardware.quote(report_data)

    def extend(self, event: log.Event) -> None:
        """An enclave has no register: the log is bound by the keep's signature, under its attested key, alone."""
        self._hardware.extend(log.measured(event))

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """There is no TPM here."""
        return self._hardware.activate(credential, secret)

    def set_time(self, milliseconds: int) -> None:
        """The time in an enclave is the host's word, each time it is asked for."""
        del milliseconds
        raise KeepFailed("a keep on sgx is told the time by the host, which is not trusted, and cannot set it")


def main(argv: list[str]) -> None:
    """Runs the keep until its work is done or the host closes standard input; never returns."""
    try:
        asyncio.run(_serve(debug=DEBUG in argv))
    except FastnessError as error:
        os.write(2, f"error: {error.what}\n".encode())
    except BaseException:  # before the keep is ready nothing secret is here; afterwards standard error is closed
        traceback.print_exc()
    os._exit(FAILED)


async def _serve(*, debug: bool) -> None:
    os.umask(0o077)
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(WORKERS))
    device = Own(debug=debug)
    keep = Keep(device.platform, device, debug=debug)
    integrity = FreshIntegrity()
    FILES.mkdir()
    with integrity.growing():
        service = Service(keep, FILES, os._exit, integrity, enclave=True)
    listening = socket.create_server(("127.0.0.1", 0), backlog=MAX_STREAMS)
    listening.setblocking(False)
    threading.Thread(target=_until_hung_up, args=(os.dup(0),), name="host", daemon=True).start()
    os.write(1, b"ready %d\n" % listening.getsockname()[1])
    seats.leave()  # nothing reaches the host in clear any more: a traceback could carry what the workload was given
    await asyncio.gather(service.watch(), _accept(listening, service))


async def _accept(listening: socket.socket, service: Service) -> None:
    while True:
        sock, _ = await asyncio.get_running_loop().sock_accept(listening)
        service.take(sock)


def _until_hung_up(handle: int) -> None:
    """The host's one word: the end of standard input ends the keep, whoever of them goes first."""
    while os.read(handle, 1):
        pass
    os._exit(0)
