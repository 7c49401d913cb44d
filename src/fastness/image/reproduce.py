"""Builds an image again from the inputs its manifest names, and says where the two part.

Found from the outside in: the artefact; in the root the file, in the EFI program the section; in these the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastness.errors import Malformed
from fastness.image import build, cpio, lock, pe, root, store
from fastness.image.cache import Cache, home
from fastness.image.lock import Input, Lock
from fastness.image.store import Image

ORDER = (store.KERNEL, store.CMDLINE, store.INITRD, store.UKI, store.EIF)
"""The smaller part first: what differs in the root differs in everything that holds it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference.

    Attributes:
        artefact: its name.
        part: the file of the root or the section of the EFI program, or empty.
        offset: of the first byte that differs in that part, or None where the part itself is there once.
        what: in words.
    """

    artefact: str
    part: str
    offset: int | None
    what: str

    def __str__(self) -> str:
        place = f"{self.artefact}: {self.part}" if self.part else self.artefact
        return f"{place}: {self.what}" + (f" at byte {self.offset}" if self.offset is not None else "")


def again(manifest: Mapping[str, Any], cache: Cache | None, say: Callable[[str], None]) -> tuple[Any, dict[str, bytes]]:
    """Manifest and artefacts of an image of the same inputs, made by this version of Fastness.

    Raises:
        UsageError: an input cannot be had, or the manifest asks for another compressor.
        Malformed: the manifest or an input cannot be read.
    """
    try:
        names = ("kind", "name", "version", "file", "sha256", "size", "licence", "source")
        inputs = tuple(Input(**{name: row[name] for name in names}) for row in manifest["inputs"])
        pinned = Lock(int(manifest["epoch"]), str(manifest["tools"]["zstandard"]), lock.read().suites, inputs)
        debug = bool(manifest["debug"])
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"the manifest lacks {error}", where=store.MANIFEST) from None
    return build.made(pinned, cache or Cache(home() / "inputs"), say, debug=debug)


def compare(image: Image, manifest: Mapping[str, Any], artefacts: Mapping[str, bytes]) -> Difference | None:
    """Where ``image`` first parts from an image of ``manifest`` and ``artefacts``; None where nowhere.

    Raises:
        UsageError: an artefact cannot be read.
    """
    for name in ORDER:
        path, ours = image.folder / name, artefacts[name]
        if not path.is_file():
            return Difference(name, "", None, "only the new image has it")
        theirs = path.read_bytes()
        if theirs != ours:
            inner = _PARTS.get(name, _whole)
            return next(inner(name, theirs, ours), None) or _bytes(name, "", theirs, ours)
    raw, again_raw = (image.folder / store.MANIFEST).read_bytes(), store.encoded(manifest)
    return None if raw == again_raw else _bytes(store.MANIFEST, "", raw, again_raw)


def _whole(name: str, theirs: bytes, ours: bytes) -> Iterator[Difference]:
    yield _bytes(name, "", theirs, ours)


def _root(name: str, theirs: bytes, ours: bytes) -> Iterator[Difference]:
    old, new = ({entry.path: entry for entry in cpio.read(root.unpacked(data))} for data in (theirs, ours))
    for path in sorted(old.keys() | new.keys(), key=lambda item: item.split("/")):
        if path not in old or path not in new:
            yield Difference(name, f"/{path}", None, f"only the {'old' if path in old else 'new'} image has it")
        elif old[path].data != new[path].data:
            yield _bytes(name, f"/{path}", old[path].data, new[path].data)
        elif (old[path].mode, old[path].device) != (new[path].mode, new[path].device):
            yield Difference(name, f"/{path}", None, f"mode {old[path].mode:06o}, again {new[path].mode:06o}")


def _sections(name: str, theirs: bytes, ours: bytes) -> Iterator[Difference]:
    old, new = pe.parse(theirs), pe.parse(ours)
    for section in new.sections:
        before, after = old.content(section.name), new.content(section.name)
        if before is None or after is None:
            yield Difference(name, section.name, None, "only the new image has it")
        elif before != after:
            yield _bytes(name, section.name, before, after)


_PARTS = {store.INITRD: _root, store.UKI: _sections}


def _bytes(name: str, part: str, theirs: bytes, ours: bytes) -> Difference:
    what = "differs" if len(theirs) == len(ours) else f"{len(theirs)} bytes, again {len(ours)}, differs"
    return Difference(name, part, first(theirs, ours), what)


def first(one: bytes, other: bytes) -> int:
    """Offset of the first byte in which two differ, the shorter one's length if it begins the other."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def promised(
    digest: str,
    cache: Cache | None,
    say: Callable[[str], None],
    kernel: Path | None = None,
    modules: Sequence[Path] = (),
) -> dict[str, str]:
    """For a digest without a folder: those of this version's images, up to the one that is meant.

    ``kernel`` and ``modules`` are what its builder named for the enclave image; no digest tells them.
    """
    place, found = cache or Cache(home() / "inputs"), {}
    pinned = build.with_kernel(lock.read(), place, say, kernel, modules)
    for kind in ("release", "debug"):
        manifest, _ = build.made(pinned, place, say, debug=kind == "debug")
        found[kind] = store.digest(manifest)
        if found[kind] == digest:
            break
    return found
