"""``fastness image``: build the keep image, build it again and compare."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, say

if TYPE_CHECKING:
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
    build.add_argument("--json", action="store_true", help="one JSON document on stdout")
    build.set_defaults(run=_build)


def run(options: argparse.Namespace) -> int:
    """Runs the subcommand."""
    code: int = options.run(options)
    return code


def _build(options: argparse.Namespace) -> int:
    from fastness.image.build import build

    output, inputs = (Path(name) if name else None for name in (options.output, options.inputs))
    image = build(say, debug=options.debug, output=output, inputs=inputs)
    if options.json:
        emit({**image.manifest, "digest": image.digest, "folder": str(image.folder)})
        return 0
    _report(image)
    print(image.digest)
    return 0


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
