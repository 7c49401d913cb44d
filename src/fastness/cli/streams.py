"""A workload's streams at the terminal: our stdin or a file in, its stdout and stderr out, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from fastness.cli.words import printable
from fastness.errors import UsageError
from fastness.seal.frames import Type

CHUNK = 256 * 1024
PIPE_SIZE = 1 << 20


async def source(name: str | None) -> AsyncIterator[bytes]:
    """The chunks of ``name``: a file, ``-`` for our own stdin, None for nothing."""
    if name is None:
        return
    try:
        handle = os.dup(0) if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"the input cannot be read: {error.strerror}", where=name) from None
    try:
        while data := await asyncio.to_thread(os.read, handle, CHUNK):
            yield data
    except OSError as error:
        raise UsageError(f"the input cannot be read: {error.strerror}", where=name) from None
    finally:
        os.close(handle)


def check_source(name: str | None) -> None:
    """Refuses an input that cannot be read, before a host is asked."""
    if name not in (None, "-") and not Path(str(name)).exists():
        raise UsageError("the input is not there", where=str(name), hint="--stdin FILE, or - for our own")


def widen(handle: int) -> None:
    """Gives a pipe room for many messages: in one of 64 KiB, writer and reader wait for each other at every message."""
    with contextlib.suppress(OSError, AttributeError):  # no pipe, too many of them, or another system than Linux
        fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, max(PIPE_SIZE, fcntl.fcntl(handle, fcntl.F_GETPIPE_SZ)))


async def show(kind: Type, data: bytes) -> None:
    """Writes one chunk of output where it belongs."""
    if kind is Type.LOG:
        sys.stderr.write(f"keep: {printable(data.decode('utf-8', 'replace'))}\n")
        return
    stream = sys.stdout if kind is Type.STDOUT else sys.stderr
    stream.flush()
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(stream.fileno(), view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(
            f"the output cannot be written: {error.strerror}", hint="make room; nothing more was read"
        ) from None
