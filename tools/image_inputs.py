"""Writes ``src/fastness/image/inputs.toml``: pins what the archives have now. A new lock is a new image.

python tools/image_inputs.py [--check]     write it, or say what the archives have that the lock does not; exit 1 if so

Debian packages are taken by the names below from bookworm and its security suite, the kernel from bookworm-backports;
wheels by the versions of ``constraints.txt``. What was fetched is in the cache of inputs afterwards.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from email.parser import Parser
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from fastness.image import fetch, lock
from fastness.image.build import home
from fastness.image.cache import Cache
from fastness.image.lock import Input

HERE = Path(__file__).resolve().parents[1]
LOCK = HERE / "src" / "fastness" / "image" / lock.INPUTS
SUITES = (
    "http://deb.debian.org/debian bookworm main",
    "http://deb.debian.org/debian bookworm-updates main",
    "http://deb.debian.org/debian bookworm-backports main",
    "http://deb.debian.org/debian-security bookworm-security main",
)
META_KERNEL = "linux-image-cloud-amd64"
GCC_EXCEPTION = "GPL-3.0-or-later WITH GCC-exception-3.1"
DEBS = {  # licences of the files that are used, from the packages' copyright files
    "libc6": "LGPL-2.1-or-later",
    "libexpat1": "MIT",
    "libffi8": "MIT",
    "libgcc-s1": GCC_EXCEPTION,
    "libpython3.11-minimal": "PSF-2.0",
    "libpython3.11-stdlib": "PSF-2.0",
    "python3.11-minimal": "PSF-2.0",
    "systemd-boot-efi": "LGPL-2.1-or-later",
    "zlib1g": "Zlib",
}
KERNEL_LICENCE = "GPL-2.0-only WITH Linux-syscall-note"
WHEELS = {  # licence where the wheel's metadata has no SPDX expression
    "cffi": "", "cryptography": "", "pyopenssl": "Apache-2.0", "typing_extensions": "", "wasmtime": "",
}  # fmt: skip


def main() -> int:
    """Runs the tool."""
    with tempfile.TemporaryDirectory(prefix="fastness-lock-") as name:
        place = Path(name)
        (place / "apt").mkdir()
        debs, epoch = _debs(place / "apt")
        wheels = _wheels(place / "wheels")
        text = _text(debs, wheels, epoch)
        if "--check" in sys.argv:
            return _compare(text)
        LOCK.write_text(text, "utf-8")
        cache = Cache(home() / "inputs")
        for row, path in [*debs, *wheels]:
            cache.put(Input(**row), path.read_bytes(), str(path))
    return 0


def _debs(place: Path) -> tuple[list[tuple[dict[str, Any], Path]], int]:
    environment = fetch.apt_configuration(place, SUITES)

    def apt(*words: str) -> str:
        return subprocess.run(
            words, cwd=place / "debs", env=environment, check=True, capture_output=True, text=True
        ).stdout

    apt("apt-get", "-q", "update")
    newest = next(
        row.split("|")[1].strip() for row in apt("apt-cache", "madison", META_KERNEL).splitlines() if "backports" in row
    )
    depends = apt("apt-cache", "depends", f"{META_KERNEL}={newest}")
    kernel = re.search(r"Depends: (linux-image-\S+-cloud-amd64)$", depends, re.M)
    if kernel is None:
        raise SystemExit("error: the kernel's package names no kernel")
    licences = DEBS | {kernel[1]: KERNEL_LICENCE}
    apt("apt-get", "-q", "download", *licences)
    rows = []
    epoch = 0
    for path in sorted((place / "debs").glob("*.deb")):
        fields = Parser().parsestr(apt("dpkg-deb", "-f", str(path)))
        source, _, version = (fields["Source"] or fields["Package"]).partition(" ")
        origin = f"deb:{source}={version.strip('()') or fields['Version']}"
        rows.append(
            (_row("deb", fields["Package"], fields["Version"], path, licences[fields["Package"]], origin), path)
        )
        epoch = max(epoch, int(path.read_bytes()[24:36]))  # ar(5): the date of the first member
    return rows, epoch


def _wheels(place: Path) -> list[tuple[dict[str, Any], Path]]:
    pins = dict(row.split("==") for row in (HERE / "constraints.txt").read_text().splitlines() if "==" in row)
    pins = {name.lower(): version for name, version in pins.items()}
    wanted = [f"{name}=={pins[name]}" for name in WHEELS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += [
        "--implementation",
        "cp",
        "--python-version",
        "3.11",
        "--abi",
        "cp311",
        "--abi",
        "abi3",
        "--abi",
        "none",
    ]
    command += [word for platform in fetch.PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*command, "-d", str(place), *wanted], check=True)
    rows = []
    for path in sorted(place.glob("*.whl")):
        with ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            fields = Parser().parsestr(archive.read(name).decode())
        package = fields["Name"].lower()
        licence = fields["License-Expression"] or WHEELS[package]
        origin = f"https://pypi.org/project/{package}/{fields['Version']}/"
        rows.append((_row("wheel", package, fields["Version"], path, licence, origin), path))
    return rows


def _row(kind: str, name: str, version: str, path: Path, licence: str, source: str) -> dict[str, Any]:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {
        "kind": kind, "name": name, "version": version, "file": path.name, "sha256": digest, "size": len(data),
        "licence": licence, "source": source,
    }  # fmt: skip


def _text(debs: list[tuple[dict[str, Any], Path]], wheels: list[tuple[dict[str, Any], Path]], epoch: int) -> str:
    import zstandard

    lines = ["# What the keep image is made of. Made by tools/image_inputs.py; a change here is another image.", ""]
    lines += ["# SOURCE_DATE_EPOCH: the day the newest Debian package was built", f"epoch = {epoch}", ""]
    lines += ["[tools]", f'zstandard = "{zstandard.__version__}"', "", "[apt]", "suites = ["]
    lines += [*(f'    "{suite}",' for suite in SUITES), "]"]
    for row, _ in [*debs, *wheels]:
        lines += ["", f"[[{row['kind']}]]"]
        lines += [
            f"{key} = {value if isinstance(value, int) else _quoted(value)}"
            for key, value in row.items()
            if key != "kind"
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _compare(text: str) -> int:
    have = LOCK.read_text("utf-8").splitlines()
    want = text.splitlines()
    for line in want:
        if line not in have:
            print(f"new {line}", file=sys.stderr)
    return int(have != want)


if __name__ == "__main__":
    sys.exit(main())
