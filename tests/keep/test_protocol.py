"""Keep protocol v1, both ends in one process: what it refuses, and the relay of genuine evidence."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from cryptography.hazmat.primitives.asymmetric import ec

from fastness.appraise import policy as policies
from fastness.devices import Quote
from fastness.errors import KeepFailed, NotGenuine, ProtocolError, RemoteError
from fastness.host.launch.nil import Chip
from fastness.host.software_root import SoftwareRoot
from fastness.keep import protocol
from fastness.keep.execution import STDIN_WINDOW, Execution
from fastness.keep.identity import Keep
from fastness.keep.integrity import Integrity
from fastness.keep.output import Output
from fastness.keep.protocol import Service, _hear
from fastness.keep.states import ABANDONED, COMPROMISED, State
from fastness.pki.anchors import Anchors, from_key
from fastness.seal import binding, log
from fastness.seal.challenger import (
    client_channel,
    decode_ended,
    decode_refusal,
    decode_statement,
    extend,
    replay,
    seal,
)
from fastness.seal.channel import Channel, identity, server_context
from fastness.seal.frames import MAX_DATA, Type
from fastness.seal.messages import Challenge, Ended, Statement, Workload, credit, encode_evidence
from fastness.seal.transport import Closed, Transport
from fastness.tenant import deliver
from fastness.tenant.deliver import Attested, Delivery, Ending, Refused, Stages
from fastness.wire import x509
from fastness.workload.limits import Limits
from fastness.workload.manifest import Manifest

LAUNCH = b"\x05" * 48
ROOT = SoftwareRoot(ec.generate_private_key(ec.SECP256R1()), b"\x06" * 16)
ANCHORS = Anchors((from_key("nil", "test", x509.parse_public_key(ROOT.public_key), simulated=True),))
DEVELOPMENT = policies.load("development")
NOTHING = wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))')


class Device(Chip):
    """A device that signs what it is asked for, or what ``lie`` makes of it."""

    tee = "nil"

    def __init__(self, root: SoftwareRoot = ROOT) -> None:
        super().__init__(lambda: root, debug=False)
        self.root = root
        self.register = bytes(48)
        self.lie: Callable[[bytes, bytes], tuple[bytes, bytes]] = lambda report, register: (report, register)

    def extend(self, event: log.Event) -> None:
        self.register = extend(self.register, log.measured(event))

    def quote(self, report_data: bytes) -> Quote:
        report_data, register = self.lie(report_data, self.register)
        return Quote("nil", self.root.sign(report_data, LAUNCH, register, debug=False))


class Sound(Integrity):
    """Code that is as it was, unless ``trouble`` says otherwise: the tests' own process loads things as it goes."""

    def __init__(self) -> None:
        self.trouble = ""

    def growing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def check(self) -> str:
        return self.trouble


@dataclass
class Scene:
    """A keep that takes connections, and how often it left."""

    keep: Keep
    service: Service
    left: list[int] = field(default_factory=list)
    sound: Sound = field(default_factory=Sound)

    def connect(self) -> Transport:
        ours, theirs = socket.socketpair()
        self.service.take(theirs)
        return Transport(ours, client_channel())

    async def attest(self, policy: policies.Policy = DEVELOPMENT, anchors: Anchors = ANCHORS) -> Attested:
        return await deliver.challenge(self.connect(), policy, anchors, stages=Stages())


def scene(device: Device | None = None, root: Path | None = None) -> Scene:
    left: list[int] = []
    keep = Keep("nil", device or Device())
    sound = Sound()
    return Scene(keep, Service(keep, root, left.append, sound), left, sound)


def workload(wasm: bytes = NOTHING, manifest: Manifest | None = None, **changed: Any) -> Workload:
    given = Workload(wasm, (manifest or Manifest()).to_cbor(), {}, {}, b"\x07" * 32, attached=True)
    return given._replace(**changed)


