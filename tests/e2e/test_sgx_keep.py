"""Platform sgx from end to end: the keep as one process of the image's own interpreter, in SGX's form of evidence.

Launcher, host and keep are as shipped, and the root is the image's; Gramine and processor are a stand-in
(``tests/guest/gramine_sgx.py``), under a fake Intel that the tenant names. Nothing here ran on silicon.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import wasmtime
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from e2e.conftest import CAT, HELLO, children, eventually, runs
from fastness.appraise import policy as policies
from fastness.errors import FastnessError, KeepFailed
from fastness.forge import sgx as forge
from fastness.forge.model import Forged
from fastness.host.launch import sgx
from fastness.host.launch.local import Process
from fastness.host.launch.qemu import Settings
from fastness.host.machine import Machine
from fastness.image import gramine
from fastness.image.measure import Machine as Shape
from fastness.image.measure import Parts
from fastness.image.measure import sgx as measure
from fastness.seal.challenger import client_channel
from fastness.seal.messages import Workload
from fastness.seal.transport import Transport
from fastness.tenant import deliver
from fastness.tenant.deliver import Attested, Delivery, Refused, Stages
from fastness.workload.manifest import Manifest
from guest.gramine_sgx import can
from host.test_launchers import root
from images import keep_image
from keep.test_protocol import collect

STAND_IN = Path(__file__).resolve().parents[1] / "guest" / "gramine_sgx.py"
FILES = {"proc/cpuinfo": "flags : sgx sgx_lc\n", "dev/sgx_enclave": "", "dev/sgx_provision": "", sgx.QUOTES: ""}
RULES = """
[[rule]]
id = "our-enclave"
effect = "accept"
when = { tee = "sgx" }
require = { debug = false, simulated = true, "measurements.mrenclave" = "%s" }
"""


class Chip:
    """Quotes for whoever asks at its socket: report_data (64 bytes) and MRENCLAVE (32)."""

    def __init__(self, place: Path) -> None:
        self.lie: dict[str, object] = {}
        self.asked = 0
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(place))
        self.listening.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def make(self, asked: bytes) -> Forged:
        return forge.make({"report_data": asked[:64].hex(), "mrenclave": asked[64:].hex()} | self.lie)

    def serve(self) -> None:
        while True:
            line, _ = self.listening.accept()
            with line:
                self.asked += 1
                line.sendall(self.make(line.recv(96, socket.MSG_WAITALL)).evidence)


class Stand:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        tests, source = STAND_IN.parents[1], Path(sgx.__file__).resolve().parents[3]
        for name in (sgx.PROGRAM, gramine.SIGN):
            program = folder / "bin" / name
            program.write_text(
                f"#!{sys.executable}\nimport sys\n"
                f"sys.path[:0] = [{str(tests)!r}, {str(tests / 'image')!r}, {str(source)!r}]\n"
                f"sys.argv = ['', {str(folder)!r}, {name!r}, *sys.argv[1:]]\n"
                f"exec(compile(open({str(STAND_IN)!r}).read(), {name!r}, 'exec'))\n"
            )
            program.chmod(0o755)
        key = rsa.generate_private_key(public_exponent=3, key_size=3072)
        (folder / "enclave-key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.chip = Chip(folder / "chip.sock")
        self.image = keep_image()
        self.launcher = sgx.Launcher(Settings(image=str(self.image.folder)), Machine(root(folder / "machine", FILES)))

    def expected(self) -> str:
        """MRENCLAVE as `image measure` tells it."""
        text = gramine.manifest(gramine.trusted(self.image.manifest["root"]), enclave=gramine.enclave(512, debug=False))
        folder = self.folder / "measured"
        folder.mkdir(exist_ok=True)
        parts = Parts(b"", b"", "", enclave=gramine.sign(folder, text))
        (row,) = measure.rows(parts, Shape())
        return row.measurements["mrenclave"][0]

    async def challenge(self, keep: Process, mrenclave: str) -> Attested:
        sample = self.chip.make(bytes(96))
        transport = Transport(keep.connect(), client_channel())
        return await deliver.challenge(
            transport, policies.parse(RULES % mrenclave, "ours.toml"), sample.anchors, at=sample.at, stages=Stages(),
            collateral=sample.collateral,
        )  # fmt: skip

    def with_keep(self, work: Callable[[Process], Awaitable[None]]) -> None:
        async def run() -> None:
            keep = await self.launcher.launch()
            try:
                await keep.ready(60)
                await work(keep)
            finally:
                await keep.stop(5)

        asyncio.run(run())


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    if trouble := can():
        pytest.skip(f"no user namespaces here: {trouble}")
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("sgx")
    patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    yield Stand(folder)
    patch.undo()


@pytest.fixture(autouse=True)
def honest(stand: Stand) -> None:
    stand.chip.lie = {}


def workload(text: str = HELLO) -> Workload:
    return Workload(wasmtime.wat2wasm(text), Manifest().to_cbor(), {}, {}, bytes(32))


def test_a_workload_runs_in_one_process(stand: Stand) -> None:
    async def work(keep: Process) -> None:
        attested = await stand.challenge(keep, stand.expected())
        assert (attested.statement.platform, attested.statement.tee) == ("sgx", "sgx")
        ended, heard = await collect(await Delivery.release(attested, workload(), Stages()))
        assert (ended.outcome, ended.code, heard) == ("exit", 7, b"hello from a keep\n")
        assert await asyncio.wait_for(keep.ended(), 20) == 0
        await attested.transport.close()

    stand.with_keep(work)
    assert stand.chip.asked >= 2  # once at its start, once for the challenge


def test_input_reaches_it_and_comes_back(stand: Stand) -> None:
    async def source() -> object:
        for _ in range(20):
            yield bytes(range(256)) * 64

    async def work(keep: Process) -> None:
        delivery = await Delivery.release(await stand.challenge(keep, stand.expected()), workload(CAT), Stages())
        feeding = asyncio.create_task(delivery.feed(source()))  # type: ignore[arg-type]
        ended, heard = await collect(delivery)
        await feeding
        assert (ended.code, len(heard)) == (0, 20 * 256 * 64)

    stand.with_keep(work)


@pytest.mark.parametrize(
    ("lie", "told"), [({"mrenclave": "5e" * 32}, "measurements.mrenclave"), ({"debug": True}, "debug")]
)
def test_another_enclave_or_one_with_debugging_is_refused(stand: Stand, lie: dict[str, object], told: str) -> None:
    async def work(keep: Process) -> None:
        with pytest.raises(Refused) as refusal:
            await stand.challenge(keep, stand.expected())
        assert any(told in item.expected for item in refusal.value.verdict.against)

    stand.chip.lie = lie
    stand.with_keep(work)


def test_a_quote_for_another_conversation_is_refused(stand: Stand) -> None:
    async def work(keep: Process) -> None:
        with pytest.raises(FastnessError, match="another session, key or workload"):
            await stand.challenge(keep, stand.expected())

    stand.chip.lie = {"report_data": "11" * 64}
    stand.with_keep(work)


def test_a_file_that_was_altered_is_not_trusted(stand: Stand) -> None:
    launcher = sgx.Launcher(Settings(image=str(stand.image.folder)), Machine(root(stand.folder / "other", FILES)))

    async def work() -> None:
        first = await launcher.launch()
        await first.ready(60)
        await first.stop(5)
        if launcher._folder is None:
            raise AssertionError
        place = launcher._folder / "root/usr/lib/fastness/fastness/keep/protocol.pyc"
        place = place if place.exists() else next((launcher._folder / "root/usr/lib/fastness").rglob("protocol.py*"))
        place.write_bytes(place.read_bytes() + b"\0")
        second = await launcher.launch()
        with pytest.raises(KeepFailed, match="died while it started") as error:
            await second.ready(60)
        assert "not the file that the manifest trusts" in error.value.where

    asyncio.run(work())


def test_code_that_is_altered_while_it_runs_ends_the_keep(stand: Stand) -> None:
    async def work(keep: Process) -> None:
        await stand.challenge(keep, stand.expected())
        altered(keep.pid)
        with pytest.raises(FastnessError):
            await stand.challenge(keep, stand.expected())
        assert await asyncio.wait_for(keep.ended(), 20) != 0
        with pytest.raises(KeepFailed, match="gone"):
            keep.connect()

    stand.with_keep(work)


def altered(pid: int) -> None:
    """One bit of the keep's libcrypto, by a debugger's way in."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    start = next(int(re.split("-", line)[0], 16) for line in lines if "r-xp" in line and "_rust" in line)
    try:
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start + 64)
            byte = memory.read(1)
            memory.seek(start + 64)
            memory.write(bytes((byte[0] ^ 1,)))
    except OSError as error:
        pytest.skip(f"the memory of another process cannot be written here: {error}")


def test_the_end_of_standard_input_ends_it(stand: Stand) -> None:
    seen: list[int] = []

    async def work(keep: Process) -> None:
        seen.append(keep.pid)
        await stand.challenge(keep, stand.expected())
        await keep.stop(10)
        assert await keep.ended() == 0

    stand.with_keep(work)
    assert eventually(lambda: not runs(seen[0]))
    assert not children(seen[0])
    assert ctypes.sizeof(ctypes.c_void_p) == 8


def test_what_is_missing_is_said_and_nothing_weaker_is_started(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: text for name, text in FILES.items() if name != "dev/sgx_enclave"}
    launcher = sgx.Launcher(Settings(image=str(stand.image.folder)), Machine(root(stand.folder / "bare", files)))
    with pytest.raises(KeepFailed, match="/dev/sgx_enclave") as error:
        asyncio.run(launcher.launch())
    assert error.value.hint
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(KeepFailed, match=sgx.PROGRAM):
        asyncio.run(stand.launcher.launch())
