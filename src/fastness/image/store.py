"""Images on disk: ``$XDG_CACHE_HOME/fastness/images/<digest>``, the digest being the SHA-256 of ``manifest.json``.

The manifest names every artefact with its SHA-256, so the digest is the image's name and its identity. A folder appears
whole or not at all; whoever comes second with the same image finds it there. ``load`` hashes everything it hands out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastness.errors import UsageError
from fastness.image.cache import home

SCHEMA = "fastness/image/v1"
MANIFEST = "manifest.json"
KERNEL, INITRD, CMDLINE, UKI, EIF = "vmlinuz", "keep.cpio.zst", "cmdline", "keep.efi", "keep.eif"
ARTEFACTS = (KERNEL, INITRD, CMDLINE, UKI, EIF)
BUILD = "fastness image build"
DEBIAN = (
    "Debian's kernel, which takes no virtio devices from its command line: not expected to reach its vsock on Nitro"
)
ANOTHER = f"{BUILD} --nitro-kernel FILE (docs/image.md)"
"""What an enclave image has where nobody named another kernel, and how to name one."""

ATTEMPTS = 5
"""Times a place is tried that others write to as well."""

HEX = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True)
class Image:
    """One image whose artefacts were hashed.

    Attributes:
        folder: where it lies.
        digest: SHA-256 of its manifest, hexadecimal.
        manifest: ``fastness/image/v1``.
    """

    folder: Path
    digest: str
    manifest: Mapping[str, Any]

    @property
    def kernel(self) -> Path:
        """Debian's kernel, as shipped."""
        return self.folder / KERNEL

    @property
    def initrd(self) -> Path:
        """The initramfs: newc, zstd."""
        return self.folder / INITRD

    @property
    def uki(self) -> Path:
        """Kernel, initramfs and command line as one EFI program."""
        return self.folder / UKI

    @property
    def eif(self) -> Path:
        """The same parts as a Nitro enclave image, with a kernel of its own where the builder named one."""
        return self.folder / EIF

    @property
    def nitro_parts(self) -> tuple[str, ...]:
        """SHA-256 of the enclave image's kernel and ramdisks, where its kernel is another than Debian's."""
        found = self.manifest.get("nitro")
        return tuple(map(str, found["parts"])) if isinstance(found, dict) else ()

    @property
    def nitro_kernel(self) -> str:
        """Release of the enclave image's own kernel; empty where it has Debian's."""
        found = self.manifest.get("nitro")
        return str(found["kernel"]) if isinstance(found, dict) else ""

    @property
    def cmdline(self) -> str:
        """The kernel's command line, without a newline."""
        return (self.folder / CMDLINE).read_text("ascii")

    @property
    def debug(self) -> bool:
        """Whether it was built with ``--debug``."""
        return bool(self.manifest["debug"])

    @property
    def epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH of the image, where its manifest tells."""
        found = self.manifest.get("epoch")
        return found if isinstance(found, int) else None

    @property
    def release(self) -> str:
        """The kernel's release, as ``uname -r`` says it."""
        return str(self.manifest["kernel"])


def images() -> Path:
    """Where this user's images lie."""
    return home() / "images"


