"""Stands in for Gramine and an SGX processor: starts the manifest's program in its root, with Gramine's files.

What it does as Gramine does: every trusted file is checked against its hash, the command line and the environment are
the manifest's and nothing else's, ``/tmp`` and ``/run`` are fresh, ``/dev/attestation`` answers. What it does not: no
enclave protects the memory, and it is the host's Linux that answers system calls. Quotes are a forge's, asked for at
``FOLDER/chip.sock``, and MRENCLAVE is the SHA-256 of the manifest.

    gramine-sgx keep                                    runs
    gramine-sgx-sign --manifest M --output O            writes O, and a SIGSTRUCT beside it
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

BIND, RECURSIVE = 4096, 16384
PR_SET_PDEATHSIG = 1
FOLDERS = ("proc", "tmp", "run", "dev/attestation")
DEVICES = ("null", "zero", "urandom")


def mount(source: str, place: Path, kind: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), str(place).encode(), kind.encode(), ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f"mount {place}")


def checked(manifest: dict[str, object]) -> None:
    """Every file that the manifest trusts is what it says."""
    for row in manifest["sgx"]["trusted_files"]:  # type: ignore[index]
        place = Path(row["uri"].removeprefix("file:"))
        if "sha256" in row and hashlib.sha256(place.read_bytes()).hexdigest() != row["sha256"]:
            raise SystemExit(f"error: {place} is not the file that the manifest trusts")


def quotes(root: Path, chip: str, measured: bytes) -> None:
    """Answers at ``/dev/attestation/quote`` for as long as its parent lives."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    while True:
        with (root / "dev/attestation/quote").open("wb") as out:  # a FIFO: opens when the keep reads
            line = socket.socket(socket.AF_UNIX)
            line.connect(chip)
            line.sendall((root / "dev/attestation/user_report_data").read_bytes() + measured)
            while data := line.recv(1 << 16):
                out.write(data)
        time.sleep(0.2)  # the reader sees the end before the next answer begins


def prepare(root: Path) -> None:
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    mount("tmpfs", root / "dev", "tmpfs", 0)
    (root / "dev/attestation").mkdir()
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount(f"/dev/{name}", root / "dev" / name, "", BIND)
    mount("/proc", root / "proc", "", BIND | RECURSIVE)
    for name in ("tmp", "run"):
        mount("tmpfs", root / name, "tmpfs", 0)
    (root / "dev/attestation/attestation_type").write_bytes(b"dcap\n")
    (root / "dev/attestation/user_report_data").write_bytes(bytes(64))
    os.mkfifo(root / "dev/attestation/quote")


def run(chip: str) -> None:
    text = Path("keep.manifest.sgx").read_bytes()
    manifest = tomllib.loads(text.decode())
    checked(manifest)
    root = Path(manifest["fs"]["root"]["uri"].removeprefix("file:")).resolve()
    prepare(root)
    if os.fork() == 0:
        quotes(root, chip, hashlib.sha256(text).digest())
    loader = manifest["loader"]
    os.chroot(root)
    os.chdir("/")
    os.execve(manifest["libos"]["entrypoint"], loader["argv"], loader["env"])


def sign(key: Path, words: list[str]) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from image.test_measure_sgx import signed

    text = Path(words[words.index("--manifest") + 1]).read_bytes()
    output = Path(words[words.index("--output") + 1])
    output.write_bytes(text)
    attributes = 6 if tomllib.loads(text.decode())["sgx"]["debug"] else 4
    mark = hashlib.sha256(text).digest()
    private = load_pem_private_key(key.read_bytes(), None)
    Path("keep.sig").write_bytes(signed(private, attributes=attributes, measured=mark))  # type: ignore[arg-type]


def main(folder: Path, program: str, words: list[str]) -> None:
    if program == "gramine-sgx-sign":
        sign(folder / "enclave-key.pem", words)
    elif words[:1] == ["inside"]:
        run(str(folder / "chip.sock"))
    else:
        command = ["unshare", "-rm", sys.executable, str(folder / "bin" / program), "inside"]
        os.execvp(command[0], command)


def can() -> str:
    """Why this cannot be run here; empty if it can."""
    try:
        done = subprocess.run(["unshare", "-rm", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unshare (util-linux) is not installed"
    return done.stderr.strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
