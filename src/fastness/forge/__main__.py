"""``python -m fastness.forge SPEC.toml FOLDER``: forged evidence of any TEE, written out for ``fastness verify``.

The specification is TOML: ``tee = "tdx"``, and beside it the keys that the docstring of ``fastness.forge.<tee>`` lists.
``FOLDER/evidence`` receives the evidence and its collateral, ``FOLDER/anchors`` the fake roots; the command that judges
them is printed. For tests: what is forged is vouched for by nobody but the anchors beside it.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from fastness.errors import FastnessError, UsageError
from fastness.forge.model import Forged
from fastness.pki import keys
from fastness.pki.anchors import Anchor
from fastness.wire import pem, x509

TEES = ("snp", "sev", "sgx", "tdx", "nitro", "cca", "tpm", "nvgpu")


def main(argv: list[str] | None = None) -> int:
    """Forges; 0, or 2 for a specification that cannot be followed."""
    parser = argparse.ArgumentParser(prog="python -m fastness.forge", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("spec", metavar="SPEC.toml", type=Path)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    options = parser.parse_args(argv)
    try:
        forged = forge(options.spec)
        sys.stdout.write(" ".join(["fastness verify", *write(forged, options.folder)]) + "\n")
    except FastnessError as error:
        sys.stderr.write(f"error: {error.what}\n" + (f"  hint {error.hint}\n" if error.hint else ""))
        return 2
    return 0


def forge(path: Path) -> Forged:
    """What the specification in ``path`` says.

    Raises:
        UsageError: it cannot be read, names no TEE, or says what that TEE's forge does not know.
    """
    try:
        spec: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    tee = spec.pop("tee", None)
    if tee not in TEES:
        raise UsageError(f"tee = {tee!r} names no forge", hint="one of " + ", ".join(TEES))
    try:
        made: Forged = import_module(f"fastness.forge.{tee}").make(spec)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the {tee} forge cannot follow this: {error}", hint=f"pydoc fastness.forge.{tee}") from None
    return made


def write(forged: Forged, folder: Path) -> list[str]:
    """Writes everything below ``folder``; the arguments of ``fastness verify``."""
    evidence, anchors = folder / "evidence", folder / "anchors"
    for place in (evidence, anchors):
        place.mkdir(parents=True, exist_ok=True)
    (evidence / "evidence.bin").write_bytes(forged.evidence)
    found = forged.collateral
    if found.certificates:
        text = pem.armour("CERTIFICATE", [item.raw for item in found.certificates])
        (evidence / "certificates.pem").write_bytes(text)
    for index, item in enumerate(found.crls, 1):
        (evidence / f"{index}.crl").write_bytes(item.raw)
    for index, document in enumerate(found.documents, 1):
        (evidence / f"{index}.{document.kind}").write_bytes(document.data)
    words = [str(evidence), "--at", f"{forged.at:%Y-%m-%dT%H:%M:%SZ}", "--offline", "--anchors"]
    for index, anchor in enumerate(forged.anchors.items, 1):
        path = anchors / f"{index}.anchor"
        path.write_bytes(_anchor(anchor, found.certificates))
        words.append(str(path))
    return words


def _anchor(anchor: Anchor, certificates: tuple[x509.Certificate, ...]) -> bytes:
    """What ``--anchors`` reads: the certificate, the key, or (a SEV launch) the tenant's record."""
    if anchor.secret:
        return bytes(anchor.secret)
    pinned = (item for item in certificates if keys.fingerprint(item.key) == anchor.spki)
    root = anchor.certificate or next(pinned, None)
    if root is not None:
        return pem.armour("CERTIFICATE", [root.raw])
    if anchor.key is None:
        raise UsageError(f"the root {anchor.name!r} is known by its pin alone")
    return pem.armour("PUBLIC KEY", [anchor.key.raw])


if __name__ == "__main__":
    sys.exit(main())
