"""What a keep is: its keys, its measurement log, its state. Made at boot, never leaves memory."""

from __future__ import annotations

import time
from collections import OrderedDict

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.errors import ProtocolError
from fastness.keep.attest import Device
from fastness.keep.states import State, step
from fastness.seal import binding, log
from fastness.seal.channel import identity, server_context
from fastness.seal.messages import Challenge, Statement

MAX_NONCES = 4096
"""How many challenges a keep remembers; the oldest is forgotten. The exporter makes a replay useless all the same."""


class Keep:
    """Keys, log and state of one keep. Not thread-safe: touched by the event loop only."""

    def __init__(self, platform: str, device: Device) -> None:
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
        self._nonces: OrderedDict[bytes, None] = OrderedDict()

    def become(self, state: State) -> None:
        """Goes on to ``state``, if the table allows."""
        self.state = step(self.state, state)

    def measure(self, wasm: bytes, configuration: bytes) -> None:
        """Appends workload and configuration to the log, before anything of them is interpreted."""
        self.become(State.LOADING)
        digests = binding.sha256(wasm), binding.sha256(configuration)
        self.events += (log.Event(log.WORKLOAD, digests[0]), log.Event(log.CONFIGURATION, digests[1]))
        self.workload = binding.workload_digest(*digests)

    def poison(self, why: bytes) -> None:
        """Flags the keep as compromised for the rest of its life."""
        if self.state is not State.POISONED:
            self.events += (log.Event(log.POISON, binding.sha256(why)),)
            self.become(State.POISONED)

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
        quote = self.device.quote(bound, log.replay(self.events))
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
            "host",
        )

    def sign(self, challenge: bytes, statement: bytes) -> bytes:
        """ECDSA P-256 with SHA-256 over the transcript, DER encoded."""
        return self._signing.sign(binding.signed_transcript(challenge, statement), ec.ECDSA(hashes.SHA256()))
