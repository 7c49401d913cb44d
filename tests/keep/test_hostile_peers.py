"""Peers that are hostile or careless: what one connection costs a keep is bounded, and costs the others nothing."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest
import wasmtime
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fastness.errors import KeepFailed, ProtocolError, RemoteError
from fastness.keep.execution import Execution
from fastness.keep.output import Output
from fastness.keep.protocol import MAX_CONVERSATIONS
from fastness.seal import log, transport
from fastness.seal.challenger import client_context, decode_refusal
from fastness.seal.channel import Channel, identity, server_context
from fastness.seal.frames import MAX_RELEASE, Reader, Type
from fastness.seal.transport import Closed, Transport
from fastness.tenant import deliver
from fastness.tenant.deliver import Delivery, Stages
from fastness.workload.limits import Limits
from fastness.workload.manifest import Manifest
from keep.test_protocol import Device, Scene, Sound, collect, scene, workload
from turns import others

PATIENT = wasmtime.wat2wasm("""
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $r (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 16))
    (drop (call $r (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 12)))))
""")
"""Runs until its input ends."""

CHATTY = wasmtime.wat2wasm("""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65536))
    (loop $again (br_if $again (i32.eqz (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))))))
""")
"""Writes without end, until it cannot."""

OWNER = b"\x07" * 32


def play(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), 60)

    asyncio.run(bounded())


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
        await deliver.attach(await stage.attest(), OWNER, "end")
        await asyncio.wait_for(stage.service._output.finished.wait(), 20)
        told = await refused(await announced(stage, MAX_RELEASE, 0))
        assert told == "a keep that is ended cannot become loading"

    play(work)


class KeyUpdates:
    """A peer that asks for new keys again and again (RFC 8446 section 4.6.3), which no library offers to do at will."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def _expand(self, label: bytes, size: int) -> bytes:
        info = size.to_bytes(2, "big") + bytes((6 + len(label),)) + b"tls13 " + label + b"\0"
        return HKDFExpand(hashes.SHA384(), size, info).derive(self._secret)

    def next(self) -> bytes:
        """The record that asks, under the keys that the one before it brought."""
        message = b"\x18\0\0\1\1" + b"\x16"
        head = b"\x17\3\3" + (len(message) + 16).to_bytes(2, "big")
        record = head + AESGCM(self._expand(b"key", 32)).encrypt(self._expand(b"iv", 12), message, head)
        self._secret = self._expand(b"traffic upd", 48)
        return record


async def joined() -> tuple[Transport, Transport, KeyUpdates]:
    """A keep's end, a peer's end, and the peer's way to ask for keys."""
    secrets: list[bytes] = []
    context = client_context()
    context.set_keylog_callback(lambda _, line: secrets.append(line))
    one, other = socket.socketpair()
    keep = Transport(one, Channel(server_context(identity(ec.generate_private_key(ec.SECP256R1()))), server=True))
    peer = Transport(other, Channel(context, server=False))
    await asyncio.gather(keep.handshake(), peer.handshake())
    told = next(line for line in secrets if line.startswith(b"CLIENT_TRAFFIC_SECRET_0"))
    return keep, peer, KeyUpdates(bytes.fromhex(told.split()[2].decode()))


def test_what_a_peer_makes_a_keep_answer_is_sent_and_not_kept() -> None:
    """A stranger's requests for new keys were answered in memory, for as long as he liked."""

    async def work() -> None:
        keep, peer, updates = await joined()
        hearing = asyncio.create_task(keep.receive(Type.CHALLENGE))
        for _ in range(300):
            await asyncio.get_running_loop().sock_sendall(peer.sock, updates.next())
        await asyncio.sleep(0.05)
        assert keep.channel.outgoing() == b""
        assert len(peer.sock.recv(1 << 20)) > 300 * 20
        hearing.cancel()

    play(work)


def test_seats_of_silent_connections_are_given_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers who say nothing keep a keep's tenant out for as long as a handshake may take, and no longer."""

    async def work() -> None:
        stage = scene()
        with monkeypatch.context() as short:
            short.setattr(Transport.handshake, "__defaults__", (0.05,))
            silent = [stage.connect() for _ in range(MAX_CONVERSATIONS)]
            await asyncio.sleep(0)  # each has begun to wait
        with pytest.raises(RemoteError, match="the connection was c"):
            await stage.connect().handshake()
        await asyncio.wait(stage.service._conversations)
        assert (await stage.attest()).statement.workload == b""
        assert not stage.left
        for peer in silent:
            peer.sock.close()

    play(work)


