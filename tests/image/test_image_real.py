"""The real image: small, of the listed files only, the same whoever builds it, and it boots.

Built from the cache of inputs, or from the archives where they can be reached; skipped, with the reason, where not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard

from fastness.image import archives, build, contents, cpio, lock, pe, uki
from fastness.image.cache import Cache, home
from fastness.image.store import Image
from fastness.workload import tcb
from images import keep_image

PROJECT = Path(__file__).resolve().parents[2]
QEMU = shutil.which("qemu-system-x86_64")
OVMF = Path("/usr/share/ovmf/OVMF.fd")
needs_qemu = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not here")
BOOT = "console=ttyS0 loglevel=4 panic=-1 reboot=t random.trust_cpu=on rdinit=/probe"
PROBE = b"""\
#!/usr/bin/python3.11 -IBS
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
try:
    sys.path.append("/usr/lib/fastness")
    import cryptography.x509, OpenSSL.SSL
    import fastness.keep.protocol, fastness.keep.runtime
    from fastness.keep import engine
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    assert AESGCM(bytes(16)).decrypt(bytes(12), AESGCM(bytes(16)).encrypt(bytes(12), b"x", b""), b"") == b"x"
    wasm = bytes.fromhex("0061736d0100000001040160000003020100070a01065f737461727400000a040102000b")
    compiled = ctypes.c_void_p()
    made = engine.LIB.wasm_engine_new_with_config(engine.LIB.wasm_config_new())
    engine.check(engine.LIB.wasmtime_module_new(made, wasm, len(wasm), ctypes.byref(compiled)))
    print("PROBE compiled", bool(compiled), flush=True)
    print("PROBE processes", os.getpid(), sys.version.split()[0], sys.flags.isolated, flush=True)
    folder = f"/lib/modules/{os.uname().release}"
    for line in open(f"{folder}/modules"):
        name, file, *needs = line.split()
        with open(f"{folder}/{file}", "rb") as module:
            done = libc.syscall(313, module.fileno(), b"", 0)
        print("PROBE driver", name, "loaded" if done == 0 else errno.errorcode[ctypes.get_errno()], flush=True)
    for name in ("ssl", "_hashlib", "wasmtime.loader"):
        try:
            __import__(name)
        except ImportError:
            print("PROBE absent", name, flush=True)
    raise ExceptionGroup("PROBE group", [ValueError("PROBE end")])
except BaseException:
    import traceback
    traceback.print_exc()
