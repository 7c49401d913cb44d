"""argparse with our manners: errors are :class:`UsageError`, options are never abbreviated."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from fastness.errors import UsageError


def _formatter(prog: str) -> argparse.HelpFormatter:
    # a stated width: argparse would import shutil for it, on every run, to find out how wide nobody's help is
    columns = os.environ.get("COLUMNS", "")
    return argparse.HelpFormatter(prog, width=min(int(columns) if columns.isdigit() else 100, 120))


_FILES = ("FILE", "FOLDER", "DIR", "PATH", "KEY")
"""Words for what is named in the file system."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _formatter)
        super().__init__(*args, **kwargs)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        # `--owners "$OWNERS"` with nothing in it must not read as no owners; a default that is empty is meant
        wanted = str(action.metavar or "")
        if not arg_string and action.default != "" and any(word in wanted for word in _FILES):
            name = (action.option_strings or [wanted])[0]
            raise UsageError("an empty name", where=name, hint=f"{' '.join([*action.option_strings[:1], wanted])}")
        return super()._get_value(action, arg_string)

    def error(self, message: str) -> NoReturn:
        """Raises :class:`UsageError` with argparse's words."""
        raise UsageError(message, hint=f"{self.prog} --help")


def workload_options(parser: argparse.ArgumentParser) -> None:
    """The options that describe a workload, shared by ``run`` and ``deploy``."""
    parser.add_argument("app", metavar="APP.wasm", help="a WebAssembly command: WASI preview 1 module or component")
    parser.add_argument("--config", metavar="FILE", help="the manifest (fastness.toml beside APP.wasm if there is one)")
    parser.add_argument("--env", metavar="K=V", action="append", default=[], help="environment of the workload")
    parser.add_argument("--secret", metavar="NAME=@FILE", action="append", default=[], help="a secret, from a file")
    parser.add_argument("--stdin", metavar="FILE", help="input of the workload; - for ours (default: none)")
    parser.add_argument("--timings", action="store_true", help="say how long each stage took")
    parser.add_argument("--verdict", metavar="FILE", help="write the verdict (fastness/verdict/v1) to FILE")
    parser.set_defaults(args=[])
    parser.epilog = "what follows -- are the arguments of the workload"