def encoded(manifest: Mapping[str, Any]) -> bytes:
    """The one encoding of a manifest that its digest is over."""
    return (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def digest(manifest: Mapping[str, Any]) -> str:
    """The digest of a manifest, hexadecimal: the name of its image."""
    return hashlib.sha256(encoded(manifest)).hexdigest()


def load(name: str = "") -> Image:
    """The image called ``name``: a folder, a digest or its beginning, or empty for the last one built.

    Raises:
        UsageError: there is none, or several, or one of its artefacts is not what its manifest says.
    """
    return check(_folder(name))


def absent(name: str) -> bool:
    """Whether ``name`` is a whole digest of which nothing is here."""
    return len(name) == 64 and bool(HEX.fullmatch(name)) and not (images() / name).exists()


def check(folder: Path) -> Image:
    """The image at ``folder``, every artefact hashed.

    Raises:
        UsageError: something is missing or differs; it is named.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest = json.loads(raw)
        rows = [(str(row["name"]), str(row["sha256"])) for row in manifest["artefacts"]]
        schema, _ = manifest["schema"], (manifest["debug"], manifest["kernel"])
        if "nitro" in manifest:
            _ = manifest["nitro"]["kernel"], [str(part) for part in manifest["nitro"]["parts"]]
    except OSError as error:
        raise UsageError(f"no image is here: {error.strerror}", where=str(folder / MANIFEST), hint=BUILD) from None
    except (ValueError, KeyError, TypeError):
        raise _damaged(folder, MANIFEST, "cannot be read") from None
    found = hashlib.sha256(raw).hexdigest()
    if schema != SCHEMA:
        raise UsageError(f"an image of schema {schema!r}; this version reads {SCHEMA}", where=str(folder), hint=BUILD)
    if HEX.fullmatch(folder.name) and len(folder.name) == 64 and folder.name != found:
        raise _damaged(folder, MANIFEST, f"has SHA-256 {found}")
    if sorted(name for name, _ in rows) != sorted(ARTEFACTS):
        raise _damaged(folder, MANIFEST, f"does not list {', '.join(ARTEFACTS)}, each once")
    for artefact, wanted in rows:
        if hash_file(folder / artefact) != wanted:
            raise _damaged(folder, artefact, f"has not the SHA-256 {wanted}")
    if not (folder / CMDLINE).read_bytes().isascii():
        raise _damaged(folder, CMDLINE, "is not ASCII")
    return Image(folder, found, manifest)


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def place(manifest: Mapping[str, Any], artefacts: Mapping[str, bytes], folder: Path | None = None) -> Image:
    """Writes an image, whole or not at all, to ``folder`` or under its digest; an equal one that is there stays.

    Raises:
        UsageError: it cannot be written, or ``folder`` holds something else.
    """
    name = digest(manifest)
    final = folder or images() / name
    new = final.parent / f".new-{secrets.token_hex(8)}"
    try:
        new.mkdir(parents=True)
        for path, data in (*artefacts.items(), (MANIFEST, encoded(manifest))):
            (new / path).write_bytes(data)
        _take(new, final, name)
    except OSError as error:
        raise UsageError(
            f"the image cannot be written: {error.strerror}",
            where=str(final),
            hint="80 MB are needed; --output DIR or XDG_CACHE_HOME names another place",
        ) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return check(final)


def remember(image: Image, key: str) -> None:
    """Notes that ``image`` is the last one built, and what building with ``key`` gives."""
    _note(images() / "last", str(image.folder.resolve()))
    _note(images() / "built" / key, image.digest)


def built(key: str) -> Image | None:
    """The image that building with ``key`` gave, if it is here and undamaged."""
    try:
        return check(images() / (images() / "built" / key).read_text("ascii").strip())
    except (OSError, UsageError, ValueError):
        return None


def _take(new: Path, final: Path, name: str) -> None:
    """Makes ``new`` be ``final``; leaves what is there if it is the same image."""
    for attempt in range(ATTEMPTS):
        try:
            new.rename(final)
        except OSError:
            if not final.is_dir() or attempt == ATTEMPTS - 1:
                raise
        else:
            return
        # somebody was first: what they placed serves if it is whole, and is replaced if it is damaged or older
        try:
            if check(final).digest == name:
                return
        except UsageError:
            if final.parent != images() and not (final / MANIFEST).is_file():
                raise UsageError("the folder is not empty and is no image", where=str(final)) from None
        old = final.parent / f".old-{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):  # somebody is replacing it too
            final.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _folder(name: str) -> Path:
    if not name:
        try:
            return Path((images() / "last").read_text("utf-8").strip())
        except OSError:
            raise UsageError("no image was built yet", where=str(images()), hint=BUILD) from None
    if Path(name).is_dir():
        return Path(name)
    found = sorted(images().glob(f"{name}*")) if HEX.fullmatch(name) else []
    if len(found) != 1:
        what = f"{len(found)} images begin with {name}" if found else f"no image is called {name!r}"
        raise UsageError(what, where=str(images()), hint=f"{BUILD}, or a folder, or a digest of 4 or more digits")
    return found[0]


def _note(path: Path, text: str) -> None:
    new = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text)
        os.replace(new, path)  # noqa: PTH105
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UsageError(f"the image cannot be noted: {error.strerror}", where=str(path)) from None


def _damaged(folder: Path, artefact: str, how: str) -> UsageError:
    return UsageError(
        f"the image is damaged: {artefact} {how}",
        where=str(folder / artefact),
        hint=f"remove {folder} and build again: {BUILD}",
    )
