"""Landlock (Linux 5.13 and later, ``Documentation/userspace-api/landlock.rst``): files and TCP, without privileges.

What is already open stays usable, pipes reached through ``/proc/self/fd`` included. UDP is not covered: the empty
network namespace and the seccomp filter are for that.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from fastness.sandbox import kernel
from fastness.sandbox.kernel import Feature, holds, lacks

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1

# Rights over files by the ABI that brought them: bits 0 to 12, then refer, truncate, ioctl on devices.
FILES_BY_ABI = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
WRITE_FILE, READ_FILE, READ_DIR, MAKE_DIR, MAKE_REG = 1 << 1, 1 << 2, 1 << 3, 1 << 7, 1 << 8
BIND_TCP, CONNECT_TCP = 1, 2
SCOPE_ABSTRACT_UNIX, SCOPE_SIGNAL = 1, 2


def version() -> int:
    """The kernel's Landlock ABI.

    Raises:
        OSError: it has none, or it is switched off.
    """
    return kernel.call(CREATE_RULESET, None, 0, VERSION_FLAG)


def restrict(root: Path | None) -> Feature:
    """Denies this thread, and those it will start, every file but those under ``root``, and TCP.

    Under ``root`` files and folders may be read, made and written, which staging assets and secrets needs.
    """
    try:
        abi = version()
        _restrict(abi, root)
    except OSError as error:
        remedy = 'run Linux 5.13 or later with "landlock" in the lsm= boot parameter'
        return lacks("landlock", f"not offered: {(error.strerror or '').lower()}", remedy)
    network = ", no TCP" if abi >= 4 else ""
    return holds("landlock", f"no files beyond the private folder{network} (ABI {abi})")


def _restrict(abi: int, root: Path | None) -> None:
    files = sum(bits for since, bits in FILES_BY_ABI.items() if abi >= since)
    attributes = struct.pack("<Q", files)
    if abi >= 4:
        attributes += struct.pack("<Q", BIND_TCP | CONNECT_TCP)
    if abi >= 6:
        attributes += struct.pack("<Q", SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL)
    ruleset = kernel.call(CREATE_RULESET, attributes, len(attributes), 0)
    try:
        if root is not None:
            _allow(ruleset, root, WRITE_FILE | READ_FILE | READ_DIR | MAKE_DIR | MAKE_REG)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, folder: Path, rights: int) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("<Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
