"""What this machine offers a sandbox, found out by confining a process that lives for a moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fastness.sandbox.kernel import Feature, lacks

TIMEOUT = 10
"""Seconds after which the machine is taken to offer nothing."""

_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from fastness.sandbox.probe import _child; _child()"


def probe() -> tuple[Feature, ...]:
    """Every measure of the sandbox, as it would hold in a keep started from here. The caller is not touched."""
    home = str(Path(__file__).parents[2])
    command = [sys.executable, "-I", "-S", "-c", _CODE, home]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True, env={})  # noqa: S603
        return tuple(Feature(*row) for row in json.loads(done.stdout))
    except (OSError, ValueError, TypeError, subprocess.SubprocessError) as error:
        return (lacks("sandbox", f"cannot be tried: {type(error).__name__}", "run on Linux"),)


def _child() -> None:
    import os

    from fastness.sandbox import confine

    features = confine.lock_down(confine.isolate()).features
    rows = [[item.name, item.available, item.reason, item.remedy] for item in features]
    os.write(1, json.dumps(rows).encode())
    os._exit(0)
