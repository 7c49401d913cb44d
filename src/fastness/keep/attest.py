"""Evidence from the platform's device. One back-end per interface; each answer of the host is bounded and checked.

``nil``: a socket to the launcher, whose software root signs. Request: report_data (64 bytes) ‖ register (48 bytes);
answer: length (4 bytes, big endian) ‖ evidence. SIMULATED.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol

from fastness.errors import KeepFailed

MAX_ANSWER = 64 * 1024
DEVICE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Quote:
    """What a device gave: the TEE it speaks for, evidence, and endorsements as (kind, bytes)."""

    tee: str
    evidence: bytes
    endorsements: tuple[tuple[str, bytes], ...] = ()


class Device(Protocol):
    """A source of evidence."""

    tee: str

    def quote(self, report_data: bytes, register: bytes) -> Quote:
        """Evidence over 64 bytes of ``report_data`` and the runtime ``register`` (48 bytes)."""


class NilDevice:
    """The launcher's software root behind a socket."""

    tee = "nil"

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEVICE_TIMEOUT)
        self._sock = sock

    def quote(self, report_data: bytes, register: bytes) -> Quote:
        """Simulated evidence.

        Raises:
            KeepFailed: the launcher went away, stalls, or answers with a length out of bounds.
        """
        try:
            self._sock.sendall(report_data + register)
            size = int.from_bytes(self._exactly(4), "big")
            if not 0 < size <= MAX_ANSWER:
                raise KeepFailed(f"the launcher answered with evidence of {size} bytes")
            return Quote(self.tee, self._exactly(size))
        except OSError as error:
            raise KeepFailed(f"no evidence from the launcher: {error.strerror or error}") from None

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            data = self._sock.recv(size - len(parts))
            if not data:
                raise KeepFailed("no evidence from the launcher: it went away")
            parts += data
        return bytes(parts)
