"""``fastness tcb``: every component that runs inside a keep."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, printable, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastness.image.bom import Component
    from fastness.image.store import Image


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``tcb``."""
    parser.add_argument(
        "--image",
        metavar="NAME",
        nargs="?",
        const="",
        help="of a built image: a folder, a digest, or the last one built",
    )
    parser.add_argument("--files", action="store_true", help="every file of every component")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document on stdout")
    form.add_argument("--cyclonedx", action="store_true", help="a CycloneDX 1.6 bill of materials on stdout")


def run(options: argparse.Namespace) -> int:
    """Lists the components, and the totals."""
    from fastness.image import bom, store

    image = None if options.image is None else store.load(options.image)
    components = bom.present() if image is None else bom.of_image(image)
    if options.cyclonedx:
        from fastness.image import cyclonedx

        digest, epoch = (image.digest, image.epoch) if image else ("", None)
        emit(cyclonedx.document(components, digest=digest, epoch=epoch))
    elif options.json:
        emit(_document(components, image))
    else:
        _show(components, image, files=options.files)
    return 0


def _document(components: Sequence[Component], image: Image | None) -> dict[str, Any]:
    from dataclasses import asdict

    from fastness.image import bom
    from fastness.workload import tcb

    rows = [{**asdict(item), "bytes": item.size, "lines": item.lines} for item in components]
    identity = {"image": image.digest} if image else {"launch": tcb.launch_digest().hex()}
    return {"schema": "fastness/tcb/v2", **identity, "totals": bom.totals(components), "components": rows}


def _show(components: Sequence[Component], image: Image | None, *, files: bool) -> None:
    from fastness.image import bom
    from fastness.workload import tcb

    print(f"{'bytes':>10} {'lines':>7}  {'made':<7} {'sha-256':<12}  component")
    for item in components:
        made = "here" if item.reproducible else "shipped"
        licence = f"  {item.licence}" if item.licence else ""
        lines = str(item.lines or "-")
        print(
            printable(f"{item.size:>10} {lines:>7}  {made:<7} {item.sha256[:12]}  {item.name} {item.version}{licence}")
        )
        print(printable(f"{'':41}from {item.source}"))
        if item.parts:
            told = "its own bill of materials" if item.parts[0].seen == "sbom" else "its binary: there may be more"
            print(printable(f"{'':41}holds {len(item.parts)} libraries, told by {told}"))
        for file in item.files if files else ():
            print(printable(f"{file.size:>10} {file.lines or '-':>7}  {'':<7} {file.sha256[:12]}    {file.path}"))
    found = bom.totals(components)
    share = 100 * found["bytes_as_shipped"] / max(found["bytes"], 1)
    say(
        f"{found['bytes']} bytes in {found['files']} files of {found['components']} components, "
        f"{found['parts']} libraries in them"
    )
    say(f"{found['own_lines']} lines of our own, {found['python_lines']} of Python in all")
    say(f"made here from source: {100 - share:.1f} % of bytes; taken as shipped, pinned by SHA-256: {share:.1f} %")
    if image is None:
        say("Python and the system below it are this machine's: `fastness tcb --image` lists those of an image")
        say(f"launch measurement of nil: {tcb.launch_digest().hex()}")
    else:
        say(f"image {image.digest}")
