"""The sandbox of a keep in two steps: :func:`isolate` before heavy imports, :func:`lock_down` after them.

Every measure is taken where the kernel offers it and told as a :class:`Feature`; none needs privileges, all of them
hold for root as for anybody. :mod:`fastness.sandbox.probe` takes them in a short-lived process and only tells.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fastness.errors import KeepFailed
from fastness.sandbox import kernel, landlock, namespaces, seccomp
from fastness.sandbox.kernel import Feature, holds, lacks

MAX_FILES = 256 << 20
"""Bytes of the private tmpfs, and of any one file: assets and secrets, held in memory."""

MAX_DESCRIPTORS = 256


class Isolated(NamedTuple):
    """What :func:`isolate` did: where the private tmpfs is, if anywhere, and the measures taken."""

    mounted: Path | None
    features: tuple[Feature, ...]


class Confined(NamedTuple):
    """What :func:`lock_down` did.

    Attributes:
        root: empty, writable folder for what the workload sees as ``/``; None where the kernel offers no private one,
            and then assets and secret files must be refused.
        features: every measure of both steps.
    """

    root: Path | None
    features: tuple[Feature, ...]


def isolate(keep: Iterable[int] = (0, 1, 2), *, size: int = MAX_FILES) -> Isolated:
    """First step: closes descriptors, empties the environment, leaves the host's namespaces.

    Call it while the process has one thread and before heavy imports; importing still works afterwards.

    Args:
        keep: descriptors that stay open.
        size: bytes of the private tmpfs.
    """
    _close_others(set(keep))
    os.environ.clear()
    os.umask(0o077)
    features = [_limits(size), _no_new_privileges()]
    private = namespaces.enter(size)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    features.append(holds("dies-with-parent", "killed when its supervisor dies"))
    return Isolated(private.mounted, (*features, *private.features))


def lock_down(isolated: Isolated) -> Confined:
    """Second step: nothing can be imported, started, opened or connected to any more.

    Call it after the last import and before anything of a tenant arrives, while the process has one thread.

    Raises:
        KeepFailed: there are more threads; the measures hold for the caller's only.
    """
    threads = len(os.listdir("/proc/self/task")) if Path("/proc/self/task").is_dir() else 1  # noqa: PTH208
    if threads != 1:
        raise KeepFailed(f"the sandbox must be closed with one thread, there are {threads}")
    root: Path | None = None
    own_root = lacks("private-root", "needs namespaces", isolated.features[-1].remedy)
    if isolated.mounted is not None:
        root, own_root = namespaces.leave_root(isolated.mounted)
    no_capabilities = namespaces.drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    closed = holds("not-dumpable", "its memory is closed to other processes of the same user")
    lock = landlock.restrict(root)
    filtered = seccomp.restrict(files=lock.available or own_root.available)
    features = (*isolated.features, own_root, no_capabilities, closed, lock, filtered)
    return Confined(root, features)


def _close_others(keep: set[int]) -> None:
    low = 0
    for descriptor in (*sorted(keep), 1 << 20):
        if low < descriptor:  # an empty range at 0 closes everything (CPython passes -1 on)
            os.closerange(low, descriptor)
        low = descriptor + 1


def _limits(size: int) -> Feature:
    for what, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
        (resource.RLIMIT_FSIZE, size),
    ):
        hard = resource.getrlimit(what)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (most, most))
    return holds("limits", f"no core dump, {MAX_DESCRIPTORS} descriptors, files of {size >> 20} MiB")


def _no_new_privileges() -> Feature:
    try:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        return lacks("no-new-privileges", (error.strerror or "").lower(), "run Linux 3.5 or later")
    return holds("no-new-privileges", "no set-user-id program can raise it")
