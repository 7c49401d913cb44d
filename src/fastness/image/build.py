"""Builds the image: contents to artefacts, artefacts to a manifest, and the manifest's digest is the image's name.

Every byte follows from the lock, the choice, this package and our own files: no clock, no environment, no host name, no
user. What was built once is found again by a key over exactly these.
"""

from __future__ import annotations

import hashlib
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastness import __version__
from fastness.errors import UsageError
from fastness.image import contents, cpio, eif, enclave, fetch, lock, store, uki
from fastness.image.cache import Cache, home
from fastness.image.contents import Contents
from fastness.image.lock import Input, Lock
from fastness.image.store import Image
from fastness.workload import tcb

USELESS = (
    "jent_mod_init", "bpf_dummy_struct_ops_init", "bpf_tcp_ca_kfunc_init", "trace_eval_init", "crypto_kdf108_init",
    "init_encrypted",
)  # fmt: skip
"""Functions that the kernel does not call when it starts: a source of randomness that only its own crypto API asks
(getrandom(2) does not), hooks for BPF programs, for which it would read its whole type information, names of
values in traces, a self-test that asks for a module and so has a second processor wait until the root is unpacked, and
a kind of key that wraps others."""

CMDLINE = (
    "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t random.trust_cpu=on "
    f"cryptomgr.notests initcall_blacklist={','.join(USELESS)}"
)
"""Without the kernel's self-tests of ciphers, of which a keep uses none; signatures of modules are checked as ever."""
DEBUG = "fastness.debug=1"
LEVEL, WORKERS = 19, 4
"""Of zstd. Its output is the same for any number of workers but none, and is measured at launch: both are fixed."""

Say = Callable[[str], None]


def build(
    say: Say,
    *,
    debug: bool = False,
    output: Path | None = None,
    inputs: Path | None = None,
    kernel: Path | None = None,
    modules: Sequence[Path] = (),
) -> Image:
    """The image of the committed lock; built only if it is not here yet.

    Args:
        say: told what happens, a line at a time.
        debug: an image that shows the keep's words on its console, and attests as debug.
        output: a folder to write it to, in place of the user's cache.
        inputs: the cache of inputs, in place of the user's.
        kernel: a boot image for the Nitro enclave image, in place of Debian's kernel.
        modules: modules of that kernel.

    Raises:
        UsageError: an input cannot be had, the image cannot be written, or ``kernel`` will not do.
        Malformed: an input cannot be read.
    """
    cache = Cache(inputs or home() / "inputs")
    pinned = with_kernel(lock.read(), cache, say, kernel, modules)
    wanted = key(pinned, debug=debug)
    found = None if output else store.built(wanted)
    if found is not None:
        say("built before from the same inputs: nothing to do")
        store.remember(found, wanted)
        return found
    image = store.place(*made(pinned, cache, say, debug=debug), output)
    store.remember(image, wanted)
    return image


def with_kernel(pinned: Lock, cache: Cache, say: Say, kernel: Path | None, modules: Sequence[Path] = ()) -> Lock:
    """``pinned`` with the kernel and the modules that somebody named for the enclave image.

    Raises:
        UsageError, Malformed: as :func:`fastness.image.enclave.inputs`.
    """
    if kernel is None:
        if modules:
            raise UsageError("--nitro-module goes with --nitro-kernel", hint="name the kernel that they are of")
        return pinned
    return replace(pinned, inputs=(*pinned.inputs, *enclave.inputs(kernel, modules, cache, say)))


