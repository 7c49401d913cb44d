"""What launchers start and talk to: vsock, QEMU's monitor, AWS's tool. Sockets and programs stand in for silicon."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fastness.errors import KeepFailed, UsageError
from fastness.host.inventory import Inventory
from fastness.host.launch import nitro, qemu, sev, vsock
from fastness.host.launch.qemu import Guest, Settings
from fastness.host.launch.qmp import Monitor
from fastness.host.launch.vsock import Vsock
from fastness.host.machine import Machine
from fastness.keep import supervise
from fastness.tee.sev import launch
from host.test_launchers import made, missing, root


class Late:
    """A keep on vsock that takes connections only at the third attempt."""

    def __init__(self) -> None:
        self.attempts = 0
        self.far: list[socket.socket] = []

    def __call__(self, cid: int) -> socket.socket:
        assert cid == 42
        self.attempts += 1
        if self.attempts < 3:
            raise ConnectionResetError(104, "Connection reset by peer")
        ours, theirs = socket.socketpair()
        self.far.append(theirs)
        return ours


SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_guest_on_vsock_is_ready_at_its_first_connection() -> None:
    async def work() -> None:
        late = Late()
        guest = Guest(SLEEPS, (), Vsock(42, late), lambda: None)
        try:
            await guest.ready(10)
            assert late.attempts == 3
            sock = guest.connect()
            sock.sendall(b"hello")
            assert late.far[-1].recv(5) == b"hello"
            sock.close()
        finally:
            await guest.stop(2)
        assert await guest.ended() == 0  # told to end, it has not died
        with pytest.raises(KeepFailed, match="gone"):
            guest.connect()

    asyncio.run(work())


def test_a_guest_that_takes_no_connection_is_given_up() -> None:
    def refuse(_: int) -> socket.socket:
        raise TimeoutError("timed out")

    async def work() -> None:
        guest = Guest(SLEEPS, (), Vsock(42, refuse), lambda: None)
        try:
            with pytest.raises(KeepFailed, match=r"not ready within 0\.3 s"):
                await guest.ready(0.3)
            with pytest.raises(KeepFailed, match="takes no connection: timed out"):
                guest.connect()
        finally:
            await guest.stop(0)

    asyncio.run(work())


def test_a_guest_on_vsock_that_dies_says_its_last_words() -> None:
    async def work() -> None:
        def refuse(_: int) -> socket.socket:
            raise ConnectionRefusedError(111, "Connection refused")

        words = r"print('\x1b[2J\x1b[01;01Herror: no CPU\x1b[=3h\n\x1b[0m'); exit(3)"
        guest = Guest([sys.executable, "-c", words], (), Vsock(42, refuse), lambda: None)
        with pytest.raises(KeepFailed, match="died while it started") as died:
            await guest.ready(20)
        assert died.value.where == "error: no CPU"
        assert await guest.ended() == 3

    asyncio.run(work())


def test_numbers_of_machines_are_fresh_and_allowed() -> None:
    found = {vsock.fresh() for _ in range(100)}
    assert len(found) > 90
    assert all(vsock.LEAST_CID <= cid < vsock.MOST_CID for cid in found)
    with pytest.raises(OSError, match=r".+"):
        vsock.dial(vsock.MOST_CID - 1)  # nobody is there, or this kernel has no vsock


class Emulator:
    """QEMU's end of a monitor."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.heard: list[tuple[str, Any]] = []

    async def serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
        while line := await reader.readline():
            said = json.loads(line)
            self.heard.append((said["execute"], said.get("arguments")))
            writer.write(b'{"event": "SOMETHING", "data": {}}\r\n')
            answer = self.answers.get(said["execute"], {})
            words = {"error": answer} if isinstance(answer, str) else {"return": answer}
            writer.write(json.dumps(words).encode() + b"\r\n")
        writer.close()


BLOB = bytes(range(48))
TOLD = {
    "query-sev": {"enabled": True, "api-major": 1, "api-minor": 55, "build-id": 21, "policy": 7,
                  "state": "launch-secret", "handle": 1},
    "query-sev-launch-measure": {"data": base64.b64encode(BLOB).decode()},
}  # fmt: skip


def monitored(emulator: Emulator, work: Callable[[Monitor], Awaitable[None]]) -> None:
    async def both() -> None:
        ours, theirs = socket.socketpair()
        serving = asyncio.create_task(emulator.serve(theirs))
        monitor = Monitor(ours)
        try:
            await work(monitor)
        finally:
            monitor.close()
            await serving

    asyncio.run(both())


HEADER, DATA = (base64.b64encode(bytes(size)).decode() for size in (52, 64))


