"""What a keep is: its keys, its measurement log, its state. Made at boot, never leaves memory."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.errors import KeepFailed, ProtocolError
from fastness.keep.attest import Device
from fastness.keep.states import State, step
from fastness.seal import binding, log
from fastness.seal.channel import identity, server_context
from fastness.seal.messages import Challenge, Statement

MAX_NONCES = 4096
"""How many challenges a keep remembers; the oldest is forgotten. The exporter makes a replay useless all the same."""


class Keep:
    """Keys, log and state of one keep. Not thread-safe: one task at a time touches it (the service holds a lock).

    Methods that ask the device block: run them in a thread.
    ``flagged`` is the log of a keep that found itself compromised: this one can tell of it, and takes no workload.
    """

    def __init__(
        self, platform: str, device: Device, *, debug: bool = False, flagged: tuple[log.Event, ...] = ()
    ) -> None:
        self.platform = platform
        self.device = device
        self._signing = ec.generate_private_key(ec.SECP256R1())
        self.hpke = X25519PrivateKey.generate()
        self.signing_key = self._signing.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.hpke_key = self.hpke.public_key().public_bytes_raw()
        self.context = server_context(identity(self._signing))
        self.state = State.WAITING
        self.events: tuple[log.Event, ...] = ()
        self.workload = b""
        self.clock = "host"
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        if flagged:  # the successor of a compromised keep: it has its log, and nothing else of it
            self.events, self.state = flagged, State.POISONED
        elif debug:
            self._append(log.DEBUG, b"debug build")

    def _append(self, kind: str, measured: bytes) -> None:
        """Into the platform's register first: a log that is ahead of it could claim what was never measured."""
        event = log.Event(kind, binding.sha256(measured))
        self.device.extend(event)
        self.events += (event,)

    def become(self, state: State) -> None:
        """Goes on to ``state``, if the table allows."""
        self.state = step(self.state, state)

    def measure(self, wasm: bytes, configuration: bytes) -> None:
        """Appends workload and configuration to the log, before anything of them is interpreted.

        Raises:
            ProtocolError: it has a workload, or was flagged.
            KeepFailed: the device failed: the keep is of no use any more.
        """
        self.become(State.LOADING)
        self._append(log.WORKLOAD, wasm)
        self._append(log.CONFIGURATION, configuration)
        self.workload = binding.workload_digest(binding.sha256(wasm), binding.sha256(configuration))

    def keep_time(self, milliseconds: int) -> None:
        """Sets the machine's clock to the tenant's, told inside the sealed release."""
        self.device.set_time(milliseconds)
        self.clock = "tenant"

    def poison(self, why: bytes) -> None:
        """Flags the keep as compromised for the rest of its life."""
        if self.state is not State.POISONED:
            self.become(State.POISONED)
            with contextlib.suppress(KeepFailed):  # without the register the flag still stands in the signed log
                self.device.extend(log.Event(log.POISON, binding.sha256(why)))
            self.events += (log.Event(log.POISON, binding.sha256(why)),)

    def fresh(self, nonce: bytes) -> None:
        """Refuses a nonce that was used before."""
        if nonce in self._nonces:
            raise ProtocolError("this nonce was used before", hint="a challenger draws 32 new random bytes each time")
        self._nonces[nonce] = None
        while len(self._nonces) > MAX_NONCES:
            self._nonces.popitem(last=False)

    def state_for(self, challenge: Challenge, exporter: bytes) -> Statement:
        """The statement that answers ``challenge`` over the session with ``exporter``; asks the device (blocking)."""
        bound = binding.report_data(
            role=challenge.role,
            platform=self.platform,
            nonce=challenge.nonce,
            exporter=exporter,
            signing_key=self.signing_key,
            hpke_key=self.hpke_key,
            workload=self.workload or binding.ZERO,
        )
        quote = self.device.quote(bound)
        return Statement(
            self.platform,
            quote.tee,
            quote.evidence,
            quote.endorsements,
            self.signing_key,
            self.hpke_key,
            self.workload,
            self.events,
            time.time_ns() // 1_000_000,
            self.clock,
        )

    def sign(self, challenge: bytes, statement: bytes) -> bytes:
        """ECDSA P-256 with SHA-256 over the transcript, DER encoded."""
        return self._signing.sign(binding.signed_transcript(challenge, statement), ec.ECDSA(hashes.SHA256()))
