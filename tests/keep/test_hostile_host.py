"""A host that lies about everything it carries and answers: the keep may stop, never disclose, never be accepted.

Two liars, each driven by a seed: a relay that alters, drops, repeats and reorders what passes between tenant and keep;
a device that alters its answers. Both ends of the protocol are the real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading

import pytest
import wasmtime

from fastness.devices import exchange
from fastness.errors import FastnessError
from fastness.host.launch.nil import Chip
from fastness.keep.attest import Remote
from fastness.keep.identity import Keep
from fastness.keep.protocol import Service
from fastness.seal.challenger import client_channel
from fastness.seal.transport import Transport
from fastness.tenant import deliver
from fastness.tenant.deliver import Delivery, Refused, Stages
from keep.test_protocol import ANCHORS, DEVELOPMENT, ROOT, Device, Scene, Sound, collect, play, workload

ECHO = wasmtime.wat2wasm("""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "told only to its tenant")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 23))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))))
""")
TOLD = b"told only to its tenant"


class Liar:
    """Carries chunks; from the ``quiet``-th on, one in three is altered in some way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.quiet = self.random.randrange(14)
        self.seen = bytearray()
        self.altered = 0
        self.held = b""

    def chunks(self, data: bytes) -> list[bytes]:
        self.seen += data
        self.quiet -= 1
        if self.quiet > 0 or self.random.random() > 0.34:
            return [data]
        self.altered += 1
        place = self.random.randrange(len(data))
        match self.random.randrange(6):
            case 0:
                return [data[:place] + bytes((data[place] ^ 1 << self.random.randrange(8),)) + data[place + 1 :]]
            case 1:
                return [data[:place] + data[place + 1 :]]
            case 2:
                return [data, data]
            case 3:
                return [data[place:], data[:place]] if place else [data[1:]]
            case 4:
                return [data[:place] + self.random.randbytes(self.random.randrange(1, 40)) + data[place:]]
            case _:
                return [self.random.randbytes(len(data))]

    async def carry(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, 1 << 16):
                for part in self.chunks(data):
                    await loop.sock_sendall(sink, part)
            sink.shutdown(socket.SHUT_WR)


async def through(liar: Liar, stage: Scene) -> bytes:
    """What the tenant gets of its workload through ``liar``."""
    near, near_end = socket.socketpair()
    far, far_end = socket.socketpair()
    for sock in (near_end, far_end):
        sock.setblocking(False)
    stage.service.take(far)
    carrying = [asyncio.create_task(liar.carry(near_end, far_end)), asyncio.create_task(liar.carry(far_end, near_end))]
    transport = Transport(near, client_channel())
    try:
        async with asyncio.timeout(8):
            attested = await deliver.challenge(transport, DEVELOPMENT, ANCHORS, stages=Stages())
            delivery = await Delivery.release(attested, workload(ECHO), Stages())
            _, heard = await collect(delivery)
            return heard
    finally:
        for task in carrying:
            task.cancel()
        for sock in (near_end, far_end):
            sock.close()
        transport.sock.close()


@pytest.mark.parametrize("start", range(0, 48, 12))
def test_a_relay_that_lies_learns_nothing_and_changes_nothing(start: int) -> None:
    async def work() -> None:
        stopped = 0
        for seed in range(start, start + 12):
            liar = Liar(seed)
            device = Device()
            left: list[int] = []
            stage = Scene(Keep("nil", device), None, left, Sound())  # type: ignore[arg-type]
            stage.service = Service(stage.keep, None, left.append, stage.sound)
            try:
                heard = await through(liar, stage)
            except (FastnessError, TimeoutError, deliver.Ending):
                stopped += 1
                heard = b""
            assert heard in (b"", TOLD)
            assert TOLD not in liar.seen
            assert b"_start" not in liar.seen
        assert stopped

    play(work)


class LyingChip:
    """Answers of a sound chip, altered by a seed."""

    def __init__(self, seed: int, sock: socket.socket) -> None:
        self.random = random.Random(seed)
        self.chip = Chip(lambda: ROOT, debug=False)
        self.lied = False
        self.sock = sock
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while head := self.sock.recv(exchange.HEAD, socket.MSG_WAITALL):
                op, size = exchange.split(head, exchange.MAX_REQUEST)
                answer = exchange.answer(op, self.sock.recv(size, socket.MSG_WAITALL) if size else b"", self.chip)
                self.sock.sendall(self.lie(answer))
        self.sock.close()

    def lie(self, answer: bytes) -> bytes:
        if self.random.random() < 0.6:
            return answer
        self.lied = True
        place = self.random.randrange(len(answer))
        match self.random.randrange(5):
            case 0:
                return answer[:place] + bytes((answer[place] ^ 1 << self.random.randrange(8),)) + answer[place + 1 :]
            case 1:
                self.sock.shutdown(socket.SHUT_RD)
                return answer[:place]
            case 2:
                return b"\0" + self.random.randrange(1 << 32).to_bytes(4, "big") + answer[5:]
            case 3:
                body = self.random.randbytes(self.random.randrange(200))
                return b"\0" + len(body).to_bytes(4, "big") + body
            case _:
                return b"\1\0\0\0\4nope"


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_a_device_that_lies_is_never_believed(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastness.keep.attest.DEVICE_TIMEOUT", 0.3)

    async def work() -> None:
        believed = 0
        for seed in range(start, start + 20):
            ours, theirs = socket.socketpair()
            chip = LyingChip(seed, theirs)
            left: list[int] = []
            try:
                keep = Keep("nil", Remote(ours))
                stage = Scene(keep, Service(keep, None, left.append, Sound()), left)
                await asyncio.wait_for(stage.attest(), 8)
            except (FastnessError, Refused):
                assert chip.lied
            else:
                believed += 1
                assert not chip.lied
            ours.close()
            chip.thread.join(5)
            assert not chip.thread.is_alive()
        assert believed

    play(work)