async def stands(monitor: Monitor) -> None:
    """What the launcher does with a monitor, but for the machine behind it."""
    await monitor.greet()
    standing = sev.Standing(None, await sev.measured(monitor), "", monitor)  # type: ignore[arg-type]
    found = launch.measurement(standing.measurement)
    assert (found.api, found.build, found.policy) == ((1, 55), 21, 7)
    assert (found.measurement, found.mnonce) == (BLOB[:32], BLOB[32:])
    await standing.inject(HEADER, DATA)


def test_a_launch_is_measured_given_its_secret_and_let_go() -> None:
    emulator = Emulator(TOLD)
    monitored(emulator, stands)
    assert emulator.heard == [
        ("qmp_capabilities", None), ("query-sev", None), ("query-sev-launch-measure", None),
        ("sev-inject-launch-secret", {"packet-header": HEADER, "secret": DATA}), ("cont", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"query-sev": {"enabled": False}}, "tells of no launch of SEV"),
        ({"query-sev-launch-measure": {"data": "AAAA"}}, "tells of no launch of SEV"),
        ({"query-sev-launch-measure": "not now"}, "QEMU refuses query-sev-launch-measure"),
        ({"sev-inject-launch-secret": "bad packet"}, "QEMU refuses sev-inject-launch-secret"),
    ],
)
def test_a_launch_that_goes_wrong_is_not_let_go(change: dict[str, Any], told: str) -> None:
    emulator = Emulator(TOLD | change)
    with pytest.raises(KeepFailed, match=told):
        monitored(emulator, stands)
    assert "cont" not in [command for command, _ in emulator.heard]


@pytest.mark.parametrize(
    ("header", "data"), [("", ""), ("AAAA", "AAAA"), (HEADER, ""), (HEADER, "AAAA"), (HEADER, "*"), (DATA, DATA)]
)
def test_what_is_no_packet_is_not_passed_on(header: str, data: str) -> None:
    with pytest.raises(UsageError, match="no packet"):
        sev.checked(header, data)


@pytest.mark.parametrize("words", [b"", b"nonsense\n", b"[1]\n", b'{"QMP": {}}\n{"neither": 1}\n', b"x" * 70000])
def test_a_monitor_that_says_what_it_should_not(words: bytes) -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        await asyncio.to_thread(theirs.sendall, words)
        theirs.shutdown(socket.SHUT_WR)
        monitor = Monitor(ours)
        with pytest.raises(KeepFailed, match="monitor"):
            await monitor.greet()
        monitor.close()
        theirs.close()

    asyncio.run(work())


def test_the_monitor_of_a_real_qemu() -> None:
    if shutil.which(qemu.PROGRAM) is None:
        pytest.skip("QEMU is not installed")
    assert "sev-guest" in qemu.objects(qemu.program())

    async def work() -> None:
        ours, theirs = socket.socketpair()
        process = await asyncio.create_subprocess_exec(
            qemu.PROGRAM, "-machine", "none", "-nodefaults", "-display", "none", "-S",
            "-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "chardev=monitor,mode=control",
            pass_fds=(theirs.fileno(),),
        )  # fmt: skip
        theirs.close()
        monitor = Monitor(ours)
        await monitor.greet()
        assert (await monitor.do("query-status"))["running"] is False
        with pytest.raises(KeepFailed):
            await sev.measured(monitor)
        await monitor.do("quit")
        monitor.close()
        assert await process.wait() == 0

    asyncio.run(work())


TOOL = """#!{python}
import json, os, subprocess, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "run-enclave":
    process = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    open({pid!r}, "w").write(str(process.pid))
    print(json.dumps({{"EnclaveName": "keep", "EnclaveID": "i-0-enc0", "ProcessID": process.pid, "EnclaveCID": 42,
                      "NumberOfCPUs": 2, "CPUIDs": [1, 3], "MemoryMiB": 512}}))
else:
    os.kill(int(open({pid!r}).read()), 9)
"""


def test_an_enclave_by_the_tools_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, pid = tmp_path / "log", tmp_path / "pid"
    tool = tmp_path / "nitro-cli"
    tool.write_text(TOOL.format(python=sys.executable, log=str(log), pid=str(pid)))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    image = made(tmp_path / "image")
    monkeypatch.setattr(nitro, "load", lambda _: image)
    files = {"dev/nitro_enclaves": "", "sys/module/nitro_enclaves/parameters/ne_cpus": "1,3"}
    late = Late()

    async def work() -> None:
        launcher = nitro.Launcher(Settings(vcpus=2), Machine(root(tmp_path / "root", files)), late)
        with pytest.raises(KeepFailed, match="no debug build"):
            await launcher.launch(debug=True)
        keep = await launcher.launch()
        await keep.ready(10)
        assert keep.alive
        keep.connect().close()
        await keep.stop(1)
        assert await keep.ended() == 0
        with pytest.raises(KeepFailed, match="gone"):
            keep.connect()

    asyncio.run(work())
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        ["run-enclave", "--eif-path", str(image.eif), "--memory", "512", "--cpu-count", "2"],
        ["terminate-enclave", "--enclave-id", "i-0-enc0"],
    ]


