"""Linux system calls that Python does not wrap, through ctypes; and the value that says what became of each measure."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38


class Feature(NamedTuple):
    """One measure of the sandbox.

    Attributes:
        name: stable, lower case with hyphens (``"landlock"``).
        available: whether it holds, or would hold.
        reason: what it does when available; why not otherwise.
        remedy: what the owner of the machine can do about it; empty when available or hopeless.
    """

    name: str
    available: bool
    reason: str
    remedy: str = ""


def holds(name: str, reason: str) -> Feature:
    """A measure that holds."""
    return Feature(name, available=True, reason=reason)


def lacks(name: str, reason: str, remedy: str = "") -> Feature:
    """A measure that cannot be taken."""
    return Feature(name, available=False, reason=reason, remedy=remedy)


def call(number: int, *arguments: int | bytes | None) -> int:
    """System call ``number``.

    Raises:
        OSError: it failed.
    """
    result: int = LIBC.syscall(ctypes.c_long(number), *(_argument(item) for item in arguments))
    return checked(result)


def prctl(option: int, *arguments: int) -> int:
    """``prctl(2)``.

    Raises:
        OSError: it failed.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return checked(LIBC.prctl(option, *(ctypes.c_ulong(item) for item in padded)))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """``mount(2)``.

    Raises:
        OSError: it failed.
    """
    texts = [text.encode() or None for text in (source, target, kind)]
    checked(LIBC.mount(*texts, ctypes.c_ulong(flags), data.encode() or None))


def unshare(flags: int) -> None:
    """``unshare(2)``.

    Raises:
        OSError: it failed.
    """
    checked(LIBC.unshare(flags))


def _argument(item: int | bytes | None) -> object:
    return ctypes.c_long(item) if isinstance(item, int) else item


def checked(result: int) -> int:
    """``result`` of a function of the C library.

    Raises:
        OSError: it is negative.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
