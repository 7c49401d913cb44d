"""Challenge, decide, deliver, carry: the tenant's side of keep protocol v1 over one connection.

Without an accepted verdict nothing of the workload, its configuration or its secrets is sent: the only function that
sends them takes an :class:`Attested` whose verdict accepts, which only :func:`challenge` makes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fastness.appraise.policy import Policy
from fastness.appraise.verdict import Verdict, refuse_evidence
from fastness.collateral.supply import Supply
from fastness.errors import KeepFailed, NotGenuine, ProtocolError, RemoteError
from fastness.pki.anchors import Anchors
from fastness.seal import binding
from fastness.seal.challenger import (
    decode_credit,
    decode_ended,
    decode_evidence,
    decode_measured,
    decode_refusal,
    decode_statement,
    decode_status,
    peer_key,
    seal,
)
from fastness.seal.frames import MAX_DATA, Type
from fastness.seal.messages import Attach, Challenge, Ended, Refusal, Statement, Status, Workload
from fastness.seal.transport import Closed, Transport
from fastness.tee import Collateral
from fastness.tenant.activate import activate
from fastness.tenant.decide import Decision, decide

EVIDENCE_TIMEOUT = 60.0
START_TIMEOUT = 300.0
"""Seconds a keep has to compile a workload: 18 MB of component take half a minute on two cores."""


class Refused(Exception):
    """The policy refused the keep. A value that travels: the verdict inside says why.

    ``keep`` is the keep it spoke of, where it showed evidence: genuine, of this session, and refused. Its owner may
    still have it ended; nothing else is ever sent to it.
    """

    def __init__(self, verdict: Verdict, keep: Attested | None = None) -> None:
        super().__init__(verdict.decided_by)
        self.verdict = verdict
        self.keep = keep


@dataclass(frozen=True, slots=True)
class Attested:
    """A keep that has shown evidence over this session, and what was decided of it."""

    transport: Transport
    statement: Statement
    decision: Decision
    info: bytes = field(repr=False)


@dataclass(slots=True)
class Stages:
    """When each stage was over, in seconds of a monotonic clock."""

    marks: list[tuple[str, float]] = field(default_factory=lambda: [("start", time.perf_counter())])

    def mark(self, name: str) -> None:
        """The stage ``name`` is over now."""
        self.marks.append((name, time.perf_counter()))

    def spent(self) -> list[tuple[str, float]]:
        """(name, seconds) for each stage."""
        return [(name, at - before) for (_, before), (name, at) in zip(self.marks, self.marks[1:], strict=False)]


async def challenge(
    transport: Transport,
    policy: Policy,
    anchors: Anchors,
    *,
    at: datetime | None = None,
    stages: Stages,
    supply: Supply | None = None,
    collateral: Collateral | None = None,
    accepts: frozenset[str] | None = None,
    known: tuple[bytes, ...] = (),
) -> Attested:
    """Challenges the keep behind ``transport`` and decides.

    ``collateral`` is what the tenant has of the vendors already, ``supply`` where the rest comes from. ``accepts`` asks
    for other types of evidence than those the policy could accept. ``known`` is what the tenant learnt of the keep at
    its launch.

    Raises:
        Refused: the policy says no (or accepts no evidence of the type the keep has).
        NotGenuine, MissingCollateral, MalformedEvidence: the evidence does not hold, or not for this session.
        RemoteError: the keep breaks the protocol, stalls or goes away.
    """
    await transport.handshake()
    stages.mark("tls")
    asked = Challenge(
        "tenant", secrets.token_bytes(binding.NONCE_SIZE), tuple(sorted(accepts or policy.evidence_types()))
    )
    asked_bytes = asked.encode()
    await transport.send(Type.CHALLENGE, asked_bytes)
    kind, body = await transport.receive(Type.EVIDENCE, Type.REFUSAL, timeout=EVIDENCE_TIMEOUT)
    stages.mark("evidence")
    when = at or datetime.now(UTC)
    if kind is Type.REFUSAL:
        raise _refusal(decode_refusal(body), policy, when)
    statement_bytes, signature = decode_evidence(body)
    statement = decode_statement(statement_bytes)
    activated = await activate(transport, statement, timeout=EVIDENCE_TIMEOUT)
    exporter = transport.channel.exporter(asked.nonce)
    decision = decide(
        statement,
        signed=binding.signed_transcript(asked_bytes, statement_bytes),
        signature=signature,
        challenge=asked,
        exporter=exporter,
        session_key=peer_key(transport.channel),
        policy=policy,
        anchors=anchors,
        at=when,
        activated=activated,
        supply=supply,
        collateral=collateral,
        known=known,
    )
    stages.mark("verdict")
    info = binding.release_info(asked_bytes, statement_bytes, signature)
    attested = Attested(transport, statement, decision, info)
    if not decision.verdict.accepted:
        raise Refused(decision.verdict, attested)
    return attested


def _refusal(refusal: Refusal, policy: Policy, at: datetime) -> Exception:
    """What a keep's refusal means: evidence of a type the policy never accepts is a refusal by the policy."""
    if refusal.has:
        return Refused(refuse_evidence(policy, refusal.has, at=at))
    return ProtocolError(f"the keep refused: {refusal.what[:300]}", hint=refusal.hint[:300])


