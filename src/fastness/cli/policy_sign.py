"""``fastness policy keygen, sign, verify, reference``: who stands behind a policy or a measurement.

Exit codes: 0 done (and signed by enough), 1 not signed by enough, 2 usage, 3 malformed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastness.cli.files import write
from fastness.cli.words import emit, printable, say
from fastness.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from fastness.appraise.owners import Keyring
    from fastness.pki.signer import Signer

SUFFIX = ".dsse.json"
FORMS = ("toml", "dsse", "corim")


def configure(commands: Any) -> None:
    """Adds the commands to ``fastness policy``."""
    keygen = commands.add_parser("keygen", help="a key to sign with, and the lines that make it an owner")
    keygen.add_argument("file", metavar="FILE", help="the private key (0600); never overwritten")
    keygen.add_argument("--kind", choices=("ed25519", "p-256"), default="ed25519")
    keygen.add_argument("--name", metavar="NAME", help="the owner's name (that of the file)")
    sign = commands.add_parser("sign", help="sign a policy in its canonical form, or add a signature to a signed one")
    sign.add_argument("policy", metavar="FILE")
    sign.add_argument("--key", metavar="FILE", required=True, help="a private key: Ed25519 or P-256, PEM")
    sign.add_argument("--output", metavar="FILE", help=f"the envelope (FILE{SUFFIX}, or the signed one itself)")
    verify = commands.add_parser("verify", help="have enough of a policy's owners signed it?")
    verify.add_argument("policy", metavar="FILE")
    verify.add_argument("--owners", metavar="FILE", required=True, help="their keys, and how many it takes")
    verify.add_argument("--at", metavar="TIME", help="the time their signatures must count at (now)")
    verify.add_argument("--json", action="store_true", help="one JSON document on stdout")
    reference = commands.add_parser("reference", help="show, sign and convert reference values")
    reference.add_argument("file", metavar="FILE", help="TOML, signed TOML or CoRIM")
    reference.add_argument("--key", metavar="FILE", help="sign with this private key, and write the result")
    reference.add_argument("--name", metavar="NAME", help="who signs, for CoRIM (the key's fingerprint)")
    reference.add_argument("--to", choices=FORMS, help="write it in this form (with --key: dsse)")
    reference.add_argument("--output", metavar="FILE", help="where to (stdout)")
    reference.add_argument("--auditors", metavar="FILE", help="count the signatures of these keys")
    reference.add_argument("--at", metavar="TIME", help="the time they must count at (now)")
    reference.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(options: argparse.Namespace) -> int:
    """Does it; returns the exit code."""
    commands = {"keygen": _keygen, "sign": _sign, "verify": _verify, "reference": _reference}
    return commands[options.command](options)


def _keygen(options: argparse.Namespace) -> int:
    from fastness.appraise import toml_text
    from fastness.pki import signer

    key = signer.generate(options.kind)
    write(Path(options.file), key.armoured(), 0o600, exclusive=True)
    say(f"the private key is in {options.file}; these lines belong into the owners' file:")
    print(f'[[key]]\nname = {toml_text.text(options.name or Path(options.file).stem)}\nkey = "{_base64(key.public)}"')
    return 0


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def _key(path: str) -> Signer:
    from fastness.appraise import reference
    from fastness.pki import signer

    return signer.read(reference.read(path), path)


def _sign(options: argparse.Namespace) -> int:
    from fastness.appraise import policy, reference, signed, statements
    from fastness.pki import dsse

    key = _key(options.key)
    if options.policy not in policy.PROFILES and dsse.looks_like(data := reference.read(options.policy)):
        # our own signature says that we read it: it must be a policy that parses
        policy.opened(data, options.policy, None, _when(None))
        found, output = statements.add(signed.envelope(data, options.policy), key), options.policy
    else:
        # what is signed here need not be signed already, whatever the environment demands elsewhere
        found, output = signed.sign(policy.load(options.policy, owners=""), key), options.policy + SUFFIX
    place = Path(options.output or output)
    write(place, found.unparse(), 0o644)
    say(f"{place}: {len(found.signatures)} signatures, the last by {key.keyid}")
    return 0


def _ring(path: str) -> Keyring:
    from fastness.appraise import owners, reference

    return owners.parse(reference.read(path), path)


def _when(text: str | None) -> datetime:
    from datetime import UTC, datetime

    from fastness.cli.values import when

    return when(text) or datetime.now(UTC)


def _verify(options: argparse.Namespace) -> int:
    from fastness.appraise import policy, reference, signed

    data = reference.read(options.policy)
    counted = signed.count(signed.envelope(data, options.policy), _ring(options.owners), _when(options.at))
    chosen = policy.opened(data, options.policy, None, _when(options.at))
    if options.json:
        named = {"name": chosen.name, "sha256": chosen.digest}
        emit({"schema": "fastness/policy-verify/v1", "policy": named, **_counted(counted)})
    else:
        print(printable(f"{'enough' if counted.enough else 'NOT ENOUGH'}: {counted}"))
        say(f"policy {chosen.name}, sha-256 {chosen.digest}")
    return int(not counted.enough)


def _counted(counted: Any) -> dict[str, Any]:
    names = ("enough", "needed", "signed", "void", "missing", "withdrawn")
    return {name: list(value) if isinstance(value := getattr(counted, name), tuple) else value for name in names}


def _reference(options: argparse.Namespace) -> int:
    from fastness.appraise import owners, reference, statements

    ring = _ring(options.auditors) if options.auditors else None
    data = reference.read(options.file)
    source = statements.read(data, options.file, ring)
    if options.key or options.to:
        _put(options, _converted(options, data, source.statement))
        return 0
    counted = owners.count(ring, source.payload, source.signed, _when(options.at)) if ring else None
    if options.json:
        document = {"schema": "fastness/reference/v1", "form": source.form, "statement": _tree(source.statement)}
        emit(document | ({"signatures": _counted(counted)} if counted else {}))
    else:
        print(printable(reference.dump_toml(source.statement)), end="")
        if counted:
            say(f"{'enough' if counted.enough else 'NOT ENOUGH'}: {counted}")
    return int(counted is not None and not counted.enough)


def _converted(options: argparse.Namespace, data: bytes, statement: Any) -> bytes:
    from fastness.appraise import corim, reference, statements
    from fastness.pki import dsse

    key = _key(options.key) if options.key else None
    form = options.to or "dsse"
    if form == "corim":
        return corim.sign(statement, key, options.name or key.keyid) if key else corim.dump(statement)
    if form == "dsse":
        if key is None:
            raise UsageError("an envelope has a signature", where="--to dsse", hint="--key FILE")
        if dsse.looks_like(data):
            return statements.add(dsse.parse(data, options.file), key).unparse()
        return statements.sign(statement, key)
    if key is not None:
        raise UsageError("plain TOML holds no signature", where="--to toml", hint="--to dsse, or corim")
    return reference.dump_toml(statement).encode()


def _put(options: argparse.Namespace, data: bytes) -> None:
    import sys

    if options.output:
        write(Path(options.output), data, 0o644)
    else:
        sys.stdout.buffer.write(data)


def _tree(statement: Any) -> dict[str, Any]:
    from fastness.wire.der import zulu

    times = {"issued": zulu(statement.issued), "expires": zulu(statement.expires) if statement.expires else None}
    rows = [
        {
            "tee": row.tee,
            "note": row.note,
            "measurements": {name: list(row.measurements[name]) for name in row.measurements},
        }
        for row in statement.rows
    ]
    return {"name": statement.name, "image": statement.image, **times, "values": rows}
