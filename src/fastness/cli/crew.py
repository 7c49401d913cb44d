"""Records judged by as many processes as there are cores, in their order; few records, or one core: by this one alone.

A child is an interpreter of its own that reads the same policies. It is told which by one line of JSON and answers with
their digests; if they are not ours (a policy from a pipe, a file that changed) there is no crew. Then it is given one
batch after another: a line of JSON (place, number of the first line, size in bytes) and the lines as they stand in the
file; it answers each with one line, a list of moves. It ends with its input, so it never outlives us.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple
from datetime import datetime
from typing import Any, NamedTuple

from fastness.appraise import policy as policies
from fastness.appraise import records
from fastness.appraise.policy import Policy
from fastness.appraise.records import Change, Move, Record
from fastness.cli.collection import Batch
from fastness.errors import FastnessError

MOST = 4
"""Most children."""
ALONE = 20
"""Batches judged before children are started: their start takes about as long."""
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from fastness.cli import crew; crew.serve()"


class Question(NamedTuple):
    """What is asked of every record: the verdict of ``policy`` at ``at``, and before it that of ``old``, if any.

    ``policy`` and ``old`` are names of policies, ``owners`` of a file; ``measured`` as :func:`records.judge` takes it.
    """

    policy: str
    old: str | None
    owners: str | None
    at: datetime
    measured: bool

    def again(self) -> bool:
        """Whether a child can read the same policies: profiles or files; what is in a pipe was read."""
        names = [self.policy, self.old, self.owners or os.environ.get("FASTNESS_OWNERS")]
        return all(name in policies.PROFILES or os.path.isfile(name) for name in names if name)  # noqa: PTH113

    def load(self) -> Judge:
        """The policies, read."""
        new = policies.load(self.policy, self.owners)
        return Judge(self, new, None if self.old is None else policies.load(self.old, self.owners))


class Judge(NamedTuple):
    """A question with its policies."""

    asked: Question
    policy: Policy
    old: Policy | None

    def moves(self, item: Record | Batch) -> list[Move]:
        """What becomes of each record of ``item``."""
        given = item.records() if isinstance(item, Batch) else (item,)
        return list(records.plan(given, self.policy, at=self.asked.at, old=self.old, measured=self.asked.measured))

    @property
    def digests(self) -> list[str | None]:
        """By which two judges are the same."""
        return [self.policy.digest, None if self.old is None else self.old.digest]


def judged(items: Iterable[Record | Batch], judge: Judge, most: int | None = None) -> Generator[tuple[int, list[Move]]]:
    """(bytes read, moves) of each item, in their order.

    Args:
        items: what there is to judge.
        judge: who judges.
        most: processes to use at most (as many as there are cores, up to :data:`MOST`).

    Raises:
        FastnessError: a child ended early, or met a bug of ours. None is left running.
    """
    if most is None:
        most = min(cores(), MOST) if judge.asked.again() else 1
    source, batches = iter(items), 0
    for item in source:
        yield _size(item), judge.moves(item)
        batches += isinstance(item, Batch)
        if batches == ALONE and most > 1:
            break
    with _Crew(judge, most) if most > 1 and batches == ALONE else contextlib.nullcontext() as crew:
        if crew is not None and crew.hands:
            yield from crew.judged(source)
    for item in source:
        yield _size(item), judge.moves(item)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(item: Record | Batch) -> int:
    return len(item.text) if isinstance(item, Batch) else 0


class _Hand:
    """One child, which answers one batch at a time."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-I", "-c", _BOOT, *filter(None, sys.path)]
        # a group of its own: ctrl-C is for us, who end it
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, process_group=0)  # noqa: S603

    def say(self, document: dict[str, Any], text: bytes = b"") -> None:
        """One document, and what belongs to it."""
        with contextlib.suppress(OSError):  # the answer that is missing tells
            stdin: Any = self._child.stdin
            stdin.write(json.dumps(document).encode() + b"\n" + text)
            stdin.flush()

    def hear(self) -> Any:
        """The answer. ``FastnessError`` where there is none."""
        stdout: Any = self._child.stdout
        line = stdout.readline()
        if line.endswith(b"\n"):
            return json.loads(line)
        code = self._child.wait()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        raise FastnessError(
            f"a process that judges records ended before it had answered ({how})",
            hint="it may have run out of memory; `taskset -c 0` before the command has one process do it all",
        )

    def end(self) -> None:
        """Ends it, whatever it does."""
        self._child.kill()
        self._child.wait()

    def close(self) -> None:
        """Closes what led to it, once nobody waits for it."""
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):  # what was not yet written goes nowhere
                if pipe is not None:
                    pipe.close()


class _Crew:
    """The children, each spoken to by a thread of its own; a context that leaves none behind."""

    def __init__(self, judge: Judge, count: int) -> None:
        self.hands: list[_Hand] = []
        self._judge, self._count = judge, count
        self._idle: queue.SimpleQueue[_Hand] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(count)

    def __enter__(self) -> _Crew:
        asked = self._judge.asked
        try:
            for _ in range(self._count):
                self.hands.append(_Hand())
                self.hands[-1].say({**asked._asdict(), "at": asked.at.isoformat()})
                self._idle.put(self.hands[-1])
            if any(hand.hear() != self._judge.digests for hand in self.hands):
                self._end()
        except (FastnessError, OSError):  # no children here, or none that can read what we read
            self._end()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        hands, self.hands = self.hands, []
        for hand in hands:
            hand.end()
        self._pool.shutdown(cancel_futures=True)
        for hand in hands:
            hand.close()

    def judged(self, items: Iterable[Record | Batch]) -> Iterator[tuple[int, list[Move]]]:
        """As :func:`judged`. At most two batches for each child are underway."""
        underway: deque[tuple[Record | Batch, Future[list[Move] | None]]] = deque()
        for item in items:
            if len(underway) == 2 * self._count:
                yield self._first(underway)
            underway.append((item, self._pool.submit(self._ask, item)))
        while underway:
            yield self._first(underway)

    def _first(self, underway: deque[tuple[Record | Batch, Future[list[Move] | None]]]) -> tuple[int, list[Move]]:
        item, answer = underway.popleft()
        moves = answer.result()
        return _size(item), self._judge.moves(item) if moves is None else moves

    def _ask(self, item: Record | Batch) -> list[Move] | None:
        """The moves of a batch; None for what is judged here: a single record, or what a child stumbled over, so that
        the error is the one that a single process has."""
        if isinstance(item, Record):
            return None
        hand = self._idle.get()
        try:
            hand.say({"place": item.place, "number": item.number, "size": len(item.text)}, item.text)
            answer = hand.hear()
        finally:
            self._idle.put(hand)
        if answer is None:
            return None
        return [Move(before, after, by, row and Change(*row)) for before, after, by, row in answer]


def serve() -> None:
    """The child."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer

    def answer(document: Any) -> None:
        sink.write(json.dumps(document).encode() + b"\n")
        sink.flush()

    asked = json.loads(source.readline())
    judge = Question(**{**asked, "at": datetime.fromisoformat(asked["at"])}).load()
    answer(judge.digests)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for us any more
        while line := source.readline():
            head = json.loads(line)
            text = source.read(head["size"])
            try:
                moves = judge.moves(Batch(head["place"], head["number"], text))
            except Exception:  # whatever it is, the parent meets it as well
                answer(None)
            else:
                answer([(*move[:3], move.change and astuple(move.change)) for move in moves])
