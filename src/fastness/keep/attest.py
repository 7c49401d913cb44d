"""The keep's way to its platform: evidence, the runtime register, the clock. It holds no device itself.

Whoever started the keep holds the device and answers over a socket (:mod:`fastness.devices.exchange`): on ``nil`` the
launcher, in a machine of its own PID 1. So the process that runs a tenant's code can reach no device at all.
"""

from __future__ import annotations

import socket
from typing import Protocol

from fastness.devices import Quote
from fastness.devices.exchange import Client
from fastness.errors import KeepFailed
from fastness.seal import log

DEVICE_TIMEOUT = 30.0
"""Seconds; a TPM under emulation on a busy machine takes one."""


class Device(Protocol):
    """A source of evidence with a runtime register."""

    tee: str

    def quote(self, report_data: bytes) -> Quote:
        """Evidence over 64 bytes of ``report_data`` and the register."""

    def extend(self, event: log.Event) -> None:
        """Puts ``event`` into the register."""

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """What only the TPM that the credential was made for can open."""

    def set_time(self, milliseconds: int) -> None:
        """Sets the machine's clock."""


class Remote:
    """The device behind a socket. Blocking; one request at a time.

    Every method raises :class:`~fastness.errors.KeepFailed` when the holder went away, stalls, refuses or answers out
    of form.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._client = Client(sock, DEVICE_TIMEOUT)
        self.platform, self.tee, self.debug = self._client.hello()

    def quote(self, report_data: bytes) -> Quote:
        """Evidence of this platform."""
        found = self._client.quote(report_data)
        if found.tee != self.tee:
            raise KeepFailed(f"the device answers with {found.tee[:32]!r} evidence, this keep is on {self.tee!r}")
        return found

    def extend(self, event: log.Event) -> None:
        """Puts ``event`` into the register."""
        self._client.extend(log.measured(event))

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """Has the TPM open a credential."""
        return self._client.activate(credential, secret)

    def set_time(self, milliseconds: int) -> None:
        """Has the machine's clock set."""
        self._client.set_time(milliseconds)
