"""The enclave image with a kernel of its own: devices of the command line come; with Debian's they do not.

QEMU names virtio-mmio devices on the command line where a machine has no ACPI, as the hypervisor of Nitro does.
Three levels, as far as this machine has what they need:

* Debian's kernel, with QEMU's ``microvm``: no device comes, the keep refuses, its machine ends.
* Another kernel (``FASTNESS_NITRO_KERNEL``, ``FASTNESS_NITRO_MODULES``; or the one on record in the cache of inputs):
  the device comes.
* That kernel in QEMU's ``nitro-enclave`` machine (QEMU 9.2 built with libcbor, ``FASTNESS_NITRO_QEMU``; and
  ``vhost-device-vsock`` in the path): the launcher starts ``keep.eif``, the keep answers over vsock with a document of
  the emulated module, runs a workload, ends. That module signs nothing, so that no tenant takes its word.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wasmtime

from e2e.conftest import HELLO
from fastness.appraise import policy as policies
from fastness.errors import MalformedEvidence
from fastness.host.launch import nitro
from fastness.host.launch.qemu import Settings
from fastness.host.launch.vsock import PORT
from fastness.host.machine import Machine
from fastness.image import build, cpio, eif, store
from fastness.image.cache import home
from fastness.image.measure import Machine as Measured
from fastness.image.measure import Parts
from fastness.image.measure import nitro as measure
from fastness.image.store import Image
from fastness.pki import anchors
from fastness.seal import binding
from fastness.seal.challenger import client_channel
from fastness.seal.messages import Workload
from fastness.seal.transport import Transport
from fastness.tenant import decide, deliver
from fastness.tenant.deliver import Delivery, Stages
from fastness.wire import cbor, cose
from fastness.workload.manifest import Manifest
from fastness.workload.parts import Asset
from images import keep_image
from keep.test_protocol import collect

TOOLS = Path(__file__).resolve().parents[2] / "tools"
EMULATED = "tsc_early_khz=2596000 lpj=10384576"
"""Where a processor is emulated, its clock cannot be measured against a timer that is emulated too."""

ENTROPY = "virtio:d00000004v"
PROBE = b"""\
#!/usr/bin/python3.11 -IBS
import ctypes, os
libc = ctypes.CDLL(None)
libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)
place = "/sys/bus/virtio/devices"
found = [open(f"{place}/{name}/modalias").read().strip() for name in os.listdir(place)] if os.path.isdir(place) else []
print("PROBE", os.uname().release, os.cpu_count(), *found, flush=True)
libc.reboot(0x01234567)
"""


def on_record() -> str:
    """SHA-256 of the kernel that ``tools/nitro_kernel.py`` builds."""
    spec = importlib.util.spec_from_file_location("nitro_kernel", TOOLS / "nitro_kernel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.BUILT)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image with a kernel that somebody built."""
    kept = home() / "inputs" / on_record()
    path = Path(os.environ.get("FASTNESS_NITRO_KERNEL") or kept)
    if not path.is_file():
        pytest.skip("no kernel for an enclave: tools/nitro_kernel.py FILE, FASTNESS_NITRO_KERNEL=FILE")
    modules = [Path(name) for name in os.environ.get("FASTNESS_NITRO_MODULES", "").split(os.pathsep) if name]
    keep_image()  # its inputs are here, or this skips
    place = tmp_path_factory.mktemp("own") / "image"
    return build.build(lambda _: None, output=place, kernel=path, modules=modules)


