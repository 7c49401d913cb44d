"""``fastness tcb``: every component that runs inside a keep."""

from __future__ import annotations

import argparse

from fastness.cli.words import emit, say


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``tcb``."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Lists files and wheels with their SHA-256 and sizes, and the totals."""
    from fastness.workload import tcb

    rows = (*tcb.files(), *tcb.wheels())
    totals = {kind: sum(row.size for row in rows if row.kind == kind) for kind in ("file", "wheel")}
    if options.json:
        listed = [{"kind": row.kind, "name": row.name, "sha256": row.digest, "bytes": row.size} for row in rows]
        launch = tcb.launch_digest().hex()
        emit({"schema": "fastness/tcb/v1", "components": listed, "bytes": totals, "launch": launch})
        return 0
    for row in sorted(rows, key=lambda item: -item.size):
        print(f"{row.size:>10}  {row.kind:<6}{row.name}")
    own = sum(row.kind == "file" for row in rows)
    say(f"{totals['file']} bytes of our own in {own} files, {totals['wheel']} in wheels")
    say(f"launch measurement of nil: {tcb.launch_digest().hex()}")
    return 0
