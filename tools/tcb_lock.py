"""Writes or checks ``TCB.lock``: every file of ours and every wheel that runs inside a keep, with its SHA-256.

python tools/tcb_lock.py            write it
python tools/tcb_lock.py --check    say what differs from it; exit 1 if anything does
"""

from __future__ import annotations

import sys
from pathlib import Path

from fastness.workload import tcb

LOCK = Path(__file__).resolve().parents[1] / "TCB.lock"
HEAD = """\
# What runs inside a keep. Made by tools/tcb_lock.py, checked in CI: a change here is a change of the trusted base.
# kind sha-256 size name; a wheel's digest is over its RECORD, and belongs to CPython 3.11 on x86-64 Linux.
"""


def main() -> int:
    """Runs the tool."""
    wanted = HEAD + tcb.listing()
    if "--check" not in sys.argv:
        LOCK.write_text(wanted, "utf-8")
        return 0
    have = LOCK.read_text("utf-8").splitlines()
    want = wanted.splitlines()
    if sys.version_info[:2] != (3, 11):  # the wheels of another Python are other wheels
        have, want = ([line for line in lines if not line.startswith("wheel")] for lines in (have, want))
    for line in sorted(set(want) ^ set(have)):
        print(f"{'new ' if line in want else 'gone'} {line}", file=sys.stderr)
    if have != want:
        print(
            "error: TCB.lock is not what runs\n  hint python tools/tcb_lock.py, and say in the commit why",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
