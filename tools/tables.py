"""Writes or checks the tables of the verifiers as Python, from the TOML that people edit.

python tools/tables.py            write them
python tools/tables.py --check    say which is out of date; exit 1 if any is

Reading TOML at every start costs 6 ms, a compiled module 0.2 ms.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "fastness"
TABLES = (("pki/anchors.toml", "anchor"), ("pki/published.toml", "certificate"), ("tee/dcap/fmspc.toml", "cpu"))
"""The file, and the key of its list of rows."""


def target(source: str) -> Path:
    """The module made from ``source``."""
    return PACKAGE / source.replace(".toml", "_table.py")


def module(source: str, key: str) -> str:
    """The text of that module."""
    rows = tomllib.loads((PACKAGE / source).read_text("utf-8"))[key]
    lines = [f"    {{{', '.join(f'{name!r}: {_plain(value)!r}' for name, value in row.items())}}}," for row in rows]
    name = source.rpartition("/")[2]
    head = f'"""Made by tools/tables.py from {name}, where each row says its source: edit that."""'
    marks = "# ruff: noqa: E501\n# fmt: off"
    imports = "from __future__ import annotations\n\nfrom typing import Any"
    return "\n".join((head, marks, "", imports, "", "ROWS: tuple[dict[str, Any], ...] = (", *lines, ")", ""))


def _plain(value: object) -> object:
    """Dates as ISO 8601: a table holds numbers, texts and lists of them."""
    return value if isinstance(value, int | str | list) else str(value)


def stale() -> list[str]:
    """The tables whose module is not what the tool would write."""
    return [
        source for source, key in TABLES if not target(source).is_file()
        or target(source).read_text("utf-8") != module(source, key)
    ]  # fmt: skip


def main() -> int:
    """Runs the tool."""
    if "--check" not in sys.argv:
        for source, key in TABLES:
            target(source).write_text(module(source, key), "utf-8")
        return 0
    for source in stale():
        print(f"error: {target(source)} is out of date\n  hint python tools/tables.py", file=sys.stderr)
    return 1 if stale() else 0


if __name__ == "__main__":
    sys.exit(main())
