"""Waiting for a keep: until it greets, until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


async def greeted(hello: asyncio.Event, gone: asyncio.Future[int], timeout: float) -> bool:
    """Whether a keep said hello before it was gone and within ``timeout`` seconds."""
    said = asyncio.create_task(hello.wait())
    try:
        await asyncio.wait((said, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        said.cancel()
    return hello.is_set()


async def gone_within(grace: float, gone: asyncio.Future[int], kill: Callable[[], None]) -> None:
    """Returns when a keep that was asked to end has ended; calls ``kill`` after ``grace`` seconds."""
    try:
        await asyncio.wait_for(asyncio.shield(gone), grace)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            kill()
        await asyncio.shield(gone)
