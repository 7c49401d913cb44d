"""One file per platform: how to start a keep on it, and how to reach it. Chosen by name, never by falling back."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, Protocol, cast, runtime_checkable

from fastness.errors import UsageError

PLATFORMS = ("nil", "vm", "snp", "tdx", "sev", "nitro", "sgx")


class Root(NamedTuple):
    """A local root that a platform's evidence leads to: the label of its PEM block, and its DER."""

    label: str
    der: bytes


class Running(Protocol):
    """A started keep."""

    pid: int

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""

    async def ready(self, timeout: float) -> None:
        """Returns when the keep takes connections; :class:`~fastness.errors.KeepFailed` if it died or stalls."""

    def connect(self) -> socket.socket:
        """A new connection to the keep, non-blocking: bytes in, bytes out."""

    async def ended(self) -> int:
        """Returns the exit status once the keep is gone."""

    async def stop(self, grace: float) -> None:
        """Asks the keep to end, and kills it after ``grace`` seconds; returns when it is gone."""


class Launcher(Protocol):
    """A platform's way to start keeps."""

    name: str

    def check(self) -> None:
        """Returns if a keep could be launched here.

        Raises:
            KeepFailed: it could not: what is missing, and what would mend it.
            UsageError: what was chosen cannot be.
        """

    async def launch(self, *, debug: bool = False) -> Running:
        """Starts a keep."""

    def anchors(self) -> tuple[Root, ...]:
        """Local roots that this platform's evidence leads to; empty where a silicon vendor's does."""


class Session(NamedTuple):
    """What a tenant makes for one launch of SEV: its certificate (2084 bytes) and the wrapped keys (128 bytes)."""

    certificate: bytes
    blob: bytes


class Standing(Protocol):
    """A keep that was measured, stands before its first instruction, and waits for its tenant's secret."""

    running: Running
    measurement: bytes
    digest: str

    async def inject(self, header: str, data: str) -> None:
        """Gives it the secret, header and data in base64, and lets it run."""

    def close(self) -> None:
        """Gives up what is held for it."""


@runtime_checkable
class Telling(Protocol):
    """A launcher whose first check takes its time, and says what it waits for."""

    tell: Callable[[str], None]


@runtime_checkable
class Attended(Protocol):
    """A platform whose keeps cannot prove themselves unless a tenant attends their launch."""

    def platform(self) -> dict[str, object]:
        """What a tenant has to know of this platform before."""

    async def stand(self, session: Session) -> Standing:
        """Starts a keep for ``session``, up to its measurement."""


def load(name: str, settings: object = None) -> Launcher:
    """The launcher of platform ``name``; ``settings`` of :mod:`~fastness.host.launch.qemu` where it makes machines."""
    if name not in PLATFORMS:
        raise UsageError(f"no platform is called {name!r}", hint="one of " + ", ".join(PLATFORMS))
    made = import_module(f"fastness.host.launch.{name}").Launcher
    return cast("Launcher", made() if settings is None else made(settings))
