"""The main job through real processes: run, deploy, detach, list, status, logs, stop; and every way it goes wrong."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import Home, children, eventually, runs

DEVELOPMENT = ("--policy", "development")


def test_run_gives_output_and_exit_code_and_says_that_nothing_is_protected(home: Home) -> None:
    done = home.do("run", home.wasm("hello"))
    assert (done.code, done.out) == (7, b"hello from a keep\n")
    assert "SIMULATED" in done.err


def test_deploy_without_a_policy_refuses_nil(home: Home) -> None:
    home.serve()
    done = home.deploy("hello")
    assert done.code == 101
    assert done.out == b""
    assert "nothing of the workload left this machine" in done.err


def test_deploy_streams_both_ways_and_passes_the_code_through(home: Home) -> None:
    home.serve()
    done = home.deploy("hello", *DEVELOPMENT)
    assert (done.code, done.out) == (7, b"hello from a keep\n")
    assert "SIMULATED" in done.err
    data = os.urandom(3_000_000)
    done = home.deploy("cat", *DEVELOPMENT, "--stdin", "-", stdin=data)
    assert (done.code, done.out == data) == (0, True), done.err


def test_a_pipe_that_output_goes_to_is_given_room(home: Home) -> None:
    """In the 64 KiB of a new one, writer and reader waited for each other at every message."""
    with home.start("run", home.wasm("hello")) as process:
        if process.stdout is None:
            raise AssertionError
        assert process.stdout.read() == b"hello from a keep\n"
        assert fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ) == 1 << 20


WATCHED = """
import gc, sys
from fastness.cli import main, streams
show = streams.show
async def watched(kind, data):
    print("collected:", gc.isenabled(), file=sys.stderr)
    await show(kind, data)
