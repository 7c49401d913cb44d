"""Every component inside a keep: of an image, from its manifest; without one, of what the platform ``nil`` runs.

``reproducible`` is what was shown here, nothing more: true where every byte of a component in the image follows from
source text among the pinned inputs (Python, and byte code made of it), false where machine code is taken as its archive
ships it, pinned by hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastness import __version__
from fastness.errors import Malformed
from fastness.image import enclave, lock, store
from fastness.image.ingredients import Part
from fastness.image.store import Image
from fastness.workload import tcb

LICENCE = "Apache-2.0"
PYTHON = (".py", ".pyc")
OWN = ("fastness", "image")
"""Origins that are ours: the runtime, and what the builder makes (``/init``, folders, the drivers' table)."""


@dataclass(frozen=True, slots=True)
class File:
    """A file inside the keep: path, SHA-256 in hexadecimal, bytes, lines of its Python source (0 for anything else)."""

    path: str
    sha256: str
    size: int
    lines: int


@dataclass(frozen=True, slots=True)
class Component:
    """One thing somebody made and named.

    Attributes:
        kind: ``own``, ``deb``, ``wheel``, or ``kernel`` and ``module`` of the enclave image.
        name: as its archive has it.
        version: likewise.
        licence: SPDX expression, or empty where it is not told.
        sha256: of the file that was fetched; of a list of their digests for our own files and for installed wheels.
        source: where its source code is.
        purl: package URL.
        reproducible: see the module.
        files: what of it is inside the keep.
        parts: libraries inside its binaries.
    """

    kind: str
    name: str
    version: str
    licence: str
    sha256: str
    source: str
    purl: str
    reproducible: bool
    files: tuple[File, ...]
    parts: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Bytes inside the keep, unpacked."""
        return sum(file.size for file in self.files)

    @property
    def shipped(self) -> int:
        """Bytes that were taken as they came."""
        return 0 if self.reproducible else sum(file.size for file in self.files if not file.path.endswith(PYTHON))

    @property
    def lines(self) -> int:
        """Lines of Python inside the keep."""
        return sum(file.lines for file in self.files)


def of_image(image: Image) -> tuple[Component, ...]:
    """The components of ``image``, largest first.

    Raises:
        Malformed: its manifest lacks something.
    """
    try:
        found = tuple(_of_manifest(image.manifest))
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise Malformed(f"the manifest cannot be read: {error}", where=str(image.folder / store.MANIFEST)) from None
    return tuple(sorted((item for item in found if item.files), key=lambda item: -item.size))


def _of_manifest(manifest: Mapping[str, Any]) -> list[Component]:
    files: dict[str, list[File]] = {}
    for row in manifest["root"]:
        if "sha256" in row:
            origin = "fastness" if row["origin"] in OWN else row["origin"]
            files.setdefault(origin, []).append(_file(f"/{row['path']}", row))
    kernel = next(row for row in manifest["artefacts"] if row["name"] == store.KERNEL)
    found = [_own(manifest["fastness"], files.pop("fastness", []))]
    for row in manifest["inputs"]:
        held = files.pop(row["name"], [])
        if row["name"].startswith("linux-image-"):
            held.append(_file(store.KERNEL, kernel))
        if row["kind"] in (enclave.KERNEL, enclave.MODULE):
            held.append(_file(f"{store.EIF}: {row['file']}", row))
        if row["name"] == "systemd-boot-efi":
            held.append(_file("linuxx64.efi.stub", manifest["stub"]))
        found.append(_input(row, tuple(held)))
    if files:
        raise ValueError(f"files of {min(files)}, which is no input")
    return found


def present() -> tuple[Component, ...]:
    """What the platform ``nil`` runs of ours and of wheels, largest first; Python and the system are this machine's.

    Raises:
        KeepFailed: a wheel is not installed.
    """
    base = tcb.package_folder().parent
    own = [_file(row.name, {"sha256": row.digest, "size": row.size}, _lines(base / row.name)) for row in tcb.files()]
    pinned = {f"{item.name}=={item.version}": item for item in lock.read().of("wheel")}
    found = [_own(__version__, own)]
    for row in tcb.wheels():
        name, _, version = row.name.partition("==")
        item = pinned.get(row.name)
        licence, source = (item.licence, item.source) if item else ("", f"https://pypi.org/project/{name}/")
        file = File(row.name, row.digest, row.size, 0)
        purl = _purl("wheel", name, version)
        found.append(Component("wheel", name, version, licence, row.digest, source, purl, False, (file,)))
    return tuple(sorted(found, key=lambda item: -item.size))


def totals(components: Iterable[Component]) -> dict[str, int]:
    """Sums over ``components``: how many, libraries inside them, files, bytes, bytes as shipped, lines of Python."""
    held = tuple(components)
    return {
        "components": len(held),
        "parts": sum(len(item.parts) for item in held),
        "files": sum(len(item.files) for item in held),
        "bytes": sum(item.size for item in held),
        "bytes_as_shipped": sum(item.shipped for item in held),
        "python_lines": sum(item.lines for item in held),
        "own_lines": sum(item.lines for item in held if item.kind == "own"),
    }


def _own(version: str, files: list[File]) -> Component:
    listing = "".join(f"{file.sha256} {file.path}\n" for file in files).encode()
    digest = hashlib.sha256(listing).hexdigest()
    purl = _purl("wheel", "fastness", version)
    return Component("own", "fastness", version, LICENCE, digest, "this project", purl, True, tuple(files))


def _input(row: Mapping[str, Any], files: tuple[File, ...]) -> Component:
    kind, name, version = str(row["kind"]), str(row["name"]), str(row["version"])
    parts = tuple(Part(**part) for part in row.get("parts", ()))
    made = all(file.path.endswith(PYTHON) for file in files)
    purl = _purl(kind, name, version)
    return Component(kind, name, version, row["licence"], row["sha256"], row["source"], purl, made, files, parts)


def _file(path: str, row: Mapping[str, Any], lines: int = 0) -> File:
    return File(path, str(row["sha256"]), int(row["size"]), int(row.get("lines", lines)))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _purl(kind: str, name: str, version: str) -> str:
    if kind == "deb":
        return f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch=amd64&distro=debian-12"
    if kind in (enclave.KERNEL, enclave.MODULE):
        return f"pkg:generic/{quote(name, safe='')}@{quote(version, safe='')}"
    return f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version, safe='')}"
