"""Platform sev from end to end: a tenant attends a launch, gives the guest a secret, and the keep proves itself by it.

Host and command line are the real ones, and the image boots; a stand-in plays the part of QEMU and chip until the guest
may run (``tests/guest/sev_qemu.py``), under a fake AMD that the tenant names. Nothing here ran on silicon.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

import firmware
from e2e.conftest import Home
from fastness.forge import sev as forge
from fastness.host import machine
from fastness.host.inventory import Inventory
from fastness.host.launch import kvm, qemu, sev
from fastness.host.launch.guard import Guard
from fastness.host.launch.qemu import Program, Settings
from fastness.host.machine import Machine
from fastness.host.server import Server
from fastness.tee.sev import parse
from host.test_launchers import MILAN, processor, root
from images import keep_image, machines

STAND_IN = Path(__file__).resolve().parents[1] / "guest" / "sev_qemu.py"
RULES = """
[[rule]]
id = "our-image"
effect = "accept"
when = {{ tee = "sev" }}
require = {{ debug = false, "sev.policy.es" = true, "measurements.launch" = "{digest}" }}
[[waive]]
check = "sev.revocation"
why = "AMD publishes none for SEV"
[[waive]]
check = "policy.tcb-status"
why = "SEV derives no key from it"
"""


class Stand:
    """A host with a fake chip, and a tenant's home."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.folder = folder
        forged = parse(forge.make({}).evidence)
        chain = b"".join(getattr(forged, name).raw for name in ("pdh", "pek", "oca", "cek", "ask", "ark"))
        (folder / "chain").write_bytes(chain)
        pdh = forge.ec_key("pdh").private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "pdh.pem").write_bytes(pdh)
        ark = forge.rsa_key("ark").public_key()
        (folder / "ark.pem").write_bytes(
            ark.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        (folder / "OVMF.fd").write_bytes(firmware.make())
        program = folder / "qemu"
        source = Path(sev.__file__).resolve().parents[3]
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(source)!r})\n"
            f"sys.argv = ['', {str(folder)!r}, {shutil.which(qemu.PROGRAM)!r}, *sys.argv[1:]]\n"
            f"exec(compile(open({str(STAND_IN)!r}).read(), 'sev_qemu', 'exec'))\n"
        )
        program.chmod(0o755)
        settings = Settings(
            image=str(keep_image().folder), firmware=str(folder / "OVMF.fd"), guard=Guard(chain=str(folder / "chain"))
        )
        self.launcher = sev.Launcher(settings, Machine(root(folder / "root", MILAN), processor))
        (folder / "ours.toml").write_text(RULES.format(digest=self.launcher._digest))

    def lie(self, lie: str) -> None:
        (self.folder / "lie").write_text(lie)
        (self.folder / "heard").write_text("")

    def heard(self) -> list[str]:
        return (self.folder / "heard").read_text().split()

    def deploy(self, *words: object, policy: str = "ours.toml", anchors: str = "ark.pem") -> tuple[int, bytes, str]:
        named = ("--anchors", f"sev:{anchors}") if anchors else ()
        done = self.home.deploy("hello", "--platform", "sev", "--policy", policy, "--offline", *named, *words)
        return done.code, done.out, done.err


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    machines()
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("sev")
    patch.setattr(machine, "platform_status", lambda _: (1, 55, 21))
    patch.setattr(machine.fcntl, "ioctl", lambda *_: 0b11101)
    patch.setattr(qemu, "program", lambda: Program(str(folder / "qemu"), (10, 1)))
    patch.setattr(qemu, "objects", lambda _: {"sev-guest"})
    patch.setattr(kvm, "trouble", lambda *_: "")
    made = Stand(folder)
    loop = asyncio.new_event_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    made.home.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    tasks: list[asyncio.Task[None]] = []

    async def serve() -> None:
        inventory = Inventory(made.launcher, limit=4, spare=0, boot_timeout=120, grace=2)
        tasks.append(asyncio.ensure_future(Server(inventory, listening).serve()))
        await asyncio.wait(tasks)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    yield made
    loop.call_soon_threadsafe(tasks[0].cancel)
    thread.join(30)
    patch.undo()


def test_a_workload_runs_in_a_guest_whose_launch_was_attended(stand: Stand) -> None:
    stand.lie("")
    verdict = stand.folder / "verdict.json"
    code, out, err = stand.deploy("--verdict", verdict)
    assert (code, out) == (7, b"hello from a keep\n"), err
    assert stand.heard()[-2:] == ["sev-inject-launch-secret", "cont"]
    said = json.loads(verdict.read_text())
    assert said["verdict"] == "accept"
    assert said["claims"]["sev"]["speaks_of"] == "guest"
    assert said["claims"]["measurements"]["launch"] == stand.launcher._digest


def test_a_detached_keep_is_challenged_again_by_what_its_tenant_kept(stand: Stand) -> None:
    stand.lie("")
    code, out, err = stand.deploy("--detach")
    assert code == 0, err
    keep = out.decode().strip()
    record = stand.folder / "state/fastness/keeps" / f"{keep}.json"
    assert record.stat().st_mode & 0o777 == 0o600
    status = stand.home.do("keep", "status", keep, "--json", "--offline")
    assert status.code == 0, status.err
    assert json.loads(status.out)["workload_is_ours"] is True
    assert json.loads(status.out)["verdict"]["verdict"] == "accept"
    logs = stand.home.do("keep", "logs", keep, "--follow")
    assert (logs.code, logs.out) == (0, b"hello from a keep\n"), logs.err
    known = json.loads(json.loads(record.read_text())["launched"])["record"]
    assert json.loads(known)["key"] not in err + status.out.decode() + status.err + logs.err
    assert stand.home.do("keep", "stop", keep).code == 0


@pytest.mark.parametrize(
    ("lie", "code", "told"),
    [
        ("other command line", 104, "not the expected one"),  # the firmware measured something else than the host says
        ("another guest", 104, "not by the secret that was injected"),  # who answers is not who was measured
    ],
)
def test_a_host_that_lies_is_found_out(stand: Stand, lie: str, code: int, told: str) -> None:
    stand.lie(lie)
    found, out, err = stand.deploy()
    assert (found, out) == (code, b""), err
    assert told in err
    assert ("cont" in stand.heard()) is (lie == "another guest")


def test_no_secret_for_a_platform_nobody_vouches_for(stand: Stand) -> None:
    stand.lie("")
    code, out, err = stand.deploy(anchors="")
    assert (code, out) == (104, b""), err
    assert "not pinned" in err
    assert stand.heard() == []


def test_the_policy_decides_on_what_was_measured(stand: Stand) -> None:
    stand.lie("")
    (stand.folder / "theirs.toml").write_text(RULES.format(digest="5e" * 32))
    code, out, err = stand.deploy(policy="theirs.toml")
    assert (code, out) == (101, b""), err
    assert "measurements.launch" in err


def test_a_keep_without_a_tenant_is_not_launched(stand: Stand) -> None:
    done = stand.home.deploy("hello", "--policy", "ours.toml")
    assert done.code == 106, done.err
    assert "--platform sev" in done.err


def test_a_host_of_another_platform_is_told_apart(home: Home) -> None:
    home.serve("--spare", "0")
    done = home.deploy("hello", "--platform", "sev", "--policy", "development")
    assert done.code == 106, done.err
    assert "this host runs 'nil', not 'sev'" in done.err
