"""The tables beside this module: what the image is made of (``inputs.toml``) and which of it goes in (``root.toml`` by
hand, ``stdlib.toml`` by a probe).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastness.errors import Malformed
from fastness.packaged import table

INPUTS, ROOT, STDLIB = "inputs.toml", "root.toml", "stdlib.toml"


MAX_INPUT = 1 << 30
WORD = r"[A-Za-z0-9][A-Za-z0-9.+_~:%-]*"
FORMS = {
    "kind": "deb|wheel|kernel|module", "name": WORD, "version": WORD, "file": WORD, "sha256": "[0-9a-f]{64}",
    "licence": r"[\w.+() -]*", "source": r"[!-~]+",
}  # fmt: skip
"""What the texts of an input may be: deb-version(7) and PEP 440, and never an option or a path."""


@dataclass(frozen=True, slots=True)
class Input:
    """One file the image is made of.

    Attributes:
        kind: ``deb`` or ``wheel``; ``kernel`` or ``module`` of the enclave image, which no archive has.
        name: name of the package.
        version: its version as its archive spells it.
        file: file name under which the archive serves it.
        sha256: of the file, hexadecimal.
        size: bytes.
        licence: SPDX expression.
        source: where its source code is (a Debian source package and version, or a URL).
    """

    kind: str
    name: str
    version: str
    file: str
    sha256: str
    size: int
    licence: str
    source: str

    def __post_init__(self) -> None:
        # a manifest comes from anywhere, and these become words of a command line and names of files
        for name, form in FORMS.items():
            value = getattr(self, name)
            if not isinstance(value, str) or not re.fullmatch(form, value):
                raise Malformed(f"an input's {name} cannot be {value!r}", where=str(self.name))
        if type(self.size) is not int or not 0 < self.size <= MAX_INPUT:
            raise Malformed(f"an input's size cannot be {self.size!r}", where=self.name)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Lock:
    """Everything that is pinned.

    Attributes:
        epoch: SOURCE_DATE_EPOCH of the image, seconds; the environment's is not asked, or two builders would differ.
        zstandard: version of the compressor, whose output is measured at launch.
        suites: lines of an apt source list, without options.
        inputs: Debian packages, then wheels, then what the builder named.
    """

    epoch: int
    zstandard: str
    suites: tuple[str, ...]
    inputs: tuple[Input, ...]

    def of(self, kind: str) -> tuple[Input, ...]:
        """The inputs of one kind."""
        return tuple(item for item in self.inputs if item.kind == kind)

    def named(self, name: str) -> Input:
        """The first input whose name begins with ``name``.

        Raises:
            Malformed: there is none.
        """
        found = next((item for item in self.inputs if item.name.startswith(name)), None)
        if found is None:
            raise Malformed(f"no input is called {name}", where=INPUTS)
        return found


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files of the inputs go into the root.

    Attributes:
        modules: modules of the standard library, by their dotted names.
        wheels: for each wheel, patterns of paths in it (``fnmatch``; ``*`` crosses ``/``).
        drivers: kernel modules, as ``modprobe`` spells them; what they need comes along.
    """

    modules: tuple[str, ...]
    wheels: dict[str, tuple[str, ...]]
    drivers: tuple[str, ...]


def read() -> Lock:
    """The committed lock."""
    return parse(table(__file__, INPUTS))


def choice() -> Choice:
    """The committed choice."""
    held = table(__file__, ROOT)
    modules = {*table(__file__, STDLIB)["found"], *(row["module"] for row in held["also"])}
    wheels = {name: tuple(patterns) for name, patterns in held["wheels"].items()}
    return Choice(tuple(sorted(modules)), wheels, tuple(row["module"] for row in held["driver"]))


def parse(held: dict[str, Any]) -> Lock:
    """The lock in ``held``, the table of an ``inputs.toml``."""
    rows = [(kind, row) for kind in ("deb", "wheel") for row in held[kind]]
    inputs = tuple(Input(kind=kind, **row) for kind, row in rows)
    return Lock(held["epoch"], held["tools"]["zstandard"], tuple(held["apt"]["suites"]), inputs)


def sources() -> tuple[Path, ...]:
    """The files of this package, in order: with the inputs they determine every byte of an image."""
    return tuple(sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".py", ".toml")))
