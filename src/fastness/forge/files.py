"""Forges from a file and into a folder: what a person writes down, made, with the command that verifies it.

A spec is TOML: ``tee``, and the keys that the words at the head of that TEE's forge list. Bytes are in hexadecimal.
"""

from __future__ import annotations

import base64
import contextlib
import re
import struct
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from fastness import tee as tees
from fastness.errors import FastnessError, UsageError
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchor
from fastness.pki.keys import fingerprint
from fastness.wire import pem, x509
from fastness.wire.der import zulu

TEES = ("snp", "sev", "sgx", "tdx", "nitro", "cca", "tpm", "nvgpu")
MAX_SPEC = 1 << 20
_SHARED = {"sgx": "dcap", "tdx": "dcap"}
_UNUSABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error)
_FREE = ("fields", "platform", "policy", "realm")
"""Tables of what a format has names for: its forge refuses those it has no use for."""


def words(tee: str) -> str:
    """What the forge of ``tee`` says of its specs."""
    if tee not in TEES:
        raise UsageError(f"no forge of {tee!r}", where="tee", hint="one of " + ", ".join(TEES))
    names = [tee, *([_SHARED[tee]] if tee in _SHARED else [])]
    return "\n".join(import_module(f"fastness.forge.{name}").__doc__ or "" for name in names)


def read(text: str) -> Forged:
    """Evidence as ``text`` asks for it.

    Raises:
        UsageError: no TOML, a TEE without a forge, a key its forge does not know, a value it cannot use.
    """
    try:
        spec = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers without end, nesting without end
        hint = 'tee = "snp", and what it shall say: python -m fastness.forge --help snp'
        raise UsageError(f"not TOML: {error}", hint=hint) from None
    tee = str(spec.pop("tee", ""))
    known = set(re.findall(r"``([a-z_]+)``", words(tee)))
    hint = f"python -m fastness.forge --help {tee}"
    for place, key in _named(spec):
        if key not in known:
            raise UsageError(f"the forge of {tee} knows no {key!r}", where=place, hint=hint)
    module: Any = import_module(f"fastness.forge.{tee}")
    try:
        made: Forged = module.make(spec)
    except FastnessError:
        raise
    except _UNUSABLE as error:
        what = f"a value cannot be used: {type(error).__name__} {error}"
        raise UsageError(what, where=_culprit(module, spec), hint=hint) from None
    return made


def _culprit(module: Any, spec: Mapping[str, Any]) -> str:
    """The key without which evidence can be made; empty if it is not one alone."""
    for key in spec:
        with contextlib.suppress(FastnessError, *_UNUSABLE):
            module.make({name: value for name, value in spec.items() if name != key})
            return key
    return ""


def _named(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where each key of ``spec`` stands, and the key; of its tables those that are words, not numbers of registers."""
    for key, value in spec.items():
        yield key, key
        if isinstance(value, dict) and key not in _FREE:
            yield from ((f"{key}.{name}", name) for name in value if re.fullmatch("[a-z_]+", name))


def write(forged: Forged, folder: Path) -> list[str]:
    """Writes ``folder/evidence`` and ``folder/anchors``; the words of the command that verifies it.

    Raises:
        UsageError: it cannot be written, and then nothing is; or other files are there, which would be judged with it.
    """
    evidence, roots = folder / "evidence", folder / "anchors"
    made = {evidence / name: data for name, data in _pieces(forged)}
    named = []
    for number, anchor in enumerate(forged.anchors.items):
        path = roots / (f"{number}.json" if anchor.secret else f"{number}.pem")
        made[path] = _root(forged, anchor)
        named.append(str(path) if anchor.tee == "*" else f"{anchor.tee}:{path}")
    _written(made, (evidence, roots))
    return ["verify", str(evidence), "--at", zulu(forged.at), "--offline", "--anchors", *named]


def _written(made: Mapping[Path, bytes], folders: tuple[Path, Path]) -> None:
    begun: list[Path] = []
    try:
        for place in folders:
            place.mkdir(parents=True, exist_ok=True)
            for strange in sorted({*place.iterdir()} - {*made}):
                hint = "name another folder: all that lies in it is judged together"
                raise UsageError("a file of something else is there already", where=str(strange), hint=hint)
        for path, data in made.items():
            begun.append(path)
            path.write_bytes(data)
    except OSError as error:
        for path in begun:
            with contextlib.suppress(OSError):
                path.unlink()
        why, hint = (error.strerror or "").lower(), "name a folder that may be written to"
        raise UsageError(
            f"cannot be written: {why}", where=str(error.filename or folders[0].parent), hint=hint
        ) from None


def _pieces(forged: Forged) -> Iterator[tuple[str, bytes]]:
    yield f"{forged.tee}.bin", forged.evidence
    held = forged.collateral
    if held.certificates:
        yield "certificates.pem", pem.armour("CERTIFICATE", [item.raw for item in held.certificates])
    if held.crls:
        yield "lists.pem", pem.armour("X509 CRL", [item.raw for item in held.crls])
    for number, item in enumerate(held.documents):
        yield f"{number}.{item.kind}", item.data


def _root(forged: Forged, anchor: Anchor) -> bytes:
    if anchor.secret:
        return bytes(anchor.secret)
    if anchor.certificate is not None:
        return pem.armour("CERTIFICATE", [anchor.certificate.raw])
    certificates = [item for item in forged.collateral.certificates if fingerprint(item.key) == anchor.spki]
    if certificates:
        return pem.armour("CERTIFICATE", [certificates[0].raw])
    key = anchor.key or _keys(forged).get(anchor.spki)
    if key is None:
        raise UsageError(f"the root {anchor.name!r} is pinned by a digest alone, and nothing made has its key")
    return pem.armour("PUBLIC KEY", [key.raw])


def _keys(forged: Forged) -> Mapping[str, x509.PublicKey]:
    """Every key that travels with the evidence, by its digest: a pin is of one of them."""
    module = tees.load(forged.tee)
    evidence: Any = module.parse(forged.evidence)
    held = [item.key for item in (forged.collateral + module.enclosed(evidence)).certificates]
    if forged.tee == "sev" and evidence.ark is not None:
        from fastness.tee.sev import endorse

        held.append(endorse.public_key(evidence.ark))
    for item in forged.collateral.of("rim"):
        chain = re.findall(rb"X509Certificate>([^<]+)<", item.data)
        held += [x509.certificate(base64.b64decode(text)).key for text in chain]
    return {fingerprint(key): key for key in held}
