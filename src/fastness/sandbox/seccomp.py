"""A seccomp filter (``seccomp(2)``): the system calls that Python and wasmtime need to run a guest, and no others.

Everything else answers EPERM, so that a library that tries something optional carries on without it. ``clone3`` answers
ENOSYS because its flags are behind a pointer no filter can read; the C library then falls back on ``clone``, which is
allowed for threads only. Neither a program can be started nor a socket made; Unix pairs, which event loops wake
themselves with, are allowed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from fastness.sandbox import kernel
from fastness.sandbox.kernel import Feature, holds, lacks

SET_MODE_FILTER, FLAG_TSYNC = 1, 1
RET_KILL, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16
X32 = 0x40000000
"""System calls of the x32 ABI carry this bit under the same machine."""

CLONE_THREAD = 0x00010100
CLONE_FORBIDDEN = 0x7E020000
"""CLONE_NEW* for every namespace; with :data:`CLONE_THREAD` (VM and THREAD) the mask that ``clone`` is held to."""


class Machine(NamedTuple):
    """One architecture: its audit number, the number of ``seccomp``, and the index of its column in the tables."""

    audit: int
    seccomp: int
    column: int


MACHINES = {"x86_64": Machine(0xC000003E, 317, 0), "aarch64": Machine(0xC00000B7, 277, 1)}

# name: numbers on x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h); None where it does not exist.
ALWAYS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62), "fstat": (5, 80), "fcntl": (72, 25),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe2": (293, 59),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "eventfd2": (290, 19), "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226),
    "madvise": (28, 233), "brk": (12, 214), "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293),
    "membarrier": (324, 283), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "gettid": (186, 178), "getpid": (39, 172), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None),
    "getrandom": (318, 278), "getrusage": (98, 165), "sysinfo": (99, 179), "uname": (63, 160),
    "exit": (60, 93), "exit_group": (231, 94), "restart_syscall": (219, 128),
    "recvfrom": (45, 207), "sendto": (44, 206), "recvmsg": (47, 212), "sendmsg": (46, 211), "shutdown": (48, 210),
    "getsockname": (51, 204), "getpeername": (52, 205), "getsockopt": (55, 209), "setsockopt": (54, 208),
}  # fmt: skip

FILES: dict[str, tuple[int | None, int | None]] = {
    "openat": (257, 56), "openat2": (437, 437), "open": (2, None), "newfstatat": (262, 79), "statx": (332, 291),
    "stat": (4, None), "lstat": (6, None), "readlinkat": (267, 78), "readlink": (89, None), "getdents64": (217, 61),
    "mkdirat": (258, 34), "mkdir": (83, None), "ftruncate": (77, 46), "faccessat": (269, 48), "faccessat2": (439, 439),
    "access": (21, None), "getcwd": (79, 17), "fstatfs": (138, 44), "fadvise64": (221, 223),
}  # fmt: skip

# name: numbers, argument, mask, and the values it may have under the mask.
WHEN: dict[str, tuple[tuple[int, int], int, int, tuple[int, ...]]] = {
    "clone": ((56, 220), 0, CLONE_THREAD | CLONE_FORBIDDEN, (CLONE_THREAD,)),
    "ioctl": ((16, 29), 1, 0xFFFFFFFF, (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)),  # TCGETS FIONREAD FIONBIO FIO(N)CLEX
    "prctl": ((157, 167), 0, 0xFFFFFFFF, (3, 15, 16, 0x53564D41)),  # GET_DUMPABLE, SET_NAME, GET_NAME, SET_VMA
    "prlimit64": ((302, 261), 0, 0xFFFFFFFF, (0,)),  # of this process
    "socketpair": ((53, 199), 0, 0xFFFFFFFF, (1,)),  # AF_UNIX
}
CLONE3 = (435, 435)
TGKILL = (234, 131)


def restrict(*, files: bool) -> Feature:
    """Applies the filter to every thread of this process, for good.

    Args:
        files: whether files may be opened; only where a private root or Landlock says which.
    """
    machine = MACHINES.get(kernel.MACHINE)
    if machine is None:
        return lacks("seccomp", f"no table of system calls for {kernel.MACHINE}")
    try:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        _load(program(machine, files=files, pid=os.getpid()), machine)
    except OSError as error:
        remedy = "run a kernel with CONFIG_SECCOMP_FILTER, outside a sandbox that forbids seccomp"
        return lacks("seccomp", f"not offered: {(error.strerror or '').lower()}", remedy)
    return holds("seccomp", "no program can be started, no socket made, no other process touched")


def program(machine: Machine, *, files: bool, pid: int) -> bytes:
    """The filter as BPF instructions (8 bytes each, ``struct sock_filter``)."""
    column = machine.column
    code = [(LOAD, 0, 0, MACHINE_AT), (EQUAL, 1, 0, machine.audit), (RETURN, 0, 0, RET_KILL), (LOAD, 0, 0, NUMBER_AT)]
    code += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, RET_ERRNO | errno.EPERM)]
    for numbers in (ALWAYS | FILES if files else ALWAYS).values():
        number = numbers[column]
        if number is not None:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, RET_ALLOW)]
    code += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, RET_ERRNO | errno.ENOSYS)]
    for conditions, argument, mask, values in (*WHEN.values(), (TGKILL, 0, 0xFFFFFFFF, (pid,))):
        code += _when(conditions[column], argument, mask, values)
    code += [(RETURN, 0, 0, RET_ERRNO | errno.EPERM)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _when(number: int, argument: int, mask: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Allows ``number`` if the low half of ``argument`` under ``mask`` is one of ``values``; ends the filter for it."""
    body = [(LOAD, 0, 0, ARGUMENTS_AT + 8 * argument), (AND, 0, 0, mask)]
    for value in values:
        body += [(EQUAL, 0, 1, value), (RETURN, 0, 0, RET_ALLOW)]
    body += [(RETURN, 0, 0, RET_ERRNO | errno.EPERM)]
    return [(EQUAL, 0, len(body), number), *body]


def _load(code: bytes, machine: Machine) -> None:
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    kernel.call(machine.seccomp, SET_MODE_FILTER, FLAG_TSYNC, header)
