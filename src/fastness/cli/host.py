"""``fastness host``: the untrusted side."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING

from fastness.cli.words import emit, say
from fastness.errors import RemoteError, UsageError

if TYPE_CHECKING:
    from fastness.host.inventory import Inventory

DEFAULT_LISTEN = "127.0.0.1:7300"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the commands of ``host``."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", help="launch keeps and carry bytes", description="launch keeps and carry bytes"
    )
    serve.add_argument("--listen", metavar="ADDR", default=DEFAULT_LISTEN, help=f"NAME:PORT (default {DEFAULT_LISTEN})")
    serve.add_argument("--platform", metavar="NAME", default="nil", help="what keeps run on (default nil: SIMULATED)")
    serve.add_argument(
        "--image", metavar="IMAGE", default="", help="keep image: folder or digest (default: last built)"
    )
    serve.add_argument("--memory", metavar="MIB", type=int, default=512, help="of a keep's machine (default 512)")
    serve.add_argument("--vcpus", metavar="N", type=int, default=1, help="of a keep's machine (default 1)")
    serve.add_argument("--firmware", metavar="FILE", default="", help="OVMF of a keep's machine")
    serve.add_argument("--boot", choices=("direct", "uki"), default="direct", help="how its image is started")
    serve.add_argument(
        "--accelerator", choices=("auto", "kvm", "tcg"), default="auto", help="auto: KVM where it runs a guest"
    )
    serve.add_argument("--channel", choices=("serial", "vsock"), default="serial", help="how its machine is reached")
    guard = serve.add_argument_group("confidential machines", "what does not belong to the platform is refused")
    for option, metavar, text in GUARD:
        kind = _number if option == "--policy" else str
        guard.add_argument(option, metavar=metavar, type=kind, default=None if option == "--policy" else "", help=text)
    serve.add_argument("--max-keeps", metavar="N", type=int, default=8, help="how many may run at once (default 8)")
    serve.add_argument("--spare", metavar="N", type=int, default=1, help="how many to keep ready (default 1)")
    serve.add_argument("--boot-timeout", metavar="S", type=float, default=60, help="seconds a keep has to start")
    serve.add_argument("--grace", metavar="S", type=float, default=2, help="seconds a keep has to end when asked")
    roots = commands.add_parser(
        "anchors", help="the local root of a platform", description="the local root of a platform"
    )
    roots.add_argument("--platform", metavar="NAME", default="nil", help="the platform (default nil)")
    roots.add_argument("--json", action="store_true", help="one JSON document on stdout")


GUARD = (
    ("--cpu", "MODEL", "QEMU's model of the processor, which snp and sev measure"),
    ("--policy", "N", "guest policy of snp or sev, for example 0x30000"),
    ("--host-data", "HEX", "32 bytes that every snp report shows"),
    ("--id-block", "FILE", "what the owner of an snp guest signed, 96 bytes"),
    ("--id-auth", "FILE", "and with which keys, 4096 bytes"),
    ("--mrconfigid", "HEX", "48 bytes that every tdx quote shows"),
    ("--mrowner", "HEX", "48 bytes that every tdx quote shows"),
    ("--mrownerconfig", "HEX", "48 bytes that every tdx quote shows"),
    ("--quote-socket", "ADDR", "where tdx quotes are made: vsock:CID:PORT or unix:PATH (vsock:2:4050)"),
    ("--chain", "FILE", "certificates of this sev platform, as `sevctl export --full` writes them"),
)


def _number(text: str) -> int:
    return int(text, 0)


def run(options: argparse.Namespace) -> int:
    """Runs one command of ``host``."""
    return _anchors(options) if options.command == "anchors" else _serve(options)


def _anchors(options: argparse.Namespace) -> int:
    from fastness.host.launch import load
    from fastness.pki import keys
    from fastness.wire import pem, x509

    found = load(options.platform).anchors()
    simulated = options.platform == "nil"
    if options.json:
        named = [
            x509.certificate(r.der).key if r.label == "CERTIFICATE" else x509.parse_public_key(r.der) for r in found
        ]
        rows = [{"spki": keys.fingerprint(key), "der": root.der.hex()} for key, root in zip(named, found, strict=True)]
        emit({"schema": "fastness/anchors/v1", "platform": options.platform, "simulated": simulated, "anchors": rows})
        return 0
    say(
        VOUCHES.get(
            options.platform, f"the evidence of {options.platform!r} leads to its vendor's roots: nothing to name"
        )
    )
    for root in found:
        sys.stdout.write(pem.armour(root.label, (root.der,)).decode())
    return 0


VOUCHES = {
    "nil": "SIMULATED: the local root of 'nil' on this machine; it vouches for nothing but the flow",
    "vm": "the authority of this host's own TPMs: a root of trust for nobody but the owner of this host",
}


def _address(text: str) -> tuple[str, int]:
    name, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"not an address: {text!r}", hint="--listen NAME:PORT, for example 127.0.0.1:7300")
    return name.strip("[]") or "127.0.0.1", int(port)


def _listen(text: str) -> socket.socket:
    name, port = _address(text)
    try:
        family, kind, proto, _, place = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        raise RemoteError(
            f"cannot listen on {text}: {error.strerror or error}", hint="choose another --listen"
        ) from None
    listening.setblocking(False)
    return listening


def _settings(options: argparse.Namespace) -> object:
    """What an operator chose of a keep's machine; nothing where a keep is a process."""
    if options.platform == "nil":
        return None
    from fastness.host.launch.guard import Guard
    from fastness.host.launch.qemu import Settings

    guard = Guard(**{name: getattr(options, name) for name in (row[0][2:].replace("-", "_") for row in GUARD)})
    return Settings(
        options.image, options.memory, options.vcpus, options.firmware, options.boot, options.accelerator,
        options.channel, guard,
    ).checked()  # fmt: skip


