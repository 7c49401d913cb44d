"""Mutation run over what verifies and decides: every refusal, condition, bound and finding is changed in turn, and the
tests of its group must go red.

    python tools/mutate.py [GROUP …] [--kind KIND] [--only TEXT] [--sample N] [--seed N] [--write] [--again]

``mutants.py`` says what is changed, ``mutants.toml`` which changes change nothing, and why. The tests run in a copy of
the tree, each mutant's in a process of its own (``mutant_tests.py``): first those that run the changed line, quickest
first, then all others that run the file.
``--only`` takes mutants whose file, function or change holds TEXT; ``--sample`` N of a file's mutants, the same for the
same seed. ``--write`` records the outcome in ``docs/mutation.md``; ``--again`` runs what that page says survived, and
records what became of it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mutants import KINDS, Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutation.md"
EQUIVALENT = Path(__file__).with_name("mutants.toml")


class Group(NamedTuple):
    """The tests that must go red, and the files of ``src/fastness`` that are changed."""

    tests: tuple[str, ...]
    files: tuple[str, ...]


GROUPS = {
    "snp": Group(("tests/tee/test_snp*.py",), ("tee/snp/verify.py", "tee/snp/endorse.py", "tee/snp/identity.py")),
    "sev": Group(("tests/tee/test_sev*.py",), (
        "tee/sev/verify.py", "tee/sev/endorse.py", "tee/sev/launch.py", "tee/sev/session.py", "tee/sev/secret.py",
    )),
    "dcap": Group(("tests/tee/test_dcap_*.py",), (
        "tee/dcap/verify.py", "tee/dcap/endorse.py", "tee/dcap/tcb.py", "tee/dcap/pck.py", "tee/sgx/verify.py",
        "tee/tdx/verify.py", "tee/tdx/ccel.py", "tee/tdx/dstack.py",
    )),
    "nitro": Group(("tests/tee/test_nitro*.py",), ("tee/nitro/verify.py", "tee/nitro/endorse.py")),
    "cca": Group(("tests/tee/test_cca*.py",), ("tee/cca/verify.py", "tee/cca/endorse.py")),
    "tpm": Group(("tests/tee/test_tpm*.py",), (
        "tee/tpm/verify.py", "tee/tpm/trust.py", "tee/tpm/endorse.py", "tee/tpm/events.py", "tee/tpm/credential.py",
        "tee/eventtext.py",
    )),
    "nvgpu": Group(("tests/tee/test_nvgpu*.py",), (
        "tee/nvgpu/verify.py", "tee/nvgpu/endorse.py", "tee/nvgpu/compare.py", "tee/nvgpu/revocation.py",
        "tee/nvgpu/rim.py", "tee/nvgpu/composite.py",
    )),
    "nil": Group(("tests/tee/test_nil*.py",), ("tee/nil/verify.py",)),
    "pki": Group(("tests/pki/*.py",), (
        "pki/chain.py", "pki/crl.py", "pki/keys.py", "pki/memory.py", "pki/anchors.py",
    )),
    "ocsp": Group(("tests/pki/test_ocsp.py", "tests/tee/test_nvgpu*.py"), ("pki/ocsp.py",)),
    "appraise": Group(("tests/appraise/test_[b-z]*.py",), (
        "appraise/conditions.py", "appraise/verdict.py", "appraise/owners.py", "appraise/rules.py",
        "appraise/policy.py", "appraise/signed.py",
    )),
    "seal": Group(("tests/seal/*.py",), ("seal/release.py", "seal/binding.py", "seal/hello.py")),
    "tenant": Group(("tests/keep/test_protocol.py", "tests/keep/test_decide.py"), ("tenant/decide.py",)),
}  # fmt: skip

LIMIT = 20
"""Seconds of the processor that tests may take with a mutant at least, where twice what they take when watched is
less. A mutant that takes more is killed: it does not end."""

GREEN, NOT_IN_PLACE = 0, 2


class Told(NamedTuple):
    """A mutant and what became of it: ``killed``, ``survived`` or ``equivalent``."""

    mutant: Mutant
    outcome: str


class Row(NamedTuple):
    """A file's row of the page: killed and all mutants by kind, equivalent ones, when, and a line for each survivor."""

    kinds: tuple[str, ...]
    equivalent: int
    run: str
    survivors: tuple[str, ...]


