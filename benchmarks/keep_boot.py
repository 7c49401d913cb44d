"""From power-on to the first output of a workload, on platform ``vm``: seconds, and where they go.

python benchmarks/keep_boot.py [--image IMAGE] [--accelerator tcg|kvm] [--runs N]

Three ways up: ``kernel`` (QEMU's own loader: nothing below the kernel is measured), ``direct`` (OVMF measures kernel,
command line and initramfs), ``uki`` (OVMF measures one file). The floor beside them is the same kernel and root without
a TPM, which ends as soon as PID 1 has looked for one. Run it on a machine that does nothing else; the processor time of
QEMU beside the seconds says how far it did not.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import time
from pathlib import Path

import wasmtime

from fastness.appraise import policy
from fastness.host.launch import qemu, vm
from fastness.pki.anchors import Anchors, from_certificate
from fastness.seal.challenger import client_channel
from fastness.seal.frames import Type
from fastness.seal.messages import Workload
from fastness.seal.transport import Transport
from fastness.tenant import deliver
from fastness.wire import x509
from fastness.workload.manifest import Manifest

HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "x")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))))
"""


class Unmeasured(vm.Launcher):
    """The same machine, with QEMU's own loader in place of the firmware."""

    def command(self, channel: int, tpm: int) -> list[str]:
        words = super().command(channel, tpm)
        at = words.index("-bios")
        return words[:at] + words[at + 2 :]


def processor_time(pid: int) -> float:
    """Seconds that all threads of a process have run."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(place.read_text().split()[0]) for place in threads) / 1e9


async def once(launcher: vm.Launcher) -> list[tuple[str, float, float]]:
    """(stage, seconds since power-on, seconds of processor time of QEMU)."""
    keep = await launcher.launch()
    start = time.perf_counter()
    marks = []

    def mark(stage: str) -> None:
        marks.append((stage, time.perf_counter() - start, processor_time(keep.pid)))

    try:
        await keep.ready(180)
        mark("ready")
        anchors = Anchors((from_certificate("tpm", x509.certificate(launcher.anchors()[0].der)),))
        transport = Transport(keep.connect(), client_channel())
        stages = deliver.Stages()
        attested = await deliver.challenge(transport, policy.load("development"), anchors, stages=stages)
        mark("accepted")
        workload = Workload(wasmtime.wat2wasm(HELLO), Manifest().to_cbor(), {}, {}, bytes(32))
        delivery = await deliver.Delivery.release(attested, workload, stages)

        async def write(kind: Type, _: bytes) -> None:
            if kind is Type.STDOUT:
                mark("first output")

        await delivery.carry(write)
        return marks
    finally:
        await keep.stop(2)


def floor(launcher: vm.Launcher) -> float:
    """Seconds of a boot that stops where PID 1 finds no evidence."""
    image, program = launcher._image, launcher._program
    accelerator = launcher._accelerator
    command = [program.path, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-accel", accelerator,
               "-cpu", qemu.processor(program, accelerator), "-smp", "2", "-m", "512", "-serial", "stdio", "-kernel",
               str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline]  # fmt: skip
    start = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=False)
    return time.perf_counter() - start


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default="")
    parser.add_argument("--accelerator", default="tcg")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    ways = {
        "kernel": Unmeasured(qemu.Settings(options.image, vcpus=2, accelerator=options.accelerator)),
        "direct": vm.Launcher(qemu.Settings(options.image, vcpus=2, accelerator=options.accelerator)),
        "uki": vm.Launcher(qemu.Settings(options.image, vcpus=2, accelerator=options.accelerator, boot="uki")),
    }
    base = statistics.median(floor(ways["kernel"]) for _ in range(options.runs))
    print(f"{'floor: kernel and root, no TPM':<32} {base:6.2f} s")
    for name, launcher in ways.items():
        runs = [asyncio.run(once(launcher)) for _ in range(options.runs)]
        for index, (stage, *_) in enumerate(runs[0]):
            seconds, busy = (statistics.median(run[index][of] for run in runs) for of in (1, 2))
            print(f"{name:<8} {stage:<23} {seconds:6.2f} s  {seconds / base:5.2f} x floor  {busy:6.2f} s of processor")


if __name__ == "__main__":
    main()
