"""Memory over many verifications: it must not grow. More machines than any memory of ours holds, and hostile input.

    python benchmarks/verify_memory.py [--count 1000000] [--machines 1200] [--allow 8]

Each verification is of a machine drawn at random: its own PCK certificate and attestation key (TDX), its own VCEK (SNP,
one machine in ten); one in fifty is tampered with and must be refused, one in fifty is cut short. The resident size is
told twenty times; the last may exceed that at a fifth of the run, when all memories are full, by ``--allow`` MiB.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src")]

from fastness.errors import MalformedEvidence, NotGenuine  # noqa: E402
from fastness.forge import snp, tdx  # noqa: E402
from fastness.forge.dcap import Maker  # noqa: E402
from fastness.forge.model import Forged  # noqa: E402
from fastness.tee import load  # noqa: E402


def resident() -> float:
    """Resident size of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


def machines(count: int) -> list[Forged]:
    found = [Maker("tdx", {"ppid": f"{number:032x}"}).forged(tdx.body({})) for number in range(count)]
    chips = [snp.make({"chip_id": f"{number:0128x}"}) for number in range(1, count // 10 + 1)]
    return found + chips


def verify(forged: Forged, how: int, chance: random.Random) -> None:
    tee, raw = load(forged.tee), forged.evidence
    if how == 0:
        raw = raw[: chance.randrange(len(raw) // 2)]
    elif how == 1:
        raw = raw[:0x90] + bytes((raw[0x90] ^ 1,)) + raw[0x91:]
    try:
        tee.verify(tee.parse(raw), forged.collateral, forged.anchors, at=forged.at)
    except (NotGenuine, MalformedEvidence):
        if how > 1:
            raise
    else:
        if how <= 1:
            raise SystemExit("spoilt evidence was accepted")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--machines", type=int, default=1200)
    parser.add_argument("--allow", type=float, default=8.0)
    options = parser.parse_args()
    made = machines(options.machines)
    print(f"{len(made)} machines made, {resident():.1f} MiB")
    chance, full, step = random.Random(1), 0.0, max(1, options.count // 20)
    begin = time.process_time()
    for done in range(1, options.count + 1):
        verify(chance.choice(made), chance.randrange(50), chance)
        if done % step == 0:
            size = resident()
            full = size if done // step == 4 else full
            print(f"{done:>9} verifications  {size:7.1f} MiB", flush=True)
    spent = (time.process_time() - begin) / options.count * 1e6
    grown = resident() - full
    print(f"grown by {grown:.1f} MiB since a fifth of the run (allowed {options.allow}); {spent:.0f} us each")
    return 0 if grown <= options.allow else 1


if __name__ == "__main__":
    sys.exit(main())
