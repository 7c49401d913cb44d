"""vTPMs of this host (swtpm), with endorsement keys that a local authority certifies.

Whoever owns this host owns the authority and every TPM it makes: a root of trust for nobody but the owner.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from fastness import folders
from fastness.errors import KeepFailed
from fastness.wire import pem

TIMEOUT = 60.0
CONFIGURATION = {
    "setup.conf": "create_certs_tool = {tool}\ncreate_certs_tool_config = {place}/localca.conf\n"
    "create_certs_tool_options = {place}/localca.options\n",
    "localca.conf": "statedir = {place}\nsigningkey = {place}/signing.pem\nissuercert = {place}/issuer.pem\n"
    "certserial = {place}/serial\n",
    "localca.options": "--platform-manufacturer Fastness\n--platform-version 1\n--platform-model keep\n",
}


def folder() -> Path:
    """Where this user's authority lies: ``$XDG_DATA_HOME/fastness/vm``."""
    return folders.data() / "vm"


def _program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise KeepFailed(f"{name} is not installed", hint=f"apt-get install -y {package}")
    return path


def manufacture(state: Path) -> None:
    """A new TPM's state in the folder ``state``, with an RSA 2048 endorsement key and its certificate.

    Raises:
        KeepFailed: a program is missing, or fails.
    """
    place = folder()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    tool = shutil.which("swtpm_localca") or "/usr/bin/swtpm_localca"
    for name, text in CONFIGURATION.items():
        _settle(place / name, text.format(place=place, tool=tool))
    command = [
        _program("swtpm_setup", "swtpm-tools"), "--tpm2", "--tpmstate", str(state), "--create-ek-cert",
        "--config", str(place / "setup.conf"), "--pcr-banks", "sha256", "--not-overwrite",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise KeepFailed(f"swtpm_setup did not finish within {TIMEOUT:g} s") from None
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise KeepFailed("swtpm_setup failed", where=lines[-1][:300] if lines else "", hint="see swtpm_setup(8)")


def _settle(path: Path, text: str) -> None:
    """Writes a file unless it is there: another keep may be made from it at this moment."""
    if path.is_file() and path.read_text() == text:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def authority() -> bytes:
    """DER certificate of the local authority, made if there is none."""
    issuer = folder() / "issuer.pem"
    if not issuer.is_file():
        import tempfile

        with tempfile.TemporaryDirectory(prefix="fastness-tpm-") as scratch:
            manufacture(Path(scratch))
    return next(der for label, der in pem.unarmour(issuer.read_bytes()) if label == "CERTIFICATE")


def start(state: Path) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A running TPM over ``state``, and the end of its control channel that QEMU takes."""
    ours, theirs = socket.socketpair()
    command = [
        _program("swtpm", "swtpm"), "socket", "--tpm2", "--tpmstate", f"dir={state}",
        "--ctrl", f"type=unixio,clientfd={theirs.fileno()}", "--terminate", "--seccomp", "action=kill",
    ]  # fmt: skip
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),), start_new_session=True, cwd="/",
        )  # fmt: skip
    except OSError as error:
        ours.close()
        raise KeepFailed(f"cannot start swtpm: {error.strerror}") from None
    finally:
        theirs.close()
    return process, ours
