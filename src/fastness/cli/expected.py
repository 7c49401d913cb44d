"""What the evidence of a keep started here will report, computed from the image and from nothing that ran.

The launchers' choices where nobody chose: their firmware, their model of the processor. A platform that is not in
:data:`COMPUTED` cannot be told beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.host.launch.qemu import Settings
    from fastness.image.measure import Row

Rows = list[Mapping[str, tuple[str, ...]]]
"""Each a way that the machine may have started: name of a register → the values it may have, all names together."""


def _of_process(name: str, settings: Settings) -> Rows:
    from fastness.workload import tcb

    del name, settings
    return [{"launch": (tcb.launch_digest().hex(),)}]


def _of_image(name: str, settings: Settings) -> Rows:
    from importlib import import_module

    from fastness.host.launch import qemu
    from fastness.host.launch.snp import CPU
    from fastness.image.measure import Machine, Parts
    from fastness.image.store import load

    image = load(settings.image)
    parts = Parts(
        image.kernel.read_bytes(), image.initrd.read_bytes(), image.cmdline, b"", image.eif.read_bytes(),
        image.nitro_parts,
    )  # fmt: skip
    host = Machine(
        _firmware(name, settings), settings.vcpus, settings.guard.cpu or CPU, settings.memory,
        qemu.program().version if name != "nitro" else (10, 0),
    )  # fmt: skip
    module = import_module(f"fastness.image.measure.{'tpm' if name == 'vm' else name}")
    rows: tuple[Row, ...] = module.rows(parts, host)
    return [row.measurements for row in rows]


def _firmware(name: str, settings: Settings) -> bytes:
    from fastness.host.launch.snp import Launcher as Snp
    from fastness.host.launch.tdx import Launcher as Tdx

    chosen = {"snp": Snp, "tdx": Tdx}.get(name)
    return b"" if chosen is None else chosen(settings).firmware().read_bytes()


COMPUTED: dict[str, Callable[[str, Settings], Rows]] = {
    "nil": _of_process, "vm": _of_image, "snp": _of_image, "tdx": _of_image, "nitro": _of_image,
}  # fmt: skip
