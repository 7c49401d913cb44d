"""The keep's own code, measured where a file of ``/proc`` shows what was true when it was opened: under Gramine.

There the table of memory is Gramine's own, inside the enclave, and so are the rights in it: unless the enclave was made
with EDMM, the processor itself lets all of an enclave's dynamic memory be written and executed. What is compared, the
bytes of everything executable and the byte code of every function, is as real as anywhere.
"""

from __future__ import annotations

import os

from fastness.keep.integrity import Integrity, Range

MAPS = "/proc/self/maps"


class FreshIntegrity(Integrity):
    """Opens the table of memory each time it is read."""

    def _ranges(self) -> list[Range]:
        handle = os.open(MAPS, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(handle, self._maps, inheritable=False)
        os.close(handle)
        return super()._ranges()
