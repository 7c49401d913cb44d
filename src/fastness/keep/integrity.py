"""Whether the code of this process is still what it was: measured again on a schedule and at every challenge.

What is measured: every executable page of the process (interpreter, libraries, the compiled workload), and the byte
code of every function of ours. After the workload was compiled no page may become executable, and none is ever
executable and writable.

What it shows: a stray write, a bit that flipped, an attacker who patched code and did not know of this. What it cannot
show: data was altered (pointers, the heap, the guest's own memory), or somebody in full command of the process, who can
make this function say what he likes. It is an alarm, not a proof; the proof is the measurement at launch.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import marshal
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.poly1305 import Poly1305

from fastness.errors import KeepFailed

MAX_MAPS = 1 << 20
SAMPLE = 64 * 1024
BYTECODE_VERSION = 2
"""Of ``marshal``: the last without references, whose output follows from the value alone."""

UNREADABLE = "[vsyscall]"
PACKAGE = "fastness"


class Range(NamedTuple):
    """Executable memory: first address, the one after the last, rights (``r-xp``), and what it is mapped from."""

    start: int
    end: int
    rights: str
    name: str


class Integrity:
    """What the code of this process was when it was last known good. Make it before the sandbox closes."""

    def __init__(self) -> None:
        self._maps = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
        self._tags = _Tags()
        self._memory: dict[Range, bytes] = {}
        self._code: dict[str, bytes] = {}
        self._growing = False
        self._workload: object = None
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        """One at a time adds code: the first to end would have the rest of it flagged."""
        self._known = threading.Event()

    def know(self) -> None:
        """Measures what is here now for the first time; raises as :meth:`growing`."""
        with self.growing():
            pass

    @contextlib.contextmanager
    def growing(self) -> Iterator[None]:
        """While inside, code may be added (a workload is compiled); afterwards it is measured, and none may be.

        What was known before stays known as it was: a change to it shows at the next check.

        Raises:
            KeepFailed: memory is executable and writable at once.
        """
        with self._adding:
            with self._lock:
                self._growing = True
            try:
                yield
            finally:
                with self._lock:
                    self._growing = False
                    self._settle()

    def hold(self, workload: object) -> None:
        """Keeps the compiled ``workload`` in memory when it has ended: code that goes away is code that was altered."""
        self._workload = workload

    def check(self) -> str:
        """What has changed since code was last added, in words; empty when nothing has.

        Waits for the first measurement when that is not over yet, and is answered by it.
        """
        if not self._known.is_set():
            self._known.wait()
            return ""
        with self._lock:
            return self._changed(self._ranges(), also_new=not self._growing) or self._bytecode()

    def _settle(self) -> None:
        ranges = self._ranges()
        if loose := next((item for item in ranges if "w" in item.rights), None):
            raise KeepFailed(f"memory of {loose.name or 'nobody'} is executable and writable at once")
        self._memory |= {item: self._tags.of(item) for item in ranges if item not in self._memory}
        self._code = self._code or dict(_functions())
        self._known.set()

    def _changed(self, now: list[Range], *, also_new: bool) -> str:
        here = set(now)
        for item, digest in self._memory.items():
            if item not in here:
                return f"executable memory of {item.name or 'compiled code'} was unmapped or changed its rights"
            if self._tags.of(item) != digest:
                return f"code of {item.name or 'the compiled workload'} was altered in memory"
        fresh = here - self._memory.keys()
        if also_new and fresh:
            return f"{len(fresh)} ranges of memory became executable ({min(fresh, key=lambda item: item.start).name})"
        return ""

    def _bytecode(self) -> str:
        now = dict(_functions())
        for name, digest in self._code.items():
            if now.get(name) != digest:
                return f"the function {name} is not the one that was loaded"
        return ""

    def _ranges(self) -> list[Range]:
        """Executable ranges of the process (proc(5), maps)."""
        data, at = b"", 0
        while part := os.pread(self._maps, MAX_MAPS, at):
            data, at = data + part, at + len(part)
        found = []
        for line in data.decode("utf-8", "replace").splitlines():
            place, rights, _, _, _, *name = line.split(maxsplit=5)
            if rights[2] == "x" and UNREADABLE not in name:
                start, _, end = place.partition("-")
                found.append(Range(int(start, 16), int(end, 16), rights, name[0] if name else ""))
        return found


class _Tags:
    """Keyed tags of memory, by whichever is faster here: GMAC (NIST SP 800-38D) or Poly1305 (RFC 8439).

    Every challenge waits for them. GMAC is the faster where a processor has AES instructions, Poly1305 by much where it
    is emulated. Keys are drawn here and never shown, and tags are told to nobody: that one nonce serves one range
    again, and one key of Poly1305 all of them, gives nothing away.
    """

    def __init__(self) -> None:
        self._gcm = AESGCM(os.urandom(16))
        self._key = os.urandom(32)
        sample, ways = memoryview(bytes(SAMPLE)), (self._gmac, self._poly)
        self._way = min(ways, key=lambda way: _seconds(way, sample))

    def of(self, item: Range) -> bytes:
        """The tag of a range, read where it lies."""
        if item.rights[0] != "r":
            return b"unreadable"
        memory = (ctypes.c_char * (item.end - item.start)).from_address(item.start)
        return self._way(memoryview(memory).cast("B"), item.start)

    def _gmac(self, memory: memoryview, start: int = 0) -> bytes:
        return self._gcm.encrypt(start.to_bytes(12, "big"), b"", memory)

    def _poly(self, memory: memoryview, start: int = 0) -> bytes:
        mac = Poly1305(self._key)
        mac.update(start.to_bytes(16, "big"))
        mac.update(memory)
        return mac.finalize()


def _seconds(way: Callable[[memoryview], bytes], sample: memoryview) -> float:
    way(sample[:64])  # what is loaded on first use does not count
    begin = time.perf_counter()
    way(sample)
    return time.perf_counter() - begin


def _functions() -> Iterator[tuple[str, bytes]]:
    """Every function of ours by its full name, with the SHA-256 of its byte code and constants."""
    for name, module in sorted(sys.modules.items()):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            yield from _inside(name, vars(module), name)


def _inside(prefix: str, names: dict[str, object], module: str) -> Iterator[tuple[str, bytes]]:
    for name, value in list(names.items()):
        if isinstance(value, type) and value.__module__ == module:
            yield from _inside(f"{prefix}.{name}", dict(vars(value)), module)
            continue
        bare = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        bare = bare.fget if isinstance(bare, property) else bare
        if isinstance(bare, types.FunctionType) and bare.__module__ == module:
            code = marshal.dumps(bare.__code__, BYTECODE_VERSION)
            yield f"{prefix}.{name}", hashlib.sha256(code).digest()
