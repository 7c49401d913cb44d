"""Control messages of keep protocol v1 as values: CBOR maps in deterministic encoding, integer keys, nothing optional.

Every decoder takes exactly the fields it knows and refuses the rest: an unknown field is an unknown version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence, ProtocolError
from fastness.seal import binding, log
from fastness.wire import cbor, cmw

VERSION = 1
MAX_TYPES = 16
MAX_TIME = (1 << 63) - 1


def fields(body: bytes, kinds: Mapping[int, type], what: str) -> dict[int, Any]:
    """The fields of a message: exactly ``kinds``, each of its type.

    Raises:
        ProtocolError: they are not.
    """
    try:
        value = cbor.decode(body, canonical=True)
    except MalformedEvidence as error:
        raise ProtocolError(f"{what}: not canonical CBOR ({error.what})") from None
    if not isinstance(value, dict) or set(value) != set(kinds):
        raise ProtocolError(
            f"{what}: unknown or missing fields", hint="the peer speaks another version of the protocol"
        )
    for key, kind in kinds.items():
        if type(value[key]) is not kind:
            raise ProtocolError(f"{what}: field {key} must be {kind.__name__}, is {type(value[key]).__name__}")
    return value


def sized(value: bytes, size: int, what: str) -> bytes:
    """``value`` if it has ``size`` bytes."""
    if len(value) != size:
        raise ProtocolError(f"{what} must be {size} bytes, is {len(value)}")
    return value


class Challenge(NamedTuple):
    """``{1: version, 2: role, 3: nonce (32 bytes), 4: accepted evidence types}``, challenger to keep."""

    role: str
    nonce: bytes
    accepts: tuple[str, ...]

    def encode(self) -> bytes:
        """The message body."""
        return cbor.encode({1: VERSION, 2: self.role, 3: self.nonce, 4: list(self.accepts)})

    @classmethod
    def decode(cls, body: bytes) -> Challenge:
        """The message from its body; refuses other versions, unknown roles, and an all-zero nonce."""
        value = fields(body, {1: int, 2: str, 3: bytes, 4: list}, "challenge")
        if value[1] != VERSION:
            raise ProtocolError(f"protocol version {value[1]} is not spoken here", hint=f"speak version {VERSION}")
        if value[2] not in binding.ROLES:
            raise ProtocolError(f"no role is called {value[2][:32]!r}")
        if not any(sized(value[3], binding.NONCE_SIZE, "nonce")):
            raise ProtocolError("a nonce of zeros proves nothing")
        if len(value[4]) > MAX_TYPES or not all(isinstance(item, str) and len(item) <= 32 for item in value[4]):
            raise ProtocolError("challenge: accepted types must be a few short names")
        return cls(value[2], value[3], tuple(value[4]))


class Statement(NamedTuple):
    """What a keep says of itself, signed as a whole.

    ``{1: version, 2: platform, 3: evidence (CMW record), 4: endorsements [[kind, bytes]], 5: signing key (DER SPKI),
    6: HPKE key (32 bytes), 7: workload (32 bytes or empty), 8: log [[kind, digest]], 9: time in ms since 1970 or 0,
    10: source of that time}``
    """

    platform: str
    tee: str
    evidence: bytes
    endorsements: tuple[tuple[str, bytes], ...]
    signing_key: bytes
    hpke_key: bytes
    workload: bytes
    log: tuple[log.Event, ...]
    clock_ms: int = 0
    clock_source: str = "none"

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return cbor.encode(
            {
                1: VERSION,
                2: self.platform,
                3: cmw.record(self.tee, self.evidence),
                4: [list(item) for item in self.endorsements],
                5: self.signing_key,
                6: self.hpke_key,
                7: self.workload,
                8: log.to_value(self.log),
                9: self.clock_ms,
                10: self.clock_source,
            }
        )


def encode_evidence(statement: bytes, signature: bytes) -> bytes:
    """The evidence message: ``[statement, signature]``, both byte strings."""
    return cbor.encode([statement, signature])


class Workload(NamedTuple):
    """The plaintext of a release: everything a keep needs to run one workload.

    ``{1: wasm, 2: configuration (manifest CBOR), 3: {secret name: bytes}, 4: {asset path: bytes}, 5: owner token (32
    bytes), 6: attached, 7: the tenant's time in ms since 1970}``. Attached workloads end with the connection that
    brought them.
    """

    wasm: bytes
    configuration: bytes
    secrets: Mapping[str, bytes]
    assets: Mapping[str, bytes]
    owner: bytes
    attached: bool = True
    time_ms: int = 0

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Workload({len(self.wasm)} bytes)"

    def encode(self) -> bytes:
        """The plaintext that is sealed."""
        secrets, assets = dict(self.secrets), dict(self.assets)
        return cbor.encode(
            {1: self.wasm, 2: self.configuration, 3: secrets, 4: assets, 5: self.owner, 6: self.attached,
             7: self.time_ms}
        )  # fmt: skip

    @classmethod
    def decode(cls, body: bytes) -> Workload:
        """The workload from an unsealed release."""
        value = fields(body, {1: bytes, 2: bytes, 3: dict, 4: dict, 5: bytes, 6: bool, 7: int}, "release")
        for key in (3, 4):
            for name, data in value[key].items():
                if not isinstance(name, str) or not isinstance(data, bytes):
                    raise ProtocolError("release: secrets and assets map names to bytes")
        if not 0 <= value[7] <= MAX_TIME:
            raise ProtocolError("release: no time in milliseconds since 1970")
        return cls(value[1], value[2], value[3], value[4], sized(value[5], 32, "owner token"), value[6], value[7])

    @property
    def digest(self) -> bytes:
        """Identity of the workload and its configuration (32 bytes)."""
        return binding.workload_digest(binding.sha256(self.wasm), binding.sha256(self.configuration))


def decode_credential(body: bytes) -> tuple[bytes, bytes]:
    """(credential, encrypted secret) of a credential message."""
    return pair(body, "credential message", "credential, secret")


def pair(body: bytes, what: str, parts: str) -> tuple[bytes, bytes]:
    """The two byte strings of ``body``, which ``parts`` names."""
    try:
        value = cbor.decode(body, canonical=True)
    except MalformedEvidence as error:
        raise ProtocolError(f"{what}: not canonical CBOR ({error.what})") from None
    if not isinstance(value, list) or [type(part) for part in value] != [bytes, bytes]:
        raise ProtocolError(f"{what}: must be [{parts}]")
    return value[0], value[1]


WISHES = ("logs", "status", "stop", "end")
"""To read; to hear how the workload ended; to end the keep at once; to tell the workload, and end the keep once its
grace is over."""


class Attach(NamedTuple):
    """The plaintext of an attach message: ``{1: owner token, 2: wish, 3: follow}``; wish one of :data:`WISHES`."""

    owner: bytes
    wish: str
    follow: bool = False

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"Attach({self.wish})"

    def encode(self) -> bytes:
        """The plaintext that is sealed."""
        return cbor.encode({1: self.owner, 2: self.wish, 3: self.follow})

    @classmethod
    def decode(cls, body: bytes) -> Attach:
        """The wish from an unsealed attach message."""
        value = fields(body, {1: bytes, 2: str, 3: bool}, "attach")
        if value[2] not in WISHES:
            raise ProtocolError(f"no wish is called {value[2][:32]!r}")
        return cls(sized(value[1], 32, "owner token"), value[2], value[3])


class Ended(NamedTuple):
    """How a workload ended: ``{1: outcome, 2: code, 3: what, 4: where, 5: hint}``.

    ``outcome`` is ``exit`` (``code`` is the workload's own), ``trap``, ``limit``, ``refused`` or ``failed``.
    """

    outcome: str
    code: int = 0
    what: str = ""
    where: str = ""
    hint: str = ""

    def encode(self) -> bytes:
        """The message body, texts cut to what a message may hold."""
        return cbor.encode(
            {1: self.outcome, 2: self.code, 3: self.what[:4096], 4: self.where[:8192], 5: self.hint[:1024]}
        )


class Refusal(NamedTuple):
    """A keep that will not go on: ``{1: what, 2: hint, 3: evidence types it has}``."""

    what: str
    hint: str = ""
    has: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The message body."""
        return cbor.encode({1: self.what[:1024], 2: self.hint[:1024], 3: list(self.has)})


class Measured(NamedTuple):
    """The workload was measured and starts now: ``{1: workload (32 bytes), 2: log}``."""

    workload: bytes
    log: tuple[log.Event, ...]

    def encode(self) -> bytes:
        """The message body."""
        return cbor.encode({1: self.workload, 2: log.to_value(self.log)})


class Status(NamedTuple):
    """What a keep is doing: ``{1: state, 2: ended (an Ended body or empty)}``; state as in ``keep.states``."""

    state: str
    ended: bytes = b""

    def encode(self) -> bytes:
        """The message body."""
        return cbor.encode({1: self.state, 2: self.ended})


def credit(size: int) -> bytes:
    """The body of a credit message: how many more bytes of stdin the keep takes (4 bytes, big endian)."""
    return size.to_bytes(4, "big")
