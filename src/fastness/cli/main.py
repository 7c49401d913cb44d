"""The dispatcher: finds the command, builds only its parser, turns errors into words and exit codes.

argparse, not click: it starts in a third of the time, and `fastness verify` is run once per piece of evidence.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastness import __version__

if TYPE_CHECKING:
    import argparse

    from fastness.errors import FastnessError

SHORT = frozenset({"verify", "run", "deploy"})
"""Commands that load and make nothing that needs collecting, and leave without taking their modules apart."""

COMMANDS = {
    "demo": "see the whole flow on this machine, with nothing but this machine",
    "run": "run a workload in a local keep (SIMULATED: nothing is protected)",
    "deploy": "run a workload in a keep on a host, once the keep has proved itself",
    "keep": "list, question, read and stop the keeps of a host",
    "host": "serve keeps to tenants (the untrusted side)",
    "verify": "is this evidence genuine, and does a policy accept it?",
    "policy": "check, try, compare and show policies",
    "evidence": "show evidence field by field, or collect this machine's own",
    "collateral": "fetch, bundle and show what verification needs besides evidence",
    "platforms": "what this machine offers to keeps, what is missing, and what to do about it",
    "image": "build the keep image, reproducibly, and say what each platform will measure",
    "tcb": "every component that runs inside a keep",
    "diagram": "the architecture, drawn from the code's own tables",
    "help": "words on a topic",
}
INTERRUPTED = 130
_NO_ROOM = frozenset((errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""Errors of writing to stdout; every file that is written says so itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _answered(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has left; say nothing more, not even at exit
        _silence()
        return 141
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _silence()
        from fastness.cli.words import tell
        from fastness.errors import UsageError

        full = UsageError(f"the output cannot be written: {str(error.strerror).lower()}", hint="make room for it")
        tell(full)
        return full.exit_code


def _answered(words: list[str]) -> int:
    """One command's exit code, its errors told."""
    if words[:1] in (["--version"], ["-V"]):
        print(f"fastness {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        return _overview(sys.stdout if words else sys.stderr, 0 if words else 2)
    from fastness.errors import Bug, FastnessError

    try:
        return _command(_spoken(words))
    except FastnessError as error:
        return _fail(error, words)
    except Exception as error:
        if os.environ.get("FASTNESS_DEBUG") or (isinstance(error, OSError) and error.errno in _NO_ROOM):
            raise
        return _fail(Bug(error), words)


def _silence() -> None:
    """What is left of the output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(words: list[str]) -> int:
    from importlib import import_module

    from fastness.cli.parsing import Parser
    from fastness.errors import UsageError

    name = words[0]
    if name in SHORT:
        # nothing that is loaded or made at first needs collecting; --batch and a workload's streams turn it on again
        import gc

        gc.disable()
    if name not in COMMANDS or not _there(name):
        raise UsageError(f"no command is called {name!r}", hint=_nearest(name))
    module = import_module(f"fastness.cli.{name}")
    parser: argparse.ArgumentParser = Parser(prog=f"fastness {name}", description=COMMANDS[name])
    module.configure(parser)
    # argparse would take what follows `--` for options of its own once there is an option before it
    split = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[1:split])
    if split < len(words):
        # a workload's own words, or files whose names begin with a hyphen
        taken = next((place for place in ("args", "paths") if hasattr(options, place)), None)
        if taken is None:
            raise UsageError(f"`fastness {name}` takes nothing after --", hint=f"{parser.prog} --help")
        setattr(options, taken, [*getattr(options, taken), *words[split + 1 :]])
    code: int = module.run(options)
    return code


def _spoken(words: list[str]) -> list[str]:
    """``words`` without ``--lang CODE``, which every command takes; chooses that language."""
    from fastness.errors import UsageError

    end = words.index("--") if "--" in words else len(words)
    at = next((index for index, word in enumerate(words[:end]) if word.split("=")[0] == "--lang"), None)
    if at is None:
        if os.environ.get("FASTNESS_LANG"):  # a name that is none is told now, not at the first words
            from fastness.language import current

            current()
        return words
    code, taken = words[at].partition("=")[2], 1
    if "=" not in words[at]:
        if at + 1 >= end:
            raise UsageError("--lang names no language", where="--lang", hint="--lang en, --lang ja")
        code, taken = words[at + 1], 2
    from fastness.language import use

    use(code)
    return [*words[:at], *words[at + taken :]]


def _there(name: str) -> bool:
    # not find_spec: it costs three milliseconds of every start
    return os.path.isfile(os.path.join(os.path.dirname(__file__), f"{name}.py"))  # noqa: PTH113, PTH118, PTH120


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, COMMANDS, 1)
    return f"did you mean {close[0]!r}?" if close else "`fastness --help` lists the commands"


def _fail(error: FastnessError, words: Sequence[str]) -> int:
    from fastness.cli import words as said

    if os.environ.get("FASTNESS_DEBUG"):
        raise error
    said.tell(error)
    # `run` and `deploy` pass the workload's own code through, so ours are moved out of its way
    ours = words[: words.index("--")] if "--" in words else words
    command = next((word for word in ours if word in COMMANDS), "")
    code = (100 if command in ("run", "deploy") else 0) + error.exit_code
    if "--json" in ours and "--batch" not in ours:
        from fastness.result import ERROR, error_json

        said.emit({"schema": ERROR, "error": error_json(error), "exit_code": code})
    return code


def _overview(stream: object, code: int) -> int:
    from importlib.util import find_spec

    lines = ["usage: fastness COMMAND …    (fastness COMMAND --help)", ""]
    known = [(name, text) for name, text in COMMANDS.items() if find_spec(f"fastness.cli.{name}") is not None]
    lines += [f"  {name:<12}{text}" for name, text in known]
    lines += [
        "",
        "exit codes: 0 accepted, 1 refused by policy, 2 usage, 3 malformed, 4 not genuine, 5 collateral missing,",
    ]
    lines += ["6 remote refused or unreachable, 7 keep failed, 70 bug; run and deploy add 100 to these"]
    lines += ["", "every command takes --lang en|ja (default: FASTNESS_LANG, or the locale); JSON is the same in both"]
    print("\n".join(lines), file=stream)  # type: ignore[call-overload]
    return code
