"""``fastness platforms``: what this machine offers to keeps, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, paint, printable, say

if TYPE_CHECKING:
    from fastness.host.survey import Platform


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``platforms``."""
    from fastness.host.launch import PLATFORMS

    add = parser.add_argument
    add("--json", action="store_true", help="one JSON document on stdout")
    add("--self-test", action="store_true", help="run what can be run here, and write a report to send back")
    add("--report", metavar="FILE", default=REPORT, help=f"where the self-test writes it ({REPORT})")
    add("--platform", choices=PLATFORMS, action="append", help="launch on this one; again for more (every ready one)")
    add("--report-data", metavar="HEX", help="what this machine's own evidence is to hold (fresh bytes)")
    add("--offline", action="store_true", help="do not fetch missing collateral from the vendors")
    add("--image", metavar="IMAGE", default="", help="keep image: folder or digest (default: last built)")
    add("--firmware", metavar="FILE", default="", help="OVMF, or an IGVM file, of a keep's machine")
    add("--cpu", metavar="MODEL", default="", help="QEMU's model of the processor, which snp and sev measure")
    add("--vcpus", metavar="N", type=int, default=1, help="of a keep's machine (default 1)")


REPORT = "fastness-self-test.json"


def run(options: argparse.Namespace) -> int:
    """Shows every platform; 0 whatever there is. The self-test has codes of its own."""
    if options.self_test:
        from fastness.cli import self_test

        return self_test.run(options)
    from fastness.host.launch.qemu import Settings
    from fastness.host.survey import survey

    chosen = Settings(options.image, firmware=options.firmware, vcpus=options.vcpus).checked()
    found = survey(settings=chosen, tell=say)
    if options.json:
        emit({"schema": "fastness/platforms/v1", "platforms": [_row(item) for item in found]})
        return 0
    for item in found:
        _show(item)
    return 0


def _row(item: Platform) -> dict[str, Any]:
    needs = [{"name": n.name, "there": n.there, "seen": n.seen, "remedy": n.remedy} for n in item.needs]
    features = [
        {"name": f.name, "available": f.available, "reason": f.reason, "remedy": f.remedy} for f in item.features
    ]
    return {
        "name": item.name,
        "text": item.text,
        "protects_from_host": item.protects,
        "launcher": item.launcher,
        "ready": item.ready,
        "needs": needs,
        "sandbox": features,
    }


def _show(item: Platform) -> None:
    state, colour = ("ready", "green") if item.ready else ("not here", "yellow")
    guard = "protects from the host" if item.protects else "does NOT protect from the host"
    print(f"{item.name:<6} {paint(f'{state:<9}', colour, sys.stdout)} {item.text}; {guard}")
    if not item.launcher:
        print("         launching it is not part of this version")
    for need in item.needs:
        if not need.there or need.remedy:
            mark = "note   " if need.there else "missing"
            print(printable(f"         {mark} {need.name}: {need.seen}; {need.remedy}"))
    for feature in item.features:
        mark = "holds " if feature.available else "lacks "
        more = f"; {feature.remedy}" if feature.remedy else ""
        print(printable(f"         {mark} {feature.name}: {feature.reason}{more}"))
