"""QEMU's machine protocol, as far as a launch needs it: one command, one answer, events passed over.

JSON, one line each (QEMU ``docs/interop/qmp-spec.rst``). The monitor is there before the machine's first instruction
and closed before it: no machine runs with one.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from fastness.errors import KeepFailed

MAX_LINE = 64 * 1024
TIMEOUT = 20.0


class Monitor:
    """Our end of a monitor."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._rest = b""

    async def greet(self) -> None:
        """Takes the greeting and leaves negotiation.

        Raises:
            KeepFailed: as every method here: QEMU went away, stalls, refuses, or says what it should not.
        """
        if "QMP" not in await self._line():
            raise KeepFailed("QEMU's monitor does not greet")
        await self.do("qmp_capabilities")

    async def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What ``command`` returns."""
        words = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, words.encode() + b"\n")
        except OSError:
            raise KeepFailed("QEMU's monitor is gone", where=command) from None
        while True:
            answer = await self._line()
            if "error" in answer:
                raise KeepFailed(f"QEMU refuses {command}: {str(answer['error'])[:200]}", where=command)
            if isinstance(found := answer.get("return"), dict):
                return found
            if "event" not in answer:
                raise KeepFailed("QEMU's monitor gives no answer to what it was asked", where=command)

    def close(self) -> None:
        """Hangs up."""
        self._sock.close()

    async def _line(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(TIMEOUT):
                while b"\n" not in self._rest:
                    await self._more()
        except (OSError, TimeoutError):
            raise KeepFailed("QEMU's monitor does not answer") from None
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise KeepFailed("QEMU's monitor says something that is no answer")
        return answer

    async def _more(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._sock, MAX_LINE)
        if not data or len(self._rest) + len(data) > MAX_LINE:
            raise KeepFailed("QEMU's monitor is gone, or says too much")
        self._rest += data
