"""Many streams over one byte pipe (a virtio-serial port): the frames, and the rules each end holds the other to.

Frame, big endian: ``stream (4) ‖ kind (1) ‖ length (3) ‖ body``. The host opens streams; the guest speaks first.

===== ======= ========== =======================================================================
code  kind    direction  body
===== ======= ========== =======================================================================
1     hello   from guest ``fastness-mux/1``, on stream 0, once: the keep takes connections
2     open    from host  empty; a stream number never used before, greater than the last
3     data    both       1 to 32768 bytes, within the credit given
4     end     both       empty: no more data in this direction
5     reset   both       empty: this stream is over in both directions
6     credit  both       4 bytes: how many more bytes are welcome
7     goodbye from guest 1 byte, on stream 0: exit status; the guest powers off
===== ======= ========== =======================================================================

Each direction of a stream starts with :data:`WINDOW` bytes of credit. A peer that breaks a rule ends the link: it
may be hostile, and what it said before cannot be told from what it meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from fastness.errors import ProtocolError

HEAD = 8
MAX_BODY = 32 * 1024
WINDOW = 256 * 1024
MAX_STREAMS = 64
GREETING = b"fastness-mux/1"


class Kind(IntEnum):
    """What a frame does."""

    HELLO = 1
    OPEN = 2
    DATA = 3
    END = 4
    RESET = 5
    CREDIT = 6
    GOODBYE = 7


SIZES: dict[Kind, tuple[int, int]] = {
    Kind.HELLO: (len(GREETING), len(GREETING)),
    Kind.OPEN: (0, 0),
    Kind.DATA: (1, MAX_BODY),
    Kind.END: (0, 0),
    Kind.RESET: (0, 0),
    Kind.CREDIT: (4, 4),
    Kind.GOODBYE: (1, 1),
}
"""Smallest and largest body of each kind."""

FROM_GUEST = frozenset(Kind) - {Kind.OPEN}
FROM_HOST = frozenset(Kind) - {Kind.HELLO, Kind.GOODBYE}
LINK = frozenset({Kind.HELLO, Kind.GOODBYE})
"""Kinds that speak of the link and stand on stream 0."""


class Frame(NamedTuple):
    """One frame."""

    stream: int
    kind: Kind
    body: bytes = b""

    def encode(self) -> bytes:
        """Its bytes."""
        return self.stream.to_bytes(4, "big") + bytes((self.kind,)) + len(self.body).to_bytes(3, "big") + self.body


def credit(stream: int, size: int) -> Frame:
    """Leave to send ``size`` more bytes on ``stream``."""
    return Frame(stream, Kind.CREDIT, size.to_bytes(4, "big"))


class Reader:
    """Takes bytes as they come, gives frames as they complete; holds at most one frame that is not complete."""

    def __init__(self, allowed: frozenset[Kind]) -> None:
        self._allowed = allowed
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes.

        Raises:
            ProtocolError: a kind that is unknown or not the peer's to send, a length its kind does not have, or a
                stream number that does not fit the kind.
        """
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= HEAD:
                stream, kind, size = self._head(at)
                if len(self._buffer) - at < HEAD + size:
                    return
                at += HEAD + size
                yield Frame(stream, kind, bytes(self._buffer[at - size : at]))
        finally:
            del self._buffer[:at]

    def _head(self, at: int) -> tuple[int, Kind, int]:
        stream, code = int.from_bytes(self._buffer[at : at + 4], "big"), self._buffer[at + 4]
        size = int.from_bytes(self._buffer[at + 5 : at + HEAD], "big")
        kind = next((item for item in self._allowed if item == code), None)
        if kind is None:
            raise ProtocolError(f"the other end of the link sent a frame of kind {code}")
        least, most = SIZES[kind]
        if not least <= size <= most:
            raise ProtocolError(f"the other end of the link sent a {kind.name.lower()} frame of {size} bytes")
        if (stream == 0) is not (kind in LINK):
            raise ProtocolError(f"the other end of the link sent {kind.name.lower()} on stream {stream}")
        return stream, kind, size