class Delivery:
    """A delivered workload and its streams."""

    def __init__(self, attested: Attested) -> None:
        if not attested.decision.verdict.accepted:
            raise Refused(attested.decision.verdict, attested)
        self._transport = attested.transport
        self._credit = 0
        self._more = asyncio.Event()

    @classmethod
    async def release(cls, attested: Attested, workload: Workload, stages: Stages) -> Delivery:
        """Seals ``workload`` to the attested keep and sends it; returns once the keep has measured exactly that.

        Raises:
            Ending: the keep would not run it (a bad module, an import that is not granted).
            NotGenuine: the keep measured something else.
        """
        delivery = cls(attested)
        transport = attested.transport
        sealed = seal(workload.encode(), attested.statement.hpke_key, attested.info)
        await transport.send(Type.RELEASE, sealed)
        stages.mark("delivery")
        kind, body = await transport.receive(Type.MEASURED, Type.ENDED, Type.REFUSAL, timeout=START_TIMEOUT)
        if kind is Type.ENDED:
            raise Ending(decode_ended(body))
        if kind is Type.REFUSAL:
            refusal = decode_refusal(body)
            raise ProtocolError(f"the keep refused: {refusal.what[:300]}", hint=refusal.hint[:300])
        measured = decode_measured(body)
        if not binding.equal(measured.workload, workload.digest):
            raise NotGenuine("binding.workload", "the keep measured another workload than was delivered")
        stages.mark("measured")
        return delivery

    async def feed(self, source: AsyncIterator[bytes]) -> None:
        """Sends stdin within the credit the keep gives, then its end."""
        async for data in source:
            view = memoryview(data)
            while view:
                while not self._credit:
                    self._more.clear()
                    await self._more.wait()
                part = view[: min(self._credit, MAX_DATA)]
                self._credit -= len(part)
                await self._transport.send(Type.STDIN, bytes(part))
                view = view[len(part) :]
        await self._transport.send(Type.STDIN, b"")

    async def carry(self, write: Callable[[Type, bytes], Awaitable[None]]) -> Ended:
        """Gives output to ``write`` until the workload ends.

        Raises:
            KeepFailed: the keep went away first.
        """
        return await carry(self._transport, write, credit=self._grant)

    def _grant(self, size: int) -> None:
        self._credit += size
        self._more.set()


class Ending(Exception):
    """The keep would not start the workload."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.what)
        self.ended = ended


async def carry(
    transport: Transport,
    write: Callable[[Type, bytes], Awaitable[None]],
    *,
    credit: Callable[[int], None] = lambda _: None,
) -> Ended:
    """Gives every chunk of output to ``write``; returns how the workload ended.

    Raises:
        KeepFailed: the connection ended before the workload did.
    """
    try:
        while True:
            kind, body = await transport.receive(
                Type.STDOUT, Type.STDERR, Type.LOG, Type.CREDIT, Type.ENDED, Type.STATUS, Type.REFUSAL
            )
            if kind is Type.ENDED:
                return decode_ended(body)
            if kind is Type.STATUS:
                return Ended("running", what=decode_status(body).state)
            if kind is Type.REFUSAL:
                raise ProtocolError(f"the keep refused: {decode_refusal(body).what[:300]}")
            if kind is Type.CREDIT:
                credit(decode_credit(body))
            else:
                await write(kind, body)
    except Closed:
        raise KeepFailed(
            "the keep died while the workload ran",
            hint="the host may have stopped it, or it ran out of the memory the host gives; see `fastness keep list`",
        ) from None


async def attach(attested: Attested, owner: bytes, wish: str, *, follow: bool = False) -> None:
    """Asks, as the owner, for one of ``seal.messages.WISHES``; read the answer with :func:`carry`."""
    body = Attach(owner, wish, follow).encode()
    await attested.transport.send(Type.ATTACH, seal(body, attested.statement.hpke_key, attested.info))


async def status_word(attested: Attested) -> str:
    """The state in the status message that comes next."""
    _, body = await attested.transport.receive(Type.STATUS, timeout=EVIDENCE_TIMEOUT)
    return decode_status(body).state


async def gone(attested: Attested) -> None:
    """Returns when the keep has hung up."""
    with contextlib.suppress(Closed):
        while True:
            await attested.transport.receive(Type.ENDED)


async def status(attested: Attested, owner: bytes = b"") -> Status:
    """What the attested keep says it is doing; to its ``owner`` also how the workload ended."""
    if owner:
        await attach(attested, owner, "status")
    else:
        await attested.transport.send(Type.STATUS, b"")
    kind, body = await attested.transport.receive(Type.STATUS, Type.REFUSAL, timeout=EVIDENCE_TIMEOUT)
    if kind is Type.REFUSAL:
        raise RemoteError(f"the keep refused: {decode_refusal(body).what[:300]}")
    return decode_status(body)
