"""Defects found in existing services and verifiers, by number: freshness, binding, relay, stale verdicts, management.

Both ends of keep protocol v1 in one process; the attacker stands between them.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest
import wasmtime
from cryptography.hazmat.primitives.asymmetric import ec

from fastness.appraise import policy as policies
from fastness.devices import Quote
from fastness.errors import FastnessError, MalformedEvidence, NotGenuine, ProtocolError, RemoteError
from fastness.host import server
from fastness.host.launch.nil import Chip
from fastness.host.software_root import SoftwareRoot
from fastness.keep.identity import Keep
from fastness.keep.integrity import Integrity
from fastness.keep.protocol import Service
from fastness.pki.anchors import Anchors, from_key
from fastness.seal import binding, log
from fastness.seal.challenger import client_channel, decode_evidence, decode_refusal, decode_statement, extend, seal
from fastness.seal.channel import Channel, identity, server_context
from fastness.seal.frames import Type
from fastness.seal.messages import Attach, Challenge, Workload
from fastness.seal.transport import Transport
from fastness.tenant import decide as deciding
from fastness.tenant import deliver
from fastness.tenant.deliver import Attested, Delivery, Refused, Stages
from fastness.wire import x509
from fastness.workload.manifest import Manifest

ROOT = SoftwareRoot(ec.generate_private_key(ec.SECP256R1()), b"\x06" * 16)
ANCHORS = Anchors((from_key("nil", "test", x509.parse_public_key(ROOT.public_key), simulated=True),))
DEVELOPMENT = policies.load("development")
SPEAKS = wasmtime.wat2wasm(
    '(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))'
    ' (memory (export "memory") 1) (data (i32.const 8) "the owner\'s output\\n")'
    ' (func (export "_start") (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 19))'
    " (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))))"
)
OWNER = b"\x07" * 32


class Device(Chip):
    """Signs under a software root; one register."""

    tee = "nil"

    def __init__(self) -> None:
        super().__init__(lambda: ROOT, debug=False)
        self.register = bytes(48)

    def extend(self, event: log.Event) -> None:
        self.register = extend(self.register, log.measured(event))

    def quote(self, report_data: bytes) -> Quote:
        return Quote("nil", ROOT.sign(report_data, b"\x05" * 48, self.register, debug=False))


class Sound(Integrity):
    """Code that nobody alters: this process also runs the attacker, and compiles as it goes."""

    def __init__(self) -> None:
        pass

    def growing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def check(self) -> str:
        return ""


@dataclass
class Stage:
    """One keep, and connections to it."""

    keep: Keep = field(default_factory=lambda: Keep("nil", Device()))
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.service = Service(self.keep, None, lambda code: None, Sound())

    def connect(self) -> Transport:
        ours, theirs = socket.socketpair()
        self.service.take(theirs)
        return Transport(ours, client_channel())

    async def attest(self, policy: policies.Policy = DEVELOPMENT) -> Attested:
        return await deliver.challenge(self.connect(), policy, ANCHORS, stages=Stages())


def play(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def workload() -> Workload:
    return Workload(SPEAKS, Manifest().to_cbor(), {}, {}, OWNER, attached=False)


async def answer(transport: Transport, kind: Type, body: bytes, *awaited: Type) -> tuple[Type, bytes]:
    await transport.send(kind, body)
    return await transport.receive(*awaited, timeout=10)


# freshness


def test_b16_the_same_nonce_is_answered_once() -> None:
    async def work() -> None:
        stage = Stage()
        asked = Challenge("tenant", b"\x03" * 32, ("nil",)).encode()
        kinds = []
        for _ in range(2):
            transport = stage.connect()
            await transport.handshake()
            kinds.append((await answer(transport, Type.CHALLENGE, asked, Type.EVIDENCE, Type.REFUSAL))[0])
        assert kinds == [Type.EVIDENCE, Type.REFUSAL]

    play(work)


@pytest.mark.parametrize("nonce", [b"", b"\x01", b"\x01" * 31, b"\x01" * 33, bytes(32)])
def test_b16_a_nonce_has_its_size_and_is_no_constant(nonce: bytes) -> None:
    with pytest.raises(ProtocolError):
        Challenge.decode(Challenge("tenant", nonce, ("nil",)).encode())


def test_b16_every_challenge_draws_another_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    real = Challenge.encode
    monkeypatch.setattr(Challenge, "encode", lambda self: (seen.append(self.nonce), real(self))[1])

    async def work() -> None:
        stage = Stage()
        for _ in range(4):
            await stage.attest()

    play(work)
    assert len(set(seen)) == 4
    assert all(len(nonce) == 32 and any(nonce) for nonce in seen)


def test_b16_old_evidence_does_not_answer_a_new_challenge() -> None:
    """The keep's own earlier answer, presented to the next challenge over an honest session to that very keep."""

    async def work() -> None:
        stage = Stage()
        old = (await stage.attest()).statement
        stage.keep.state_for = lambda *_: old  # type: ignore[method-assign]
        with pytest.raises(NotGenuine) as error:
            await stage.attest()
        assert error.value.check == "binding.report-data"

    play(work)