class Tests:
    """A group's tests in ``copy``, and which of them run a line of the group's files."""

    def __init__(self, group: Group, copy: Path) -> None:
        self.copy, self.source = copy, copy / "src" / "fastness"
        names = [path for pattern in group.tests for path in sorted(copy.glob(pattern)) if path.name[:5] == "test_"]
        self.files = [str(path.relative_to(copy)) for path in names]
        command = [sys.executable, str(copy / "tools" / "mutant_tests.py"), *self.files]
        self.runner = subprocess.Popen(
            command, cwd=copy, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        told = self._run(watch=[str(self.source / name) for name in group.files], limit=10 * LIMIT)
        if told["code"] != GREEN:
            self.end()
            name = told.get("red", "no single test: it took too long, or its process ended")
            raise SystemExit(f"{' '.join(group.tests)} is red without any mutant ({name}): nothing can be told")
        self.seconds: dict[str, float] = told["seconds"]
        self.ran = {
            str(Path(name).relative_to(self.source)): {int(line): tests for line, tests in lines.items()}
            for name, lines in told["ran"].items()
        }

    def _run(self, **job: Any) -> dict[str, Any]:
        given = {"tests": None, "limit": LIMIT, "watch": None, "mutant": None, **job}
        stdin, stdout = self.runner.stdin, self.runner.stdout
        if stdin is None or stdout is None:
            raise SystemExit("the tests' process has no pipes")
        print(json.dumps(given), file=stdin, flush=True)
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def red(self, mutant: Mutant) -> bool:
        """Whether any test goes red: those that run the mutant's lines, then all that run its file."""
        lines = self.ran.get(mutant.file, {})
        near = {name for line in mutant.lines or () for name in lines.get(line, ())}
        others = {name for tests in lines.values() for name in tests} - near
        tests = [*sorted(near, key=self.seconds.__getitem__), *sorted(others, key=self.seconds.__getitem__)]
        place = {"file": str(self.source / mutant.file), "function": mutant.function, "source": mutant.source}
        seconds = round(2 * sum(map(self.seconds.__getitem__, tests)))
        code = self._run(tests=tests, mutant=place, limit=max(LIMIT, seconds))["code"]
        if code < 0:
            print(f"took too long {mutant.file}:{mutant.line} {mutant.function} {mutant.change}", flush=True)
        return self._fresh(mutant) if code == NOT_IN_PLACE else bool(code != GREEN)

    def _fresh(self, mutant: Mutant) -> bool:
        """Whether any test goes red in a new process, for a mutant of what is done at import."""
        place = self.source / mutant.file
        source = place.read_bytes()
        for path in (place.parent / "__pycache__").glob(f"{place.stem}.*.pyc"):
            path.unlink()  # its time stamp has whole seconds: it would stand for the changed file too
        try:
            place.write_text(mutant.source, "utf-8")
            command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *self.files]
            return (
                subprocess.run(command, cwd=self.copy, capture_output=True, timeout=10 * LIMIT, check=False).returncode
                != 0
            )
        finally:
            place.write_bytes(source)

    def end(self) -> None:
        """Ends the process."""
        if self.runner.stdin and self.runner.stdout:
            self.runner.stdin.close()
            self.runner.stdout.close()
        self.runner.wait()


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the tree, with the evidence beside it."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place).resolve() / ROOT.name
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__"))
        beside = ROOT.parent / "shared"
        if beside.is_dir():
            (copy.parent / "shared").symlink_to(beside)
        yield copy


