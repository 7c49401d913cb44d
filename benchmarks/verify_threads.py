"""Two threads against one, verifying distinct evidence in one process: wall time, interleaved rounds, median of ratios.

    python benchmarks/verify_threads.py [--rounds 15] [--seconds 0.5]

`cryptography` gives up the interpreter's lock inside a signature, which is most of a verification; the run first shows
that it does. Wall time needs two idle cores, so the same rounds time two processes of bare P-256 verifications against
one: where that stays below 1.8 the machine was not idle, and the round says nothing about threads and is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("src", "benchmarks")]

from verify_dcap import floor, many, steady  # noqa: E402

from fastness.forge.snp import AT, Maker  # noqa: E402
from fastness.tee import load  # noqa: E402

BOUND, IDLE = 1.6, 1.8
Work = Callable[[], object]


def snp(count: int) -> Work:
    """Verifies ``count`` distinct SNP reports of one machine."""
    tee, maker = load("snp"), Maker({"generation": "milan"})
    forged = maker.forged()
    reports = [maker.report() for _ in range(count)]
    return lambda: [tee.verify(tee.parse(raw), forged.collateral, forged.anchors, at=AT) for raw in reports]


def released(work: Work) -> int:
    """How often another thread advances while this one works, with switching by time turned off."""
    before, turns, over = sys.getswitchinterval(), 0, False

    def other() -> None:
        nonlocal turns
        while not over:
            turns += 1
            time.sleep(0)

    thread = threading.Thread(target=other)
    sys.setswitchinterval(1000)
    try:
        thread.start()
        work()
        over = True
    finally:
        sys.setswitchinterval(before)
        thread.join()
    return turns


def wall(how: Callable[[Work, int], Callable[[], object]], work: Work, times: int) -> float:
    """Seconds until ``work``, done ``times`` times by each of those that ``how`` starts, is over."""
    begin = time.perf_counter()
    how(work, times)()
    return time.perf_counter() - begin


def threads(work: Work, times: int) -> Callable[[], object]:
    pool = [threading.Thread(target=lambda: [work() for _ in range(times)]) for _ in range(2)]
    for item in pool:
        item.start()
    return lambda: [item.join() for item in pool]


def processes(work: Work, times: int) -> Callable[[], object]:
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            for _ in range(times):
                work()
            os._exit(0)
        children.append(child)
    return lambda: [os.waitpid(child, 0) for child in children]


def alone(work: Work, times: int) -> Callable[[], object]:
    return lambda: [work() for _ in range(times)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    bare, over = floor(40), 0
    for name in ("tdx", "sgx", "snp"):
        work = snp(60) if name == "snp" else steady(name, *many(name, 200))
        work()
        print(f"{name}: another thread advanced {released(work)} times while one thread verified")
        times = max(1, round(options.seconds / wall(alone, work, 1)))
        spins = max(1, round(options.seconds / wall(alone, bare, 1)))
        rows = []
        for _ in range(options.rounds):
            idle = 2 * wall(alone, bare, spins) / wall(processes, bare, spins)
            gain = 2 * wall(alone, work, times) / wall(threads, work, times)
            rows.append((idle, gain))
        good = [gain for idle, gain in rows if idle >= IDLE]
        seen = statistics.median(idle for idle, _ in rows)
        if not good:
            print(f"{name}: two processes gave {seen:.2f} x one: the machine is not idle, nothing can be said")
            continue
        ratio = statistics.median(good)
        over += ratio < BOUND
        print(f"{name}: two threads {ratio:.2f} x one (bound {BOUND}), in {len(good)} of {len(rows)} idle rounds")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
