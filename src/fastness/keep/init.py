"""PID 1 of a keep's own machine: mounts, loads drivers, starts the keep's process, and stands between it and the world.

::

    host ═ virtio-serial or vsock ═ PID 1 ─ control: connections as descriptors ─▶ keep's process (confined)
                 (ciphertext)       └──── device: evidence, register, clock ────┘

PID 1 holds the devices and sees ciphertext; the keep's process holds the keys and the workload and reaches no device.
There is no other process. When the keep's process ends, the machine ends.
"""

from __future__ import annotations

import gc

gc.disable()  # until everything is imported: nothing of it is garbage, and looking takes a tenth of the time

import asyncio  # noqa: E402, F401 - both processes need it: imported before they part
import sys  # noqa: E402
import traceback  # noqa: E402

from fastness.errors import KeepFailed  # noqa: E402
from fastness.keep import machine, process  # noqa: E402

FAILED = 7
"""Exit status of a keep that could not start, as :class:`~fastness.errors.KeepFailed` has it."""


def main() -> None:
    """Runs the machine; never returns."""
    status = FAILED
    try:
        machine.mount()
        keep = process.branch()  # it imports while drivers load
        from fastness.keep import hardware, supervise

        gc.freeze()
        gc.enable()
        machine.load_drivers()
        machine.freeze()
        status = supervise.supervise(keep, hardware.find(debug=machine.debug()))
    except KeepFailed as error:
        sys.stderr.write(f"error: {error.what}\n")
    except BaseException:  # whatever it was, the machine ends: PID 1 that returns is a panic without words
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        machine.power_off()
    sys.exit(status)