streams.show = watched
sys.exit(main.main(sys.argv[1:]))
"""


def test_garbage_is_collected_once_a_workload_runs(home: Home) -> None:
    """It is not while the command loads; a workload may write for days."""
    command = [sys.executable, "-c", WATCHED, "run", str(home.wasm("hello"))]
    done = subprocess.run(command, capture_output=True, text=True, env=home.environment, check=False)
    assert (done.returncode, done.stdout) == (7, "hello from a keep\n")
    assert "collected: True" in done.stderr


def test_the_verdict_is_written_when_asked(home: Home) -> None:
    home.serve()
    home.deploy("hello", *DEVELOPMENT, "--verdict", "verdict.json")
    verdict = json.loads((home.path / "verdict.json").read_text())
    assert verdict["schema"] == "fastness/verdict/v1"
    assert verdict["verdict"] == "accept"
    home.deploy("hello", "--verdict", "refused.json")
    verdict = json.loads((home.path / "refused.json").read_text())
    assert verdict["verdict"] == "refuse"
    assert all(item["hint"] for item in verdict["findings"] if item["outcome"] == "failed")


def test_a_detached_keep_is_questioned_read_and_stopped(home: Home) -> None:
    host = home.serve()
    deployed = home.deploy("hello", *DEVELOPMENT, "--detach")
    keep = deployed.out.decode().strip()
    assert deployed.code == 0
    record = home.path / "state" / "fastness" / "keeps" / f"{keep}.json"
    assert record.stat().st_mode & 0o777 == 0o600
    listed = json.loads(home.do("keep", "list", "--host", home.url, "--json").out)
    assert [(item["id"], item["state"]) for item in listed["keeps"]] == [(keep, "running")]
    status = json.loads(home.do("keep", "status", keep, "--json").out)
    assert status["workload_is_ours"] is True
    assert status["verdict"]["verdict"] == "accept"
    logs = home.do("keep", "logs", keep, "--follow")
    assert (logs.code, logs.out) == (0, b"hello from a keep\n")
    assert home.do("keep", "logs", keep).out == b""  # output is read once
    assert home.do("keep", "stop", keep).code == 0
    assert not record.exists()
    assert eventually(lambda: len(children(host.pid)) <= 1)
    gone = home.do("keep", "status", keep, "--host", home.url)
    assert gone.code == 6
    assert "has ended" in gone.err


def test_only_the_owner_reads_logs(home: Home) -> None:
    home.serve()
    keep = home.deploy("hello", *DEVELOPMENT, "--detach").out.decode().strip()
    record = home.path / "state" / "fastness" / "keeps" / f"{keep}.json"
    value = json.loads(record.read_text())
    record.write_text(json.dumps({**value, "owner": "11" * 32}))
    done = home.do("keep", "logs", keep)
    assert done.code == 6
    assert "not the owner" in done.err
    assert done.out == b""


def test_a_full_host_says_so(home: Home) -> None:
    home.serve("--max-keeps", "1")
    keep = home.deploy("spin", *DEVELOPMENT, "--detach").out.decode().strip()
    done = home.deploy("hello", *DEVELOPMENT)
    assert done.code == 106
    assert "the host is full" in done.err
    assert "--max-keeps" in done.err
    assert home.do("keep", "stop", keep).code == 0
    assert home.deploy("hello", *DEVELOPMENT).code == 7


def test_a_platform_the_host_does_not_run_is_never_replaced(home: Home) -> None:
    home.serve()
    done = home.deploy("hello", *DEVELOPMENT, "--platform", "snp")
    assert done.code == 106
    assert "not 'snp'" in done.err


def test_a_trap_comes_back_with_a_backtrace(home: Home) -> None:
    home.serve()
    done = home.deploy("trap", *DEVELOPMENT)
    assert done.code == 107
    assert "unreachable" in done.err
    for name in ("inner", "outer"):
        assert name in done.err


def test_a_runaway_guest_is_stopped_by_its_wall_clock(home: Home) -> None:
    home.serve()
    (home.path / "limits.toml").write_text('[limits]\nwall_clock = "1 s"\n')
    done = home.deploy("spin", *DEVELOPMENT, "--config", "limits.toml")
    assert done.code == 107
    assert "wall_clock" in done.err


def test_a_killed_keep_is_told_and_survived(home: Home) -> None:
    host = home.serve("--spare", "0")
    running = home.start("deploy", home.wasm("spin"), "--host", home.url, *DEVELOPMENT)
    assert eventually(lambda: children(host.pid))
    for keep in children(host.pid):
        os.kill(keep, signal.SIGKILL)
    _, err = running.communicate(timeout=30)
    assert running.returncode in (106, 107), err
    assert home.deploy("hello", *DEVELOPMENT).code == 7
    assert host.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_host_that_ends_leaves_nothing(home: Home, number: int) -> None:
    before = set(Path("/tmp").iterdir()) | set(home.path.iterdir())
    host = home.serve("--spare", "2")
    home.deploy("spin", *DEVELOPMENT, "--detach")
    assert eventually(lambda: len(children(host.pid)) == 3)
    keeps = children(host.pid)
    host.send_signal(number)
    assert host.wait(20) == 0
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in keeps))
    after = set(Path("/tmp").iterdir()) | set(home.path.iterdir())
    ours = {path.name for path in after - before if path.is_socket() or "fastness" in path.name}
    assert not ours


def test_a_killed_host_takes_its_keeps_along(home: Home) -> None:
    host = home.serve("--spare", "2")
    assert eventually(lambda: len(children(host.pid)) == 2)
    keeps = children(host.pid)
    host.kill()
    host.wait(10)
    assert eventually(lambda: not any(runs(pid) for pid in keeps))


def test_ctrl_c_while_it_runs_ends_the_keep(home: Home) -> None:
    host = home.serve("--spare", "0")
    running = home.start("deploy", home.wasm("spin"), "--host", home.url, *DEVELOPMENT)
    assert eventually(lambda: _burning(children(host.pid)))
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert b"Traceback" not in err
    assert eventually(lambda: not children(host.pid))


@pytest.mark.parametrize("delay", [0.15, 0.25, 0.35, 0.45, 0.6])
def test_ctrl_c_at_any_stage_leaves_nothing(home: Home, delay: float) -> None:
    host = home.serve("--spare", "1")
    assert eventually(lambda: len(children(host.pid)) == 1)
    running = home.start("deploy", home.wasm("spin"), "--host", home.url, *DEVELOPMENT)
    time.sleep(delay)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    # the interpreter itself, before a line of ours runs, may be caught starting; no frame of ours may show
    assert b"/fastness/" not in err
    assert running.returncode in (130, -signal.SIGINT) or b"importlib" in err or b"site" in err, err
    # a keep that nobody had come for yet is ended after a while, and only then a spare one starts
    assert eventually(lambda: not _running(home))
    assert eventually(lambda: len(children(host.pid)) == 1)


def _running(home: Home) -> list[str]:
    listed = json.loads(home.do("keep", "list", "--host", home.url, "--json").out)
    return [item["id"] for item in listed["keeps"] if item["state"] == "running"]


def _burning(keeps: list[int]) -> bool:
    ticks = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11] for pid in keeps]
    return any(int(tick) > 100 for tick in ticks)


def test_an_unreachable_host(home: Home) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = home.do("deploy", home.wasm("hello"), "--host", url, *DEVELOPMENT)
    assert done.code == 106
    assert "cannot be reached" in done.err
    assert "hint" in done.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "absent.wasm"), 102, "cannot be read"),
        (("run", "text.wasm"), 103, "WebAssembly"),
        (("run", "cut.wasm"), 103, "byte"),
        (("run", "ungranted.wasm"), 102, "sock_accept"),
        (("run", "hello.wasm", "--secret", "key=value"), 102, "NAME=@FILE"),
        (("run", "hello.wasm", "--secret", "key=@absent"), 102, "key"),
        (("run", "hello.wasm", "--env", "novalue"), 102, "K=V"),
        (("run", "hello.wasm", "--stdin", "absent"), 102, "input"),
        (("run", "hello.wasm", "--config", "typo.toml"), 102, "typo.toml:2:1"),
        (("deploy", "hello.wasm"), 102, "--host"),
        (("deploy", "hello.wasm", "--host", "ftp://x"), 102, "not a host's address"),
        (("deploy", "hello.wasm", "--host", "http://127.0.0.1:9", "--policy", "absent.toml"), 102, "absent.toml"),
        (("keep", "logs"), 2, "ID"),
        (("nonsense",), 2, "no command"),
    ],
)
def test_bad_input_is_named_with_its_remedy(home: Home, words: tuple[str, ...], code: int, said: str) -> None:
    for name in ("hello", "ungranted"):
        home.wasm(name)
    (home.path / "text.wasm").write_text("not a module")
    (home.path / "cut.wasm").write_bytes(home.wasm("hello").read_bytes()[:60])
    (home.path / "typo.toml").write_text("args = []\nlimit = { memory = 1 }\n")
    done = home.do(*words)
    assert done.code == code, done.err
    assert said in done.err
    assert "error:" in done.err
    assert "hint" in done.err
    assert "Traceback" not in done.err


def test_an_ungranted_import_names_the_key_that_grants_it(home: Home) -> None:
    done = home.do("run", home.wasm("ungranted"))
    assert "sock_accept" in done.err
    assert "[[files]]" in done.err


class LyingHost:
    """A host that speaks HTTP as it should and then does what ``behave`` says with the channel."""

    def __init__(self, behave: object) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self._behave = behave
        self.heard = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(20)
            while True:
                request = b""
                while b"\r\n\r\n" not in request:
                    data = sock.recv(4096)
                    if not data:
                        return
                    request += data
                if b"/channel" in request:
                    sock.sendall(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: fastness-keep\r\nConnection: Upgrade\r\n\r\n"
                    )
                    self._behave(self, sock)  # type: ignore[operator]
                    return
                body = b'{"id": "abc123"}'
                sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def closes(_: LyingHost, sock: socket.socket) -> None:
    sock.recv(10)


def babbles(_: LyingHost, sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(os.urandom(4096))
    sock.recv(4096)


def speaks_tls_as_nobody(host: LyingHost, sock: socket.socket) -> None:
    """An end of its own, with no keep behind it: whatever evidence it makes up, it hears nothing of the workload."""
    from cryptography.hazmat.primitives.asymmetric import ec

    from fastness.errors import FastnessError
    from fastness.seal.channel import Channel, identity, server_context
    from fastness.seal.frames import Type, frame
    from fastness.seal.messages import encode_evidence

    channel = Channel(server_context(identity(ec.generate_private_key(ec.SECP256R1()))), server=True)
    try:
        while not channel.handshake():
            channel.feed(sock.recv(65536))
            sock.sendall(channel.outgoing())
        channel.send(frame(Type.EVIDENCE, encode_evidence(b"\xa0", b"")))
        sock.sendall(channel.outgoing())
        while data := sock.recv(65536):
            channel.feed(data)
            host.heard += channel.receive()
    except (OSError, FastnessError):
        return


@pytest.mark.parametrize("behave", [closes, babbles, speaks_tls_as_nobody])
def test_a_lying_host_gets_nothing(home: Home, behave: object) -> None:
    host = LyingHost(behave)
    home.do("run", home.wasm("hello"))  # makes the software root
    done = home.do("deploy", home.wasm("hello"), "--host", host.url, *DEVELOPMENT)
    host.listening.close()
    assert done.code == 106, done.err
    assert "Traceback" not in done.err
    assert "hint" in done.err or "error" in done.err
    assert b"hello from a keep" not in host.heard
    assert b"\0asm" not in host.heard


def test_output_that_cannot_be_written_is_told(home: Home) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [*_python(), "run", home.wasm("hello")], stdout=full, stderr=subprocess.PIPE, env=home.environment
        )
        _, err = process.communicate(timeout=60)
    assert process.returncode == 102
    assert b"output cannot be written" in err


def _python() -> list[str]:
    import sys

    return [sys.executable, "-m", "fastness"]
