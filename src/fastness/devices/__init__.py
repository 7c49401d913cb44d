"""This machine's own sources of evidence: one module per kernel interface. Imports errors and wire only.

Every answer of the host is bounded and checked for what it claims to be; none is trusted. ``root`` is where the file
system starts, so that each back-end runs against a folder in tests. :func:`find` says what is here.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from fastness.errors import UsageError

NAMES = ("tsm", "sev_guest", "nsm", "gramine", "sev_secret", "tpm")
"""Best first: configfs-tsm speaks for every confidential VM of a recent kernel."""

REPORT_DATA_SIZE = 64
MAX_ANSWER = 64 * 1024


class Quote(NamedTuple):
    """What a device gave: the TEE it speaks for, evidence, and what came with it as (kind, bytes)."""

    tee: str
    evidence: bytes
    endorsements: tuple[tuple[str, bytes], ...] = ()


class Device(Protocol):
    """What each module here exports."""

    def present(self, root: Path) -> bool:
        """Whether the interface is here."""

    def quote(self, report_data: bytes, root: Path) -> Quote:
        """Evidence over ``report_data`` (64 bytes).

        Raises:
            DeviceError: the interface failed or gave something else.
        """


def load(name: str) -> Device:
    """The back-end called ``name``."""
    if name not in NAMES:
        raise UsageError(f"no device is called {name!r}", hint="one of " + ", ".join(NAMES))
    return cast("Device", import_module(f"fastness.devices.{name}"))


def find(root: Path = Path("/")) -> tuple[str, ...]:
    """Names of the back-ends whose interface is here, best first."""
    return tuple(name for name in NAMES if load(name).present(root))


def collect(report_data: bytes, name: str | None = None, root: Path = Path("/")) -> Quote:
    """Evidence of this machine over ``report_data``, padded with zeros to 64 bytes.

    Raises:
        UsageError: more than 64 bytes, or no interface is here.
    """
    if len(report_data) > REPORT_DATA_SIZE:
        raise UsageError(f"report_data has at most {REPORT_DATA_SIZE} bytes", hint="hash what is longer")
    chosen = name or next(iter(find(root)), None)
    if chosen is None:
        raise UsageError(
            "this machine offers no evidence",
            hint="looked for configfs-tsm, /dev/sev-guest, /dev/nsm, Gramine's /dev/attestation, a SEV guest's "
            "injected secret, /dev/tpmrm0",
        )
    return load(chosen).quote(report_data.ljust(REPORT_DATA_SIZE, b"\0"), root)