def made(pinned: Lock, cache: Cache, say: Say, *, debug: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the artefacts of the image of ``pinned``, from whatever is here to the end.

    Raises:
        UsageError: an input cannot be had, the compressor is another, or there is no room to work in.
        Malformed: an input cannot be read.
    """
    compressor(pinned)
    try:
        fetch.fetch(pinned, cache, say)
        say("unpacking inputs, compiling byte code")
        gathered = contents.gather(pinned, lock.choice(), cache)
    except OSError as error:
        raise UsageError(
            f"the image cannot be built: {(error.strerror or str(error)).lower()}",
            where=tempfile.gettempdir(),
            hint="150 MB are needed there for a while; TMPDIR names another folder",
        ) from None
    say(f"compressing {sum(len(entry.data) for entry in gathered.root) / 1e6:.0f} MB")
    return assemble(pinned, gathered, debug=debug)


def key(pinned: Lock, *, debug: bool) -> str:
    """SHA-256 in hexadecimal over all that determines an image of ``pinned``, the committed lock and what was named."""
    rows = "".join(row.line() for row in tcb.files())
    rows += "".join(item.sha256 for kind in (enclave.KERNEL, enclave.MODULE) for item in pinned.of(kind))
    digest = hashlib.sha256(f"{__version__} {debug} {rows}".encode())
    for path in lock.sources():
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def assemble(pinned: Lock, parts: Contents, *, debug: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the artefacts, by name, of an image of ``parts``."""
    cmdline = f"{CMDLINE} {DEBUG}" if debug else CMDLINE
    archive = cpio.write(parts.root, pinned.epoch)
    initrd = compress(archive)
    sections = (
        uki.Section(".osrel", osrel().encode()),
        uki.Section(".cmdline", cmdline.encode("ascii")),
        uki.Section(".uname", parts.release.encode("ascii")),
        uki.Section(".initrd", initrd),
        uki.Section(".linux", parts.vmlinuz),  # last: the kernel may grow behind itself
    )
    own = parts.enclave or enclave.Kernel(parts.release, parts.vmlinuz, ())
    booted = eif.Eif(own.vmlinuz, cmdline.encode("ascii"), (*own.ramdisks, initrd), _metadata(pinned, own.release))
    artefacts = {
        store.KERNEL: parts.vmlinuz,
        store.INITRD: initrd,
        store.CMDLINE: cmdline.encode("ascii"),
        store.UKI: uki.build(parts.stub, sections),
        store.EIF: eif.unparse(booted),
    }
    origins = {entry.path: entry.origin for entry in parts.root}
    manifest = {
        "schema": store.SCHEMA,
        "fastness": __version__,
        "debug": debug,
        "kernel": parts.release,
        "epoch": pinned.epoch,
        "tools": {"zstandard": pinned.zstandard, "zstd_level": LEVEL, "zstd_workers": WORKERS},
        "inputs": [_input(item, parts) for item in pinned.inputs],
        "stub": _measured(parts.stub),
        "root": [_row(entry, origins, parts) for entry in cpio.read(archive)],
        "root_bytes": len(archive),
        "artefacts": [{"name": name, **_measured(data)} for name, data in sorted(artefacts.items())],
    }
    if parts.enclave is not None:
        hashes = [hashlib.sha256(part).hexdigest() for part in (booted.kernel, *booted.ramdisks)]
        manifest["nitro"] = {"kernel": own.release, "parts": hashes}
    return manifest, artefacts


def compress(archive: bytes) -> bytes:
    """``archive`` as one zstd frame with a checksum, which the kernel checks."""
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=len(archive), threads=WORKERS, write_checksum=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(archive)


def compressor(pinned: Lock) -> None:
    """Refuses another compressor than the lock's: its output would be another image.

    Raises:
        UsageError: it is absent, or has another version.
    """
    try:
        import zstandard
    except ImportError:
        have = "none"
    else:
        have = zstandard.__version__
    if have != pinned.zstandard:
        raise UsageError(
            f"zstandard {pinned.zstandard} makes the image; here is {have}", hint="pip install 'fastness[image]'"
        )


def osrel() -> str:
    """The os-release(5) of the image."""
    return (
        f'ID=fastness-keep\nNAME="Fastness keep"\nPRETTY_NAME="Fastness keep {__version__}"\nVERSION_ID={__version__}\n'
    )


def _metadata(pinned: Lock, release: str) -> bytes:
    return eif.metadata("fastness-keep", __version__, datetime.fromtimestamp(pinned.epoch, UTC), release)


def _input(item: Input, parts: Contents) -> dict[str, Any]:
    row: dict[str, Any] = {field.name: getattr(item, field.name) for field in fields(item)}
    inside = parts.parts.get(item.name, ())
    return row | (
        {"parts": [{field.name: getattr(part, field.name) for field in fields(part)} for part in inside]}
        if inside
        else {}
    )


def _row(entry: cpio.Entry, origins: dict[str, str], parts: Contents) -> dict[str, Any]:
    row: dict[str, Any] = {"path": entry.path, "mode": f"{entry.mode:06o}"}
    row["origin"] = origins.get(entry.path, "image")
    if entry.path in parts.lines:
        row["lines"] = parts.lines[entry.path]
    return row | (_measured(entry.data) if stat.S_ISREG(entry.mode) else {})


def _measured(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