def boot(image: Image, folder: Path, *, probe: bool) -> str:
    """What a machine without ACPI says of the parts of ``keep.eif``, until it ends."""
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    parts = eif.parse(image.eif.read_bytes())
    initrd, cmdline = b"".join(parts.ramdisks), f"{parts.cmdline.decode()} {EMULATED}"
    if probe:
        overlay = cpio.write([cpio.file("probe", PROBE, "test", execute=True)], 0)
        initrd, cmdline = initrd + bytes(-len(initrd) % 4) + overlay, f"{cmdline} rdinit=/probe"
    (folder / "kernel").write_bytes(parts.kernel)
    (folder / "initrd").write_bytes(initrd)
    command = [
        program, "-M", "microvm,acpi=off", "-m", "512", "-accel", "tcg", "-cpu", "max,-cx16", "-smp", "2",
        "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", str(folder / "kernel"), "-initrd", str(folder / "initrd"), "-append", cmdline,
        "-device", "virtio-rng-device",
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8", "replace")


def test_with_debians_kernel_no_device_of_the_command_line_comes(tmp_path: Path) -> None:
    image = keep_image()
    (words,) = [line.split() for line in boot(image, tmp_path, probe=True).splitlines() if line.startswith("PROBE")]
    assert words[1:] == [image.release, "1"]  # nor does it read the table that tells of the second processor


def test_a_keep_that_gets_no_device_refuses_and_its_machine_ends(tmp_path: Path) -> None:
    assert "error: this machine offers no evidence" in boot(keep_image(), tmp_path, probe=False)


def test_with_a_kernel_that_heeds_its_command_line_the_device_comes(own: Image, tmp_path: Path) -> None:
    (words,) = [line.split() for line in boot(own, tmp_path, probe=True).splitlines() if line.startswith("PROBE")]
    assert words[1:3] == [own.nitro_kernel, "2"]
    assert [word for word in words[3:] if word.startswith(ENTROPY)]


TOOL = """#!{python}
import json, os, signal, subprocess, sys
if sys.argv[1] == "run-enclave":
    at = dict(zip(sys.argv[2::2], sys.argv[3::2]))
    quiet = dict(stdin=subprocess.DEVNULL, stdout=open({log!r}, "a"), stderr=subprocess.STDOUT, start_new_session=True)
    machine = "guest-cid=4,uds-path={folder}/vm,socket={folder}/user"
    daemon = subprocess.Popen(["vhost-device-vsock", "--vm", machine], **quiet)
    while not os.path.exists("{folder}/user"):
        pass
    machine = subprocess.Popen([
        {qemu!r}, "-L", "/usr/share/qemu", "-M", "nitro-enclave,vsock=c,id=i-0-enc0", "-accel", "tcg", "-cpu", "max",
        "-m", at["--memory"], "-smp", at["--cpu-count"], "-kernel", at["--eif-path"], "-append", {cmdline!r},
        "-chardev", "socket,id=c,path={folder}/user", "-nodefaults", "-no-user-config", "-display", "none",
        "-serial", "stdio", "-no-reboot"], **quiet)
    open("{folder}/pids", "w").write(f"{{machine.pid}} {{daemon.pid}}")
    print(json.dumps({{"EnclaveID": "i-0-enc0", "ProcessID": machine.pid, "EnclaveCID": 4}}))
else:
    os.kill(int(open("{folder}/pids").read().split()[0]), signal.SIGKILL)
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """AWS's tool, as far as the launcher knows: it starts QEMU's enclave. The folder of its files."""
    qemu = os.environ.get("FASTNESS_NITRO_QEMU") or shutil.which("qemu-system-x86_64")
    if qemu is None or b"nitro-enclave" not in subprocess.run([qemu, "-M", "help"], capture_output=True).stdout:  # noqa: PLW1510
        pytest.skip("no QEMU with the machine nitro-enclave: FASTNESS_NITRO_QEMU=PROGRAM")
    if shutil.which("vhost-device-vsock") is None:
        pytest.skip("vhost-device-vsock is not installed (cargo install vhost-device-vsock)")
    words = {
        "python": sys.executable,
        "qemu": qemu,
        "folder": tmp_path,
        "log": str(tmp_path / "log"),
        "cmdline": EMULATED,
    }
    (tmp_path / "nitro-cli").write_text(TOOL.format(**words))
    (tmp_path / "nitro-cli").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for path, text in (("dev/nitro_enclaves", ""), ("sys/module/nitro_enclaves/parameters/ne_cpus", "1,3")):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    yield tmp_path
    for pid in (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else ():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)


def test_an_enclave_answers_over_vsock_runs_a_workload_and_ends(
    own: Image, tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dial(_: int) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        try:
            sock.connect(str(tool / "vm"))
            sock.sendall(f"CONNECT {PORT}\n".encode())
            if not sock.recv(3, socket.MSG_WAITALL).startswith(b"OK "):
                raise ConnectionRefusedError
            while sock.recv(1) not in (b"\n", b""):
                pass
        except BaseException:
            sock.close()
            raise
        sock.setblocking(False)
        return sock

    seen: list[dict[int, bytes]] = []

    def judged(statement: Any, *, signed: bytes, signature: bytes, challenge: Any, exporter: bytes, session_key: bytes,
               **_: object) -> Any:  # fmt: skip
        """What a tenant decides on, but for the document's own signature, which is none."""
        body: Any = cbor.decode(cose.from_value(cbor.decode(statement.evidence), "document").payload)
        seen.append(body["pcrs"])
        assert statement.platform == "nitro"
        assert body["user_data"] == body["nonce"] == binding.report_data(
            role=challenge.role, platform="nitro", nonce=challenge.nonce, exporter=exporter,
            signing_key=statement.signing_key, hpke_key=statement.hpke_key, workload=binding.ZERO,
        )  # fmt: skip
        decide._keys(statement, signed, signature, session_key)
        return SimpleNamespace(verdict=SimpleNamespace(accepted=True))

    async def work() -> None:
        launcher = nitro.Launcher(Settings(str(own.folder), vcpus=2), Machine(tool), dial)
        keep = await launcher.launch()
        await keep.ready(120)
        chosen, roots = policies.load("development"), anchors.vendor()
        with pytest.raises(MalformedEvidence, match="signature: need 96 bytes"):
            await deliver.challenge(Transport(keep.connect(), client_channel()), chosen, roots, stages=Stages())
        monkeypatch.setattr(deliver, "decide", judged)
        attested = await deliver.challenge(Transport(keep.connect(), client_channel()), chosen, roots, stages=Stages())
        # a file for it: refused where the kernel has no namespaces, or no tmpfs
        manifest = Manifest(assets=(Asset("/data", "", 4, sha256(b"file").digest()),))
        given = Workload(wasmtime.wat2wasm(HELLO), manifest.to_cbor(), {}, {"/data": b"file"}, bytes(32))
        ended, heard = await collect(await Delivery.release(attested, given, Stages()))
        assert (ended.outcome, ended.code, heard) == ("exit", 7, b"hello from a keep\n")
        await attested.transport.close()
        assert await asyncio.wait_for(keep.ended(), 60) == 0

    try:
        asyncio.run(work())
    finally:
        sys.stderr.write((tool / "log").read_text(errors="replace"))
    (row,) = measure.rows(
        Parts(b"", own.initrd.read_bytes(), own.cmdline, b"", own.eif.read_bytes(), own.nitro_parts), Measured()
    )
    assert {name: (seen[0][int(name[3:])].hex(),) for name in row.measurements} == row.measurements
    assert store.check(own.folder).nitro_kernel == own.nitro_kernel
