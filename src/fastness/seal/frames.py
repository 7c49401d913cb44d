"""Frames: how messages lie in the byte stream. ``type`` (1 byte) ‖ ``length`` (4 bytes, big endian) ‖ body.

The limit of a frame depends on its type and is checked before the body is awaited, so a peer cannot make us buffer.
"""

from __future__ import annotations

from enum import IntEnum

from fastness.errors import ProtocolError

HEAD_SIZE = 5
MAX_CONTROL = 64 * 1024
MAX_EVIDENCE = 8 * 1024 * 1024
MAX_RELEASE = 256 * 1024 * 1024
MAX_DATA = 256 * 1024


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


class Reader:
    """Takes bytes as they come, gives frames as they complete."""

    __slots__ = ("_allowed", "_buffer")

    def __init__(self, allowed: frozenset[Type] = frozenset(Type)) -> None:
        self._buffer = bytearray()
        self._allowed = allowed

    def allow(self, *kinds: Type) -> None:
        """From here on only these types may arrive; anything else is refused at its first byte."""
        self._allowed = frozenset(kinds)

    @property
    def idle(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._buffer

    def feed(self, data: bytes) -> None:
        """Adds bytes from the stream."""
        self._buffer += data

    def next(self) -> tuple[Type, bytes] | None:
        """The next frame, if it is complete.

        Raises:
            ProtocolError: unknown or unexpected type, or a length over the limit of the type; raised as soon as the
                head is there, whether or not the body is.
        """
        buffer = self._buffer
        if not buffer:
            return None
        kind = self._kind(buffer[0])
        if len(buffer) < HEAD_SIZE:
            return None
        size = int.from_bytes(buffer[1:HEAD_SIZE], "big")
        limit = LIMITS.get(kind, MAX_CONTROL)
        if size > limit:
            raise ProtocolError(f"{kind.name.lower()} message of {size} bytes, limit {limit}")
        end = HEAD_SIZE + size
        if len(buffer) < end:
            return None
        body = bytes(memoryview(buffer)[HEAD_SIZE:end])
        del buffer[:end]
        return kind, body

    def _kind(self, code: int) -> Type:
        try:
            kind = Type(code)
        except ValueError:
            raise ProtocolError(f"unknown message type 0x{code:02x}") from None
        if kind not in self._allowed:
            raise ProtocolError(f"unexpected {kind.name.lower()} message")
        return kind
