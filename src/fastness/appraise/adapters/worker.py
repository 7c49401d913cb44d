"""The child process that holds an engine of another language. Runs with nothing: no environment, no files, no sockets.

One JSON document a line. The first is the program; it is answered by ``{}`` or ``{"error": …, "line": n}``. Each one
after it is a question, answered by ``{"results": [{"value": …} or {"error": …}, …]}``. Ends with its input.

1. The engine is imported. What it prints goes nowhere: only answers are written where the parent reads.
2. Memory, descriptors, files and processes are limited; where the kernel has seccomp, nothing can be opened or started.
3. The program is read, then questions. Each has its own limit of processor seconds; who exceeds it is killed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from datetime import datetime
from typing import Any, Protocol

_LINE = re.compile(r"(?:line |:)(\d+)(?::\d+)?")
_SYNTAX = re.compile(r"(Syntax error: [^\n]*)")
_MESSAGE = re.compile(r"\(errormsg \d+:(.*?)\)\s")
_OFFSET = re.compile(r"policy\|(\d+)\|")
SECONDS = 2
"""Processor seconds for one question."""
MEMORY = 1 << 30
"""Bytes of address space beyond what the engine has at its start. ``regopy``'s allocator begins with a third of a TB:
for Rego the limit of time has to do."""

MAX_SAID = 300


class Language(Protocol):
    """An engine."""

    def load(self, program: dict[str, Any]) -> dict[str, Any]:
        """Takes the program; says what is wrong with it."""

    def judge(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers to a question."""


class _Cel:
    """``common-expression-language``. A program is several expressions; each answers for itself."""

    def __init__(self) -> None:
        import cel

        self._cel = cel
        self._programs: list[Any] = []
        self._reference: Any = None

    def load(self, program: dict[str, Any]) -> dict[str, Any]:
        self._reference = program["reference"]
        for text in program["parts"]:
            try:
                self._programs.append(self._cel.compile(text))
            except BaseException as error:
                at = _LINE.search(str(error))
                said = _SYNTAX.search(str(error))
                return {"error": said[1][:MAX_SAID] if said else _said(error), "line": int(at[1]) if at else 0}
        return {}

    def judge(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        at = datetime.fromisoformat(question["now"])
        names = {"claims": question["input"], "now": at, "reference": self._reference}
        return [self._one(program, names) for program in self._programs]

    def _one(self, program: Any, names: dict[str, Any]) -> dict[str, Any]:
        try:
            value = program.execute(names)
        except KeyError as error:
            return {"error": f"there is no {error}"[:MAX_SAID]}
        except BaseException as error:
            return {"error": _said(error)}
        return {"value": value} if type(value) is bool else {"error": f"the answer is a {type(value).__name__}"}


class _Rego:
    """``regopy``. A program is modules, and a query of which ``NOW`` stands for the time in nanoseconds."""

    def __init__(self) -> None:
        from regopy import Interpreter

        self._make = Interpreter
        self._program: dict[str, Any] = {}
        self._engine: Any = None

    def _fresh(self) -> Any:
        engine = self._make()
        for name, text in self._program["modules"]:
            engine.add_module(name, text)
        engine.add_data({"reference": self._program["reference"]})
        return engine

    def load(self, program: dict[str, Any]) -> dict[str, Any]:
        self._program = program
        try:
            output = self._fresh().query(program["query"].replace("NOW", "0"))
            if not output.ok():
                return self._fault(str(output))
        except BaseException as error:
            return self._fault(str(error))
        return {}

    def _fault(self, words: str) -> dict[str, Any]:
        """What regopy says is wrong, and the line: its errors have the offset in the module's text."""
        said, at = _MESSAGE.search(words), _OFFSET.search(words)
        line = 0
        if at is not None:
            text = str(self._program["modules"][0][1])
            line = text.encode()[: int(at[1])].count(b"\n") + 1 - int(self._program["shift"])
        return {"error": (said[1] if said else words)[:MAX_SAID], "line": line}

    def judge(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        engine, self._engine = self._engine, None  # kept only where nothing went wrong with it
        try:
            engine = engine or self._fresh()
            engine.set_input(question["input"])
            output = engine.query(self._program["query"].replace("NOW", str(int(question["ns"]))))
            if not output.ok():
                return [{"error": str(output)[:MAX_SAID]}]
            self._engine = engine
            return [{"value": output.results[0].expressions[0]}]
        except IndexError:
            return [{"error": "the package is undefined"}]
        except BaseException as error:
            return [{"error": _said(error)}]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_SAID]


ENGINES: dict[str, type[_Cel] | type[_Rego]] = {"cel": _Cel, "rego": _Rego}


def _confine() -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib would be loaded for this alone
        held = int(file.read().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, held + MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))
    if sys.platform == "linux":
        from fastness.sandbox import seccomp

        seccomp.restrict(files=False)


def _more_time() -> None:
    """Lets this process use :data:`SECONDS` more of the processor, and not one beyond."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + SECONDS, hard))


def main(kind: str) -> None:
    """Answers until its input ends."""
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    engine: Language = ENGINES[kind]()
    _confine()
    with os.fdopen(0, "rb", closefd=False) as questions, os.fdopen(answers, "wb") as out:
        loaded = False
        for line in questions:
            _more_time()
            found = {"results": engine.judge(json.loads(line))} if loaded else engine.load(json.loads(line))
            loaded = True
            out.write(json.dumps(found).encode() + b"\n")
            out.flush()
