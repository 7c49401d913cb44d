"""A keep whose code is altered while it runs: it says so, its workload is gone, and it goes on saying so."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from e2e.conftest import Home, children, eventually, runs


def alter(pid: int) -> None:
    """One bit of the engine's code in the memory of process ``pid``, as a debugger would; skipped where none may."""
    line = next(
        line for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if "_libwasmtime.so" in line and " r-xp " in line
    )  # fmt: skip
    start, end = (int(item, 16) for item in re.match(r"(\w+)-(\w+)", line).groups())  # type: ignore[union-attr]
    place = start + (end - start) // 2
    handle = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    try:
        byte = os.pread(handle, 1, place)[0]
        os.pwrite(handle, bytes((byte ^ 1,)), place)
    finally:
        os.close(handle)


@pytest.fixture
def altered(home: Home) -> str:
    """A running keep of which a bit was altered."""
    if os.geteuid() != 0:
        pytest.skip("only root may write another process's memory here")
    home.serve("--spare", "0")
    done = home.deploy("spin", "--policy", "development", "--detach")
    assert done.code == 0, done.err
    keep = done.out.decode().strip()
    assert home.do("keep", "status", keep).code == 0
    before = children(home.hosts[0].pid)
    try:
        alter(before[0])
    except (OSError, StopIteration) as error:
        pytest.skip(f"the memory of another process cannot be written here: {error}")
    return keep


def test_an_altered_keep_flags_itself_for_ever_and_its_workload_is_gone(home: Home, altered: str) -> None:
    pid = children(home.hosts[0].pid)[0]
    home.do("keep", "status", altered)  # the challenge that finds out ends the process, keys and workload
    assert eventually(lambda: not runs(pid))
    for _ in range(2):
        assert eventually(lambda: home.do("keep", "status", altered).code == 4)
        told = home.do("keep", "status", altered)
        assert told.code == 4
        assert "flags that it has been compromised" in told.err
    successor = children(home.hosts[0].pid)
    assert len(successor) == 1
    assert successor != [pid]


def test_its_owner_ends_it(home: Home, altered: str) -> None:
    done = home.do("keep", "status", altered, "--enforce")
    assert done.code in (4, 6, 7)
    home.do("keep", "stop", altered)
    assert eventually(lambda: not children(home.hosts[0].pid))
