"""The keep's side of keep protocol v1: one conversation per connection.

1. TLS 1.3 handshake; a client hello that resumes or sends early data is turned away.
2. Challenge: version, role, fresh nonce, accepted evidence types.
3. Evidence bound to role, platform, nonce, exporter, both keys and the workload; the transcript signed. A challenger
   that must tie a TPM's key to its certificate sends a credential, once, and gets what the TPM opened.
4. Release (a workload, once) or attach (the owner again); both sealed to the keep's HPKE key with the transcript.
5. Measure, then prepare, then say so, then run.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastness.errors import FastnessError, KeepFailed, ProtocolError
from fastness.keep.execution import STDIN_WINDOW, Execution
from fastness.keep.identity import Keep
from fastness.keep.integrity import Integrity
from fastness.keep.output import Output
from fastness.keep.states import ABANDONED, COMPROMISED, State, step
from fastness.seal import binding
from fastness.seal.channel import Channel
from fastness.seal.frames import Type
from fastness.seal.messages import (
    Attach,
    Challenge,
    Ended,
    Measured,
    Refusal,
    Status,
    Workload,
    credit,
    decode_credential,
    encode_evidence,
)
from fastness.seal.release import unseal
from fastness.seal.transport import Closed, Transport

CHALLENGE_TIMEOUT = 30.0
RELEASE_TIMEOUT = 600.0
"""Seconds a challenger has to decide and deliver; a person may be asked, a large workload takes its time."""

FAREWELL_TIMEOUT = 10.0
CHECK_EVERY = 30.0
"""Seconds between two measurements of the keep's own code, besides those at every challenge."""

PATIENCE = 30.0
"""Seconds that a keep without a workload waits for somebody to come back once its last visitor is gone: a tenant that
was killed cannot have it ended, and a host cannot know that nothing runs in it. One that nobody ever spoke to waits."""

MAX_CONVERSATIONS = 16
ALARM = "treat what this keep was given as known to the host"


