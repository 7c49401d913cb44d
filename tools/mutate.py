"""Mutation run over what verifies and decides: every refusal is taken out in turn, and its tests must go red.

    python tools/mutate.py [GROUP …] [--write]

A mutant replaces one ``raise`` of a group's files by ``pass``. The tests run in a copy of the tree. ``--write`` records
the outcome in ``docs/mutation.md``, beside what that page says of files that were not run.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutation.md"
GROUPS = {
    "snp": ("tests/tee/test_snp*.py", ("tee/snp/verify.py", "tee/snp/endorse.py", "tee/snp/identity.py")),
    "sev": ("tests/tee/test_sev*.py", (
        "tee/sev/verify.py", "tee/sev/launch.py", "tee/sev/session.py", "tee/sev/secret.py",
    )),
    "sgx": ("tests/tee/test_dcap_*.py", ("tee/dcap/verify.py", "tee/dcap/endorse.py")),
    "tdx": ("tests/tee/test_dcap_*.py", ("tee/tdx/verify.py",)),
    "nitro": ("tests/tee/test_nitro*.py", ("tee/nitro/verify.py",)),
    "cca": ("tests/tee/test_cca*.py", ("tee/cca/verify.py",)),
    "tpm": ("tests/tee/test_tpm*.py", ("tee/tpm/verify.py",)),
    "nvgpu": ("tests/tee/test_nvgpu*.py", ("tee/nvgpu/verify.py",)),
    "nil": ("tests/tee/test_nil*.py", ("tee/nil/verify.py",)),
    "pki": ("tests/pki/test_chain.py", ("pki/chain.py", "pki/crl.py")),
    "tenant": ("tests/keep/test_protocol.py", ("tenant/decide.py",)),
}  # fmt: skip
"""Which tests must go red, and for which files of ``src/fastness``."""

TIMEOUT = 120


class Mutant(NamedTuple):
    """One refusal that was taken out of ``file``, and whether the tests noticed."""

    file: str
    line: int
    text: str
    killed: bool


class Row(NamedTuple):
    """A file's row of the page: how many mutants, how many the tests killed, when, and a line for each other one."""

    mutants: int
    killed: int
    day: str
    survivors: tuple[str, ...]


def refusals(source: str) -> list[ast.Raise]:
    """The statements that refuse, by line; re-raised errors are not among them."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise) and node.exc is not None]
    return sorted(found, key=lambda node: node.lineno)


def without(source: str, node: ast.Raise) -> str:
    """``source`` with ``node`` replaced by ``pass``."""
    lines = source.splitlines(keepends=True)
    end = node.end_lineno or node.lineno
    indent = " " * node.col_offset
    return "".join([*lines[: node.lineno - 1], f"{indent}pass\n", *lines[end:]])


def red(copy: Path, pattern: str) -> bool:
    """Whether the tests go red in ``copy``."""
    files = [str(path.relative_to(copy)) for path in sorted(copy.glob(pattern))]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(command, cwd=copy, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def run(group: str, copy: Path) -> list[Mutant]:
    """Every mutant of ``group``."""
    pattern, names = GROUPS[group]
    if red(copy, pattern):
        raise SystemExit(f"{pattern} is red without any mutant: nothing can be told")
    found = []
    for name in names:
        place = copy / "src" / "fastness" / name
        source = place.read_text("utf-8")
        for node in refusals(source):
            place.write_text(without(source, node), "utf-8")
            mutant = Mutant(name, node.lineno, " ".join(ast.unparse(node).split())[:90], red(copy, pattern))
            print(f"{'killed' if mutant.killed else 'SURVIVED'} {name}:{mutant.line} {mutant.text}", flush=True)
            found.append(mutant)
        place.write_text(source, "utf-8")
    return found


def main() -> int:
    """Runs the tool; 1 when a mutant survived."""
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")] or list(GROUPS)
    survived = 0
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / ROOT.name
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__"))
        beside = ROOT.parent / "shared"
        if beside.is_dir():
            (Path(place) / "shared").symlink_to(beside)
        for group in chosen:
            found = run(group, copy)
            survived += sum(not item.killed for item in found)
            print(f"{group}: {len(found)} mutants, {sum(not item.killed for item in found)} survived", flush=True)
            if "--write" in sys.argv:
                record(found)
    return bool(survived)


def recorded(page: str) -> dict[str, Row]:
    """The rows of ``docs/mutation.md``, by file."""
    found = {}
    for name, mutants, killed, day in re.findall(r"^\| `(.+)` \| (\d+) \| (\d+) \| (.+) \|$", page, re.MULTILINE):
        survivors = re.findall(rf"^\* `{re.escape(name)}` .*$", page, re.MULTILINE)
        found[name] = Row(int(mutants), int(killed), day, tuple(survivors))
    return found


def record(found: list[Mutant]) -> None:
    """Writes ``docs/mutation.md``: the rows of the files of ``found`` anew, the others as they were."""
    rows = recorded(PAGE.read_text("utf-8"))
    for name in {item.file for item in found}:
        mine = [item for item in found if item.file == name]
        survivors = tuple(f"* `{name}` line {item.line}: `{item.text}`" for item in mine if not item.killed)
        rows[name] = Row(len(mine), len(mine) - len(survivors), f"{datetime.now(UTC):%Y-%m-%d}", survivors)
    names = [name for _, files in GROUPS.values() for name in files if name in rows]
    mutants, killed = sum(rows[name].mutants for name in names), sum(rows[name].killed for name in names)
    lines = [
        "# Mutation run over what verifies and decides",
        "",
        "`python tools/mutate.py --write`: each refusal is taken out in turn, and the tests of its group must go red.",
        "",
        f"{mutants} mutants, {killed} killed, {mutants - killed} survived.",
        "",
        "| file | mutants | killed | run |",
        "|---|---|---|---|",
        *(f"| `{name}` | {rows[name].mutants} | {rows[name].killed} | {rows[name].day} |" for name in names),
    ]
    survivors = [line for name in names for line in rows[name].survivors]
    if survivors:
        lines += ["", "Survivors:", "", *survivors]
    PAGE.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
