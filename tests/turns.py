"""Whether others have their turn: a task beside the one under test, counting how often it ran."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """``taken`` says how many."""

    def __init__(self) -> None:
        self.taken = 0

    async def run(self) -> None:
        while True:
            self.taken += 1
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def others() -> AsyncIterator[Turns]:
    """The others, for as long as the block lasts."""
    turns = Turns()
    running = asyncio.create_task(turns.run())
    try:
        yield turns
    finally:
        running.cancel()
