"""``python -m fastness.forge SPEC.toml FOLDER``: forged evidence, and on stdout the command that verifies it."""

from __future__ import annotations

import contextlib
import os
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
        # a fault in what is written down has no place but the file
        where = error.where or given[0]
        sys.stderr.write(f"error: {error.what}\n  where {where}\n  hint {error.hint}\n")
        return error.exit_code
    return _told(f"fastness {shlex.join(command)}")


def _told(text: str) -> int:
    try:
        print(text, flush=True)  # noqa: T201 - to a stream that may be closed
    except OSError as error:  # what was made is whole; nobody heard how to judge it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write(f"error: the output cannot be written: {(error.strerror or '').lower()}\n  hint {text}\n")
        return UsageError.exit_code
    return 0


def _spec(name: str) -> str:
    hint = "name a file of TOML, or - for stdin"
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
            data = file.read(files.MAX_SPEC + 1)
        if len(data) > files.MAX_SPEC:
            raise UsageError(f"a spec has at most {files.MAX_SPEC} bytes", where=name, hint=hint)
        return data.decode()
    except OSError as error:
        raise UsageError(f"the spec cannot be read: {(error.strerror or '').lower()}", where=name, hint=hint) from None
    except UnicodeDecodeError as error:
        raise UsageError("the spec is not UTF-8", where=f"{name}, byte {error.start}", hint=hint) from None


if __name__ == "__main__":
    raise SystemExit(main())
