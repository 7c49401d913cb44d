"""``fastness evidence``: show evidence field by field, or collect this machine's own.

``show`` verifies nothing and says so at its head: what it prints is what the bytes say, not what is true.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness.errors import FastnessError, KeepFailed, MalformedEvidence, UsageError
from fastness.wire.der import zulu

if TYPE_CHECKING:
    import argparse

    from fastness.collateral.gather import Gathered
    from fastness.collateral.heap import Found
    from fastness.devices import Quote

HEADING = "NOT VERIFIED: what the bytes say, not what is true"
SCHEMA, COLLECTED = "fastness/evidence/v1", "fastness/collected/v1"


def configure(parser: argparse.ArgumentParser) -> None:
    """The options."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="show|collect|ear|ear-key")
    show = commands.add_parser("show", help="every field: offset, size, meaning, bytes")
    show.add_argument("paths", metavar="PATH", nargs="+", help="files and folders; - for stdin")
    show.add_argument("--json", action="store_true", help="one JSON document on stdout")
    collect = commands.add_parser("collect", help="this machine's own evidence")
    collect.add_argument("--report-data", metavar="HEX", default="", help="up to 64 bytes to put into it")
    collect.add_argument(
        "--device", metavar="NAME", help="tsm, sev_guest, nsm, gramine, sev_secret or tpm (default: what is here)"
    )
    collect.add_argument("--root", metavar="FOLDER", default="/", help="where the file system starts")
    collect.add_argument(
        "--output", metavar="FOLDER", help="write the files here; without it one JSON bundle on stdout"
    )
    collect.add_argument("--json", action="store_true", help="the bundle on stdout, even with --output")
    from fastness.cli import ear

    ear.configure(commands)


def run(options: argparse.Namespace) -> int:
    """Shows, collects, or reads a result."""
    if options.action.startswith("ear"):
        from fastness.cli import ear

        return ear.run(options)
    return _show(options) if options.action == "show" else _collect(options)


def _show(options: argparse.Namespace) -> int:
    from fastness.collateral.gather import absent, gather

    gathered = gather(options.paths)
    if not gathered.evidence and not any(gathered.collateral):
        _left(gathered)
        error = gathered.problem or absent(gathered)
        if isinstance(error, MalformedEvidence):
            error.hint = "it may be cut short, or of a form that is not read: docs/verify.md lists those that are"
        raise error
    items = [(found, *_decoded(found)) for found in gathered.evidence]
    if options.json:
        _emit(gathered, items)
    else:
        _print(gathered, items)
    return max((error.exit_code for _, _, error in items if error is not None), default=0)


def _decoded(found: Found) -> tuple[list[tuple[str, int, int, str]], FastnessError | None]:
    from fastness import tee as tees

    try:
        module = tees.load(found.tee)
        return module.show(module.parse(found.data)), None
    except MalformedEvidence as error:
        return [], error


def _emit(gathered: Gathered, items: list[Any]) -> None:
    from fastness.cli.words import emit
    from fastness.result import error_json

    emit(
        {
            "schema": SCHEMA,
            "verified": False,
            "evidence": [
                {
                    "tee": found.tee,
                    "source": found.source,
                    "size": len(found.data),
                    "fields": [
                        {"name": name, "offset": offset, "size": size, "meaning": meaning,
                         "hex": found.data[offset : offset + size].hex()}
                        for name, offset, size, meaning in rows
                    ],
                    "error": None if error is None else error_json(error),
                }
                for found, rows, error in items
            ],
            "collateral": _rows(gathered),
            "ignored": [{"source": item.source, "why": item.why} for item in gathered.ignored],
        }
    )  # fmt: skip


def _rows(gathered: Gathered) -> list[dict[str, str]]:
    collateral = gathered.collateral
    rows = [
        {"kind": "certificate", "what": item.subject_cn, "issuer": item.issuer_cn,
         "valid_until": zulu(item.not_after)}
        for item in collateral.certificates
    ]  # fmt: skip
    rows += [
        {"kind": "crl", "what": f"{len(item.revoked)} revoked", "issuer": item.issuer_cn,
         "valid_until": zulu(item.next_update) if item.next_update else ""}
        for item in collateral.crls
    ]  # fmt: skip
    return rows + [
        {"kind": item.kind, "what": f"{len(item.data)} bytes", "issuer": ""} for item in collateral.documents
    ]


def _print(gathered: Gathered, items: list[Any]) -> None:
    from fastness.cli.words import paint, printable, tell
    from fastness.wire.hexdump import dump

    print(paint(HEADING, "yellow", sys.stdout))
    for found, rows, error in items:
        print(f"\n{found.tee} evidence, {len(found.data)} bytes, from {printable(found.source)}")
        if error is not None:
            tell(error)
        for name, offset, size, meaning in rows:
            print(f"\n{name}  at 0x{offset:04x}, {size} bytes  {printable(meaning)}")
            data = found.data[offset : offset + size]
            for line in dump(data[:512], offset):
                print(f"  {line}")
            if len(data) > 512:
                print(f"  … {len(data) - 512} more bytes")
        if error is not None:
            print("\n".join(f"  {line}" for line in dump(found.data[:1024])))
    for row in _rows(gathered):
        print(f"\n{row['kind']}  {printable(row['what'])}  {printable(row['issuer'])}  {row.get('valid_until', '')}")
    _left(gathered)


def _left(gathered: Gathered) -> None:
    from fastness.cli.words import paint, printable

    for item in gathered.ignored:
        print(f"{paint('ignored', 'dim')} {printable(item.source)}: {printable(item.why)}", file=sys.stderr)


def _collect(options: argparse.Namespace) -> int:
    from fastness import devices

    try:
        wanted = bytes.fromhex(options.report_data.removeprefix("0x"))
    except ValueError:
        hint = "--report-data 5f3a…, up to 64 bytes"
        raise UsageError("report_data is written in hexadecimal", where="--report-data", hint=hint) from None
    root = Path(options.root)
    if not root.is_dir():
        raise UsageError("no such folder", where="--root", hint="where the file system to look in starts: /")
    try:
        quote = devices.collect(wanted, options.device, root)
    except KeepFailed as error:
        error.hint = error.hint or "is it there, and open to you? without --device the first that is there is asked"
        raise
    if options.output:
        _write(quote, Path(options.output))
    if options.json or not options.output:
        _bundle(quote)
    return 0


def _files(quote: Quote) -> list[tuple[str, bytes]]:
    first = "quote" if quote.tee == "tpm" else quote.tee
    return [(first, quote.evidence), *quote.endorsements]


def _write(quote: Quote, folder: Path) -> None:
    from fastness.cli import files

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = str(error.strerror).lower()
        raise UsageError(f"cannot be written: {reason}", where=os.fspath(folder), hint="--output FOLDER") from None
    for name, data in _files(quote):
        files.write(folder / f"{name}.bin", data, 0o644)
    print(f"{quote.tee} evidence is in {folder}", file=sys.stderr)


def _bundle(quote: Quote) -> None:
    import base64
    from datetime import UTC, datetime

    from fastness.cli.words import emit
    from fastness.collateral.json_forms import BUNDLE

    items = [
        {"kind": name, "source": "this machine", "data": base64.b64encode(data).decode()}
        for name, data in _files(quote)
    ]
    emit({"schema": BUNDLE, "at": zulu(datetime.now(UTC)), "items": items})