@cache
def equivalents() -> dict[tuple[str, str, str], str]:
    """File, function and change of each mutant that changes nothing, and why."""
    listed = tomllib.loads(EQUIVALENT.read_text("utf-8"))["equivalent"]
    return {
        (item["file"], item["function"], change): item["why"]
        for item in listed for change in item["changes"]
    }  # fmt: skip


def made(group: Group, given: argparse.Namespace) -> Iterator[tuple[str, int, list[Mutant]]]:
    """Each file of ``group``, how many mutants it has, and those that are to be run.

    Raises:
        SystemExit: ``mutants.toml`` or, with ``--again``, the page speaks of a change that is none.
    """
    for name in group.files:
        found = mutants(name, (ROOT / "src" / "fastness" / name).read_text("utf-8"))
        known = {(name, item.function, item.change) for item in found}
        if stale := {item for item in equivalents() if item[0] == name} - known:
            raise SystemExit(f"{EQUIVALENT.name}: no such change: {stale.pop()}")
        chosen = [item for item in found if not given.kind or item.kind in given.kind]
        chosen = [item for item in chosen if given.only in f"{item.file}:{item.function} {item.change}"]
        if given.again:
            old = recorded(PAGE.read_text("utf-8")).get(name)
            lines = old.survivors if old else ()
            chosen = [item for item in chosen if survivor(item) in lines]
            if len(chosen) != len(lines):
                raise SystemExit(f"{name} is not what it was when it was run: run it whole")
        if given.sample and len(chosen) > given.sample:
            chosen = sorted(random.Random(given.seed).sample(chosen, given.sample), key=lambda item: item.line)  # noqa: S311
        yield name, len(found), chosen


def run(tests: Tests, mutant: Mutant) -> Told:
    """What becomes of one mutant."""
    red, marked = tests.red(mutant), (mutant.file, mutant.function, mutant.change) in equivalents()
    outcome = "killed" if red else "equivalent" if marked else "survived"
    if red and marked:
        print(f"NOT EQUIVALENT {mutant.file}: {mutant.function}: {mutant.change}", flush=True)
    word = outcome.upper() if outcome == "survived" else outcome
    print(f"{word} {mutant.file}:{mutant.line} {mutant.function} [{mutant.kind}] {mutant.change}", flush=True)
    return Told(mutant, outcome)


def survivor(mutant: Mutant) -> str:
    """The page's line."""
    return f"* `{mutant.file}` {mutant.function} ({mutant.kind}): `{mutant.change}`"


def again(old: Row, found: list[Told]) -> Row:
    """``old`` with what became of its survivors."""
    counts = [[int(number) for number in cell.split("/")] if cell else [0, 0] for cell in old.kinds]
    for item in found:
        pair = counts[KINDS.index(item.mutant.kind)]
        pair[0] += item.outcome == "killed"
        pair[1] -= item.outcome == "equivalent"
    return Row(
        tuple(f"{killed}/{count}" if count else "" for killed, count in counts),
        old.equivalent + sum(item.outcome == "equivalent" for item in found),
        old.run,
        tuple(survivor(item.mutant) for item in found if item.outcome == "survived"),
    )


def row(found: list[Told], all_of_them: int, seed: int) -> Row:
    """The page's row of a file."""
    kinds = []
    for kind in KINDS:
        outcomes = [item.outcome for item in found if item.mutant.kind == kind and item.outcome != "equivalent"]
        kinds.append(f"{outcomes.count('killed')}/{len(outcomes)}" if outcomes else "")
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    if len(found) < all_of_them:
        when += f", {len(found)} of {all_of_them}, seed {seed}"
    survivors = tuple(survivor(item.mutant) for item in found if item.outcome == "survived")
    return Row(tuple(kinds), sum(item.outcome == "equivalent" for item in found), when, survivors)


