"""What a keep asks of whoever holds its platform's device, over one socket: requests, answers, and both ends of them.

The keep itself holds no device: on ``nil`` the launcher answers, in a machine of its own PID 1 does. Big endian::

    request = op (1) ‖ length (4) ‖ body          answer = status (1) ‖ length (4) ‖ body

== ========= ============================================ =======================================================
op name      body                                         answer
== ========= ============================================ =======================================================
H  hello     empty                                        CBOR [platform, tee, debug]
Q  quote     report_data (64 bytes)                       CBOR [tee, evidence, [[kind, bytes] …]]
E  extend    measured event: length ‖ kind ‖ digest       empty, once it is in the runtime register
A  activate  CBOR [credential, encrypted secret]          the secret (TPM2_ActivateCredential)
T  time      milliseconds since 1970 (8 bytes)            empty, once the machine's clock says so
== ========= ============================================ =======================================================

Status 0 is success; otherwise the body is words for a person.
"""

from __future__ import annotations

import socket
from enum import Enum
from typing import Protocol

from fastness.devices import MAX_ANSWER, REPORT_DATA_SIZE, Quote
from fastness.errors import FastnessError, KeepFailed, MalformedEvidence
from fastness.wire import cbor

HEAD = 5
MAX_REQUEST = 8 * 1024
MAX_EVENT_LOG = 4 << 20
MAX_BODY = MAX_ANSWER + MAX_EVENT_LOG
MAX_PARTS = 32


class Op(Enum):
    """What is asked for."""

    HELLO = b"H"
    QUOTE = b"Q"
    EXTEND = b"E"
    ACTIVATE = b"A"
    TIME = b"T"


class Holder(Protocol):
    """Whoever holds the device: on which platform, with evidence of which TEE, for a debug build or not."""

    platform: str
    tee: str
    debug: bool

    def quote(self, report_data: bytes) -> Quote:
        """Evidence over 64 bytes of ``report_data`` and over everything extended so far."""

    def extend(self, measured: bytes) -> None:
        """Extends the runtime register with the hash of ``measured``."""

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """What TPM2_ActivateCredential opens."""

    def set_time(self, milliseconds: int) -> None:
        """Sets the machine's clock."""


def request(op: Op, body: bytes) -> bytes:
    """A request."""
    return op.value + len(body).to_bytes(4, "big") + body


def split(head: bytes, limit: int) -> tuple[bytes, int]:
    """(op or status, length of the body) from a head of :data:`HEAD` bytes.

    Raises:
        KeepFailed: a body over ``limit``.
    """
    size = int.from_bytes(head[1:HEAD], "big")
    if size > limit:
        raise KeepFailed(f"a message of {size} bytes at the device, limit {limit}")
    return head[:1], size


def answer(op: bytes, body: bytes, holder: Holder) -> bytes:
    """What ``holder`` answers to a request; never raises for what is asked."""
    try:
        return _framed(0, _perform(op, body, holder))
    except FastnessError as error:
        return _framed(1, f"{error.what}".encode()[:1024])


def _framed(status: int, body: bytes) -> bytes:
    return bytes((status,)) + len(body).to_bytes(4, "big") + body


def _perform(op: bytes, body: bytes, holder: Holder) -> bytes:
    if op == Op.HELLO.value and not body:
        return cbor.encode([holder.platform, holder.tee, holder.debug])
    if op == Op.QUOTE.value and len(body) == REPORT_DATA_SIZE:
        quote = holder.quote(body)
        return cbor.encode([quote.tee, quote.evidence, [list(part) for part in quote.endorsements]])
    if op == Op.EXTEND.value and 0 < len(body) <= 256:
        holder.extend(body)
        return b""
    if op == Op.ACTIVATE.value:
        first, second = _pair(body)
        return holder.activate(first, second)
    if op == Op.TIME.value and len(body) == 8:
        holder.set_time(int.from_bytes(body, "big"))
        return b""
    raise KeepFailed("a request that no device knows")


def _pair(body: bytes) -> tuple[bytes, bytes]:
    try:
        value = cbor.decode(body, canonical=True)
    except MalformedEvidence as error:
        raise KeepFailed(f"a credential that cannot be read: {error.what}") from None
    if not isinstance(value, list) or [type(item) for item in value] != [bytes, bytes]:
        raise KeepFailed("a credential must be [credential, secret]")
    return value[0], value[1]


class Client:
    """The keep's end. Blocking; one request at a time. Every answer is bounded and checked for its form.

    After one that did not come whole and in time nothing is asked any more.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        sock.settimeout(timeout)
        self._sock = sock

    def hello(self) -> tuple[str, str, bool]:
        """(platform, TEE of its evidence, debug) of the machine this runs on.

        Raises:
            KeepFailed: as every method here: the holder went away, stalls, refuses, or answers out of form.
        """
        try:
            value = cbor.decode(self._ask(Op.HELLO, b""), canonical=True)
        except MalformedEvidence as error:
            raise KeepFailed(f"the device's greeting cannot be read: {error.what}") from None
        if not isinstance(value, list) or [type(item) for item in value] != [str, str, bool]:
            raise KeepFailed("the device's greeting is none")
        return value[0][:32], value[1][:32], value[2]

    def quote(self, report_data: bytes) -> Quote:
        """Evidence over ``report_data``."""
        body = self._ask(Op.QUOTE, report_data)
        try:
            value = cbor.decode(body, canonical=True)
        except MalformedEvidence as error:
            raise KeepFailed(f"the device's answer cannot be read: {error.what}") from None
        if not isinstance(value, list) or [type(item) for item in value] != [str, bytes, list]:
            raise KeepFailed("the device's answer is no evidence")
        tee, evidence, parts = value
        sound = all(isinstance(item, list) and [type(one) for one in item] == [str, bytes] for item in parts)
        if not sound or len(parts) > MAX_PARTS or not 0 < len(evidence) <= MAX_ANSWER:
            raise KeepFailed("the device's answer is no evidence")
        return Quote(tee, evidence, tuple((kind, data) for kind, data in parts))

    def extend(self, measured: bytes) -> None:
        """Extends the runtime register with the hash of ``measured``."""
        self._empty(Op.EXTEND, measured)

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """Has the TPM open a credential."""
        return self._ask(Op.ACTIVATE, cbor.encode([credential, secret]))

    def set_time(self, milliseconds: int) -> None:
        """Has the machine's clock set."""
        self._empty(Op.TIME, milliseconds.to_bytes(8, "big"))

    def _empty(self, op: Op, body: bytes) -> None:
        if self._ask(op, body):
            raise KeepFailed(f"the device answered {op.name.lower()} with something")

    def _ask(self, op: Op, body: bytes) -> bytes:
        try:
            self._sock.sendall(request(op, body))
            status, size = split(self._exactly(HEAD), MAX_BODY)
            answer = self._exactly(size)
        except OSError as error:
            self._sock.close()  # an answer that comes too late must not be taken for that to the next request
            raise KeepFailed(f"no answer from the device: {error.strerror or error}") from None
        except KeepFailed:
            self._sock.close()
            raise
        if status != b"\0":
            raise KeepFailed(f"the device failed: {answer[:1024].decode('utf-8', 'replace')}")
        return answer

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            data = self._sock.recv(size - len(parts))
            if not data:
                raise KeepFailed("no answer from the device: it went away")
            parts += data
        return bytes(parts)
