"""Forges from a file and into a folder: what a person writes down, made, with the command that verifies it.

A spec is TOML: ``tee``, and the keys that the words at the head of that TEE's forge list. Bytes are in hexadecimal.
"""

from __future__ import annotations

import base64
import re
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

TEES = ("snp", "sev", "sgx", "tdx", "nitro", "cca", "tpm", "nvgpu")
MAX_SPEC = 1 << 20
_SHARED = {"sgx": "dcap", "tdx": "dcap"}


def words(tee: str) -> str:
    """What the forge of ``tee`` says of its specs."""
    if tee not in TEES:
        raise UsageError(f"no forge of {tee!r}", hint="one of " + ", ".join(TEES))
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
        raise UsageError(f"not TOML: {error}") from None
    tee = str(spec.pop("tee", ""))
    known = set(re.findall(r"``([a-z_]+)``", words(tee)))
    for key in spec:
        if key not in known:
            raise UsageError(f"the forge of {tee} knows no {key!r}", hint=f"python -m fastness.forge --help {tee}")
    module: Any = import_module(f"fastness.forge.{tee}")
    try:
        made: Forged = module.make(spec)
    except FastnessError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        hint = f"python -m fastness.forge --help {tee}"
        raise UsageError(f"a value cannot be used: {type(error).__name__} {error}", hint=hint) from None
    return made


def write(forged: Forged, folder: Path) -> list[str]:
    """Writes ``folder/evidence`` and ``folder/anchors``; the words of the command that verifies it."""
    evidence, roots = folder / "evidence", folder / "anchors"
    for path in (evidence, roots):
        path.mkdir(parents=True, exist_ok=True)
    for name, data in _pieces(forged):
        (evidence / name).write_bytes(data)
    named = []
    for number, anchor in enumerate(forged.anchors.items):
        path = roots / (f"{number}.json" if anchor.secret else f"{number}.pem")
        path.write_bytes(_root(forged, anchor))
        named.append(str(path) if anchor.tee == "*" else f"{anchor.tee}:{path}")
    return ["verify", str(evidence), "--at", f"{forged.at:%Y-%m-%dT%H:%M:%SZ}", "--offline", "--anchors", *named]


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
