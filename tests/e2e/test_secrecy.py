"""Records and secret are nowhere on the host: not in its memory, not in its files, not in what it carried."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import Home, eventually

RISK = Path(__file__).resolve().parents[2] / "examples" / "risk"
NAME = "Zebediah-Quillfeather-"
MODEL = "income -0.0000420017"


def memory(pid: int) -> bytes:
    """Everything readable that a process has mapped and written."""
    found = []
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for line in maps:
            low, high, mode = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()  # type: ignore[union-attr]
            if "r" not in mode or "[v" in line:
                continue
            try:
                file.seek(int(low, 16))
                found.append(file.read(int(high, 16) - int(low, 16)))
            except (OSError, ValueError, OverflowError):
                continue
    return b"\n".join(found)


class Recorder:
    """Stands between tenant and host and keeps every byte that passes."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.heard = bytearray()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                outside, _ = self._listening.accept()
            except OSError:
                return
            inside = socket.create_connection(self._target)
            for one, other in ((outside, inside), (inside, outside)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.heard += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def records(home: Home) -> list[str]:
    header = (RISK / "records.csv").read_text().splitlines()[0]
    columns = header.count(",")
    rows = [f"{NAME}{number}" + ",1" * columns for number in range(400)]
    (home.path / "weights").write_text((RISK / "weights").read_text() + f"{MODEL}\n")
    return [header, *rows]


def secrets_of(records: list[str]) -> list[bytes]:
    return [NAME.encode(), MODEL.encode(), records[7].encode()]


def test_the_host_never_sees_records_or_secret(home: Home, records: list[str]) -> None:
    host = home.serve()
    recorder = Recorder(home.url)
    arguments = ("--host", recorder.url, "--policy", "development", "--stdin", "-", "--secret", "weights=@weights")
    tenant = home.start("deploy", home.wasm("cat"), *arguments, stdin=subprocess.PIPE)
    if tenant.stdin is None or tenant.stdout is None:
        raise AssertionError
    text = ("\n".join(records) + "\n").encode()
    tenant.stdin.write(text)
    tenant.stdin.flush()
    came = b""
    while len(came) < len(text):  # the guest holds every record now, and runs on
        came += tenant.stdout.read1(65536)  # type: ignore[attr-defined]
    looked_for = secrets_of(records)
    try:
        mine = memory(tenant.pid)
        theirs = memory(host.pid)
    except PermissionError:
        pytest.skip("this kernel lets nobody read another process's memory (yama ptrace_scope)")
    # the scan does find what is there: the tenant holds its own records, the host its own name
    assert looked_for[0] in mine
    assert b"fastness-keep" in theirs
    for word in looked_for:
        assert word not in theirs
    tenant.stdin.close()
    assert tenant.wait(30) == 0
    if tenant.stderr is not None:
        tenant.stderr.read()
    time.sleep(0.2)
    after = memory(host.pid)
    for word in looked_for:
        assert word not in after
        assert word not in recorder.heard
    assert len(recorder.heard) > 2 * len(text)
    recorder.close()
    visible = [path for path in (home.path / "data").rglob("*") if path.is_file()]
    visible += [path for path in Path(f"/proc/{host.pid}/fd").iterdir() if path.is_file()]
    assert visible
    for path in visible:
        content = path.read_bytes()
        assert all(word not in content for word in looked_for)


def test_neither_is_on_any_command_line_or_environment(home: Home, records: list[str]) -> None:
    host = home.serve()
    tenant = home.start(
        "deploy", home.wasm("spin"), "--host", home.url, "--policy", "development", "--secret", "weights=@weights"
    )
    assert eventually(lambda: len(list(Path(f"/proc/{host.pid}/task").iterdir())) > 0)
    time.sleep(1.5)
    shown = b""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            for name in ("cmdline", "environ"):
                try:
                    shown += (entry / name).read_bytes()
                except OSError:
                    continue
    tenant.kill()
    tenant.communicate()
    assert MODEL.encode() not in shown


def test_the_risk_example_gives_aggregates_only(home: Home) -> None:
    done = home.do(
        "run", RISK / "risk.wasm", "--secret", f"weights=@{RISK / 'weights'}", "--stdin", RISK / "records.csv"
    )
    assert done.code == 0, done.err
    assert done.out.startswith(b"records 8")
    assert b"mean risk" in done.out


def test_the_demo_works_and_shows_a_refusal(home: Home) -> None:
    done = home.do("demo")
    assert done.code == 0, done.err
    text = done.out.decode()
    for word in ("SIMULATED", "evidence", "claims", "verdict", "delivery", "result", "mean risk", "refused by", "hint"):
        assert word in text, word
