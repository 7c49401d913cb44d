"""A keep that is one process of this host: it says on which port of the loopback it listens, and then nothing.

::

    ready PORT⏎                 on standard output, once; Gramine's own words may come before it
    the end of standard input   what ends the keep: by :meth:`Process.stop`, or because this process is gone
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from fastness.errors import KeepFailed
from fastness.host.launch import waiting

READY = re.compile(rb"^ready ([0-9]{1,5})$", re.MULTILINE)
MAX_WORDS = 16 * 1024
CONNECT_TIMEOUT = 2.0


class Process:
    """A running keep. Starts in the running event loop.

    Args:
        command: its command line.
        folder: where it is started.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._listens = asyncio.Event()
        self._stopping = False
        self._words = b""
        self._port = 0
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=folder, env={"PATH": os.environ.get("PATH", "")},
            )  # fmt: skip
        except OSError as error:
            raise KeepFailed(f"cannot start {command[0]}: {error.strerror}") from None
        self.pid = self._process.pid
        self._output = self._process.stdout.fileno() if self._process.stdout else -1
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._hear)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)

    def _hear(self) -> None:
        """Takes the port, and keeps the last words of a keep that does not start; bounded."""
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._output)
        self._words = (self._words + data)[-MAX_WORDS:]
        found = READY.search(self._words)
        if not self._port and found and 0 < int(found[1]) < 1 << 16:
            self._port = int(found[1])
            self._listens.set()

    def _reap(self) -> None:
        self._hear()
        for handle in (self._pidfd, self._output):
            self._loop.remove_reader(handle)
        os.close(self._pidfd)
        status = self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                end.close()
        self._gone.set_result(0 if self._stopping else status)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self._gone.done()

    async def ready(self, timeout: float) -> None:
        """Returns when the keep takes connections.

        Raises:
            KeepFailed: it died, or did not start in time; with its last words.
        """
        if not await waiting.greeted(self._listens, self._gone, timeout):
            what = f"was not ready within {timeout:g} s" if self.alive else "died while it started"
            raise KeepFailed(f"the keep {what}", where=self._last_words(), hint="a debug image says more")

    def _last_words(self) -> str:
        told = [line.strip() for line in self._words.decode("utf-8", "replace").splitlines() if line.strip()]
        return next((line for line in reversed(told) if line.startswith("error:")), told[-1] if told else "")[-300:]

    def connect(self) -> socket.socket:
        """A new connection to the keep."""
        if not self.alive or not self._port:
            raise KeepFailed("the keep is gone")
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), CONNECT_TIMEOUT)
        except OSError as error:
            raise KeepFailed(f"the keep takes no connection: {(error.strerror or str(error)).lower()}") from None
        sock.setblocking(False)
        return sock

    async def ended(self) -> int:
        """The exit status once it is gone, 0 if it was told to; negative for a signal."""
        return await asyncio.shield(self._gone)

    async def stop(self, grace: float) -> None:
        """Closes its standard input, which ends the keep; kills after ``grace`` seconds."""
        self._stopping = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        await waiting.gone_within(grace, self._gone, lambda: self._process.send_signal(signal.SIGKILL))
