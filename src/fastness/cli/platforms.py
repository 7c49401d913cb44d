"""``fastness platforms``: what this machine offers to keeps, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fastness.cli.words import emit, paint, printable

if TYPE_CHECKING:
    from fastness.host.survey import Platform


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``platforms``."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Shows every platform; 0 whatever there is."""
    from fastness.host.survey import survey

    found = survey()
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
        if not need.there:
            print(printable(f"         missing {need.name}: {need.seen}; {need.remedy}"))
    for feature in item.features:
        mark = "holds " if feature.available else "lacks "
        more = f"; {feature.remedy}" if feature.remedy else ""
        print(printable(f"         {mark} {feature.name}: {feature.reason}{more}"))