def test_a_peer_that_never_stops_sending_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bytes are always there, reading them never waited, and no clock ran out."""
    monkeypatch.setattr(transport, "CHUNK", 1024)

    async def work() -> None:
        keep, peer, updates = await joined()
        async with others() as turns:
            peer.sock.sendall(b"".join(updates.next() for _ in range(1000)))
            peer.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(Closed):
                await keep.receive(Type.CHALLENGE)
        assert turns.taken > 1

    play(work)


def test_a_message_in_tiny_records_takes_no_more_memory_than_its_bytes() -> None:
    """Two bytes a record took twenty times what they hold, and the limit of a message is told in bytes."""
    reader = Reader(frozenset({Type.RELEASE}))
    reader.feed(bytes((Type.RELEASE,)) + (1 << 22).to_bytes(4, "big"))
    tracemalloc.start()
    for number in range(1 << 18):
        reader.feed(number.to_bytes(4, "big")[2:])
        assert reader.next() is None
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * (1 << 19)
    reader.feed(bytes((1 << 22) - (1 << 19)))
    kind, body = reader.next() or (None, b"")
    assert kind is Type.RELEASE
    assert body[:6] == b"\0\0\0\1\0\2"
    assert len(body) == 1 << 22
    assert reader.idle


def test_a_reader_that_hangs_up_while_it_is_written_to_takes_no_output_with_it() -> None:
    """The workload's stream was closed by the failure to write to somebody else."""

    async def work() -> None:
        output = Output()

        async def gone(kind: Type, data: bytes) -> None:
            raise Closed(clean=False)

        output.listen(gone)
        for word in (b"one", b"two"):
            await output.write(Type.STDOUT, word)
        heard: list[bytes] = []

        async def here(kind: Type, data: bytes) -> None:
            heard.append(data)

        await output.attach(here, follow=False)
        assert heard == [b"one", b"two"]

    play(work)


def test_a_detached_workload_outlives_a_reader_that_was_killed() -> None:
    async def work() -> None:
        stage = scene()
        manifest = Manifest(limits=Limits(grace=30))
        await Delivery.release(await stage.attest(), workload(CHATTY, manifest, attached=False), Stages())
        follower = await stage.attest()
        await deliver.attach(follower, OWNER, "logs", follow=True)
        await follower.transport.receive(Type.STDOUT, Type.LOG, timeout=20)
        await asyncio.sleep(0.2)  # it reads no more: what is written to it waits
        follower.transport.sock.close()
        await asyncio.sleep(0.2)
        again = await stage.attest()
        await deliver.attach(again, OWNER, "logs", follow=True)
        for _ in range(100):
            await again.transport.receive(Type.STDOUT, Type.LOG, timeout=20)
        assert not stage.service._output.finished.is_set()
        await deliver.attach(await stage.attest(), OWNER, "stop")
        while not stage.left:
            await asyncio.sleep(0.01)

    play(work)


def test_input_after_its_end_breaks_the_protocol() -> None:
    """Ends of input are empty, so no credit bounded how many of them a keep had to remember."""

    async def work() -> None:
        execution = Execution(workload(), None, Output(), Sound())
        assert execution.stdin(b"x")
        assert execution.stdin(b"")
        assert not execution.stdin(b"")
        assert execution._pending.qsize() == 2

    play(work)


def test_a_keep_whose_device_fails_while_it_measures_says_so_and_ends() -> None:
    """It stood half measured for ever: it took no other workload, and nobody was its owner."""

    class Broken(Device):
        def extend(self, event: log.Event) -> None:
            raise KeepFailed("the device failed: no register")

    async def work() -> None:
        stage = scene(Broken())
        with pytest.raises(ProtocolError, match="no register"):
            await Delivery.release(await stage.attest(), workload(), Stages())
        while not stage.left:
            await asyncio.sleep(0.01)
        assert stage.left == [KeepFailed.exit_code]

    play(work)
