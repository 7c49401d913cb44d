"""A keep that is made up: it runs until it is stopped."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

from fastness.errors import KeepFailed


@dataclass
class Keep:
    """What a host asks of a keep; nobody connects to it."""

    pid: int = 7
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def alive(self) -> bool:
        return not self.gone.is_set()

    async def ready(self, timeout: float) -> None: ...

    def connect(self) -> socket.socket:
        raise KeepFailed("nobody connects here")

    async def ended(self) -> int:
        await self.gone.wait()
        return 0

    async def stop(self, grace: float) -> None:
        self.gone.set()
