"""EAR on the command line: ``fastness verify … --ear FILE``, ``fastness evidence ear`` and ``ear-key``.

Exit codes of ``evidence ear``: 0 affirming, 1 any other tier, 2 usage, 3 malformed, 4 not genuine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness import folders
from fastness.cli.words import emit, printable, say
from fastness.errors import MalformedEvidence, UsageError
from fastness.wire.der import zulu

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from fastness.pki import jose
    from fastness.result import Result

SCHEMA = "fastness/ear/v1"


def configure(commands: Any) -> None:
    """Adds the commands to ``fastness evidence``."""
    ear = commands.add_parser("ear", help="check the result another verifier signed (EAR, JWT)")
    ear.add_argument("file", metavar="FILE", help="the token; - for stdin")
    ear.add_argument("--key", metavar="FILE", required=True, help="the verifier's public key: JWK, or PEM")
    ear.add_argument("--nonce", metavar="HEX", help="the nonce it must be over")
    ear.add_argument("--max-age", metavar="SECONDS", type=int, help="the oldest it may be (any age)")
    ear.add_argument("--at", metavar="TIME", help="the time to judge at (now)")
    ear.add_argument("--json", action="store_true", help="one JSON document on stdout")
    key = commands.add_parser(
        "ear-key", help="the public JWK of the key that `verify --ear` signs with; made if absent"
    )
    key.add_argument("--key", metavar="FILE", help="of this private key instead")


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code."""
    if options.action == "ear-key":
        emit(dict(signing_key(options.key).public.jwk()))
        return 0
    return _read(options)


def _read(options: argparse.Namespace) -> int:
    import sys
    from dataclasses import asdict
    from datetime import UTC, datetime

    from fastness.appraise import reference
    from fastness.claims import ear
    from fastness.cli.values import hexadecimal, when
    from fastness.pki import jose

    if options.max_age is not None and options.max_age < 0:
        raise UsageError("an age is not negative", where="--max-age", hint="seconds: --max-age 300")
    trusted = jose.public(reference.read(options.key), options.key)
    token = sys.stdin.buffer.read(jose.MAX_TOKEN + 1) if options.file == "-" else reference.read(options.file)
    at = when(options.at) or datetime.now(UTC)
    nonce = hexadecimal("--nonce", options.nonce)
    found = ear.read(token, trusted, at=at, nonce=nonce, max_age=options.max_age)
    if options.json:
        emit({"schema": SCHEMA, **asdict(found), "kid": trusted.kid})
    else:
        issued = datetime.fromtimestamp(found.issued, UTC)
        print(printable(f"{found.status}   by {found.developer} {found.build}, {zulu(issued)}"))
        for name, item in found.submods.items():
            print(printable(f"{name:<10} {item['ear_status']}"))
            for claim, value in item.get("ear_trustworthiness_vector", {}).items():
                print(f"  {claim:<20} {value}")
    return int(found.status != "affirming")


def folder() -> Path:
    """Where the key lies that is made when none is named: ``$XDG_STATE_HOME/fastness``."""
    return folders.state()


def signing_key(path: str | None) -> jose.Private:
    """The key in ``path``, or this user's own: P-256, made on first use, 0600."""
    from fastness.appraise import reference
    from fastness.cli import files
    from fastness.pki import jose, signer

    if path is not None:
        return jose.private(reference.read(path), path)
    place = folder() / "ear-key.pem"
    if not place.is_file():
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            why, hint = (error.strerror or "").lower(), "--ear-key FILE names a key; XDG_STATE_HOME another folder"
            raise UsageError(f"cannot be written: {why}", where=str(place), hint=hint) from None
        files.write(place, signer.generate("p-256").armoured(), 0o600, exclusive=True)
        say(f"a key to sign results with was made: {place}; its public half: fastness evidence ear-key")
    return jose.private(reference.read(str(place)), str(place))


def write(results: Sequence[Result], path: str, key: jose.Private, nonce: bytes | None, profile: str) -> None:
    """Writes the EAR of all ``results``."""
    from fastness import __version__
    from fastness.claims import ear
    from fastness.cli import files

    appraisals = tuple(item for result in results for item in appraised(result))
    fresh = nonce if all(result.genuine for result in results) else None
    token = ear.write(appraisals, key, at=results[0].at, build=__version__, nonce=fresh, profile=profile)
    if path == "-":
        print(token)
    else:
        files.write(Path(path), token.encode(), 0o600)


def appraised(result: Result) -> tuple[Any, ...]:
    """The result as appraisals, one for each attester; never better than what the policy said."""
    from fastness.claims import vector
    from fastness.claims.ear import Appraisal

    policy = result.policy["sha256"] if result.policy else None
    if not result.genuine:
        value = 0
        if result.genuine is False:
            value = vector.UNEXPECTED if isinstance(result.error, MalformedEvidence) else vector.CRYPTO_FAILED
        status = "none" if result.genuine is None else "contraindicated"
        return (Appraisal(result.tee or "unknown", status, vector.every(value), policy),)
    accepted = result.verdict == "accept"
    # without a policy genuine evidence affirms nothing: nobody said that this is what they want
    base = {"accept": "affirming", "refuse": "contraindicated"}.get(result.verdict or "", "none")
    found = []
    for claims in result.layers:
        eight = vector.of(claims, result.findings, accepted=accepted)
        told = [tier for tier in map(vector.tier, eight.values()) if tier != "affirming"]
        found.append(Appraisal(claims.tee, vector.worst([base, *told]), eight, policy))
    return tuple(found)
