"""Python in the root: chosen modules of the standard library, and byte code made by the image's own interpreter.

The interpreter of the pinned package compiles, started through its own loader and libraries in a temporary folder:
which Python runs the builder changes nothing. The standard library is kept as byte code alone; our files and those of
wheels are kept as they are, with byte code beside them that the interpreter takes only while its hash of the source
matches (PEP 552), so that the sources in the root are what runs.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastness.errors import Malformed, UsageError
from fastness.image import cpio, elf
from fastness.image.archives import Files

INTERPRETER = "usr/bin/python3.11"
LIBRARY = "usr/lib/python3.11"
EXTENSION = ".cpython-311-x86_64-linux-gnu.so"
LOADER = "lib64/ld-linux-x86-64.so.2"
LIBRARIES = "lib/x86_64-linux-gnu"
SHARED = re.compile(r"(?:usr/)?lib/x86_64-linux-gnu/[^/]+\.so(\.[^/]*)?")
TIMEOUT = 300

COMPILE = """\
import sys, _imp, _frozen_importlib_external as machinery
for row in sys.stdin:
    source, name, checked, out = row.rstrip("\\n").split("\\t")
    with open(source, "rb") as file:
        text = file.read()
    code = compile(text, name, "exec", dont_inherit=True, optimize=0)
    digest = _imp.source_hash(machinery._RAW_MAGIC_NUMBER, text)
    with open(out, "wb") as file:
        file.write(machinery._code_to_hash_pyc(code, digest, checked == "checked"))
"""
"""Runs in the image's interpreter: rows of source, the name in tracebacks, checked or not, and where to write."""


def wanted(path: str) -> bool:
    """Whether a file of Python's packages, or of those of its libraries, is looked at."""
    return path in (INTERPRETER, LOADER) or path.startswith(f"{LIBRARY}/") or bool(SHARED.fullmatch(path))


@dataclass(frozen=True, slots=True)
class Source:
    """A Python file: where it is (without a leading slash), its bytes, where it came from, whether it stays."""

    path: str
    data: bytes
    origin: str
    stays: bool

    @property
    def result(self) -> str:
        """Where the root has it: as it is, or as byte code alone."""
        return self.path if self.stays else f"{self.path}c"


def library(files: Files, modules: Iterable[str], origins: dict[str, str]) -> tuple[list[Source], list[cpio.Entry]]:
    """Sources and extension modules of the standard library's ``modules``.

    Raises:
        Malformed: a module is not in ``files``: it is built in (and not for the list), or its package is missing.
    """
    sources, extensions = [], []
    for module in modules:
        base = f"{LIBRARY}/{module.replace('.', '/')}"
        paths = (f"{base}.py", f"{base}/__init__.py", f"{LIBRARY}/lib-dynload/{module}{EXTENSION}")
        path = next((path for path in paths if path in files), None)
        if path is None:
            raise Malformed(f"the standard library has no file for the module {module}", hint="tools/image_root.py")
        if path.endswith(".py"):
            sources.append(Source(path, files[path], origins[path], stays=False))
        else:
            extensions.append(cpio.file(path, files[path], origins[path]))
    return sources, extensions


def shared(roots: Iterable[cpio.Entry], files: Files, origins: dict[str, str]) -> list[cpio.Entry]:
    """The shared libraries that ``roots`` need, and theirs, and the loader, all in the loader's default folders.

    Raises:
        Malformed: a library is in no package.
    """
    if LOADER not in files:
        raise Malformed("a file of the image is in none of its inputs", where=LOADER)
    by_name = {path.rsplit("/", 1)[1]: path for path in sorted(files) if SHARED.fullmatch(path)}
    found: dict[str, cpio.Entry] = {}
    queue = [entry for entry in roots if elf.is_elf(entry.data)]
    while queue:
        entry = queue.pop()
        for name in elf.linked(entry.data).needed:
            if name in found or name == LOADER.rsplit("/", 1)[1]:
                continue
            if name not in by_name:
                raise Malformed(f"no package has the library {name}", where=entry.path, hint="tools/image_inputs.py")
            path = by_name[name]
            found[name] = cpio.file(f"{LIBRARIES}/{name}", files[path], origins[path], execute=True)
            queue.append(found[name])
    return [*found.values(), cpio.file(LOADER, files[LOADER], origins[LOADER], execute=True)]


def compiled(sources: Iterable[Source], machine: Iterable[cpio.Entry]) -> list[cpio.Entry]:
    """``sources`` with their byte code, made by the interpreter among the entries ``machine``.

    Raises:
        UsageError: this machine cannot run it.
        Malformed: a file does not compile.
    """
    ordered = sorted(sources, key=lambda source: source.path)
    with tempfile.TemporaryDirectory(prefix="fastness-compile-") as name:
        place = Path(name)
        for entry in machine:
            if entry.path not in (INTERPRETER, LOADER) and not entry.path.startswith(f"{LIBRARIES}/"):
                continue
            _lay(place / "run" / entry.path, entry.data, execute=bool(entry.mode & 0o100))
        rows = []
        for number, source in enumerate(ordered):
            (place / f"{number}.py").write_bytes(source.data)
            checked = "checked" if source.stays else "unchecked"
            rows.append(f"{number}.py\t/{source.path}\t{checked}\t{number}.pyc\n")
        for folder in ("encodings", "lib-dynload"):
            (place / "run" / LIBRARY / folder).mkdir(parents=True, exist_ok=True)
        for source in ordered:
            # what an interpreter needs to start; everything else it uses here is built in
            if source.path.startswith(f"{LIBRARY}/encodings/") or source.path == f"{LIBRARY}/os.py":
                _lay(place / "run" / source.path, source.data, execute=False)
        _compile(place, "".join(rows))
        found = []
        for number, source in enumerate(ordered):
            code = (place / f"{number}.pyc").read_bytes()
            found += _beside(source, code) if source.stays else [_instead(source, code)]
        return found


def _compile(place: Path, rows: str) -> None:
    command = [f"run/{LOADER}", "--library-path", f"run/{LIBRARIES}", f"run/{INTERPRETER}", "-S", "-s", "-B", "-P"]
    environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(  # noqa: S603 - the pinned interpreter, by its own loader
            [*command, "-c", COMPILE], cwd=place, env=environment, input=rows.encode(), capture_output=True,
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(
            f"the image's interpreter does not start here: {error.strerror}",
            hint="images are built on x86-64 Linux, with a temporary folder from which programs may run (TMPDIR)",
        ) from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"compiling took more than {TIMEOUT} s") from None
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Malformed(f"byte code cannot be made: {words[-1] if words else f'exit code {done.returncode}'}")


def _beside(source: Source, code: bytes) -> list[cpio.Entry]:
    folder, _, name = source.path.rpartition("/")
    cached = f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"
    return [cpio.file(source.path, source.data, source.origin), cpio.file(cached, code, source.origin)]


def _instead(source: Source, code: bytes) -> cpio.Entry:
    return cpio.file(source.result, code, source.origin)


def _lay(path: Path, data: bytes, *, execute: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if execute:
        path.chmod(0o700)
