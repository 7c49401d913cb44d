"""The shipping image on each TEE's own kernel interface, from power-on to output; the chip behind it is the test's.

An overlay on the initramfs brings drivers for interfaces that this machine does not have (``tests/guest``): a report
provider registered with the kernel's own configfs-tsm, ``/dev/sev-guest`` and ``/dev/nsm`` by CUSE, Gramine's files.
What asks and what carries is the real kernel and the real keep; what answers is a forge, under fake vendor roots that
the tenant names. Nothing here ran on silicon.
"""

from __future__ import annotations

import asyncio
import functools
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import wasmtime
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.conftest import HELLO, SPIN
from fastness.appraise import policy as policies
from fastness.errors import FastnessError
from fastness.forge import cca, nitro, sgx, snp, tdx
from fastness.forge.model import Forged
from fastness.host.launch import qemu
from fastness.host.launch.qemu import Guest
from fastness.image import archives, cpio, fetch, lock
from fastness.image.cache import Cache, home
from fastness.seal.challenger import client_channel
from fastness.seal.messages import Workload
from fastness.seal.transport import Transport
from fastness.tenant import deliver
from fastness.tenant.deliver import Attested, Delivery, Stages
from fastness.wire import cbor
from fastness.workload.manifest import Manifest
from images import keep_image, machines
from keep.test_protocol import collect

GUEST = Path(__file__).resolve().parents[1] / "guest"
RULES = """
[[rule]]
id = "this-tee"
effect = "accept"
when = { tee = "%s" }
require = { debug = false, simulated = true }
[[waive]]
check = "*.revocation"
why = "a forged vendor publishes no list"
[[waive]]
check = "policy.measurement"
why = "a forge makes the measurement up"
[[waive]]
check = "policy.tcb-status"
why = "and the level"
"""

FLAG = "the keep flags that it has been compromised"


def report(forged: Forged) -> bytes:
    """What the driver of a TSM provider gives: report and auxiliary blob, each with its size."""
    main, table = (forged.evidence[:1184], forged.evidence[1184:]) if forged.tee == "snp" else (forged.evidence, b"")
    return struct.pack("<I", len(main)) + main + struct.pack("<I", len(table)) + table


def document(forged: Forged) -> bytes:
    """What ``/dev/nsm`` answers."""
    return cbor.encode({"Attestation": {"document": forged.evidence}})


@dataclass
class Chip:
    """Answers the guest's questions with forged evidence, and remembers them."""

    make: Callable[[bytes], Forged]
    form: Callable[[Forged], bytes]
    asked: list[bytes] = field(default_factory=list)

    def serve(self, sock: socket.socket) -> None:
        while head := sock.recv(5, socket.MSG_WAITALL):
            body = sock.recv(int.from_bytes(head[1:], "big"), socket.MSG_WAITALL)
            self.asked.append(head[:1])
            answer = self.form(self.make(body))
            sock.sendall(len(answer).to_bytes(4, "big") + answer)


def requested(body: bytes) -> bytes:
    """``user_data`` of a request to the Nitro module."""
    message = cbor.decode(body)
    data: bytes = message["Attestation"]["user_data"]
    return data


def hexed(module: object, **spec: object) -> Callable[[bytes], Forged]:
    return lambda data: module.make({**spec, "report_data": data.hex()})  # type: ignore[attr-defined,no-any-return]


def of_nitro(data: bytes) -> Forged:
    text = requested(data).hex() if data[:1] != b"\0" else bytes(64).hex()
    return nitro.make({"user_data": text, "nonce": text})


CASES: dict[str, tuple[str, str, Callable[[bytes], Forged], Callable[[Forged], bytes]]] = {
    "snp by configfs-tsm": ("tsm:sev_guest", "snp", hexed(snp, generation="turin", table=True), report),
    "tdx by configfs-tsm": ("tsm:tdx_guest", "tdx", hexed(tdx, version=5), report),
    "cca by configfs-tsm": ("tsm:arm_cca_guest", "cca", lambda data: cca.make({"challenge": data.hex()}), report),
    "snp by /dev/sev-guest": ("sev-guest", "snp", hexed(snp, generation="genoa", table=True), lambda f: f.evidence),
    "nitro by /dev/nsm": ("nsm", "nitro", of_nitro, document),
    "sgx by /dev/attestation": ("gramine", "sgx", hexed(sgx), lambda f: f.evidence),
}


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """``tsm_mock.ko``, built against the image's kernel, that kernel's own ``cuse.ko``; skipped where not to be had."""
    pinned = lock.read()
    kernel = next(item for item in pinned.of("deb") if item.name.startswith("linux-image-"))
    folder = tmp_path_factory.mktemp("drivers")
    files = archives.deb(Cache(home() / "inputs").read(kernel), lambda path: path.endswith("/cuse.ko.xz"), "kernel")
    import lzma

    return {"cuse": lzma.decompress(next(iter(files.values()))), "tsm_mock": built(kernel, pinned, folder)}