class Service:
    """Takes connections for one keep; ``leave`` ends the process with a status once nothing is left to do."""

    def __init__(
        self,
        keep: Keep,
        root: Path | None,
        leave: Callable[[int], None],
        integrity: Integrity,
        *,
        enclave: bool = False,
    ) -> None:
        self._keep = keep
        self._integrity = integrity
        self._attached_to: Transport | None = None
        self._alone: Execution | None = None
        self._root = root
        self._enclave = enclave
        self._leave = leave
        self._output = Output()
        self._owner = b""
        self._ended: Ended | None = None
        self._device = asyncio.Lock()
        """One task at a time asks the device, and the log grows under it: evidence and log are of one moment."""
        self._conversations: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._releasing: Transport | None = None
        """Who sends a release now. One at a time: what is held for whoever may not open it is held once."""

        self._visited = False
        self._parting: asyncio.TimerHandle | None = None
        """When the keep ends because everybody left it."""

    def take(self, sock: socket.socket) -> None:
        """A new connection."""
        if len(self._conversations) >= MAX_CONVERSATIONS:
            sock.close()
            return
        if self._parting is not None:
            self._parting.cancel()
        task = asyncio.create_task(self._conversation(sock))
        self._conversations.add(task)
        task.add_done_callback(self._part)

    def _part(self, conversation: asyncio.Task[None]) -> None:
        self._conversations.discard(conversation)
        if self._visited and not self._conversations and self._keep.state is State.WAITING:
            self._parting = asyncio.get_running_loop().call_later(PATIENCE, self._leave, ABANDONED)

    async def watch(self) -> None:
        """Measures the keep's own code for as long as it lives."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            await self._measured(asyncio.to_thread(self._integrity.check))

    async def _measured(self, checking: Awaitable[str]) -> None:
        """Returns if the code of this process is what it was; otherwise flags the keep and ends it, keys and all."""
        trouble = await checking
        if not trouble or self._keep.state is State.POISONED:
            return
        async with self._device:
            await asyncio.to_thread(self._keep.poison, trouble.encode())
        if self._attached_to is not None:
            told = Ended("failed", 0, "the keep flags that it has been compromised", trouble, ALARM)
            await self._tell(self._attached_to, Type.ENDED, told.encode())
        self._leave(COMPROMISED)

    async def _conversation(self, sock: socket.socket) -> None:
        transport = Transport(sock, Channel(self._keep.context, server=True))
        try:
            # both take their time: the code is measured while the handshake waits for the other end
            checking = asyncio.create_task(asyncio.to_thread(self._integrity.check))
            await transport.handshake()
            await self._measured(checking)
            await self._attested(transport)
        except Closed:
            pass
        except FastnessError as error:
            # whoever talks is told, inside the channel; the host learns nothing but that the connection ends
            with contextlib.suppress(FastnessError, OSError):
                await transport.send(Type.REFUSAL, Refusal(error.what, error.hint).encode())
        finally:
            if self._releasing is transport:
                self._releasing = None
            # over vsock a host tries whether a keep takes connections, and says nothing
            self._visited |= transport.heard
            await transport.close()

    async def _attested(self, transport: Transport) -> None:
        keep = self._keep
        _, challenge_bytes = await transport.receive(Type.CHALLENGE, timeout=CHALLENGE_TIMEOUT)
        challenge = Challenge.decode(challenge_bytes)
        if keep.device.tee not in challenge.accepts:
            has = (keep.device.tee,)
            await transport.send(Type.REFUSAL, Refusal("no evidence of a type you accept", "", has).encode())
            return
        keep.fresh(challenge.nonce)
        exporter = transport.channel.exporter(challenge.nonce)
        async with self._device:
            statement = (await asyncio.to_thread(keep.state_for, challenge, exporter)).encode()
        signature = keep.sign(challenge_bytes, statement)
        await transport.send(Type.EVIDENCE, encode_evidence(statement, signature))
        info = binding.release_info(challenge_bytes, statement, signature)
        match await self._wish(transport, info):
            case None:
                # to anybody, the host too: how the workload ended, its exit code above all, is its owner's to know
                await transport.send(Type.STATUS, Status(keep.state.value).encode())
            case Attach() as wish:
                await self._attach(transport, wish)
            case Workload() as workload:
                await self._release(transport, workload)

    async def _wish(self, transport: Transport, info: bytes) -> Workload | Attach | None:
        """What the challenger wants after the evidence, opened; None for its state. A credential is answered first.

        What was sealed is forgotten with this frame: a release is not held twice while its workload runs.
        """
        wishes = (Type.RELEASE, Type.ATTACH, Type.STATUS)
        transport.reader.admit = functools.partial(self._admit, transport)
        kind, body = await transport.receive(*wishes, Type.CREDENTIAL, timeout=RELEASE_TIMEOUT)
        if kind is Type.CREDENTIAL:
            async with self._device:
                opened = await asyncio.to_thread(self._keep.device.activate, *decode_credential(body))
            await transport.send(Type.ACTIVATED, opened)
            kind, body = await transport.receive(*wishes, timeout=RELEASE_TIMEOUT)
        if kind is Type.STATUS:
            return None
        decode = Attach.decode if kind is Type.ATTACH else Workload.decode
        return decode(unseal(body, self._keep.hpke, info))

    def _admit(self, transport: Transport, kind: Type) -> None:
        """Whether a message may come, before it does: a release is large, and anybody may send one."""
        if kind is not Type.RELEASE:
            return
        step(self._keep.state, State.LOADING)
        if self._releasing not in (None, transport):
            raise ProtocolError("another release is on its way to this keep", hint="deploy to a keep of your own")
        self._releasing = transport

    async def _release(self, transport: Transport, workload: Workload) -> None:
        try:
            async with self._device:
                await asyncio.to_thread(self._keep.measure, workload.wasm, workload.configuration)
        except KeepFailed as error:  # half measured: it could run nothing, and would have no owner who could end it
            await self._tell(transport, Type.REFUSAL, Refusal(error.what, error.hint).encode())
            await transport.close()
            self._leave(error.exit_code)
            return
        self._owner = hashlib.sha256(workload.owner).digest()
        detached = False
        try:
            execution = Execution(workload, self._root, self._output, self._integrity, enclave=self._enclave)
            await self._prepare(transport, execution, workload.time_ms)
            if workload.attached:
                await self._attached(transport, execution)
                return
            detached = True
            if self._ended is None:
                self._running = asyncio.create_task(self._detached(execution))
            else:
                await transport.send(Type.ENDED, self._ended.encode())
        finally:
            if not detached:  # its tenant has what there was to have, or went away before it was told of a start
                self._leave(0)

    async def _prepare(self, transport: Transport, execution: Execution, time_ms: int) -> None:
        """Makes ready what was measured, and says so; a workload that cannot run has ended."""
        try:
            await execution.prepare()
            if execution.clock == "tenant":
                async with self._device:
                    await asyncio.to_thread(self._keep.keep_time, time_ms)
        except FastnessError as error:
            self._finish(Ended("refused", error.exit_code, error.what, error.where, error.hint))
            return
        self._keep.become(State.RUNNING)
        await transport.send(Type.MEASURED, Measured(self._keep.workload, self._keep.events).encode())

    async def _attached(self, transport: Transport, execution: Execution) -> None:
        """The workload lives as long as the connection that brought it."""
        self._attached_to = transport
        if self._ended is None:
            self._output.listen(transport.send)
            await transport.send(Type.CREDIT, credit(STDIN_WINDOW))
            running = asyncio.create_task(execution.run())
            hearing = asyncio.create_task(_hear(transport, execution))
            granting = asyncio.create_task(_grant(transport, execution))
            await asyncio.wait({running, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():  # the tenant went away, or broke the protocol: nobody is left to run for
                return
            async with transport.between:  # half a record would make nonsense of how it ended
                granting.cancel()
                hearing.cancel()
            self._finish(running.result())
        if self._ended is not None:
            await transport.send(Type.ENDED, self._ended.encode())
        with contextlib.suppress(FastnessError):
            while True:
                await transport.receive(Type.STDIN, timeout=FAREWELL_TIMEOUT)

    async def _detached(self, execution: Execution) -> None:
        if execution.grace:
            self._alone = execution  # its stdin stays open: its end is how it is told to end
        else:
            execution.stdin(b"")
        self._finish(await execution.run())

    async def _end(self, transport: Transport) -> None:
        """Tells the workload, gives it its grace, and ends; everything that is secret goes with the process."""
        grace = 0
        if self._alone is not None and not self._output.finished.is_set():
            grace = self._alone.grace
            self._alone.stdin(b"")
        self._owner = b""
        await self._tell(transport, Type.STATUS, Status("stopping").encode())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._output.finished.wait(), grace)
        if self._ended is not None:
            await self._tell(transport, Type.ENDED, self._ended.encode())
        await transport.close()
        self._leave(0)

    async def _tell(self, transport: Transport, kind: Type, body: bytes) -> None:
        """Says what its owner may not be there to hear any more: what was wished is done all the same."""
        with contextlib.suppress(FastnessError, OSError, TimeoutError):
            await asyncio.wait_for(transport.send(kind, body), FAREWELL_TIMEOUT)

    def _finish(self, ended: Ended) -> None:
        self._ended = ended
        if self._keep.state is not State.POISONED:  # flagged for ever, whatever becomes of the workload
            self._keep.become(State.ENDED)
        self._output.finished.set()

    async def _attach(self, transport: Transport, wish: Attach) -> None:
        if not self._owner or not hmac.compare_digest(hashlib.sha256(wish.owner).digest(), self._owner):
            raise ProtocolError("not the owner of this keep's workload", hint="use the machine that deployed it")
        if wish.wish == "status":
            ended = self._ended.encode() if self._ended else b""
            await transport.send(Type.STATUS, Status(self._keep.state.value, ended).encode())
            return
        if wish.wish == "end":
            await self._end(transport)
            return
        if wish.wish == "stop":
            await self._tell(transport, Type.STATUS, Status("stopping").encode())
            await transport.close()
            self._leave(0)
            return
        async with contextlib.AsyncExitStack() as stack:
            if wish.follow:
                # a reader that hangs up ends its own conversation, not the workload
                hearing = asyncio.create_task(transport.receive())
                stack.callback(hearing.cancel)
                reading = asyncio.create_task(self._output.attach(transport.send, follow=True))
                stack.callback(reading.cancel)
                await asyncio.wait({hearing, reading}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    self._output.detach(transport.send)
                    return
            await self._output.attach(transport.send, follow=False)
        if self._ended is not None:
            await transport.send(Type.ENDED, self._ended.encode())
        else:
            await transport.send(Type.STATUS, Status(self._keep.state.value).encode())


async def _hear(transport: Transport, execution: Execution) -> None:
    """Takes stdin until the tenant goes away.

    Raises:
        ProtocolError: the tenant sent more than it was given credit for.
    """
    while True:
        _, data = await transport.receive(Type.STDIN)
        if not execution.stdin(data):
            raise ProtocolError("more stdin than there was credit for")


async def _grant(transport: Transport, execution: Execution) -> None:
    """Gives credit for the stdin that the guest has taken."""
    while True:
        size = await execution.consumed.get()
        while not execution.consumed.empty():
            size += execution.consumed.get_nowait()
        await transport.send(Type.CREDIT, credit(size))