sys.stderr.flush()
libc.reboot(0x4321FEDC)
"""


@pytest.fixture(scope="session")
def image() -> Image:
    return keep_image()


@pytest.fixture(scope="session")
def root(image: Image) -> dict[str, cpio.Entry]:
    archive = zstandard.ZstdDecompressor().decompress(image.initrd.read_bytes(), max_output_size=1 << 30)
    return {entry.path: entry for entry in cpio.read(archive)}


def test_small(image: Image) -> None:
    assert image.initrd.stat().st_size <= 18e6
    assert image.initrd.stat().st_size + image.kernel.stat().st_size <= 30e6


def test_nothing_but_what_is_listed(root: dict[str, cpio.Entry]) -> None:
    executable = {path for path, entry in root.items() if entry.mode & 0o170111 == 0o100111}
    libraries = {path for path in executable if re.fullmatch(r"lib/x86_64-linux-gnu/lib[\w.+-]+\.so\.\d+", path)}
    assert executable - libraries == {"init", "usr/bin/python3.11", "lib64/ld-linux-x86-64.so.2"}
    assert libraries == {f"lib/x86_64-linux-gnu/{name}" for name in (
        "libc.so.6", "libm.so.6", "libz.so.1", "libexpat.so.1", "libffi.so.8", "libgcc_s.so.1", "libpthread.so.0",
        "libdl.so.2",
    )} & libraries  # fmt: skip
    assert not [
        path for path in root if re.search(r"(^|/)(sh|bash|busybox|login|passwd|apt|dpkg|pip)$|libssl|libcrypto", path)
    ]
    assert {path.split("/")[0] for path in root} == {"dev", "init", "lib", "lib64", "proc", "run", "sys", "tmp", "usr"}
    assert not [path for path, entry in root.items() if entry.mode & 0o222 and path != "dev/console"]


def test_our_files_are_those_of_the_committed_list(root: dict[str, cpio.Entry]) -> None:
    listed = {f"{contents.OURS}/{row.name}": row.digest for row in tcb.files()}
    ours = {
        path: sha256(entry.data).hexdigest()
        for path, entry in root.items()
        if path.startswith(f"{contents.OURS}/fastness/")
    }
    assert {path: digest for path, digest in ours.items() if path.endswith(".py")} == listed
    assert sum(path.endswith(".pyc") for path in ours) == len(listed)


def test_wheels_are_those_of_the_committed_list(image: Image) -> None:
    del image
    listed = dict(
        reversed(line.split()[1::2])
        for line in (PROJECT / "TCB.lock").read_text().splitlines()
        if line.startswith("wheel")
    )
    for item in lock.read().of("wheel"):
        files = archives.wheel(Cache(home() / "inputs").read(item), lambda _: True, item.name)
        rows = []
        for path, data in files.items():
            if ".dist-info/" not in path:
                rows.append(f"{path} sha256={urlsafe_b64encode(sha256(data).digest()).decode().rstrip('=')}")
        assert sha256("\n".join(sorted(rows)).encode()).hexdigest() == listed[f"{item.name}=={item.version}"]


def test_parts_are_those_of_the_inputs(image: Image) -> None:
    sections = pe.parse(image.uki.read_bytes())
    assert sections.content(".linux") == image.kernel.read_bytes()
    assert sections.content(".initrd") == image.initrd.read_bytes()
    assert sections.content(".cmdline") == image.cmdline.encode()
    assert image.initrd.read_bytes() in image.eif.read_bytes()


def test_found_again_without_building(image: Image) -> None:
    said: list[str] = []
    assert build.build(said.append) == image
    assert said == ["built before from the same inputs: nothing to do"]


def test_same_bytes_elsewhere(image: Image, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT / "src"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path), "TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONHASHSEED": "4711", "HOME": "/nowhere",
        "SOURCE_DATE_EPOCH": "1", "PYTHONOPTIMIZE": "2", "USER": "somebody",
    }  # fmt: skip
    command = [sys.executable, "-m", "fastness", "image", "build", "--inputs", str(home() / "inputs")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, umask=0o077, check=True
    )
    assert done.stdout.strip() == image.digest
    assert "compressing" in done.stderr


def test_standard_library_list_is_enough(image: Image) -> None:
    del image
    command = [sys.executable, str(PROJECT / "tools" / "image_root.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _overlay(image: Image) -> bytes:
    # a second archive may follow a compressed one from the next multiple of four on
    initrd = image.initrd.read_bytes()
    return initrd + bytes(-len(initrd) % 4) + cpio.write([cpio.file("probe", PROBE, "test", execute=True)], 0)


def _boot(*options: str) -> str:
    command = [
        str(QEMU),
        "-M",
        "q35",
        "-accel",
        "tcg",
        "-cpu",
        "max,-cx16",
        "-m",
        "256",
        "-nodefaults",
        "-no-user-config",
    ]
    command += ["-display", "none", "-serial", "stdio", "-no-reboot", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=False)
    return done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")


@needs_qemu
def test_boots_to_a_compiled_module(image: Image, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(_overlay(image))
    told = _boot("-kernel", str(image.kernel), "-initrd", str(tmp_path / "initrd"), "-append", BOOT)
    assert "PROBE compiled True" in told, told
    assert "PROBE processes 1 3.11.2 1" in told
    drivers = dict(re.findall(r"PROBE driver (\w+) (\w+)", told))
    # no such TEE here: the drivers are of this kernel, and say so
    assert {name: state for name, state in drivers.items() if state != "loaded"} == {
        "sev_guest": "ENODEV",
        "tdx_guest": "ENODEV",
    }
    assert set(drivers) >= {"virtio_mmio", "vsock", "configfs", "tsm", "nsm", "vmw_vsock_virtio_transport"}
    assert re.findall(r"PROBE absent (\S+)", told) == ["ssl", "_hashlib", "wasmtime.loader"]
    assert "PROBE end" in told
    assert "Kernel panic" not in told


@needs_qemu
@pytest.mark.skipif(not OVMF.exists(), reason="OVMF is not here")
def test_uki_boots_from_firmware(image: Image, tmp_path: Path) -> None:
    boot = archives.deb(Cache(home() / "inputs").read(lock.read().named(contents.BOOT)), lambda _: True, "stub")
    shipped = pe.parse(image.uki.read_bytes())
    told = {".cmdline": BOOT.encode(), ".initrd": _overlay(image)}
    names = (".osrel", ".cmdline", ".uname", ".initrd", ".linux")
    parts = tuple(uki.Section(name, told.get(name) or shipped.content(name) or b"") for name in names)
    folder = tmp_path / "esp" / "EFI" / "BOOT"
    folder.mkdir(parents=True)
    (folder / "BOOTX64.EFI").write_bytes(uki.build(boot[contents.STUB], parts))
    drive = f"file=fat:rw:{tmp_path / 'esp'},format=raw,if=none,id=esp"
    shown = _boot("-bios", str(OVMF), "-drive", drive, "-device", "virtio-blk-pci,drive=esp")
    assert "PROBE compiled True" in shown, shown