def built(kernel: lock.Input, pinned: lock.Lock, folder: Path) -> bytes:
    for program in ("make", "x86_64-linux-gnu-gcc-12", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    release = kernel.name.removeprefix("linux-image-").removesuffix("-cloud-amd64")
    names = (f"linux-headers-{release}-cloud-amd64", f"linux-headers-{release}-common", f"linux-kbuild-{release}")
    kept = home() / "headers" / kernel.version
    if not all(list(kept.glob(f"{name}_*.deb")) for name in names):
        kept.mkdir(parents=True, exist_ok=True)
        environment = fetch.apt_configuration(folder / "apt", pinned.suites)
        for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "download", *names]):
            if subprocess.run(command, env=environment, cwd=kept, capture_output=True, check=False).returncode:
                pytest.skip("the kernel's headers are not to be had")
    for name in names:
        subprocess.run(["dpkg-deb", "-x", next(kept.glob(f"{name}_*.deb")), folder], check=True)
    tree = folder / "usr/src" / names[0]
    (tree / "Makefile").write_text(f"include {folder}/usr/src/{names[1]}/Makefile\n")
    (tree / "vmlinux").unlink(missing_ok=True)  # with it, make wants a program for debug types
    work = folder / "module"
    work.mkdir()
    shutil.copy(GUEST / "tsm_mock.c", work)
    (work / "Kbuild").write_text("obj-m := tsm_mock.o\n")
    done = subprocess.run(["make", "-C", tree, f"M={work}", "modules"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (work / "tsm_mock.ko").read_bytes()


def overlay(drivers: dict[str, bytes]) -> bytes:
    """What comes after the shipping archive: drivers, and an ``/init`` that starts them and then the real one."""
    script = b"#!/usr/bin/python3.11 -IBS\n" + (GUEST / "emulate.py").read_bytes()
    entries = [cpio.file("init", script, "test", execute=True)]
    entries += [cpio.file(f"emulate/{name}.ko", data, "test") for name, data in drivers.items()]
    return cpio.write(entries, 0)


def boot(what: str, chip: Chip, initrd: Path, intruder: socket.socket | None = None) -> Guest:
    """A machine without a TPM, with the keep's port and the chip's, and one to somebody inside."""
    image, program = keep_image(), qemu.program()
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    threading.Thread(target=chip.serve, args=(near,), daemon=True).start()
    command = qemu.common(program, qemu.Settings(), "tcg", theirs.fileno())
    command += ["-machine", "q35", "-chardev", f"socket,id=mock,fd={far.fileno()}"]
    command += ["-device", "virtserialport,chardev=mock,name=mock.0"]
    command += ["-kernel", str(image.kernel), "-initrd", str(initrd), "-append", f"{image.cmdline} emulate={what}"]
    handles = [theirs.fileno(), far.fileno()]
    if intruder is not None:
        handles.append(intruder.fileno())
        command[-1] += " intruder"
        command += ["-chardev", f"socket,id=intruder,fd={intruder.fileno()}"]
        command += ["-device", "virtserialport,chardev=intruder,name=intruder.0"]
    guest = Guest(command, tuple(handles), ours, near.close)
    theirs.close()
    far.close()
    return guest


async def challenge(guest: Guest, tee: str, chip: Chip) -> Attested:
    """The keep in ``guest``, proven to a tenant who takes the test's vendors for real ones."""
    sample = chip.make(bytes(64))
    transport = Transport(guest.connect(), client_channel())
    rules = policies.parse(RULES % tee, "ours.toml")
    return await deliver.challenge(
        transport, rules, sample.anchors, at=sample.at, stages=Stages(), collateral=sample.collateral
    )


async def run(what: str, tee: str, chip: Chip, initrd: Path) -> tuple[object, bytes, dict[str, object]]:
    """(how the workload ended, its output, the claims it was accepted on)."""
    guest = boot(what, chip, initrd)
    try:
        await guest.ready(90)
        attested = await challenge(guest, tee, chip)
        release = Workload(wasmtime.wat2wasm(HELLO), Manifest().to_cbor(), {}, {}, bytes(32))
        ended, heard = await collect(await Delivery.release(attested, release, Stages()))
        assert attested.statement.platform == tee
        return ended, heard, attested.decision.claims.tree()
    finally:
        await guest.stop(2)


@pytest.mark.parametrize("case", CASES)
def test_a_workload_runs_on_each_interface(
    case: str, drivers: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines()
    # one vendor for all that one test asks
    monkeypatch.setattr(nitro, "_pki", functools.cache(nitro._pki))
    keys: dict[str, ec.EllipticCurvePrivateKey] = {}
    kept = {"generate_private_key": lambda curve: keys.setdefault(curve.name, ec.generate_private_key(curve))}
    monkeypatch.setattr(cca, "ec", SimpleNamespace(**{**vars(ec), **kept}))
    what, tee, make, form = CASES[case]
    initrd = tmp_path / "initrd"
    shipped = keep_image().initrd.read_bytes()
    initrd.write_bytes(shipped.ljust(-(-len(shipped) // 4) * 4, b"\0") + overlay(drivers))
    chip = Chip(make, form)
    ended, heard, claims = asyncio.run(run(what, tee, chip, initrd))
    assert (ended.outcome, ended.code, heard) == ("exit", 7, b"hello from a keep\n")  # type: ignore[attr-defined]
    assert claims["tee"] == tee
    assert len(chip.asked) >= 2  # once at boot, once for the challenge


def test_a_chip_that_answers_for_another_conversation_is_refused(drivers: dict[str, bytes], tmp_path: Path) -> None:
    machines()
    initrd = tmp_path / "initrd"
    shipped = keep_image().initrd.read_bytes()
    initrd.write_bytes(shipped.ljust(-(-len(shipped) // 4) * 4, b"\0") + overlay(drivers))
    stale = Chip(lambda _: snp.make({"generation": "turin", "table": True, "report_data": "11" * 64}), report)
    with pytest.raises(FastnessError, match="another session, key or workload"):
        asyncio.run(run("tsm:sev_guest", "snp", stale, initrd))


async def betrayed(chip: Chip, initrd: Path) -> list[str]:
    """What a keep whose code was altered answers, time after time."""
    near, far = socket.socketpair()
    near.setblocking(False)
    guest = boot("gramine", chip, initrd, far)
    far.close()
    told: list[str] = []
    try:
        await guest.ready(90)
        release = Workload(wasmtime.wat2wasm(SPIN), Manifest().to_cbor(), {}, {}, bytes(32), attached=False)
        fresh = await challenge(guest, "sgx", chip)
        await Delivery.release(fresh, release, Stages())
        await fresh.transport.close()
        sound = await challenge(guest, "sgx", chip)
        await sound.transport.close()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(near, b"x")
        if await asyncio.wait_for(loop.sock_recv(near, 1), 20) != b"!":
            raise AssertionError("nothing was altered")
        while len(told) < 20 and told.count(FLAG) < 2:
            with pytest.raises(FastnessError) as caught:
                await challenge(guest, "sgx", chip)
            told.append(caught.value.what)
            await asyncio.sleep(0.5)
        return told
    finally:
        near.close()
        await guest.stop(2)


def test_a_machine_whose_keep_is_altered_says_so_from_then_on(tmp_path: Path) -> None:
    machines()
    initrd = tmp_path / "initrd"
    shipped = keep_image().initrd.read_bytes()
    initrd.write_bytes(shipped.ljust(-(-len(shipped) // 4) * 4, b"\0") + overlay({}))
    told = asyncio.run(betrayed(Chip(*CASES["sgx by /dev/attestation"][2:]), initrd))
    assert told[-2:] == [FLAG, FLAG]
    assert "connection" in told[0]  # the one that finds out ends the process, keys and workload