def test_b17_a_report_data_of_another_conversation_releases_nothing() -> None:
    async def work() -> None:
        stage = Stage()
        real = stage.keep.state_for

        def other(challenge: Challenge, exporter: bytes) -> Any:
            return real(challenge._replace(nonce=b"\x09" * 32), exporter)

        stage.keep.state_for = other  # type: ignore[method-assign]
        with pytest.raises(NotGenuine) as error:
            await stage.attest()
        assert error.value.check == "binding.report-data"
        assert stage.keep.workload == b""

    play(work)


# relay


async def middle(stage: Stage, victim: socket.socket, heard: list[bytes]) -> None:
    """The attacker's own TLS towards the tenant, a genuine keep behind him, its evidence passed on unaltered."""
    mine = server_context(identity(ec.generate_private_key(ec.SECP256R1())))
    front, back = Transport(victim, Channel(mine, server=True)), stage.connect()
    await asyncio.gather(front.handshake(), back.handshake())
    _, challenge = await front.receive(Type.CHALLENGE)
    _, evidence = await answer(back, Type.CHALLENGE, challenge, Type.EVIDENCE)
    await front.send(Type.EVIDENCE, evidence)
    heard.append((await front.receive(Type.RELEASE, timeout=5))[1])


async def through_the_middle(stage: Stage) -> str:
    """The check that refuses the relayed evidence; nothing may have been released."""
    ours, victim = socket.socketpair()
    heard: list[bytes] = []
    attacker = asyncio.create_task(middle(stage, victim, heard))
    transport = Transport(ours, client_channel())
    with pytest.raises(NotGenuine) as error:
        await deliver.challenge(transport, DEVELOPMENT, ANCHORS, stages=Stages())
    await transport.close()
    with pytest.raises(RemoteError):
        await attacker
    assert not heard
    return error.value.check


def test_b18_relayed_evidence_of_a_genuine_keep_is_refused() -> None:
    """CVE-2026-33697: the evidence is real, fresh and over the tenant's own nonce, but not over its session."""

    async def work() -> None:
        assert await through_the_middle(Stage()) == "binding.report-data"

    play(work)


def test_b18_a_label_keeps_report_data_apart_from_other_protocols() -> None:
    parts: dict[str, Any] = {
        "role": "tenant", "platform": "snp", "nonce": b"\x01" * 32, "exporter": b"\x02" * 32, "signing_key": b"k",
        "hpke_key": b"\x03" * 32, "workload": binding.ZERO,
    }  # fmt: skip
    honest = binding.report_data(**parts)
    for name, value in (
        ("role", "steward"), ("platform", "tdx"), ("nonce", b"\x04" * 32), ("exporter", b"\x04" * 32),
        ("signing_key", b"l"), ("hpke_key", b"\x04" * 32), ("workload", b"\x04" * 32),
    ):  # fmt: skip
        assert binding.report_data(**{**parts, name: value}) != honest


