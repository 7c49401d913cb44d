"""Descriptors 0, 1 and 2 as the guest's ends of its pipes, where ``/proc/self/fd`` opens no pipe again: under Gramine.

The runtime then has the guest inherit them, so each must have its number. They never name anything of the host's again.
"""

from __future__ import annotations

import os


def take(ends: tuple[int, int, int]) -> tuple[int, int, int]:
    """Moves the guest's ends of stdin, stdout and stderr to 0, 1 and 2."""
    for number, end in enumerate(ends):
        os.dup2(end, number, inheritable=False)
        os.close(end)
    return 0, 1, 2


def leave() -> None:
    """Closes them, and puts nothing in their place: a descriptor opened later must not become somebody's stderr."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1, 2):
        os.dup2(nothing, number, inheritable=False)
    os.close(nothing)
