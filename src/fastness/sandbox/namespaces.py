"""Namespaces of a process of its own (``namespaces(7)``), made without privileges inside a user namespace.

Two steps, because Python must import from the disk in between: :func:`enter` leaves the host's namespaces and mounts a
private tmpfs; :func:`leave_root` makes that tmpfs the whole file system.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from fastness.sandbox import kernel
from fastness.sandbox.kernel import Feature, holds, lacks

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 8192, 16384, 1 << 18
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPABILITIES_V3 = 0x20080522

MOUNT_POINTS = ("/mnt", "/media", "/srv", "/run", "/sys")
"""Folders to mount the tmpfs over, in this mount namespace only; none that Python imports from."""

GUEST = "root"
"""Folder of the tmpfs that the workload sees as ``/``."""

_REMEDY = (
    "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, AppArmor)"
)


class Private(NamedTuple):
    """Where the private tmpfs is mounted (None when there is none), and what became of each namespace."""

    mounted: Path | None
    features: tuple[Feature, ...]


def enter(size: int) -> Private:
    """Leaves the host's user, mount, network, IPC and UTS namespaces and mounts a tmpfs of at most ``size`` bytes.

    The process must have one thread. Its user and group stay what they were.
    """
    user, group = os.getuid(), os.getgid()
    try:
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or a process that changed its user does not own its own uid_map
        kernel.unshare(NEWUSER | NEWNS | NEWNET | NEWIPC | NEWUTS)
        _map(user, group)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "the limit of user namespaces is reached" if full else f"not offered: {(error.strerror or '').lower()}"
        return Private(None, tuple(lacks(name, reason, _REMEDY) for name in ("namespaces", "private-files")))
    own = holds("namespaces", "own users, mounts, IPC and names; a network without any interface")
    try:
        mounted = _tmpfs(size)
    except OSError as error:
        reason = f"no tmpfs: {(error.strerror or '').lower()}"
        return Private(None, (own, lacks("private-files", reason, _REMEDY)))
    return Private(mounted, (own, holds("private-files", "assets and secrets in a tmpfs nobody else sees")))


def _map(user: int, group: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(text)


def _tmpfs(size: int) -> Path:
    kernel.mount("none", "/", "", MS_REC | MS_PRIVATE)
    used = [os.path.realpath(path) + "/" for path in (*sys.path, sys.prefix, sys.base_prefix)]
    free = [path for path in MOUNT_POINTS if not any(name.startswith(f"{path}/") for name in used)]
    point = next((path for path in free if Path(path).is_dir()), None)
    if point is None:
        raise FileNotFoundError(2, f"none of {', '.join(MOUNT_POINTS)} is there")
    kernel.mount("fastness", point, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"size={size},mode=0700")
    Path(point, GUEST).mkdir(mode=0o700)
    return Path(point)


def leave_root(mounted: Path) -> tuple[Path, Feature]:
    """Makes the tmpfs the whole file system, with ``/proc/self/fd`` in it for the streams of the workload.

    Returns:
        The guest's folder by its path from now on.
    """
    try:
        descriptors = mounted / "proc/self/fd"
        descriptors.mkdir(mode=0o700, parents=True, exist_ok=True)
        kernel.mount(f"/proc/{os.getpid()}/fd", str(descriptors), "", MS_BIND)
        os.chdir(mounted)
        _switch()
        os.chdir("/")
    except (OSError, KeyError) as error:
        reason = f"the host's files stay in sight: {str(error).lower()}"
        return mounted / GUEST, lacks("private-root", reason, "offer namespaces and /proc")
    return Path("/", GUEST), holds("private-root", "the host's files are not there at all")


def _switch() -> None:
    """The working directory, a mount, becomes the root. An initramfs cannot be pivoted: it is covered and left."""
    try:
        kernel.call(PIVOT_ROOT[kernel.MACHINE], b".", b".")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        kernel.mount(".", "/", "", MS_MOVE)
        os.chroot(".")
    else:
        kernel.checked(kernel.LIBC.umount2(b".", MNT_DETACH))


def drop_capabilities() -> Feature:
    """Gives up every capability, also those over the namespaces just made (``capset(2)``, version 3)."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITIES_V3, 0), 8)
    data = ctypes.create_string_buffer(24)
    try:
        kernel.checked(kernel.LIBC.capset(header, data))
    except OSError as error:
        return lacks("no-capabilities", (error.strerror or "").lower())
    return holds("no-capabilities", "no capability, in its own namespaces either")