def test_b19_the_certificate_judged_is_that_of_the_session_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the exporter equal on both sides, the key of this very session still is not the attested one."""
    monkeypatch.setattr(Channel, "exporter", lambda self, nonce: b"\x01" * 32)

    async def work() -> None:
        assert await through_the_middle(Stage()) == "binding.session-key"

    play(work)


def test_b19_the_session_key_is_read_from_the_channel_that_carries_the_release() -> None:
    """One transport for challenge and release: no second connection whose peer nobody looked at."""
    source = inspect.getsource(deliver.challenge)
    assert "session_key=peer_key(transport.channel)" in source
    assert "Attested(transport," in source
    names = {node.id for node in ast.walk(ast.parse(inspect.getsource(deliver))) if isinstance(node, ast.Name)}
    assert not names & {"open_connection", "create_connection", "urlopen", "connect"}


# management


def attempts(kind: Type, keep: Keep, info: bytes) -> list[bytes]:
    """What a stranger may try to say as ``kind``: nothing, noise, and the owner's words without the owner's token."""
    tries = [b"", b"\x00" * 64]
    if kind is Type.ATTACH:
        tokens = (bytes(32), b"\x08" * 32, OWNER[:-1] + b"\x06")
        tries += [
            seal(Attach(token, wish).encode(), keep.hpke_key, info) for token in tokens for wish in ("logs", "stop")
        ]
        tries += [seal(Attach(OWNER, "logs").encode(), keep.hpke_key, b"another conversation")]
    if kind is Type.RELEASE:
        tries += [seal(workload().encode(), keep.hpke_key, info)]
    return tries


def test_b26_whoever_is_not_the_owner_gets_nothing_of_a_running_keep() -> None:
    """Every message a stranger may send, tried: no output, no end, no second workload, no word of the first."""

    async def work() -> None:
        stage = Stage()
        keep = stage.keep
        await Delivery.release(await stage.attest(), workload(), Stages())
        for kind in Type:
            for index in range(len(attempts(kind, keep, b""))):
                attested = await stage.attest()
                body = attempts(kind, keep, attested.info)[index]
                told, said = await answer(attested.transport, kind, body, *Type)
                # a keep's state is no secret: `keep status` asks for it; everything else is refused
                assert told is (Type.STATUS if kind is Type.STATUS else Type.REFUSAL), (kind, index)
                assert b"the owner's output" not in said
                await attested.transport.close()
        assert keep.workload == workload().digest
        owner = await stage.attest()
        body = seal(Attach(OWNER, "logs").encode(), keep.hpke_key, owner.info)
        told, said = await answer(owner.transport, Type.ATTACH, body, *Type)
        assert (told, b"the owner's output" in said) == (Type.STDOUT, True)

    play(work)


def routes() -> set[tuple[str, str]]:
    """Every route of the host, read from its router, with the shape of its path."""
    tree = ast.parse(inspect.getsource(server))
    found = {("GET", "v1/keeps/*/channel")} if '"/channel"' in inspect.getsource(server.Server._one) else set()
    for case in (node for node in ast.walk(tree) if isinstance(node, ast.match_case)):
        pattern = case.pattern
        if not isinstance(pattern, ast.MatchSequence):
            continue
        method, path = pattern.patterns
        if isinstance(method, ast.MatchValue) and isinstance(path, ast.MatchSequence):
            names = [
                ast.literal_eval(item.value) if isinstance(item, ast.MatchValue) else "*" for item in path.patterns
            ]
            found.add((ast.literal_eval(method.value), "/".join(names)))
    return found


def test_b26_the_hosts_router_offers_what_it_documents_and_none_of_it_is_worth_a_credential() -> None:
    """A host cannot authenticate anybody to anything: it has no key, secret or plaintext that a route could give."""
    assert routes() == {
        ("GET", "v1/capacity"), ("GET", "v1/keeps"), ("POST", "v1/keeps"), ("GET", "v1/keeps/*"),
        ("DELETE", "v1/keeps/*"), ("GET", "v1/keeps/*/channel"),
        ("GET", "v1/platform"), ("POST", "v1/keeps/*/secret"),  # towards the keep, and for its firmware alone
    }  # fmt: skip
    from fastness.host.inventory import Entry

    told = {item.name for item in fields(Entry)}
    assert not {
        name for name in told if any(word in name for word in ("key", "secret", "workload", "verdict", "owner"))
    }
    imported = {
        node.module for node in ast.walk(ast.parse(inspect.getsource(server))) if isinstance(node, ast.ImportFrom)
    }
    assert not {
        name for name in imported if name and name.startswith(("fastness.seal", "fastness.keep", "fastness.tenant"))
    }


# verdicts


def test_b40_what_was_accepted_before_releases_nothing_now() -> None:
    """A release is sealed to the key and the conversation of one verdict: over another session it does not open."""

    async def work() -> None:
        stage = Stage()
        old, new = await stage.attest(), await stage.attest()
        stale = replace(old, transport=new.transport)
        with pytest.raises(ProtocolError, match="not sealed to this keep for this session"):
            await Delivery.release(stale, workload(), Stages())
        assert stage.keep.workload == b""

    play(work)


def test_b40_a_refusal_leaves_nothing_to_release_with() -> None:
    async def work() -> None:
        for policy in (policies.load("default"), policies.parse("", "empty.toml")):
            with pytest.raises(Refused):
                await Stage().attest(policy)

    play(work)


def test_b40_verdicts_written_down_are_never_read_back() -> None:
    """A record of a verdict is for people: nothing that decides or delivers reads one."""
    for module in (deliver, deciding):
        source = inspect.getsource(module)
        assert "json" not in source
        assert "read_text" not in source
        assert "open(" not in source
    taken = inspect.signature(Delivery.release).parameters
    assert list(taken) == ["attested", "workload", "stages"]


def test_b27_a_tenant_without_a_policy_of_its_own_refuses() -> None:
    """The default is strict, and an empty policy accepts nobody."""
    for name in ("default", "strict"):
        assert "nil" not in policies.load(name).evidence_types()
    assert not policies.parse("", "empty.toml").evidence_types()


@pytest.mark.parametrize("data", [b"", b"\x00", b"[]", b"\xa0", b"{}" * 40_000, b"\x81" * 10_000])
def test_b21_a_keeps_statement_that_is_none_is_our_error(data: bytes) -> None:

    for read in (decode_statement, decode_evidence, decode_refusal, Workload.decode, Attach.decode):
        with pytest.raises((FastnessError, MalformedEvidence)):
            read(data)
