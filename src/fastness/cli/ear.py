"""Attestation results for others: ``fastness verify --ear FILE``, and ``fastness evidence ear`` to read one back."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.cli.files import write
from fastness.cli.words import emit, printable, say
from fastness.errors import MalformedEvidence, UsageError

if TYPE_CHECKING:
    from fastness.ear import Token
    from fastness.pki.signer import Signer
    from fastness.result import Result
    from fastness.wire import x509

MAX_FILE = 4 << 20
CODES = {"affirming": 0, "none": 1, "warning": 1, "contraindicated": 1}


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``evidence ear``."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="the token; - for stdin")
    parser.add_argument("--key", metavar="FILE", action="append", default=[], help="public key of who may have made it")
    parser.add_argument("--nonce", metavar="HEX", help="the nonce it must be over")
    parser.add_argument("--at", metavar="TIME", help="the time to judge at (now)")
    parser.add_argument("--public", action="store_true", help="print our own public key, which others name, and end")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Reads a token back: 0 when it affirms, 1 when it does not, 3 malformed, 4 not genuine, 5 out of its time."""
    from fastness import ear
    from fastness.cli.verify import hexadecimal, when
    from fastness.pki import jws

    if options.public:
        emit({"keys": [jws.public_jwk(own())]})
        return 0
    if not options.file or not options.key:
        raise UsageError(
            "name the token, and the key of who may have made it", hint="fastness evidence ear FILE --key JWK"
        )
    token = ear.read(
        _read(options.file).decode("utf-8", "replace"),
        [key for name in options.key for key in public(name)],
        at=when(options.at) or datetime.now(UTC),
        nonce=hexadecimal("--nonce", options.nonce),
        where=options.file,
    )
    if options.json:
        emit({"schema": "fastness/ear/v1", "signer": token.signer, "status": token.status, "ear": token.payload})
    else:
        _show(token)
    return CODES[token.status]


def _show(token: Token) -> None:
    payload = token.payload
    print(f"status     {token.status}")
    print(f"made by    {printable(payload['ear_verifier_id']['build'])}, key {token.signer}")
    print(f"made at    {datetime.fromtimestamp(payload['iat'], UTC):%Y-%m-%dT%H:%M:%SZ}")
    for name, item in payload["submods"].items():
        trust = ", ".join(f"{key} {value}" for key, value in sorted(item.get("ear_trustworthiness_vector", {}).items()))
        print(f"{printable(name):<10} {item['ear_status']}: {printable(trust) or 'no vector'}")


def deliver(results: Sequence[Result], file: str, key: str | None, nonce: bytes | None) -> None:
    """Writes the token for ``results`` to ``file``."""
    from fastness import ear

    signer = own() if key is None else _signer(key)
    token = ear.make(results, signer, at=datetime.now(UTC), nonce=nonce)
    write(Path(file), token.encode() + b"\n", 0o644)
    say(f"the result is in {file}, signed by {signer.keyid}")


def own() -> Signer:
    """This user's key for results, made on first use: ``$XDG_STATE_HOME/fastness/ear.key``, 0600."""
    from fastness.pki import signer

    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    place = Path(base) / "fastness" / "ear.key"
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(place, signer.generate("p-256").armoured(), 0o600)
    return _signer(str(place))


def _signer(path: str) -> Signer:
    from fastness.pki import signer

    return signer.read(_read(path), path)


def public(path: str) -> list[x509.PublicKey]:
    """The public keys in a file: JSON web keys, or PEM."""
    from fastness.collateral import jwk
    from fastness.wire import pem, x509

    data = _read(path)
    try:
        if data.lstrip()[:1] == b"{":
            return [key for _, key in jwk.parse(data)]
        found = [x509.parse_public_key(der) for label, der in pem.unarmour(data) if label == "PUBLIC KEY"]
    except MalformedEvidence as error:
        raise UsageError(f"not a public key: {error.what}", where=path) from None
    if not found:
        raise UsageError("no public key in this file", where=path, hint="a JSON web key, or PEM of PUBLIC KEY")
    return found


def _read(path: str) -> bytes:
    import sys

    try:
        data = sys.stdin.buffer.read(MAX_FILE + 1) if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {(error.strerror or '').lower()}", where=path) from None
    if len(data) > MAX_FILE:
        raise UsageError(f"a token or key has at most {MAX_FILE} bytes", where=path)
    return data
