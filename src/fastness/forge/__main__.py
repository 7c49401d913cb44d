"""``python -m fastness.forge SPEC.toml FOLDER``: forged evidence, and on stdout the command that verifies it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fastness.errors import FastnessError, UsageError
from fastness.forge import files

USAGE = f"""usage: python -m fastness.forge SPEC.toml FOLDER
       python -m fastness.forge --help TEE

forges evidence as SPEC.toml asks (- for stdin) under fake vendor roots made for it, into FOLDER/evidence and
FOLDER/anchors; --help TEE lists what a spec may hold. TEE: {", ".join(files.TEES)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for wrong use."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] in (["--help"], ["-h"]):
            sys.stdout.write(files.words(given[1]) if len(given) == 2 else USAGE)
            return 0
        if len(given) != 2:
            sys.stderr.write(USAGE)
            return 2
        command = files.write(files.read(_spec(given[0])), Path(given[1]))
    except FastnessError as error:
        sys.stderr.write(f"error: {error.what}\n" + (f"  hint {error.hint}\n" if error.hint else ""))
        return error.exit_code
    sys.stdout.write(f"fastness {shlex.join(command)}\n")
    return 0


def _spec(name: str) -> str:
    try:
        data = sys.stdin.buffer.read(files.MAX_SPEC) if name == "-" else Path(name).read_bytes()[: files.MAX_SPEC]
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the spec cannot be read: {error}", where=name) from None


if __name__ == "__main__":
    raise SystemExit(main())
