"""The keep as a Gramine enclave: its manifest, made from the image's own list of files.

Source: Gramine documentation 1.9, "Manifest syntax". The manifest is part of the enclave, so MRENCLAVE covers the
SHA-256 of every file that it trusts; a file that is not listed cannot be opened. Nothing of the host reaches the keep
by environment, arguments or allowed files. Of 1.7 or newer: before, an enclave had no ``eventfd`` that it can trust.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastness.errors import Malformed, UsageError

SIGN = "gramine-sgx-sign"
FOLDER = "root"
MANIFEST, SIGNED, SIGSTRUCT = "keep.manifest", "keep.manifest.sgx", "keep.sig"
SIGN_TIMEOUT = 300.0
MAX_WORDS = 2000

INTERPRETER = "/usr/bin/python3.11"
BOOT = "import sys; sys.path.append('/usr/lib/fastness'); from fastness.keep.enclave import main; main(sys.argv[1:])"
DEBUG = "debug"
ARGUMENTS = ("python3.11", "-IBS", "-c", BOOT)
"""One process, without ``/init``, which is a machine's."""

LEAST_SIZE = 256
"""MiB; a size is a power of two."""

THREADS = "2"
"""Of a pool. Left alone, libraries make one for each of the host's processors, and an enclave has so many threads."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
LIBRARIES = "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True, slots=True)
class Enclave:
    """What an enclave is given: ``size`` in MiB (a power of two), ``threads``, and whether it may be debugged."""

    size: int = 1024
    threads: int = 32
    debug: bool = False


def enclave(memory: int, *, debug: bool) -> Enclave:
    """The enclave of a keep with ``memory`` MiB or what that is rounded up to; it is part of the measurement."""
    return Enclave(1 << (max(LEAST_SIZE, memory) - 1).bit_length(), debug=debug)


def trusted(root: Any) -> tuple[tuple[str, str], ...]:
    """(path, SHA-256) of the regular files of an image, from the rows ``root`` of its manifest, by path.

    Raises:
        Malformed: a row that names no mode, a path outside the root, or no digest.
    """
    found: list[tuple[str, str]] = []
    for number, row in enumerate(root if isinstance(root, list) else [root]):
        try:
            path, regular = str(row["path"]), stat.S_ISREG(int(str(row["mode"]), 8))
            digest = str(row["sha256"]) if regular else ""
        except (KeyError, TypeError, ValueError):
            raise _bad(number, "a path, a mode and, of files, a SHA-256") from None
        if path.startswith("/") or ".." in path.split("/"):
            raise _bad(number, "a path inside the root")
        if regular:
            if _DIGEST.fullmatch(digest) is None:
                raise _bad(number, "a SHA-256 in hexadecimal")
            found.append((path, digest))
    return tuple(sorted(found))


def _bad(number: int, need: str) -> Malformed:
    return Malformed(f"image manifest: need {need}", where=f"root[{number}]", hint="fastness image build")


def manifest(
    files: Sequence[tuple[str, str]],
    *,
    folder: str = FOLDER,
    enclave: Enclave | None = None,
) -> str:
    """``keep.manifest``: TOML, one line a setting, the same for the same image.

    Args:
        files: (path in the root, SHA-256), as :func:`trusted` gives them.
        folder: where the root lies, relative to where the enclave is started.
        enclave: its size and threads.
    """
    chosen = enclave or Enclave()
    if chosen.size < LEAST_SIZE or chosen.size & (chosen.size - 1) or not 1 <= chosen.threads <= 1024:
        raise UsageError(f"an enclave of {chosen.size} MiB and {chosen.threads} threads", hint="256, 512, 1024 … MiB")
    arguments = (*ARGUMENTS, DEBUG) if chosen.debug else ARGUMENTS
    lines = [
        f"libos.entrypoint = {_text(INTERPRETER)}",
        f"loader.argv = [{', '.join(map(_text, arguments))}]",
        'loader.log_level = "none"' if not chosen.debug else 'loader.log_level = "error"',
        f"loader.env.LD_LIBRARY_PATH = {_text(LIBRARIES)}",
        f"loader.env.RAYON_NUM_THREADS = {_text(THREADS)}",
        f"loader.env.TOKIO_WORKER_THREADS = {_text(THREADS)}",
        f'fs.root = {{ type = "chroot", uri = {_text(f"file:{folder}")} }}',
        'fs.mounts = [{ type = "tmpfs", path = "/tmp" }, { type = "tmpfs", path = "/run" }]',
        'sys.stack.size = "8M"',
        "sys.disallow_subprocesses = true",
        f"sgx.debug = {str(chosen.debug).lower()}",
        f'sgx.enclave_size = "{chosen.size}M"',
        f"sgx.max_threads = {chosen.threads}",
        "sgx.edmm_enable = false",
        'sgx.remote_attestation = "dcap"',
        'sgx.file_check_policy = "strict"',
        "sgx.trusted_files = [",
        *(f"  {{ uri = {_text(f'file:{folder}/{path}')}, sha256 = {_text(digest)} }}," for path, digest in files),
        "]",
    ]
    return "\n".join(lines) + "\n"


def sign(folder: Path, text: str) -> bytes:
    """The SIGSTRUCT that Gramine's own tool makes of the manifest ``text`` in ``folder``, with the user's Gramine key.

    The tool adds its loader, whose version is part of the measurement.

    Raises:
        UsageError: the tool is not installed, or refuses; its words are passed on.
    """
    program = shutil.which(SIGN)
    if program is None:
        raise UsageError(
            f"MRENCLAVE needs {SIGN}: Gramine's loader is part of the enclave",
            hint="install Gramine here, or name the SIGSTRUCT made where it is (--enclave keep.sig)",
        )
    (folder / MANIFEST).write_text(text, "utf-8")
    command = [program, "--manifest", MANIFEST, "--output", SIGNED]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=SIGN_TIMEOUT, check=False)  # noqa: S603
        if done.returncode == 0:
            return (folder / SIGSTRUCT).read_bytes()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{SIGN}: {error}", hint="run it by hand to see why") from None
    words = done.stderr[-MAX_WORDS:].decode("utf-8", "replace").strip().splitlines()
    raise UsageError(f"{SIGN} refuses: {words[-1] if words else 'no reason given'}", hint="gramine-sgx-gen-private-key")


def _text(value: str) -> str:
    """A TOML basic string; paths of an image hold nothing that needs more than these escapes."""
    if not value.isprintable():
        raise UsageError(f"a path that cannot be written: {value!r}")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