def recorded(page: str) -> dict[str, Row]:
    """The rows of ``docs/mutation.md``, by file."""
    found = {}
    for line in re.findall(r"^\| `(.+) \|$", page, re.MULTILINE):
        name, *cells = re.split(r"`? \| ?", line)
        if len(cells) == len(KINDS) + 2:
            survivors = re.findall(rf"^\* `{re.escape(name)}` .*$", page, re.MULTILINE)
            found[name] = Row(tuple(cells[:-2]), int(cells[-2]), cells[-1], tuple(survivors))
    return found


def sums(rows: list[Row], kind: int) -> tuple[int, int]:
    """Killed and all mutants of a kind."""
    cells = [cell.split("/") for item in rows if (cell := item.kinds[kind])]
    return sum(int(killed) for killed, _ in cells), sum(int(count) for _, count in cells)


def record(fresh: dict[str, Row]) -> None:
    """Writes ``docs/mutation.md``: the rows of ``fresh``, the others as they were."""
    rows = {**recorded(PAGE.read_text("utf-8")), **fresh}
    names = [name for group in GROUPS.values() for name in group.files if name in rows]
    told = [rows[name] for name in names]
    by_kind = [sums(told, at) for at in range(len(KINDS))]
    killed, count = sum(pair[0] for pair in by_kind), sum(pair[1] for pair in by_kind)
    same = sum(item.equivalent for item in told)
    survivors = [line for item in told for line in item.survivors]
    folders = ("tee", "pki", "appraise", "seal", "tenant")
    source = ROOT / "src" / "fastness"
    others = {str(path.relative_to(source)) for folder in folders for path in (source / folder).rglob("*.py")}
    left = sorted(name for name in others - set(names) if not name.endswith("__init__.py"))
    lines = [
        "# Mutation run over what verifies and decides",
        "",
        "`python tools/mutate.py --write`: each refusal is taken out in turn, each condition, bound and finding",
        "changed (`tools/mutants.py`), and the tests of its group must go red. A cell says killed/made.",
        "",
        f"{count} mutants that change something, {killed} killed, {count - killed} survived. {same} more change",
        "nothing that can be told from outside (`tools/mutants.toml` says why of each).",
        "",
        "Not changed: words for people (what stands in a refusal, `hint`, `where`, …), slices, arithmetic, numbers",
        "that are neither named nor compared with. Properties are tried on 25 examples. A run of some mutants says so.",
        "",
        f"| file | {' | '.join(KINDS)} | equivalent | run |",
        "|---" * (len(KINDS) + 3) + "|",
        *(f"| `{name}` | {' | '.join(item.kinds)} | {item.equivalent} | {item.run} |"
          for name, item in zip(names, told, strict=True)),
        "| all | " + " | ".join(f"{part}/{whole}" for part, whole in by_kind) + f" | {same} | |",
    ]  # fmt: skip
    if survivors:
        lines += ["", "Survivors:", "", *survivors]
    lines += ["", "Not changed at all, of the same folders:", "", ", ".join(f"`{name}`" for name in left) + "."]
    PAGE.write_text("\n".join(lines) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--sample", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--again", action="store_true")
    given = parser.parse_args()
    if (given.write or given.again) and (given.kind or given.only):
        parser.error("what is recorded is of whole files or samples of them, not --kind or --only")
    return given


def main() -> int:
    """Runs the tool; 1 when a mutant survived."""
    given = arguments()
    survived = 0
    with copied() as copy:
        for name in given.groups or GROUPS:
            group = GROUPS[name]
            tests = Tests(group, copy)
            rows = {}
            for file, count, chosen in made(group, given):
                found = [run(tests, mutant) for mutant in chosen]
                survived += sum(item.outcome == "survived" for item in found)
                old = recorded(PAGE.read_text("utf-8")).get(file)
                if given.again and old is None:
                    continue
                rows[file] = again(old, found) if given.again and old else row(found, count, given.seed)
                print(f"{file}: {len(found)} mutants, {len(rows[file].survivors)} survived", flush=True)
            tests.end()
            if given.write or given.again:
                record(rows)
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
