"""Asks a child process that holds the engine of another language, within bounds; see :mod:`.worker` for the other side.

An engine that hangs, dies or answers nonsense gives no answer, and no answer is a refusal. The next question gets a new
child.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastness.errors import UsageError

MODULES = {"cel": "cel", "rego": "regopy"}
SECONDS = 5.0
"""Wall clock for one question. The child's own limit, of processor seconds, is lower."""
START_SECONDS = 20.0
MAX_QUESTION = 1 << 20
MAX_ANSWER = 1 << 20
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); sys.path.append(sys.argv[2]); "
    "from fastness.appraise.adapters import worker; worker.main(sys.argv[3])"
)


class Engine:
    """A program in one language, and the child that runs it: started when it is first asked, ended with this object."""

    def __init__(self, kind: str, program: Mapping[str, Any]) -> None:
        """Takes a program for :mod:`.worker`.

        Raises:
            UsageError: the engine of that language is not installed.
        """
        found = find_spec(MODULES[kind])
        if found is None or found.origin is None:
            what = f"policies in {'CEL' if kind == 'cel' else 'Rego'} need an engine that is not installed"
            raise UsageError(what, hint=f"pip install 'fastness[{kind}]'")
        self._command = [sys.executable, "-I", "-c", _BOOT, _root(), str(Path(found.origin).parent.parent), kind]
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes]], Engine] | None = None

    def check(self) -> tuple[str, int]:
        """(what is wrong with the program, line); an empty text if nothing is. The line is 0 where nobody tells."""
        try:
            self._start()
        except _Wrong as error:
            return str(error), error.line
        except (OSError, ValueError) as error:
            return _silence(error), 0
        return "", 0

    def ask(self, question: Mapping[str, Any]) -> list[Any]:
        """The results, one for each part of the program; a single ``{"error": …}`` where there was no answer."""
        try:
            line = json.dumps(question, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            return [{"error": "the claims are not JSON"}]
        if len(line) > MAX_QUESTION:
            return [{"error": f"the claims are larger than {MAX_QUESTION} bytes"}]
        try:
            if self._child is None:
                self._start()
            found = self._exchange(line, SECONDS)["results"]
            return found if isinstance(found, list) else [{"error": "the engine answers nonsense"}]
        except (OSError, ValueError, KeyError, RecursionError) as error:
            self._stop()
            return [{"error": _silence(error)}]

    def _start(self) -> None:
        self._stop()
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env={}, cwd="/", bufsize=0
        )
        self._child, self._end = child, weakref.finalize(self, _kill, child)
        found = self._exchange(json.dumps(self._program).encode(), START_SECONDS)
        if found.get("error"):
            self._stop()
            raise _Wrong(str(found["error"]), found.get("line", 0))

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._child = self._end = None

    def _exchange(self, line: bytes, seconds: float) -> dict[str, Any]:
        """One line there and one back. ``OSError`` (``TimeoutError`` among them) and ``ValueError`` without one."""
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise BrokenPipeError
        deadline = time.monotonic() + seconds
        _write(child.stdin.fileno(), line + b"\n", deadline)
        value = json.loads(_read(child.stdout.fileno(), deadline))
        if not isinstance(value, dict):
            raise ValueError("not an object")  # noqa: TRY004 - what json.loads raises too
        return value


class _Wrong(ValueError):
    """A fault in the program."""

    def __init__(self, what: str, line: object) -> None:
        super().__init__(what)
        self.line = line if isinstance(line, int) else 0


def _root() -> str:
    """The folder this package is in: the child is given no other way to find it."""
    return str(Path(__file__).resolve().parents[3])


def _silence(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:.0f} seconds"
    if isinstance(error, OSError):
        return "the engine ended without an answer: it may have reached its limit of time or memory"
    if isinstance(error, _Wrong):
        return str(error)
    return "the engine answers nonsense"


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _write(descriptor: int, data: bytes, deadline: float) -> None:
    os.set_blocking(descriptor, False)
    left = memoryview(data)
    while left:
        _wait(descriptor, select.POLLOUT, deadline)
        left = left[os.write(descriptor, left) :]


def _read(descriptor: int, deadline: float) -> bytes:
    found = bytearray()
    while not found.endswith(b"\n"):
        _wait(descriptor, select.POLLIN, deadline)
        more = os.read(descriptor, 1 << 16)
        if not more:
            raise BrokenPipeError
        found += more
        if len(found) > MAX_ANSWER:
            raise ValueError("an answer without an end")
    return bytes(found)


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
