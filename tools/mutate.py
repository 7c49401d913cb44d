"""Mutation run over the verifiers: every refusal is taken out in turn, and the tests of its TEE must go red.

    python tools/mutate.py [TEE …] [--write]

A mutant replaces one ``raise`` of ``tee/<tee>/verify.py`` (and of the modules its steps are in) by ``pass``. The tests
run in a copy of the tree. ``--write`` records the outcome in ``docs/mutation.md``.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "snp": ("snp/verify.py", "snp/endorse.py", "snp/identity.py"),
    "sev": ("sev/verify.py", "sev/launch.py", "sev/session.py", "sev/secret.py"),
    "sgx": ("dcap/verify.py", "dcap/endorse.py"),
    "tdx": ("tdx/verify.py",), "nitro": ("nitro/verify.py",), "cca": ("cca/verify.py",), "tpm": ("tpm/verify.py",),
    "nvgpu": ("nvgpu/verify.py",), "nil": ("nil/verify.py",),
}  # fmt: skip
TESTS = {"sgx": "tests/tee/test_dcap_*.py", "tdx": "tests/tee/test_dcap_*.py"}
TIMEOUT = 120


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


def killed(copy: Path, tee: str) -> bool:
    """Whether the tests of ``tee`` go red in ``copy``."""
    pattern = TESTS.get(tee, f"tests/tee/test_{tee}*.py")
    files = [str(path.relative_to(copy)) for path in sorted(copy.glob(pattern))]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(command, cwd=copy, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def run(tee: str, copy: Path) -> list[tuple[str, int, str, bool]]:
    """(file, line, statement, killed) for every mutant of ``tee``."""
    rows = []
    for name in FILES[tee]:
        place = copy / "src" / "fastness" / "tee" / name
        source = place.read_text("utf-8")
        for node in refusals(source):
            place.write_text(without(source, node), "utf-8")
            dead = killed(copy, tee)
            rows.append((name, node.lineno, " ".join(ast.unparse(node).split())[:90], dead))
            print(f"{'killed' if dead else 'SURVIVED'} {name}:{node.lineno} {rows[-1][2]}", flush=True)
        place.write_text(source, "utf-8")
    return rows


def main() -> int:
    """Runs the tool; 1 when a mutant survived."""
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")] or list(FILES)
    rows: list[tuple[str, int, str, bool]] = []
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / ROOT.name
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__"))
        beside = ROOT.parent / "shared"
        if beside.is_dir():
            (Path(place) / "shared").symlink_to(beside)
        for tee in chosen:
            rows += run(tee, copy)
    survivors = [row for row in rows if not row[3]]
    print(f"{len(rows)} mutants, {len(survivors)} survived")
    if "--write" in sys.argv:
        record(rows, survivors)
    return bool(survivors)


def record(rows: list[tuple[str, int, str, bool]], survivors: list[tuple[str, int, str, bool]]) -> None:
    """Writes ``docs/mutation.md``."""
    lines = [
        "# Mutation run over the verifiers",
        "",
        f"`python tools/mutate.py --write`, {datetime.now(UTC):%Y-%m-%d}: each refusal is taken out in turn, and the",
        "tests of its TEE must go red.",
        "",
        f"{len(rows)} mutants, {len(rows) - len(survivors)} killed, {len(survivors)} survived.",
        "",
        "| file | mutants | killed |",
        "|---|---|---|",
    ]
    for name in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == name]
        lines.append(f"| `tee/{name}` | {len(mine)} | {sum(row[3] for row in mine)} |")
    if survivors:
        lines += ["", "Survivors:", ""]
        lines += [f"* `tee/{name}` line {line}: `{text}`" for name, line, text, _ in survivors]
    (ROOT / "docs" / "mutation.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