def play(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


async def collect(delivery: Delivery) -> tuple[Any, bytes]:
    heard = b""

    async def write(kind: Type, data: bytes) -> None:
        nonlocal heard
        heard += data

    return await delivery.carry(write), heard


def test_a_workload_is_measured_run_and_reported_later() -> None:
    async def work() -> None:
        stage = scene()
        attested = await stage.attest()
        assert attested.statement.workload == b""
        given = workload(attached=False)
        await Delivery.release(attested, given, Stages())
        again = await stage.attest()
        assert again.statement.workload == given.digest
        assert [event.kind for event in again.statement.log] == [log.WORKLOAD, log.CONFIGURATION]
        assert again.decision.claims.measurements["runtime"] == replay(again.statement.log).hex()

    play(work)


def test_a_policy_that_never_accepts_nil_is_told_before_any_evidence() -> None:
    async def work() -> None:
        with pytest.raises(Refused) as refused:
            await scene().attest(policies.load("default"))
        verdict = refused.value.verdict
        assert not verdict.accepted
        assert verdict.decided_by == "policy.evidence-type"
        assert verdict.against[0].hint

    play(work)


def test_without_its_anchor_the_evidence_is_not_genuine() -> None:
    async def work() -> None:
        with pytest.raises(NotGenuine, match="no software root") as error:
            await scene().attest(anchors=Anchors())
        assert error.value.check == "nil.anchor"
        other = Device(SoftwareRoot(ec.generate_private_key(ec.SECP256R1()), bytes(16)))
        with pytest.raises(NotGenuine) as error:
            await scene(other).attest()
        assert error.value.check == "nil.signature"

    play(work)


async def relay_evidence(stage: Scene, victim: socket.socket) -> None:
    """The man in the middle: his own TLS towards the tenant, a genuine keep behind him, its evidence passed on."""
    mine = server_context(identity(ec.generate_private_key(ec.SECP256R1())))
    front = Transport(victim, Channel(mine, server=True))
    back = stage.connect()
    await asyncio.gather(front.handshake(), back.handshake())
    _, challenge = await front.receive(Type.CHALLENGE)
    await back.send(Type.CHALLENGE, challenge)
    _, evidence = await back.receive(Type.EVIDENCE)
    await front.send(Type.EVIDENCE, evidence)
    await front.receive(Type.RELEASE, timeout=5)


def test_a_man_in_the_middle_with_genuine_evidence_gets_nothing() -> None:
    async def work() -> None:
        stage = scene()
        ours, victim = socket.socketpair()
        middle = asyncio.create_task(relay_evidence(stage, victim))
        transport = Transport(ours, client_channel())
        with pytest.raises(NotGenuine) as error:
            await deliver.challenge(transport, DEVELOPMENT, ANCHORS, stages=Stages())
        assert error.value.check == "binding.report-data"
        await transport.close()
        with pytest.raises(RemoteError):
            await middle

    play(work)


def test_a_man_in_the_middle_with_the_same_exporter_still_has_the_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the exporter broken, the key of the session would still not be the attested one."""
    monkeypatch.setattr(Channel, "exporter", lambda self, nonce: b"\x01" * 32)

    async def work() -> None:
        stage = scene()
        ours, victim = socket.socketpair()
        middle = asyncio.create_task(relay_evidence(stage, victim))
        transport = Transport(ours, client_channel())
        with pytest.raises(NotGenuine) as error:
            await deliver.challenge(transport, DEVELOPMENT, ANCHORS, stages=Stages())
        assert error.value.check == "binding.session-key"
        await transport.close()
        with pytest.raises(RemoteError):
            await middle

    play(work)


@pytest.mark.parametrize(
    ("lie", "check"),
    [
        (lambda report, register: (bytes((report[0] ^ 1,)) + report[1:], register), "binding.report-data"),
        (lambda report, register: (report, b"\x01" * 48), "binding.log"),
    ],
)
def test_evidence_about_something_else_is_not_genuine(lie: Any, check: str) -> None:
    async def work() -> None:
        device = Device()
        device.lie = lie
        with pytest.raises(NotGenuine) as error:
            await scene(device).attest()
        assert error.value.check == check

    play(work)


async def altered(change: Callable[[Statement, bytes], tuple[Statement, bytes]]) -> None:
    """A keep whose statement or signature is altered on its way, under an honest TLS session."""
    stage = scene()
    keep = stage.keep
    original = keep.sign

    def state_for(challenge: Challenge, exporter: bytes) -> Statement:
        return change(Keep.state_for(keep, challenge, exporter), b"")[0]

    def sign(challenge: bytes, statement: bytes) -> bytes:
        return change(decode_statement(statement), original(challenge, statement))[1]

    keep.state_for = state_for  # type: ignore[method-assign]
    keep.sign = sign  # type: ignore[method-assign]
    await stage.attest()


POISON = (log.Event(log.POISON, bytes(32)),)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda s, sig: (s, sig[:-1] + bytes((sig[-1] ^ 1,)) if sig else sig), "binding.transcript"),
        (lambda s, sig: (s._replace(hpke_key=b"\x01" * 32), sig), "binding.report-data"),
        (lambda s, sig: (s._replace(platform="vm"), sig), "binding.report-data"),
        (lambda s, sig: (s._replace(workload=b"\x01" * 32), sig), "binding.report-data"),
        (lambda s, sig: (s._replace(log=POISON), sig), "binding.log"),
    ],
)
def test_an_altered_statement_is_not_genuine(change: Any, check: str) -> None:
    with pytest.raises(NotGenuine) as error:
        asyncio.run(altered(change))
    assert error.value.check == check


def test_evidence_of_a_type_that_was_not_asked_for_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolError, match="not asked for"):
        asyncio.run(altered(lambda s, sig: (s._replace(tee="imaginary"), sig)))


def test_a_poisoned_keep_says_so_ever_after() -> None:
    async def work() -> None:
        stage = scene()
        stage.keep.poison(b"the runtime's code has changed")
        for _ in range(2):
            with pytest.raises(NotGenuine) as error:
                await stage.attest()
            assert error.value.check == "binding.poison"

    play(work)


def test_a_workload_that_is_not_the_logs_is_not_genuine() -> None:
    async def work() -> None:
        stage = scene()
        stage.keep.workload = b"\x09" * 32
        with pytest.raises(NotGenuine) as error:
            await stage.attest()
        assert error.value.check == "binding.workload"

    play(work)


async def say(stage: Scene, kind: Type, body: bytes) -> tuple[Type, bytes]:
    transport = stage.connect()
    await transport.handshake()
    await transport.send(kind, body)
    return await transport.receive(Type.EVIDENCE, Type.REFUSAL, timeout=10)


def test_a_nonce_is_good_once() -> None:
    async def work() -> None:
        stage = scene()
        challenge = Challenge("tenant", b"\x03" * 32, ("nil",)).encode()
        assert (await say(stage, Type.CHALLENGE, challenge))[0] is Type.EVIDENCE
        kind, body = await say(stage, Type.CHALLENGE, challenge)
        assert kind is Type.REFUSAL
        assert "nonce was used before" in decode_refusal(body).what

    play(work)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (Type.CHALLENGE, b"\xa0", "unknown or missing fields"),
        (Type.CHALLENGE, b"not cbor", "not canonical CBOR"),
        (Type.RELEASE, b"", "unexpected release"),
        (Type.STDIN, b"data", "unexpected stdin"),
        (Type.CHALLENGE, Challenge("host", b"\x01" * 32, ("nil",)).encode(), "no role"),
        (Type.CHALLENGE, Challenge("tenant", bytes(32), ("nil",)).encode(), "zeros"),
    ],
)
def test_a_keep_refuses_what_is_out_of_order_or_malformed(kind: Type, body: bytes, said: str) -> None:
    async def work() -> None:
        told, answer = await say(scene(), kind, body)
        assert told is Type.REFUSAL
        assert said in decode_refusal(answer).what

    play(work)


def test_a_release_sealed_for_another_session_does_not_open() -> None:
    async def work() -> None:
        stage = scene()
        one, other = await stage.attest(), await stage.attest()
        sealed = seal(workload().encode(), stage.keep.hpke_key, one.info)
        await other.transport.send(Type.RELEASE, sealed)
        kind, body = await other.transport.receive(Type.REFUSAL, Type.MEASURED)
        assert kind is Type.REFUSAL
        assert "not sealed to this keep for this session" in decode_refusal(body).what
        assert stage.keep.workload == b""

    play(work)


def test_a_keep_takes_one_workload_in_its_life() -> None:
    async def work() -> None:
        stage = scene()
        await Delivery.release(await stage.attest(), workload(attached=False), Stages())
        with pytest.raises(ProtocolError, match="cannot become loading"):
            await Delivery.release(await stage.attest(), workload(attached=False), Stages())

    play(work)


def test_how_a_workload_ended_is_told_to_its_owner_and_to_nobody_else() -> None:
    """The host can be a challenger too, and must not learn the exit code."""

    async def work() -> None:
        stage = scene()
        given = workload(attached=False)
        await Delivery.release(await stage.attest(), given, Stages())
        await stage.service._output.finished.wait()
        anybody = await deliver.status(await stage.attest())
        assert (anybody.state, anybody.ended) == ("ended", b"")
        owner = await deliver.status(await stage.attest(), given.owner)
        assert decode_ended(owner.ended).outcome == "exit"
        with pytest.raises(RemoteError, match="not the owner"):
            await deliver.status(await stage.attest(), b"\x08" * 32)

    play(work)


@pytest.mark.parametrize("attached", [True, False])
def test_a_tenant_that_goes_away_before_the_start_leaves_no_keep_behind(
    attached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        stage, gone = scene(), asyncio.Event()
        prepare = Execution.prepare

        async def slowly(execution: Execution) -> None:
            await prepare(execution)
            await gone.wait()

        monkeypatch.setattr(Execution, "prepare", slowly)
        attested = await stage.attest()
        sealed = seal(workload(attached=attached).encode(), stage.keep.hpke_key, attested.info)
        await attested.transport.send(Type.RELEASE, sealed)
        while stage.keep.state is not State.LOADING:
            await asyncio.sleep(0.01)
        attested.transport.sock.close()
        gone.set()
        await asyncio.gather(*stage.service._conversations, return_exceptions=True)
        assert stage.left == [0]

    play(work)


@pytest.mark.parametrize("wish", ["stop", "end"])
def test_an_owner_who_hangs_up_is_obeyed_all_the_same(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        stage = scene()
        given = workload(attached=False)
        await Delivery.release(await stage.attest(), given, Stages())

        async def unheard(transport: Transport, kind: Type, body: bytes) -> None:
            raise Closed(clean=False)

        attested = await stage.attest()
        conversation = set(stage.service._conversations)
        with monkeypatch.context() as patch:
            await deliver.attach(attested, given.owner, wish)
            patch.setattr(Transport, "send", unheard)
            await asyncio.gather(*conversation, return_exceptions=True)
        assert stage.left == [0]

    play(work)


def test_what_cannot_run_comes_back_with_a_reason_and_is_measured_all_the_same() -> None:
    async def work() -> None:
        stage = scene()
        with pytest.raises(Ending) as ending:
            await Delivery.release(await stage.attest(), workload(b"\0asm not really"), Stages())
        assert ending.value.ended.outcome == "refused"
        assert ending.value.ended.what
        assert len(stage.keep.events) == 2

    play(work)


def test_more_stdin_than_credit_breaks_the_protocol() -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        transport = Transport(ours, client_channel())
        server = Transport(
            theirs, Channel(server_context(identity(ec.generate_private_key(ec.SECP256R1()))), server=True)
        )
        await asyncio.gather(transport.handshake(), server.handshake())
        execution = Execution(workload(), None, Output(), Sound())
        hearing = asyncio.create_task(_hear(server, execution))
        for _ in range(STDIN_WINDOW // MAX_DATA):
            await transport.send(Type.STDIN, bytes(MAX_DATA))
        await transport.send(Type.STDIN, b"x")
        with pytest.raises(ProtocolError, match="credit"):
            await hearing

    play(work)


def test_credit_that_is_on_its_way_when_a_workload_ends_does_not_spoil_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        stage, held, flush = scene(), asyncio.Event(), Transport._flush
        sending = asyncio.Event()

        async def slow(transport: Transport) -> None:
            if stage.keep.state is State.RUNNING and asyncio.current_task() in granting:
                data = transport.channel.outgoing()  # taken from the session, not yet on the wire
                sending.set()
                await held.wait()
                await transport._loop.sock_sendall(transport.sock, data)
            await flush(transport)

        granting: list[asyncio.Task[None] | None] = []

        async def grant(transport: Transport, execution: Execution) -> None:
            granting.append(asyncio.current_task())
            await transport.send(Type.CREDIT, credit(1))
            await asyncio.Event().wait()

        async def run(execution: Execution) -> Ended:
            await sending.wait()
            asyncio.get_running_loop().call_later(0.1, held.set)
            return Ended("exit", 3)

        monkeypatch.setattr(protocol, "_grant", grant)
        monkeypatch.setattr(Execution, "run", run)
        monkeypatch.setattr(Transport, "_flush", slow)
        delivery = await Delivery.release(await stage.attest(), workload(), Stages())
        ended, _ = await collect(delivery)
        assert (ended.outcome, ended.code) == ("exit", 3)

    play(work)


def test_a_host_that_cuts_in_the_middle_is_not_a_clean_end() -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        stage = scene()
        cut, rest = socket.socketpair()
        stage.service.take(rest)
        carrying = asyncio.create_task(_carry_some(theirs, cut, 700))
        transport = Transport(ours, client_channel())
        with pytest.raises(RemoteError):
            await deliver.challenge(transport, DEVELOPMENT, ANCHORS, stages=Stages())
        await carrying

    play(work)


async def _carry_some(front: socket.socket, back: socket.socket, most: int) -> None:
    loop = asyncio.get_running_loop()
    for sock in (front, back):
        sock.setblocking(False)

    async def inward() -> None:
        while data := await loop.sock_recv(front, 65536):
            await loop.sock_sendall(back, data)

    task = asyncio.create_task(inward())
    sent = 0
    while sent < most and (data := await loop.sock_recv(back, most - sent)):
        await loop.sock_sendall(front, data)
        sent += len(data)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    front.close()
    back.close()


def test_a_keep_that_dies_while_it_runs_is_told() -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        transport = Transport(ours, client_channel())
        server = Transport(
            theirs, Channel(server_context(identity(ec.generate_private_key(ec.SECP256R1()))), server=True)
        )
        await asyncio.gather(transport.handshake(), server.handshake())
        await server.send(Type.STDOUT, b"half")
        theirs.close()
        with pytest.raises(KeepFailed, match="died"):
            await deliver.carry(transport, _ignore)

    play(work)


async def _ignore(kind: Type, data: bytes) -> None:
    return None


def test_a_peer_that_stalls_is_given_up() -> None:
    async def work() -> None:
        ours, _theirs = socket.socketpair()
        transport = Transport(ours, client_channel())
        with pytest.raises(RemoteError, match="did not finish within"):
            await transport.handshake(timeout=0.05)
        one, other = socket.socketpair()
        client = Transport(one, client_channel())
        server = Transport(
            other, Channel(server_context(identity(ec.generate_private_key(ec.SECP256R1()))), server=True)
        )
        await asyncio.gather(client.handshake(), server.handshake())
        with pytest.raises(RemoteError, match="no evidence message within"):
            await client.receive(Type.EVIDENCE, timeout=0.05)
        _theirs.close()

    play(work)


@pytest.mark.parametrize("body", [b"", encode_evidence(b"", b""), encode_evidence(b"\xa0", b"x")])
def test_a_tenant_refuses_malformed_evidence_messages(body: bytes) -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        transport = Transport(ours, client_channel())
        server = Transport(
            theirs, Channel(server_context(identity(ec.generate_private_key(ec.SECP256R1()))), server=True)
        )

        async def lie() -> None:
            await server.handshake()
            await server.receive(Type.CHALLENGE)
            await server.send(Type.EVIDENCE, body)

        lying = asyncio.create_task(lie())
        with pytest.raises(ProtocolError):
            await deliver.challenge(transport, DEVELOPMENT, ANCHORS, stages=Stages())
        await lying

    play(work)


def test_the_released_bytes_on_the_wire_show_nothing() -> None:
    """What passes the host is ciphertext: neither workload nor secret is in it."""

    async def work() -> None:
        stage = scene()
        attested = await stage.attest()
        sent: list[bytes] = []
        original = attested.transport.channel.outgoing

        def outgoing() -> bytes:
            sent.append(original())
            return sent[-1]

        attested.transport.channel.outgoing = outgoing  # type: ignore[method-assign]
        given = workload(attached=False)
        await Delivery.release(attested, given, Stages())
        relayed = b"".join(sent)
        assert len(relayed) > len(given.wasm)
        assert given.wasm[:16] not in relayed
        assert binding.sha256(given.wasm) not in relayed

    play(work)


def test_a_keep_whose_code_was_altered_flags_itself_and_ends() -> None:
    async def work() -> None:
        stage = scene()
        attested = await stage.attest()
        await Delivery.release(attested, workload(attached=False), Stages())
        stage.sound.trouble = "code of a library was altered in memory"
        with pytest.raises((NotGenuine, RemoteError)):
            await stage.attest()
        assert stage.left == [COMPROMISED]
        assert stage.keep.state is State.POISONED
        assert stage.keep.events[-1].kind == log.POISON
        register = replay(stage.keep.events)
        assert stage.keep.device.register == register  # type: ignore[attr-defined]

    play(work)


def test_the_attached_tenant_is_told_before_its_keep_ends() -> None:
    async def work() -> None:
        stage = scene()
        loop = wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))')
        bounded = Manifest(limits=Limits(wall_clock=20, fuel=2_000_000_000))
        delivery = await Delivery.release(await stage.attest(), workload(loop, bounded), Stages())
        stage.sound.trouble = "a function is not the one that was loaded"
        checking = asyncio.create_task(stage.service._measured(asyncio.to_thread(stage.sound.check)))
        ended, _ = await collect(delivery)
        await checking
        assert ended.outcome == "failed"
        assert "compromised" in ended.what
        assert stage.left[0] == COMPROMISED

    play(work)


def test_the_successor_of_a_compromised_keep_says_so_and_takes_nothing() -> None:
    async def work() -> None:
        first = scene()
        first.keep.measure(b"wasm", b"configuration")
        first.keep.poison(b"altered")
        device = first.keep.device
        heir = Keep("nil", device, flagged=tuple(log.parse_measured(log.measured(item)) for item in first.keep.events))
        left: list[int] = []
        sound = Sound()
        sound.trouble = "whatever"
        stage = Scene(heir, Service(heir, None, left.append, sound), left, sound)
        with pytest.raises(NotGenuine) as error:
            await stage.attest()
        assert error.value.check == "binding.poison"
        assert not left
        with pytest.raises(ProtocolError, match="poisoned cannot become loading"):
            heir.measure(b"other", b"configuration")

    play(work)


def test_a_keep_that_everybody_left_without_a_workload_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 0.1)

    async def work() -> None:
        stage = scene()
        (await stage.attest()).transport.sock.close()
        async with asyncio.timeout(20):
            while not stage.left:
                await asyncio.sleep(0.01)
        assert stage.left == [ABANDONED]

    play(work)


def test_a_keep_waits_for_its_first_visitor_and_for_one_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over vsock a host tries whether a keep takes connections: nobody spoke to it yet."""
    monkeypatch.setattr(protocol, "PATIENCE", 0.1)

    async def work() -> None:
        stage = scene()
        stage.connect().sock.close()
        await asyncio.sleep(0.3)
        (await stage.attest()).transport.sock.close()
        await asyncio.sleep(0.01)
        back = await stage.attest()
        await asyncio.sleep(0.3)
        assert stage.left == []
        delivery = await Delivery.release(back, workload(), Stages())
        assert (await collect(delivery))[0].outcome == "exit"

    play(work)


def test_a_keep_with_a_detached_workload_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 0.1)

    async def work() -> None:
        stage = scene()
        attested = await stage.attest()
        await Delivery.release(attested, workload(attached=False), Stages())
        attested.transport.sock.close()
        await asyncio.sleep(0.3)
        assert stage.left == []

    play(work)
