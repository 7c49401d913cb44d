"""Records judged by several processes: the same moves in the same order, and nothing left running."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kept import ANY, AT, line

from fastness.cli import crew
from fastness.cli.collection import Batch
from fastness.cli.main import main
from fastness.errors import FastnessError

FLOOR = '[[rule]]\nid = "no"\neffect = "refuse"\nwhy = "w"\nwhen = { "tcb.reported.snp" = "<24" }\n'


@pytest.fixture
def judge(tmp_path: Path) -> crew.Judge:
    (tmp_path / "new.toml").write_text(ANY + FLOOR)
    (tmp_path / "old.toml").write_text(ANY)
    asked = crew.Question(str(tmp_path / "new.toml"), str(tmp_path / "old.toml"), None, AT, measured=False)
    return asked.load()


def batches(count: int = 40) -> Iterator[Batch]:
    for index in range(count):
        lines = [line(f"{index}-{number}") for number in range(4)]
        lines[index % 4] = b'{"genuine": \xff\n'
        yield Batch("keeps", 1 + 4 * index, b"".join(lines))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Those that are started."""
    found: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(*words: object, **options: object) -> subprocess.Popen[bytes]:
        found.append(real(*words, **options))  # type: ignore[call-overload]
        return found[-1]

    monkeypatch.setattr(crew.subprocess, "Popen", start)
    return found


def test_several_say_what_one_says_in_the_same_order(
    judge: crew.Judge, children: list[subprocess.Popen[bytes]]
) -> None:
    alone = list(crew.judged(batches(), judge, 1))
    assert not children
    assert list(crew.judged(batches(), judge, 3)) == alone
    assert [child.poll() is not None for child in children] == [True] * 3
    kinds = {(move.before, move.by) for _, moves in alone for move in moves}
    assert kinds == {(True, "policy.rule.no"), (None, "policy.unreadable")}


def test_the_output_is_the_same_byte_for_byte(
    judge: crew.Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    children: list[subprocess.Popen[bytes]],
) -> None:  # fmt: skip
    (tmp_path / "keeps").write_bytes(b"".join(batch.text for batch in batches(700)))
    said = []
    for count in (1, 2):
        monkeypatch.setattr(crew, "cores", lambda count=count: count)
        for more in ([], ["--json"]):
            words = ["policy", "plan", judge.asked.policy, str(tmp_path / "keeps"), "--at", "2026-11-01", *more]
            assert main(words) == 1
            said.append(capfd.readouterr())
    assert said[:2] == said[2:]
    assert json.loads(said[1].out)["summary"]["records"] == 2800
    assert len(children) == 4


def test_few_records_need_nobody_else(judge: crew.Judge, children: list[subprocess.Popen[bytes]]) -> None:
    assert len(list(crew.judged(batches(crew.ALONE - 1), judge, 4))) == crew.ALONE - 1
    assert not children


def test_a_policy_that_changed_is_not_judged_by_others(
    judge: crew.Judge, children: list[subprocess.Popen[bytes]]
) -> None:
    alone = list(crew.judged(batches(), judge, 1))
    for text in (ANY, "id = "):
        Path(judge.asked.policy).write_text(text)
        assert list(crew.judged(batches(), judge, 2)) == alone
    assert len(children) == 4
    assert all(child.poll() is not None for child in children)


def test_a_child_that_is_killed_ends_it_with_an_error(
    judge: crew.Judge, children: list[subprocess.Popen[bytes]]
) -> None:
    moves = crew.judged(batches(400), judge, 2)
    for _ in range(crew.ALONE + 2):
        next(moves)
    children[0].kill()
    with pytest.raises(FastnessError, match=r"ended before it had answered \(killed by signal 9\)"):
        list(moves)
    assert all(child.poll() is not None for child in children)


def test_who_asks_no_more_leaves_nobody_running(judge: crew.Judge, children: list[subprocess.Popen[bytes]]) -> None:
    moves = crew.judged(batches(400), judge, 2)
    for _ in range(crew.ALONE + 2):
        next(moves)
    moves.close()
    assert [child.poll() is not None for child in children] == [True, True]


def test_an_error_in_a_child_is_that_of_one_process(
    judge: crew.Judge, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The child says that it cannot; who asked then meets the error itself."""
    asked = {**judge.asked._asdict(), "at": AT.isoformat()}
    lines = [asked, {"place": "x", "number": 1, "size": 5}]
    sent = b"".join(json.dumps(item).encode() + b"\n" for item in lines) + b"{}\n{}"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sent)))

    def fail(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(crew.records, "plan", fail)
    crew.serve()
    digests, answer = map(json.loads, capfd.readouterr().out.splitlines())
    assert (digests, answer) == (judge.digests, None)
    monkeypatch.setattr(crew._Hand, "hear", lambda hand, heard=[digests, digests]: heard.pop() if heard else None)
    source = crew._Crew(judge, 2)
    with pytest.raises(LookupError), source:
        list(source.judged(batches()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_from_outside_leaves_nobody_running(end: signal.Signals, judge: crew.Judge) -> None:
    boot = "from fastness.cli import crew; crew.cores = lambda: 2; from fastness.__main__ import run; "
    words = [sys.executable, "-c", boot + "raise SystemExit(run())", "policy", "plan", judge.asked.policy, "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe) as parent:
        try:
            assert parent.stdin is not None
            assert parent.stderr is not None
            parent.stdin.write(b"".join(line(str(index)) for index in range(100 * (crew.ALONE + 9))))
            parent.stdin.flush()
            started = _children(parent.pid, 2)
            assert [os.getpgid(child) for child in started] == started  # ctrl-C is for their parent alone
            parent.send_signal(end)
            code, said = parent.wait(60), parent.stderr.read().decode()
        finally:
            parent.kill()
    assert code == (130 if end is signal.SIGINT else -end)
    assert said == ("\ninterrupted\n" if end is signal.SIGINT else "")
    for child in started:
        _gone(child)


def _children(parent: int, count: int) -> list[int]:
    for _ in range(3000):
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if len(found) == count:
            return list(map(int, found))
        time.sleep(0.01)
    raise AssertionError(f"{count} children were never seen")


def _gone(child: int) -> None:
    for _ in range(3000):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # whoever adopts it has yet to bury it
        time.sleep(0.01)
    raise AssertionError(f"{child} runs on")


def test_a_policy_from_a_pipe_is_not_asked_for_again(judge: crew.Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that opened /dev/stdin would read what it is told, and wait for its end."""
    assert judge.asked.again()
    assert judge.asked._replace(policy="strict", old=None).again()
    assert not judge.asked._replace(old="/dev/stdin").again()
    monkeypatch.setenv("FASTNESS_OWNERS", "/dev/stdin")
    assert not judge.asked.again()
    monkeypatch.setattr(crew, "_Crew", None)  # which nobody must call
    monkeypatch.setattr(crew, "cores", lambda: 2)
    assert len(list(crew.judged(batches(), judge))) == 40
