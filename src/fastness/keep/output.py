"""What a workload says, kept until its owner takes it: a bounded buffer per keep, and whoever listens now.

An attached owner listens from the start, so the buffer stays empty and the guest feels back-pressure through its pipe.
A detached workload writes into the buffer; the oldest bytes make room, and the reader is told how many were lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from fastness.errors import FastnessError
from fastness.seal.frames import Type

MAX_BUFFER = 4 * 1024 * 1024

Sink = Callable[[Type, bytes], Awaitable[None]]


class Output:
    """Ordered output of one workload: chunks of (STDOUT | STDERR | LOG, bytes)."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Type, bytes]] = deque()
        self._size = 0
        self._lost = 0
        self._sink: Sink | None = None
        self._turn = asyncio.Lock()
        self.finished = asyncio.Event()

    async def write(self, kind: Type, data: bytes) -> None:
        """Passes ``data`` to the listener, waiting for it; keeps it when there is none."""
        async with self._turn:
            if self._sink is not None:
                try:
                    await self._sink(kind, data)
                    return
                except (FastnessError, OSError):  # it hung up: that is no concern of the workload's
                    self._sink = None
            self._kept.append((kind, data))
            self._size += len(data)
            while self._size > MAX_BUFFER:
                _, oldest = self._kept.popleft()
                self._size -= len(oldest)
                self._lost += len(oldest)

    async def attach(self, sink: Sink, *, follow: bool) -> None:
        """Gives ``sink`` everything kept so far; with ``follow`` also what comes, until the workload ended.

        What was given is forgotten: output is read once.
        """
        async with self._turn:
            if self._lost:
                await sink(Type.LOG, f"{self._lost} bytes of output were lost: the buffer holds {MAX_BUFFER}".encode())
                self._lost = 0
            while self._kept:
                kind, data = self._kept[0]
                await sink(kind, data)
                self._kept.popleft()
                self._size -= len(data)
            if follow:
                self._sink = sink
        if follow:
            try:
                await self.finished.wait()
            finally:
                self.detach(sink)

    def listen(self, sink: Sink) -> None:
        """Makes ``sink`` the listener from the start."""
        self._sink = sink

    def detach(self, sink: Sink) -> None:
        """``sink`` no longer listens."""
        if self._sink == sink:  # a bound method is another object each time
            self._sink = None
