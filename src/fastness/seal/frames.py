"""Frames: how messages lie in the byte stream. ``type`` (1 byte) ‖ ``length`` (4 bytes, big endian) ‖ body.

The limit of a frame depends on its type and is checked before the body is awaited, so a peer cannot make us buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum

from fastness.errors import ProtocolError

HEAD_SIZE = 5
MAX_CONTROL = 64 * 1024
MAX_EVIDENCE = 8 * 1024 * 1024
MAX_RELEASE = 256 * 1024 * 1024
MAX_DATA = 256 * 1024
SMALL, BLOCK = 1024, 64 * 1024
"""Bytes that come in parts smaller than the first are gathered in blocks of about the second."""


class Type(IntEnum):
    """Message types of keep protocol v1."""

    CHALLENGE = 0x01
    EVIDENCE = 0x02
    REFUSAL = 0x03
    RELEASE = 0x04
    MEASURED = 0x05
    ATTACH = 0x06
    STDIN = 0x07
    CREDIT = 0x08
    STDOUT = 0x09
    STDERR = 0x0A
    LOG = 0x0B
    ENDED = 0x0C
    STATUS = 0x0D
    CREDENTIAL = 0x0E
    ACTIVATED = 0x0F


LIMITS = {
    Type.EVIDENCE: MAX_EVIDENCE,
    Type.RELEASE: MAX_RELEASE,
    Type.STDIN: MAX_DATA,
    Type.STDOUT: MAX_DATA,
    Type.STDERR: MAX_DATA,
}


def frame(kind: Type, body: bytes) -> bytes:
    """One frame."""
    if len(body) > LIMITS.get(kind, MAX_CONTROL):
        raise ProtocolError(f"{kind.name.lower()} message of {len(body)} bytes is over its limit")
    return bytes((kind,)) + len(body).to_bytes(4, "big") + body


def _anything(kind: Type) -> None:
    """Refuses nothing."""


class Reader:
    """Takes bytes as they come, gives frames as they complete. Each byte is copied once or twice, however cut."""

    __slots__ = ("_allowed", "_at", "_have", "_need", "_parts", "admit")

    def __init__(self, allowed: frozenset[Type] = frozenset(Type)) -> None:
        self._allowed = allowed
        self.admit: Callable[[Type], None] = _anything
        """Asked before the body of a message is awaited, and again when it is there: it raises to refuse it."""

        self._parts: deque[bytes | bytearray] = deque()
        self._at = 0
        """How much of the first part was given already."""

        self._have = 0
        self._need = 1

    def allow(self, *kinds: Type) -> None:
        """From here on only these types may arrive; anything else is refused at its first byte."""
        self._allowed = frozenset(kinds)

    @property
    def idle(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._have

    def feed(self, data: bytes) -> None:
        """Adds bytes from the stream."""
        self._have += len(data)
        last = self._parts[-1] if self._parts else b""
        if len(data) >= SMALL:
            self._parts.append(data)
        elif isinstance(last, bytearray) and len(last) < BLOCK:
            last += data  # an object of its own would take many times what a few bytes are
        elif data:
            self._parts.append(bytearray(data))

    def next(self) -> tuple[Type, bytes] | None:
        """The next frame, if it is complete.

        Raises:
            ProtocolError: unknown or unexpected type, or a length over the limit of the type; raised as soon as the
                head is there, whether or not the body is.
        """
        if self._have < self._need:
            return None
        kind = self._kind(self._parts[0][self._at])
        self._need = HEAD_SIZE
        if self._have < HEAD_SIZE:
            return None
        size = int.from_bytes(self._head()[1:], "big")
        limit = LIMITS.get(kind, MAX_CONTROL)
        if size > limit:
            raise ProtocolError(f"{kind.name.lower()} message of {size} bytes, limit {limit}")
        self.admit(kind)
        self._need = HEAD_SIZE + size
        if self._have < self._need:
            return None
        self._have -= self._need
        self._need = 1
        self._pass(HEAD_SIZE)
        return kind, self._take(size)

    def _head(self) -> bytes | bytearray:
        """The next five bytes, which are there; afterwards they lie in one part."""
        while len(self._parts[0]) < self._at + HEAD_SIZE:
            first = self._parts.popleft()
            self._parts[0] = first[self._at :] + self._parts[0]
            self._at = 0
        return self._parts[0][self._at : self._at + HEAD_SIZE]

    def _take(self, size: int) -> bytes:
        """The next ``size`` bytes, which are there."""
        taken = []
        while size:
            part = self._parts[0][self._at : self._at + size]  # no copy of what is taken whole
            taken.append(part)
            size -= len(part)
            self._pass(len(part))
        return b"".join(taken)

    def _pass(self, size: int) -> None:
        """Leaves behind what was given of the first part."""
        self._at += size
        if self._at == len(self._parts[0]):
            self._parts.popleft()
            self._at = 0

    def _kind(self, code: int) -> Type:
        try:
            kind = Type(code)
        except ValueError:
            raise ProtocolError(f"unknown message type 0x{code:02x}") from None
        if kind not in self._allowed:
            raise ProtocolError(f"unexpected {kind.name.lower()} message")
        return kind
