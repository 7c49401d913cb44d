"""The devices of this machine, for PID 1, which holds them: evidence, the runtime register, the clock.

The keep's process asks over a socket (:mod:`fastness.devices.exchange`) and has no device of its own.
"""

from __future__ import annotations

import time
from pathlib import Path

from fastness import devices
from fastness.devices import Quote, tpm
from fastness.errors import KeepFailed

ROOT = Path("/")
EARLIEST, LATEST = 1_700_000_000_000, 4_102_444_800_000
"""Milliseconds between which a time may lie: November 2023, when this was not written yet, and the year 2100."""

PLATFORMS = {"tpm": "vm"}
"""Name of the platform by the TEE of its evidence, where they differ."""


class Hardware:
    """The best source of evidence here, and PCR 15 where that source is a TPM."""

    def __init__(self, name: str, tee: str, *, debug: bool) -> None:
        self._name = name
        self.debug = debug
        self.tee = tee
        self.platform = PLATFORMS.get(tee, tee)
        self.measured: list[bytes] = []
        """What was extended, for the successor of a keep that found itself compromised."""

    def quote(self, report_data: bytes) -> Quote:
        """Evidence over ``report_data``."""
        return devices.load(self._name).quote(report_data, ROOT)

    def extend(self, measured: bytes) -> None:
        """Extends PCR 15. Elsewhere the log is bound by the keep's signature, under its attested key, alone."""
        if self.tee == "tpm":
            tpm.extend(measured, ROOT)
        self.measured.append(measured)

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """What the TPM opens."""
        if self.tee != "tpm":
            raise KeepFailed(f"a keep on {self.platform} has no TPM: it opens no credential")
        return tpm.activate(credential, secret, ROOT)

    def set_time(self, milliseconds: int) -> None:
        """Sets the machine's clock; it runs on from there by the processor's own counter."""
        if not EARLIEST <= milliseconds <= LATEST:
            raise KeepFailed(f"{milliseconds} ms since 1970 is no time to set a clock to")
        time.clock_settime_ns(time.CLOCK_REALTIME, milliseconds * 1_000_000)


def find(*, debug: bool) -> Hardware:
    """What this machine offers, best first, to a build that is for debugging or not.

    Raises:
        KeepFailed: nothing: a keep that cannot prove itself does not start.
    """
    found = devices.find(ROOT)
    if not found:
        raise KeepFailed("this machine offers no evidence: no TEE driver, and no TPM")
    name = found[0]
    # which TEE speaks through configfs-tsm is known only from an answer
    return Hardware(name, devices.load(name).quote(bytes(devices.REPORT_DATA_SIZE), ROOT).tee, debug=debug)
