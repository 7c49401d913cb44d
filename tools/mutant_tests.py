"""Tests against one mutant after the other: each in a fork of a process that has collected the tests and run none.
Properties are tried on the same 25 examples each time, and a failure is not made smaller.

    python mutant_tests.py FILE …     in the copied tree; jobs on stdin, answers on stdout, a line of JSON each

A job is ``tests`` (ids in their order; null for all), ``limit`` (seconds of the processor), ``watch`` (source files
whose lines are watched, or null) and ``mutant`` (null, or ``file``, ``function`` and the mutated ``source``). The fork
puts the code of the mutated function, or the mutated number, in the place of what was loaded. The answer is the exit
``code`` (0 green, 1 red, 2 where the mutant cannot be put in place, negative where it took too long), of a red one
which test it was (``red``), and where files were watched the ``seconds`` of each test and ``ran``: which tests ran a
line.
"""

from __future__ import annotations

import ast
import functools
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

GREEN, RED, NOT_IN_PLACE = range(3)


class Watch:
    """Which test ran which line of ``files``, and how long each took."""

    def __init__(self, files: list[str]) -> None:
        self.files = set(files)
        self.test = ""
        self.ran: dict[tuple[str, int], dict[str, None]] = {}
        self.seconds: dict[str, float] = {}
        threading.settrace(self.call)

    def call(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        """The trace function of calls."""
        return self.line if frame.f_code.co_filename in self.files else None

    def line(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        """The trace function of lines."""
        if event == "line":
            self.ran.setdefault((frame.f_code.co_filename, frame.f_lineno), {})[self.test] = None
        return self.line

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Called by pytest."""
        self.test, began = item.nodeid, time.process_time()
        sys.settrace(self.call)
        yield
        sys.settrace(None)
        self.seconds[item.nodeid] = time.process_time() - began

    def told(self) -> dict[str, Any]:
        """For the answer."""
        ran: dict[str, dict[int, list[str]]] = {}
        for (file, line), tests in self.ran.items():
            ran.setdefault(file, {})[line] = list(tests)
        return {"seconds": self.seconds, "ran": ran}


def loaded(file: str) -> ModuleType:
    """The module of a source file, which some test may be the first to load."""
    parts = Path(file).with_suffix("").parts
    return importlib.import_module(".".join(parts[parts.index("src") + 1 :]))


def in_place(file: str, function: str, source: str) -> bool:
    """Puts a mutant in the place of what was loaded; False where that cannot be done."""
    module = loaded(file)
    if not function:
        return _numbers(module, source)
    names = function.split(".")
    code: Any = compile(source, file, "exec")
    target: Any = module
    while names and not isinstance(target, FunctionType):
        name = names.pop(0)
        code = next((item for item in _codes(code) if item.co_name == name), None)
        target = _plain(vars(target).get(name))
        if code is None:
            return False
    if not isinstance(target, FunctionType) or target.__code__.co_freevars != code.co_freevars:
        return False
    target.__code__ = code
    return True


def _codes(code: CodeType) -> list[CodeType]:
    return [item for item in code.co_consts if isinstance(item, CodeType)]


def _plain(value: Any) -> Any:
    """The function in a property, a method of a class, or a cache."""
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.cached_property):
        value = value.func
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    return getattr(value, "__wrapped__", value)


def _numbers(module: ModuleType, source: str) -> bool:
    """Sets the module's numbers anew, here and where they were imported; those made of them at import stay. False
    where none changed: then the mutant is of what was done at import."""
    changed = False
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        name = node.targets[0].id
        old = vars(module).get(name)
        if not name.isupper() or type(old) is not int:
            continue
        new = eval(ast.unparse(node.value), vars(module))  # noqa: S307 - the tree's own source
        for other in [*sys.modules.values()] if new != old else ():
            if other is module or _imports(other, module, name):
                vars(other)[name] = new
                changed = True
    return changed


def _imports(other: ModuleType, module: ModuleType, name: str) -> bool:
    """Whether a module of ours has ``name`` from ``module``."""
    if not getattr(other, "__name__", "").startswith("fastness.") or name not in vars(other):
        return False
    tree = ast.parse(Path(str(other.__file__)).read_text("utf-8"))
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == module.__name__]
    return any(alias.name == name for node in taken for alias in node.names)


def run(session: pytest.Session, job: dict[str, Any], answer: Path) -> int:
    """In the fork: the tests, until one is red."""
    resource.setrlimit(resource.RLIMIT_CPU, (job["limit"], job["limit"] + 1))
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    mutant = job["mutant"]
    if mutant and not in_place(mutant["file"], mutant["function"], mutant["source"]):
        return NOT_IN_PLACE
    watch = Watch(job["watch"]) if job["watch"] else None
    if watch:
        session.config.pluginmanager.register(watch)
    items = session.items
    if job["tests"] is not None:
        named = {item.nodeid: item for item in items}
        items = [named[name] for name in job["tests"]]
    for item, after in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.testsfailed:
            answer.write_text(json.dumps({"red": item.nodeid}), "utf-8")
            return RED
    if watch:
        answer.write_text(json.dumps(watch.told()), "utf-8")
    return GREEN


def waited(child: int, limit: float) -> int:
    """The exit code of ``child``; its end, where it waits for longer than ten times its share of the processor."""
    end = time.monotonic() + 10 * limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Server:
    """Answers jobs in the place of running the collected tests."""

    def __init__(self, jobs: Any, answers: Any) -> None:
        self.jobs, self.answers = jobs, answers

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Called by pytest once all is collected."""
        with tempfile.TemporaryDirectory() as place:
            for line in self.jobs:
                job, answer = json.loads(line), Path(place) / "answer"
                answer.unlink(missing_ok=True)
                child = os.fork()
                if not child:
                    os.setpgid(0, 0)
                    code = RED
                    try:
                        code = run(session, job, answer)
                    finally:
                        os._exit(code)
                ended = waited(child, job["limit"])
                told = json.loads(answer.read_text("utf-8")) if answer.exists() else {}
                print(json.dumps({"code": ended, **told}), file=self.answers, flush=True)
        return True


def main() -> int:
    """Collects the tests named, and answers jobs until there are no more; what pytest prints goes to stderr."""
    jobs, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings.register_profile(
        "mutants",
        settings(
            max_examples=25,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
            phases=(Phase.explicit, Phase.generate),
        ),
    )
    ours = ["--hypothesis-seed=1", "--hypothesis-profile=mutants", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    command = ["-q", "-s", "-p", "no:cacheprovider", *ours, *sys.argv[1:]]
    return int(pytest.main(command, [Server(jobs, answers)]))


if __name__ == "__main__":
    sys.exit(main())
