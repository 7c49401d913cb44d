"""Gets inputs that are not in the cache, through the ordinary clients: ``apt-get download`` and ``pip download``.

apt runs with a configuration and a state of its own, in a temporary folder: the machine's sources, preferences and
lists are neither read nor changed, so a backport can be had without configuring anything. What arrives is checked
against the lock; apt's and pip's own checks come on top.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fastness.errors import UsageError
from fastness.image.cache import Cache
from fastness.image.lock import Input, Lock

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TIMEOUT = 600
"""Seconds one client may take."""

UNCONNECTED, UNKNOWN = "after connection broken by", "(from versions: none)"
"""How pip tells that no index was reached, or that none has any version at all."""

MAX_LINES = 3
COPY = "or name a copied cache with --inputs DIR: it needs no network"
UNREACHED = f"look after the network and the proxy (http_proxy, https_proxy), {COPY}"

PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux1_x86_64", "any")
"""What the image's glibc 2.36 can load."""

APT = """\
Dir "{place}";
Dir::Etc "{place}/etc";
Dir::State "{place}/state";
Dir::State::status "{place}/status";
Dir::Cache "{place}/cache";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def fetch(lock: Lock, cache: Cache, say: Callable[[str], None]) -> None:
    """Brings every input of ``lock`` into ``cache``, one by one; asks the network only for what is not there.

    Each is kept as it arrives: a build that was interrupted goes on from there.

    Raises:
        UsageError: an input cannot be had, or is not what the lock names.
    """
    named = [item for item in lock.inputs if item.kind not in ("deb", "wheel") and not cache.has(item)]
    if named:
        raise UsageError(
            f"{named[0]} is not in the cache of inputs, and no archive has it",
            where=f"SHA-256 {named[0].sha256}",
            hint=f"put {named[0].file} at {cache.place / named[0].sha256}: whoever built the image named that file",
        )
    for kind, client in (("deb", _debs), ("wheel", _wheels)):
        missing = [item for item in lock.of(kind) if not cache.has(item)]
        if missing:
            say(f"fetching {len(missing)} {kind}s, {sum(item.size for item in missing) / 1e6:.1f} MB")
            client(lock, missing, cache, say)


def _step(items: list[Input], number: int) -> str:
    return f"  {number + 1} of {len(items)}: {items[number]}, {items[number].size / 1e6:.1f} MB"


def apt_configuration(place: Path, suites: Sequence[str]) -> dict[str, str]:
    """Writes apt a world of its own at ``place``; returns the environment that makes apt live in it."""
    for folder in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial", "debs"):
        (place / folder).mkdir(parents=True)
    (place / "status").touch()
    lines = [f"deb [arch=amd64 signed-by={KEYRING}] {suite}\n" for suite in suites]
    (place / "etc/sources.list").write_text("".join(lines))
    (place / "apt.conf").write_text(APT.format(place=place))
    return {**os.environ, "APT_CONFIG": str(place / "apt.conf"), "LC_ALL": "C.UTF-8"}


def _debs(lock: Lock, missing: list[Input], cache: Cache, say: Callable[[str], None]) -> None:
    if not Path(KEYRING).is_file():
        raise UsageError(
            "Debian's keys are not here", where=KEYRING, hint="apt-get install debian-archive-keyring, " + COPY
        )
    with tempfile.TemporaryDirectory(prefix="fastness-apt-") as name:
        place = Path(name)
        environment = apt_configuration(place, lock.suites)
        # without Error-Mode apt calls an archive that cannot be reached a success, and then knows no package
        failed = _run(["apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"], environment, place / "debs")
        if failed:
            raise UsageError(f"Debian's archive cannot be read: {failed}", where=", ".join(lock.suites), hint=UNREACHED)
        for number, item in enumerate(missing):
            say(_step(missing, number))
            failed = _run(["apt-get", "-q", "download", f"{item.name}={item.version}"], environment, place / "debs")
            if failed:
                raise _gone(item, cache, failed)
            _keep(item, place / "debs", cache)


def _wheels(lock: Lock, missing: list[Input], cache: Cache, say: Callable[[str], None]) -> None:
    del lock
    with tempfile.TemporaryDirectory(prefix="fastness-pip-") as name:
        place = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--implementation", "cp"]
        command += ["--python-version", "3.11", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]
        command += [word for platform in PLATFORMS for word in ("--platform", platform)]
        for number, item in enumerate(missing):
            say(_step(missing, number))
            (place / "requirements.txt").write_text(f"{item.name}=={item.version} --hash=sha256:{item.sha256}\n")
            failed = _run([*command, "-r", "requirements.txt", "-d", "wheels"], dict(os.environ), place)
            if UNCONNECTED in failed or UNKNOWN in failed:
                raise UsageError(f"{item} cannot be fetched: {failed}", hint=UNREACHED)
            if failed:
                raise _gone(item, cache, failed)
            _keep(item, place / "wheels", cache)


def _keep(item: Input, folder: Path, cache: Cache) -> None:
    path = folder / item.file
    try:
        data = path.read_bytes()
    except OSError:
        raise _gone(item, cache, f"the client brought no {item.file}") from None
    cache.put(item, data, item.file)
    path.unlink()


def _run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    """Runs a client; returns why it failed in its own last words, or nothing."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, and names and versions of the committed lock
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"{command[0]} took more than {TIMEOUT} s"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    errors = [line for line in lines if line.lower().startswith(("e:", "error:"))] or lines[-1:]
    # pip tells of a dead network as a warning, and then that there is no such version
    cut = [line for line in lines if UNCONNECTED in line][-1:]
    return "" if done.returncode == 0 else "; ".join((*cut, *errors)[:MAX_LINES]) or f"exit code {done.returncode}"


def _gone(item: Input, cache: Cache, why: str) -> UsageError:
    return UsageError(f"{item} cannot be fetched: {why}", where=f"SHA-256 {item.sha256}", hint=_remedy(item, cache))


def _remedy(item: Input, cache: Cache) -> str:
    return (
        f"put {item.file} from an archived cache at {cache.place / item.sha256}, "
        "or let tools/image_inputs.py pin what the archive has now (a new image)"
    )
