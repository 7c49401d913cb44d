"""``fastness image measure``: what the hardware will report for an image, as reference values ready to be signed."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.cli.words import emit, say
from fastness.errors import FastnessError, UsageError

if TYPE_CHECKING:
    from fastness.appraise.reference import Statement
    from fastness.image.measure import Machine, Parts, Row
    from fastness.image.store import Image

MODULES = {"vm": "tpm"}
"""Platform → module of :mod:`fastness.image.measure`, where they differ."""

MAX_FILE = 64 << 20


def configure(parser: argparse.ArgumentParser) -> None:
    """The options."""
    from fastness.image.measure import PLATFORMS

    parser.add_argument("image", nargs="?", default="", metavar="IMAGE", help="folder or digest (default: last built)")
    parser.add_argument(
        "--platform",
        action="append",
        choices=(*PLATFORMS, "all"),
        help="this one; again for more (default: all, as far as they can be told)",
    )
    parser.add_argument("--firmware", metavar="FILE", help="the firmware the machine starts: OVMF for snp, sev, tdx")
    parser.add_argument("--vcpus", metavar="N", type=int, action="append", help="processors; again for more (1)")
    parser.add_argument("--cpu", metavar="TYPE", default="", help="QEMU's processor model: EPYC-v4 … (snp, sev)")
    parser.add_argument("--memory", metavar="MIB", type=int, default=512, help="memory of the guest (512)")
    parser.add_argument(
        "--qemu",
        metavar="VERSION",
        default="10.0",
        help="QEMU's version; before 10.0 the kernel is told as it fills it in",
    )
    parser.add_argument("--enclave", metavar="FILE", help="the SIGSTRUCT or SGXS stream of the keep's enclave (sgx)")
    parser.add_argument("--name", default="keep-images", help="what policies call the set (keep-images: @keep-images)")
    parser.add_argument("--expires", metavar="TIME", help="until when it may be used")
    parser.add_argument("--sign", metavar="KEY", help="sign it with this private key (PEM): a DSSE envelope is written")
    parser.add_argument("--output", "-o", metavar="FILE", default="-", help="where to write it (stdout)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def measure(options: argparse.Namespace) -> int:
    """Measures one image for every platform asked for."""
    if options.sign and options.json and options.output == "-":
        raise UsageError("--json and the signed statement cannot both be on stdout", hint="-o FILE")
    from fastness.appraise import reference
    from fastness.image import store
    from fastness.image.measure import PLATFORMS, statement

    image = store.load(options.image)
    parts, machines = _parts(image, options), _machines(options)
    rows: list[Row] = []
    untold: list[dict[str, str]] = []
    named = () if "all" in (options.platform or ("all",)) else options.platform
    for platform in named or PLATFORMS:
        try:
            rows += _rows(platform, image, parts, machines)
        except FastnessError as error:
            if named:
                raise
            say(f"{platform}: not told: {error.what}" + (f" ({error.hint})" if error.hint else ""))
            untold.append({"platform": platform, "reason": error.what, "hint": error.hint})
    if image.debug:
        say("this is a debug image: its values have no place in a policy that protects anything")
    now, expires = datetime.now(UTC), _time(options.expires)
    found = statement.make(rows, name=options.name, image=image.digest, issued=now, expires=expires)
    text = _signed_text(found, options.sign) if options.sign else reference.dump_toml(found)
    if options.output != "-":
        _write(Path(options.output), text)
    if options.json:
        emit(statement.document(found) | {"untold": untold})
    elif options.output == "-":
        print(text, end="")
    return 0


def _signed_text(found: Statement, key: str) -> str:
    from fastness.appraise import statements
    from fastness.pki import signer

    return statements.sign(found, signer.read(_read(Path(key)), key)).decode("ascii")


def _rows(platform: str, image: Image, parts: Parts, machines: tuple[Machine, ...]) -> list[Row]:
    module = import_module(f"fastness.image.measure.{MODULES.get(platform, platform)}")
    if platform == "sgx" and not parts.enclave:
        parts = _enclave(image, parts, machines[0].memory)
    return [row for machine in machines for row in module.rows(parts, machine)]


def _enclave(image: Image, parts: Parts, memory: int) -> Parts:
    """The parts with the enclave that Gramine's tool makes here of the image's files."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from fastness.image import gramine

    text = gramine.manifest(gramine.trusted(image.manifest["root"]), enclave=gramine.enclave(memory, debug=image.debug))
    with TemporaryDirectory() as folder:
        return replace(parts, enclave=gramine.sign(Path(folder), text))


def _parts(image: Image, options: argparse.Namespace) -> Parts:
    from fastness.image.measure import Parts

    return Parts(
        _read(image.kernel),
        _read(image.initrd),
        image.cmdline,
        _read(image.uki),
        _read(image.eif),
        image.nitro_parts,
        _read(Path(options.enclave)) if options.enclave else b"",
    )


def _machines(options: argparse.Namespace) -> tuple[Machine, ...]:
    from fastness.image.measure import Machine

    version = options.qemu.split(".")
    if not all(part.isdecimal() for part in version) or not 2 <= len(version) <= 3:
        raise UsageError(f"{options.qemu!r} is no version of QEMU", where="--qemu", hint="--qemu 10.0")
    firmware = _read(Path(options.firmware)) if options.firmware else b""
    qemu = (int(version[0]), int(version[1]))
    return tuple(Machine(firmware, count, options.cpu, options.memory, qemu) for count in options.vcpus or [1])


def _time(text: str | None) -> datetime | None:
    from fastness.cli.values import when

    try:
        return when(text)
    except UsageError as error:
        raise UsageError(error.what, where="--expires", hint=error.hint) from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE:
            raise UsageError(f"more than {MAX_FILE} bytes", where=str(path))
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from None