def test_nitro_refuses_where_nothing_is_set_aside(tmp_path: Path) -> None:
    launcher = nitro.Launcher(None, Machine(root(tmp_path / "root", {"dev/nitro_enclaves": ""})))
    assert missing(launcher.needs())["processors set aside"] == "none"
    with pytest.raises(KeepFailed, match="processors set aside"):
        asyncio.run(launcher.launch())
    debug = nitro.command(Settings(), made(tmp_path / "image", debug=True))
    assert debug[-1] == "--debug-mode"


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[]", b"{}", b'{"EnclaveID": "--all", "EnclaveCID": 1, "ProcessID": 5}',
        b'{"EnclaveID": "i-1", "EnclaveCID": 20, "ProcessID": 0}',
        b'{"EnclaveID": "a b", "EnclaveCID": 20, "ProcessID": 9}',
    ],
)  # fmt: skip
def test_an_answer_of_the_tool_that_cannot_be(answer: bytes) -> None:
    with pytest.raises(KeepFailed, match="nitro-cli tells of"):
        nitro.started(answer)


def test_an_enclave_tells_its_parent_that_it_has_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []

    class Socket:
        def __init__(self, family: int, kind: int) -> None:
            said.append((family, kind))

        def __enter__(self) -> Socket:
            return self

        def __exit__(self, *_: object) -> None:
            said.append("closed")

        def settimeout(self, _: float) -> None: ...

        def connect(self, place: tuple[int, int]) -> None:
            said.append(place)

        def sendall(self, data: bytes) -> None:
            said.append(data)

        def recv(self, size: int) -> bytes:
            raise TimeoutError

    monkeypatch.setattr(supervise.socket, "socket", Socket)
    supervise._tell_parent()
    assert said == [(socket.AF_VSOCK, socket.SOCK_STREAM), (3, 9000), b"\xb7", "closed"]


@pytest.mark.parametrize(
    ("number", "ends"), [(errno.ENODEV, True), (errno.ECONNRESET, False), (errno.ETIMEDOUT, False)]
)
def test_an_enclave_without_a_vsock_ends_and_one_that_is_not_heard_does_not(
    number: int, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, "no")

    monkeypatch.setattr(supervise.socket, "socket", refuse)
    with pytest.raises(KeepFailed, match="has no vsock") if ends else contextlib.nullcontext():
        supervise._tell_parent()


@pytest.mark.parametrize(("own", "said"), [("", "it has Debian's kernel"), ("6.12-own", "within")])
def test_an_enclave_that_is_not_reached_says_which_kernel_it_has(
    own: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made(tmp_path / "image")
    if own:
        image = replace(image, manifest={**image.manifest, "nitro": {"kernel": own, "parts": []}})
    sleeper = subprocess.Popen(["sleep", "60"])
    answer = {"EnclaveID": "i-0-enc0", "ProcessID": sleeper.pid, "EnclaveCID": 42}
    monkeypatch.setattr(nitro, "load", lambda _: image)
    monkeypatch.setattr(nitro, "run", lambda words: json.dumps(answer).encode())
    monkeypatch.setattr(nitro.Launcher, "check", lambda self: None)

    def refuse(_: int) -> NoReturn:
        raise ConnectionRefusedError

    async def work() -> None:
        keep = await nitro.Launcher(Settings(), Machine(tmp_path), refuse).launch()
        try:
            with pytest.raises(KeepFailed, match=said) as caught:
                await keep.ready(0.1)
            assert ("--nitro-kernel" in caught.value.hint) is (not own)
        finally:
            sleeper.kill()
            sleeper.wait()
            await keep.ended()

    asyncio.run(work())


def test_a_spare_that_cannot_be_launched_leaves_the_host_serving() -> None:
    class Broken:
        name = "broken"
        attempts = 0

        async def launch(self, *, debug: bool = False) -> NoReturn:
            self.attempts += 1
            raise KeepFailed("no")

    async def work() -> None:
        broken = Broken()
        inventory = Inventory(broken, limit=2, spare=1, boot_timeout=1, grace=0)  # type: ignore[arg-type]
        await inventory._refill()
        assert broken.attempts == 1
        with pytest.raises(KeepFailed, match="no"):
            await inventory.launch()
        assert inventory.capacity()["free"] == 2
        await inventory.close()

    asyncio.run(work())
