"""``fastness image``: build the keep image, build it again and compare."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, say

if TYPE_CHECKING:
    from fastness.image.cache import Cache
    from fastness.image.store import Image

MEGABYTE = 1e6


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommands of ``image``."""
    from fastness.cli import image_measure

    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    measure = commands.add_parser("measure", help="what the hardware will report, as reference values to be signed")
    image_measure.configure(measure)
    measure.set_defaults(run=image_measure.measure)
    build = commands.add_parser("build", help="build the image from its pinned inputs, or find it built")
    build.add_argument("--debug", action="store_true", help="the keep speaks on its console, and attests as debug")
    build.add_argument("--output", metavar="DIR", help="write it there, in place of the cache")
    build.add_argument("--inputs", metavar="DIR", help="a cache of inputs: copied from elsewhere, or to be archived")
    build.add_argument("--platform", choices=["all"], default="all", help="one image serves every platform")
    _named(build)
    build.add_argument("--json", action="store_true", help="one JSON document on stdout")
    build.set_defaults(run=_build)
    again = commands.add_parser("reproduce", help="build it again from its inputs and compare; 1 if they differ")
    again.add_argument("image", metavar="DIGEST|FOLDER", nargs="?", default="", help="the last one built")
    again.add_argument("--inputs", metavar="DIR", help="a cache of inputs, in place of the user's")
    _named(again)
    again.add_argument("--json", action="store_true", help="one JSON document on stdout")
    again.set_defaults(run=_reproduce)


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nitro-kernel", metavar="FILE", help="bzImage for the Nitro enclave image, not Debian's")
    parser.add_argument("--nitro-module", metavar="FILE", action="append", default=[], help="a module of it: nsm.ko")


def _kernel(options: argparse.Namespace) -> tuple[Path | None, list[Path]]:
    """What was named for the enclave image: the kernel, its modules."""
    return Path(options.nitro_kernel) if options.nitro_kernel else None, [Path(name) for name in options.nitro_module]


def run(options: argparse.Namespace) -> int:
    """Runs the subcommand."""
    code: int = options.run(options)
    return code


def _build(options: argparse.Namespace) -> int:
    from fastness.image import store
    from fastness.image.build import build

    output, inputs = (Path(name) if name else None for name in (options.output, options.inputs))
    kernel, modules = _kernel(options)
    image = build(say, debug=options.debug, output=output, inputs=inputs, kernel=kernel, modules=modules)
    if not image.nitro_kernel:
        say(f"{store.EIF} has {store.DEBIAN}; {store.ANOTHER}")
    if options.json:
        emit({**image.manifest, "digest": image.digest, "folder": str(image.folder)})
        return 0
    _report(image)
    print(image.digest)
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from fastness.errors import UsageError
    from fastness.image import reproduce, store
    from fastness.image.cache import Cache

    cache = Cache(Path(options.inputs)) if options.inputs else None
    try:
        image = store.load(options.image)
    except UsageError:
        if not store.absent(options.image):
            raise
        return _promised(options, cache)
    manifest, artefacts = reproduce.again(image.manifest, cache, say)
    found = reproduce.compare(image, manifest, artefacts)
    if image.manifest["fastness"] != manifest["fastness"]:
        say(f"built by Fastness {image.manifest['fastness']}, again by {manifest['fastness']}")
    difference = asdict(found) if found else None
    return _answer(options, image.digest, store.digest(manifest), difference, str(found) if found else "")


def _promised(options: argparse.Namespace, cache: Cache | None) -> int:
    from fastness.image import reproduce

    say("no image of that name is here: building the one of this version")
    have = reproduce.promised(options.image, cache, say, *_kernel(options))
    words = (
        ""
        if options.image in have.values()
        else f"this version builds {have['release']}, for debugging {have['debug']}"
    )
    again = options.image if not words else have["release"]
    return _answer(options, options.image, again, {"what": words} if words else None, words)


def _answer(options: argparse.Namespace, digest: str, again: str, difference: dict[str, Any] | None, words: str) -> int:
    if options.json:
        emit({"schema": "fastness/reproduced/v1", "image": digest, "again": again, "difference": difference})
    elif difference is None:
        print(f"same: {digest}")
    else:
        print(f"differs: {words}")
    return int(difference is not None)


def _report(image: Image) -> None:
    """Where the bytes are: the artefacts, and what weighs most in the root, before compression."""
    sizes = {row["name"]: row["size"] for row in image.manifest["artefacts"]}
    weights: dict[str, int] = {}
    for row in image.manifest["root"]:
        weights[row["origin"]] = weights.get(row["origin"], 0) + row.get("size", 0)
    say(f"image {image.digest[:16]} in {image.folder}")
    for name, size in sizes.items():
        say(f"  {size / MEGABYTE:>8.2f} MB  {name}")
    say(f"  {_boots(sizes) / MEGABYTE:>8.2f} MB  kernel and root together")
    say(f"root, {image.manifest['root_bytes'] / MEGABYTE:.2f} MB unpacked:")
    for origin, size in sorted(weights.items(), key=lambda item: -item[1]):
        say(f"  {size / MEGABYTE:>8.2f} MB  {origin}")


def _boots(sizes: dict[str, Any]) -> int:
    from fastness.image import store

    return int(sizes[store.KERNEL] + sizes[store.INITRD])
