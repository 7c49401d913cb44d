"""One workload on its way: assets and secrets laid out, compiled, run in a thread, its pipes carried, its time bounded.

The guest runs in a thread without the interpreter's lock; the event loop stays awake to carry bytes, watch the clock
and end the process. A runaway guest needs no metering to be stopped: the keep's process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path

from fastness.errors import FastnessError, KeepFailed
from fastness.keep import runtime, seats, stage
from fastness.keep.integrity import Integrity
from fastness.keep.output import Output
from fastness.seal.channel import RECORD
from fastness.seal.frames import HEAD_SIZE, Type
from fastness.seal.messages import Ended, Workload
from fastness.streams.ready import ready
from fastness.workload import manifest as manifests
from fastness.workload.limits import Limits

PIPE_SIZE = 1 << 20
READ = 7 * RECORD - HEAD_SIZE
"""Bytes taken from a pipe at once: their message fills its records. Sixteen records are not quicker than seven."""

STDIN_WINDOW = 1 << 20
"""How many bytes of stdin the keep takes ahead of the guest."""


class Execution:
    """Runs one workload and carries its input and output."""

    def __init__(
        self, workload: Workload, root: Path | None, output: Output, integrity: Integrity, *, enclave: bool = False
    ) -> None:
        self._workload = workload
        self._integrity = integrity
        self._root = root
        self._output = output
        self._stdin, self._stdin_end = _pipe()
        self._stdout_end, self._stdout = _pipe()
        self._stderr_end, self._stderr = _pipe()
        self._enclave = enclave
        if enclave:
            self._stdin, self._stdout, self._stderr = seats.take((self._stdin, self._stdout, self._stderr))
        for end in (self._stdin_end, self._stdout_end, self._stderr_end):  # ours; the guest's ends block
            os.set_blocking(end, False)
        self._pending: asyncio.Queue[bytes] = asyncio.Queue()
        self._window = STDIN_WINDOW
        self._told = False
        """Whether the end of input was told."""

        self._compiled: runtime.Compiled | None = None
        self._limits = Limits()
        self._seen: Path | None = None
        self.clock = "host"
        self.grace = 0
        self.consumed: asyncio.Queue[int] = asyncio.Queue()

    async def prepare(self) -> None:
        """Reads the configuration, lays out files, compiles.

        Raises:
            FastnessError: the workload cannot run as its configuration asks.
        """
        workload = self._workload
        manifest = manifests.from_cbor(workload.configuration)
        self._limits = manifest.limits
        self.clock = manifest.clock
        self.grace = manifest.limits.grace
        self._seen = self._root if stage.needs_root(manifest) else None
        if self._seen is not None:
            stage.write(self._seen, manifest, workload.assets, workload.secrets)
        elif stage.needs_root(manifest):
            raise KeepFailed(
                "this host's kernel offers the keep no private memory for assets and secret files",
                hint="give secrets as environment variables, or use a host whose kernel offers user namespaces",
            )
        else:
            stage.check(manifest, workload.assets, workload.secrets)
        self._compiled = await asyncio.to_thread(self._compile, manifest)

    def _compile(self, manifest: manifests.Manifest) -> runtime.Compiled:
        """Compiles; the code is measured before anything of it runs."""
        with self._integrity.growing():
            compiled = runtime.compile(self._workload.wasm, manifest, enclave=self._enclave)
            self._integrity.hold(compiled)
        return compiled

    def stdin(self, data: bytes) -> bool:
        """Queues input (empty: its end); False where it is more than there was credit for, or comes after the end."""
        if self._told:
            return False
        self._told = not data
        self._window -= len(data)
        self._pending.put_nowait(data)
        return self._window >= 0

    async def run(self) -> Ended:
        """Runs to the end; never raises for anything the workload does."""
        if self._compiled is None:
            raise RuntimeError("prepare first")
        feeding = asyncio.create_task(self._feed())
        carrying = [
            asyncio.create_task(self._carry(self._stdout_end, Type.STDOUT)),
            asyncio.create_task(self._carry(self._stderr_end, Type.STDERR)),
        ]
        guest = asyncio.create_task(asyncio.to_thread(self._guest, self._compiled))
        try:
            async with asyncio.timeout(self._limits.wall_clock):
                ended = await asyncio.shield(guest)
                await asyncio.gather(*carrying)
        except TimeoutError:
            ended = Ended(
                "limit",
                what=f"the workload ran longer than its {self._limits.wall_clock} s",
                where="limits.wall_clock",
                hint="raise wall_clock in [limits] of fastness.toml",
            )
        finally:
            feeding.cancel()
            for task in carrying:
                task.cancel()
        return ended

    def _guest(self, compiled: runtime.Compiled) -> Ended:
        try:
            secrets = self._workload.secrets
            return _told(compiled.run(self._stdin, self._stdout, self._stderr, self._seen, secrets))
        except FastnessError as error:
            return Ended("failed", error.exit_code, error.what, error.where, error.hint)
        finally:
            # the pumps see the end of output only when nobody can write any more
            if self._enclave:
                seats.leave()
            else:
                for end in (self._stdin, self._stdout, self._stderr):
                    os.close(end)

    async def _feed(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._pending.get():
                await _write(self._stdin_end, data)
                self._window += len(data)
                self.consumed.put_nowait(len(data))
        os.close(self._stdin_end)
        while data := await self._pending.get():  # a guest that reads no more still lets the tenant finish sending
            self._window += len(data)
            self.consumed.put_nowait(len(data))

    async def _carry(self, end: int, kind: Type) -> None:
        try:
            while data := await _read(end):
                await self._output.write(kind, data)
        finally:
            os.close(end)


def _told(ended: runtime.Ended) -> Ended:
    """The end of a run as the protocol's message says it."""
    hint = f"raise {ended.key} in fastness.toml" if ended.key else ""
    return Ended(ended.kind, ended.code or 0, ended.what, "\n".join(ended.backtrace), hint)


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return reading, writing


async def _read(end: int) -> bytes:
    """What the pipe holds, at least a byte; nothing at its end."""
    while True:
        try:
            return os.read(end, READ)
        except BlockingIOError:
            await ready(end, writing=False)


async def _write(end: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(end, view) :]
        except BlockingIOError:
            await ready(end, writing=True)
