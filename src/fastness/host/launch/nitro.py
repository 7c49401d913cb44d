"""Platform ``nitro``: ``keep.eif`` in an AWS Nitro enclave, started by AWS's own tool, reached by vsock.

``nitro-cli run-enclave`` answers with a JSON document and leaves; the enclave lives on under a process of the tool's. A
debug enclave, whose PCRs are zero, is made of debug images only. Source: aws-nitro-enclaves-cli, ``docs`` and
``src/common/json_output.rs`` (EnclaveRunInfo).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastness.errors import KeepFailed, UsageError
from fastness.host.launch import Root, vsock, waiting
from fastness.host.launch.qemu import Settings
from fastness.host.launch.vsock import Vsock
from fastness.host.machine import Machine, Need, demand, met
from fastness.image import store
from fastness.image.store import Image, load

PROGRAM = "nitro-cli"
TIMEOUT = 120.0
MAX_ANSWER = 64 * 1024
ENCLAVE = re.compile(r"[A-Za-z0-9-]{1,128}")


@dataclass(frozen=True, slots=True)
class Started:
    """What the tool says of a new enclave."""

    enclave: str
    cid: int
    process: int


def started(answer: bytes) -> Started:
    """The tool's answer to ``run-enclave``.

    Raises:
        KeepFailed: it is none.
    """
    try:
        body: dict[str, Any] = json.loads(answer[:MAX_ANSWER])
        found = Started(str(body["EnclaveID"]), int(body["EnclaveCID"]), int(body["ProcessID"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeepFailed(f"{PROGRAM} tells of no enclave", where="run-enclave") from None
    if not ENCLAVE.fullmatch(found.enclave) or not vsock.LEAST_CID <= found.cid <= vsock.MOST_CID or found.process < 1:
        raise KeepFailed(f"{PROGRAM} tells of an enclave that cannot be", where="run-enclave")
    return found


def command(settings: Settings, image: Image, program: str = PROGRAM) -> list[str]:
    """The tool's command line."""
    words = [program, "run-enclave", "--eif-path", str(image.eif), "--memory", str(settings.memory),
             "--cpu-count", str(settings.vcpus)]  # fmt: skip
    return [*words, "--debug-mode"] if image.debug else words


def run(words: list[str]) -> bytes:
    """Standard output of a command that succeeds; KeepFailed with its last words otherwise."""
    try:
        done = subprocess.run(words, capture_output=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KeepFailed(f"{words[0]} cannot be run: {type(error).__name__}") from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise KeepFailed(f"{words[0]} {words[1]} failed", where=lines[-1][:300] if lines else "")
    return done.stdout


class Enclave:
    """A running enclave. Starts in the running event loop."""

    def __init__(self, found: Started, channel: Vsock, end: Callable[[], None], *, debian: bool = False) -> None:
        self.pid = found.process
        self._channel = channel
        self._end = end
        self._debian = debian
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._hello = asyncio.Event()
        self._greeting = asyncio.create_task(channel.run(self._hello.set))
        try:
            self._pidfd = os.pidfd_open(found.process)
            self._loop.add_reader(self._pidfd, self._reap)
        except ProcessLookupError:
            self._conclude()

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._conclude()

    def _conclude(self) -> None:
        """The process is not our child: how it ended nobody tells, and only the tenant's channel can."""
        self._greeting.cancel()
        self._gone.set_result(0 if self._hello.is_set() else 1)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self._gone.done()

    async def ready(self, timeout: float) -> None:
        """Returns when the keep takes connections."""
        if not await waiting.greeted(self._hello, self._gone, timeout):
            what = f"took no connection within {timeout:g} s" if self.alive else "ended while it started"
            if self._debian:
                raise KeepFailed(f"the enclave {what}: it has {store.DEBIAN}", hint=store.ANOTHER)
            raise KeepFailed(f"the enclave {what}", hint=f"{PROGRAM} console, with a debug image, shows why")

    def connect(self) -> socket.socket:
        """A new connection to the keep."""
        if not self.alive:
            raise KeepFailed("the keep is gone")
        return self._channel.open()

    async def ended(self) -> int:
        """0 once an enclave that was ready is gone, 1 for one that never was."""
        return await asyncio.shield(self._gone)

    async def stop(self, grace: float) -> None:
        """Has the tool end it: an enclave cannot be asked."""
        del grace
        if self.alive:
            await asyncio.to_thread(self._end)
            await asyncio.wait_for(self.ended(), TIMEOUT)


class Launcher:
    """Starts ``nitro`` keeps."""

    name = "nitro"

    def __init__(
        self,
        settings: Settings | None = None,
        machine: Machine | None = None,
        connect: Callable[[int], socket.socket] = vsock.dial,
    ) -> None:
        self._settings = (settings or Settings()).checked()
        self._settings.guard.only(self.name, frozenset())
        if self._settings.firmware or self._settings.boot != "direct" or self._settings.accelerator == "tcg":
            raise UsageError("an enclave has no firmware, no other way to boot and no emulation", where="nitro")
        self._machine = machine or Machine()
        self._connect = connect

    @cached_property
    def _image(self) -> Image:
        return load(self._settings.image)

    def needs(self) -> tuple[Need, ...]:
        """The instance, the driver, processors and memory set aside, the tool."""
        here = self._machine
        pool = here.text("sys/module/nitro_enclaves/parameters/ne_cpus")
        return (
            here.device("/dev/nitro_enclaves", "an EC2 instance with enclaves switched on, and its driver loaded"),
            met("processors set aside", bool(pool), pool or "none", "start nitro-enclaves-allocator.service"),
            here.program(PROGRAM, "on Amazon Linux: dnf install aws-nitro-enclaves-cli"),
        )

    def anchors(self) -> tuple[Root, ...]:
        """None: evidence leads to AWS's root."""
        return ()

    def check(self) -> None:
        """Returns if an enclave could be started; KeepFailed or UsageError otherwise."""
        demand(self.name, self.needs())
        command(self._settings, self._image)

    async def launch(self, *, debug: bool = False) -> Enclave:
        """Starts an enclave. Whether it is a debug build is the image's to say."""
        await asyncio.to_thread(self.check)
        if debug and not self._image.debug:
            raise KeepFailed("this image is no debug build", hint="fastness image build --debug")
        program = shutil.which(PROGRAM) or PROGRAM
        found = started(await asyncio.to_thread(run, command(self._settings, self._image, program)))

        def end() -> None:
            run([program, "terminate-enclave", "--enclave-id", found.enclave])

        return Enclave(found, Vsock(found.cid, self._connect), end, debian=not self._image.nitro_kernel)
