"""Builds a kernel for the Nitro enclave image from Debian's source of Linux, the same bytes for everybody.

python tools/nitro_kernel.py FILE [--jobs N]     writes the bzImage FILE, for `fastness image build --nitro-kernel FILE`

Source package, options (``nitro_kernel.config``, on top of allnoconfig), time, user and host are fixed, and so are the
bytes of one compiler, one binutils and one gzip. With those of bookworm they are :data:`BUILT`; with others the kernel
is as good, and the image another. The source, 153 MB, is kept in the cache of inputs. 3 GB are needed in TMPDIR.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from fastness.errors import FastnessError, KeepFailed, Malformed, UsageError
from fastness.image import archives, fetch, lock
from fastness.image.cache import Cache, home
from fastness.image.lock import Input

FRAGMENT = Path(__file__).resolve().parent / "nitro_kernel.config"
SOURCE = Input(
    "deb",
    "linux-source-6.12",
    "6.12.117-1~deb12u1",
    "linux-source-6.12_6.12.117-1~deb12u1_all.deb",
    "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703",
    153476148,
    "GPL-2.0-only WITH Linux-syscall-note",
    "deb:linux-6.12=6.12.117-1~deb12u1",
)
TARBALL = "usr/src/linux-source-6.12.tar.xz"
COMPILER = "gcc-12"
TOOLCHAIN = "gcc-12 12.2.0-14+deb12u1, binutils 2.40-2, gzip 1.12-1"
BUILT = "f59714fdc7afb28606f99f87dd579a147dbc7da613df4724ce081de8782f8665"
"""SHA-256 of what :data:`TOOLCHAIN` makes."""

PROGRAMS = ("make", COMPILER, "ld", "flex", "bison", "bc", "gzip", "tar", "xz")
HEADER = Path("/usr/include/libelf.h")
PACKAGES = "apt-get install -y make gcc-12 binutils flex bison bc libelf-dev xz-utils"
FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER": "fastness",
    "KBUILD_BUILD_HOST": "fastness", "KBUILD_BUILD_VERSION": "1", "LC_ALL": "C", "TZ": "UTC",
}  # fmt: skip


def main() -> int:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description="a kernel for the Nitro enclave image")
    parser.add_argument("file", type=Path, help="the bzImage to write")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at once")
    options = parser.parse_args()
    try:
        with options.file.open("wb") as file:  # whether it can be written is known before minutes have passed
            data = built(options.jobs)
            file.write(data)
    except OSError as error:
        sys.stderr.write(f"error: {options.file} cannot be written: {error.strerror}\n")
        return UsageError.exit_code
    except FastnessError as error:
        sys.stderr.write(f"error: {error.what}\n  where    {error.where}\n  hint     {error.hint}\n")
        return error.exit_code
    digest = hashlib.sha256(data).hexdigest()
    print(digest)
    if digest != BUILT:
        sys.stderr.write(f"another kernel than the one on record ({BUILT}), which {TOOLCHAIN} made\n")
    return 0


def say(line: str) -> None:
    """Tells what happens."""
    sys.stderr.write(f"{line}\n")


def built(jobs: int) -> bytes:
    """The kernel.

    Raises:
        FastnessError: a program or the source is not to be had, or the build fails.
    """
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent or not HEADER.is_file():
        raise UsageError(f"not installed: {', '.join(absent or [str(HEADER)])}", hint=PACKAGES)
    cache = Cache(home() / "inputs")
    fetch.fetch(replace(lock.read(), inputs=(SOURCE,)), cache, say)
    with tempfile.TemporaryDirectory(prefix="fastness-kernel-") as name:
        tree = _unpacked(cache.read(SOURCE), Path(name))
        _make(tree, f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig")
        _settled((tree / ".config").read_text("utf-8"))
        _make(tree, f"-j{jobs}", "bzImage")
        return (tree / "arch/x86/boot/bzImage").read_bytes()


def _unpacked(package: bytes, place: Path) -> Path:
    """The one folder in the source package's archive."""
    tarball = archives.deb(package, lambda path: path == TARBALL, SOURCE.file)
    if TARBALL not in tarball:
        raise Malformed("the package has no source", where=TARBALL)
    subprocess.run(["tar", "-xJ", "-C", str(place)], input=tarball[TARBALL], check=True)
    (tree,) = place.iterdir()
    return tree


def _make(tree: Path, *words: str) -> None:
    command = ["make", "-s", "ARCH=x86_64", f"CC={COMPILER}", f"HOSTCC={COMPILER}", *words]
    # nothing of this machine's environment but where its programs and temporary files are
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ} | FIXED
    done = subprocess.run(command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode:
        raise KeepFailed(f"make ended with {done.returncode}", where=words[-1], hint=PACKAGES)


def _settled(config: str) -> None:
    """Refuses a configuration that is not what the fragment asks: Kconfig drops what it cannot have, without a word."""
    have = set(config.splitlines())
    lost = [
        line for line in FRAGMENT.read_text("utf-8").splitlines() if line.startswith("CONFIG_") and line not in have
    ]
    if lost:
        raise UsageError(f"this source does not take {', '.join(lost)}", where=FRAGMENT.name, hint="adapt the fragment")


if __name__ == "__main__":
    sys.exit(main())
