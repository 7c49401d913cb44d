"""What the machine code of a wheel was made of: libraries linked into it, which no package manager sees.

First from the bills of materials that a wheel brings along (PEP 770, CycloneDX in ``.dist-info/sboms``); where it
brings none, from the paths of Rust sources that compilers leave in a binary for panics. The latter finds what can
panic: it may miss some, and is told as such.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from fastness.errors import Malformed
from fastness.image import elf
from fastness.image.archives import Files

SBOM = re.compile(r"[^/]+\.dist-info/sboms/[^/]+\.json")
CRATE = re.compile(rb"registry/src/[\w.-]+/([A-Za-z0-9_-]+)-(\d+\.\d+\.\d+(?:[+-][0-9A-Za-z.+-]+)?)/")


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One library inside a binary.

    Attributes:
        name: its name.
        version: its version.
        licence: SPDX expression, or empty where it is not told.
        purl: package URL.
        seen: ``sbom``, or ``binary`` where it was told from the binary itself.
    """

    name: str
    version: str
    licence: str
    purl: str
    seen: str


def of(files: Files) -> tuple[Part, ...]:
    """The libraries inside the binaries of a wheel's ``files``, in order.

    Raises:
        Malformed: a bill of materials in it cannot be read.
    """
    bills = [path for path in files if SBOM.fullmatch(path)]
    found: set[Part] = set()
    for path in bills:
        try:
            found.update(_part(row) for row in json.loads(files[path])["components"])
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise Malformed(f"a bill of materials cannot be read: {error}", where=path) from None
    if not bills:
        for data in files.values():
            if elf.is_elf(data):
                found.update(_crate(*match.groups()) for match in CRATE.finditer(data))
    return tuple(sorted(found))


def _part(row: dict[str, Any]) -> Part:
    licences = row.get("licenses") or [{}]
    first = licences[0]
    licence = first.get("expression") or first.get("license", {}).get("id", "")
    purl = row.get("purl", "").partition("?")[0].partition("#")[0]
    return Part(str(row["name"]), str(row.get("version", "")), str(licence), str(purl), "sbom")


def _crate(name: bytes, version: bytes) -> Part:
    text, number = name.decode(), version.decode()
    return Part(text, number, "", f"pkg:cargo/{text}@{number}", "binary")
