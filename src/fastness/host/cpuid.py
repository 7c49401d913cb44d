"""CPUID, as the processor itself answers it: the kernel's list of flags names features, but not their numbers.

Python has no such instruction, so 29 bytes of machine code are mapped, executable and not writable, and called.
x86-64 Linux, System V calling convention; elsewhere there is no CPUID.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from dataclasses import dataclass

_CODE = bytes.fromhex(
    "53"  # push rbx: cpuid writes it, and it is the caller's
    "89f8"  # mov eax, edi: the leaf
    "31c9"  # xor ecx, ecx: its first sub-leaf
    "0fa2"  # cpuid
    "8906"  # mov [rsi], eax
    "895e04"  # mov [rsi + 4], ebx
    "894e08"  # mov [rsi + 8], ecx
    "89560c"  # mov [rsi + 12], edx
    "5b"  # pop rbx
    "c3"  # ret
)
_FAILED = ctypes.c_void_p(-1).value
EXTENDED, MEMORY_ENCRYPTION = 0x80000000, 0x8000001F


@dataclass(frozen=True, slots=True)
class Registers:
    """What a leaf says, 32 bits each."""

    eax: int
    ebx: int
    ecx: int
    edx: int


@dataclass(frozen=True, slots=True)
class Encryption:
    """Leaf 0x8000001F (AMD 24594, volume 3, E.4.17): place of the C-bit, address bits that the host gives up."""

    c_bit: int
    reduced: int


def cpuid(leaf: int) -> Registers | None:
    """Sub-leaf 0 of ``leaf``; None where there is no CPUID, or nothing executable may be mapped."""
    if platform.machine() != "x86_64":
        return None
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    try:
        handle = os.memfd_create("cpuid", os.MFD_CLOEXEC)
    except OSError:
        return None
    try:
        os.write(handle, _CODE)
        code = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, handle, 0)
    finally:
        os.close(handle)
    if code == _FAILED:
        return None
    try:
        found = (ctypes.c_uint32 * 4)()
        ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_void_p)(code)(leaf, ctypes.addressof(found))
        return Registers(*found)
    finally:
        libc.munmap(code, mmap.PAGESIZE)


def encryption(registers: Registers) -> Encryption:
    """EBX of leaf 0x8000001F: bits 5:0 and 11:6."""
    return Encryption(registers.ebx & 0x3F, registers.ebx >> 6 & 0x3F)
