"""Peers that are hostile or careless: what one connection costs a keep is bounded, and costs the others nothing."""

from __future__ import annotations

import asyncio

import pytest
import wasmtime

from fastness.errors import ProtocolError
from fastness.seal.challenger import decode_refusal
from fastness.seal.frames import MAX_RELEASE, Type
from fastness.seal.transport import Transport
from fastness.tenant import deliver
from fastness.tenant.deliver import Delivery, Stages
from fastness.workload.limits import Limits
from fastness.workload.manifest import Manifest
from keep.test_protocol import Scene, collect, play, scene, workload

PATIENT = wasmtime.wat2wasm("""
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $r (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 16))
    (drop (call $r (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 12)))))
""")
"""Runs until its input ends."""


async def announced(stage: Scene, size: int, sent: int) -> Transport:
    """A stranger who was shown evidence, announced a release of ``size`` bytes, and sent ``sent`` of them."""
    stranger = (await stage.attest()).transport
    stranger.channel.send(bytes((Type.RELEASE,)) + size.to_bytes(4, "big") + bytes(sent))
    await asyncio.get_running_loop().sock_sendall(stranger.sock, stranger.channel.outgoing())
    return stranger


async def refused(stranger: Transport) -> str:
    _, body = await stranger.receive(Type.REFUSAL, timeout=20)
    return decode_refusal(body).what


def test_strangers_can_make_a_keep_hold_one_release_and_no_more() -> None:
    async def work() -> None:
        stage = scene()
        first = await announced(stage, MAX_RELEASE, 1 << 20)
        await asyncio.sleep(0.05)
        for _ in range(8):  # by the head alone: nothing of the body came
            assert await refused(await announced(stage, MAX_RELEASE, 0)) == "another release is on its way to this keep"
        with pytest.raises(ProtocolError, match="another release is on its way"):
            await Delivery.release(await stage.attest(), workload(), Stages())
        first.sock.close()
        await asyncio.sleep(0.05)
        delivery = await Delivery.release(await stage.attest(), workload(), Stages())
        assert (await collect(delivery))[0].outcome == "exit"

    play(work)


def test_a_release_that_does_not_open_gives_its_place_back() -> None:
    async def work() -> None:
        stage = scene()
        assert "not sealed to this keep" in await refused(await announced(stage, 100, 100))
        await asyncio.sleep(0.05)
        await Delivery.release(await stage.attest(), workload(), Stages())

    play(work)


def test_a_keep_that_has_a_workload_takes_nothing_large_from_anybody() -> None:
    """It was one more byte of a release that a stranger could end another's workload by, for lack of memory."""

    async def work() -> None:
        stage = scene()
        manifest = Manifest(limits=Limits(grace=30))
        await Delivery.release(await stage.attest(), workload(PATIENT, manifest, attached=False), Stages())
        told = await refused(await announced(stage, MAX_RELEASE, 0))
        assert told == "a keep that is running cannot become loading"
        await deliver.attach(await stage.attest(), b"\x07" * 32, "end")
        await asyncio.wait_for(stage.service._output.finished.wait(), 20)
        told = await refused(await announced(stage, MAX_RELEASE, 0))
        assert told == "a keep that is ended cannot become loading"

    play(work)
