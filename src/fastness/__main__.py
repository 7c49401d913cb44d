"""``python -m fastness``, and the ``fastness`` command."""

from __future__ import annotations

import signal

# until main() is in charge, ctrl-C ends us without a word rather than with a traceback out of an import
signal.signal(signal.SIGINT, signal.SIG_DFL)


def run() -> int:
    """The command line, ctrl-C included."""
    from fastness.cli.main import main

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(run())