def _note(options: argparse.Namespace) -> None:
    """Says of an enclave's kernel what ``fastness platforms`` says."""
    from fastness.host.launch.qemu import Settings
    from fastness.host.survey import enclave

    for need in enclave(Settings(options.image)):
        if need.remedy:
            say(f"note: {need.name}: {need.seen}; {need.remedy}")


def _serve(options: argparse.Namespace) -> int:
    from fastness.host.inventory import Inventory
    from fastness.host.launch import Telling, load

    if options.max_keeps < 1 or options.spare < 0:
        raise UsageError("--max-keeps must be at least 1, --spare at least 0")
    launcher = load(options.platform, _settings(options))
    if isinstance(launcher, Telling):
        launcher.tell = say
    launcher.check()  # refused here and now, not at the first tenant's launch
    listening = _listen(options.listen)
    inventory = Inventory(
        launcher,
        limit=options.max_keeps,
        spare=options.spare,
        boot_timeout=options.boot_timeout,
        grace=options.grace,
    )
    name, port = listening.getsockname()[:2]
    if options.platform == "nil":
        say("SIMULATED: platform nil protects nothing from this machine")
    if options.platform == "vm":
        say("platform vm measures what it runs, and protects it from nobody who owns this machine")
    if options.platform == "nitro":
        _note(options)
    if name not in ("127.0.0.1", "::1"):
        say(f"warning: whoever reaches {name}:{port} can launch and end keeps (never read them)")
    asyncio.run(_until_told(inventory, listening))
    return 0


async def _until_told(inventory: Inventory, listening: socket.socket) -> None:
    from fastness.host.server import Server

    task = asyncio.ensure_future(Server(inventory, listening).serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    name, port = listening.getsockname()[:2]
    shown = f"[{name}]" if ":" in name else name
    say(f"listening on http://{shown}:{port}")
    try:
        await task
    except asyncio.CancelledError:
        say("every keep has ended")
