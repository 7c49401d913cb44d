"""Waiting until a file descriptor can be read or written."""

from __future__ import annotations

import asyncio


async def ready(handle: int, *, writing: bool) -> None:
    """Returns when ``handle`` can be read, or written; one waiter per descriptor and direction at a time."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not arrived.done():
            arrived.set_result(None)

    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(handle, wake)
    try:
        await arrived
    finally:
        remove(handle)
