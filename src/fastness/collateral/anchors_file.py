"""Anchors a person names: ``nil`` for this machine's software root, or files of certificates and public keys.

``FILE`` may hold PEM, DER, JSON web keys, a COSE_Key, a trust anchor store of ccatoken (each key for one instance), or
hexadecimal or base64 of these; ``TEE:FILE`` limits what is in it to one TEE (``cca:iak.pem``). The record of a SEV
launch (``fastness/sev-launch/v1``) holds keys that the tenant shares with the platform's firmware alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fastness import folders
from fastness import tee as tees
from fastness.errors import MalformedEvidence, UsageError
from fastness.pki import anchors
from fastness.pki.anchors import Anchors
from fastness.wire import pem, x509

if TYPE_CHECKING:
    from fastness.collateral import jwk

MAX_FILE = 1 << 20
_FORMS = "PEM, DER, JSON web key, COSE_Key or a trust anchor store of ccatoken"
_LAUNCH = b'"fastness/sev-launch/'


def nil_folder() -> Path:
    """Where this user's software root lies: ``$XDG_DATA_HOME/fastness/nil``."""
    return folders.data() / "nil"


def nil() -> Anchors:
    """This machine's software root, if there is one. SIMULATED."""
    path = nil_folder() / "root.pub"
    if not path.is_file():
        return Anchors()
    return Anchors((anchors.from_key("nil", "software root of this machine", _key(path), simulated=True),))


def load(names: Iterable[str]) -> Anchors:
    """Every anchor in ``names``.

    Raises:
        UsageError: a file that cannot be read, or holds neither certificate nor public key.
    """
    found = Anchors()
    for name in names:
        found += nil() if name == "nil" else _file(name)
    return found


def _key(path: Path) -> x509.PublicKey:
    try:
        return x509.parse_public_key(path.read_bytes())
    except (OSError, MalformedEvidence) as error:
        raise UsageError(f"not a public key: {error}", where=str(path)) from None


def _file(name: str) -> Anchors:
    prefix, colon, rest = name.partition(":")
    tee, path = (prefix, Path(rest)) if colon and prefix in tees.NAMES else ("*", Path(name))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        what = f"the anchor file cannot be read: {str(error.strerror).lower()}"
        raise UsageError(what, where=str(path), hint="--anchors FILE, TEE:FILE or nil") from None
    if len(data) > MAX_FILE:
        raise UsageError(f"an anchor file holds at most {MAX_FILE} bytes", where=str(path), hint=_FORMS)
    return _held(tee, path, data if b"-----BEGIN" in data else _plain(data))


def _held(tee: str, path: Path, data: bytes) -> Anchors:
    if data.lstrip()[:1] in (b"{", b"["):
        return _launch(tee, path, data) if _LAUNCH in data else _keys(tee, path, data)
    if _is_cbor(data):
        return _keys(tee, path, data)
    blocks = pem.unarmour(data) if b"-----BEGIN" in data else [("", data)]
    rows = [row for label, der in blocks for row in (_row(tee, path, label, der),) if row is not None]
    if not rows:
        raise UsageError("no certificate and no public key in the anchor file", where=str(path), hint=_FORMS)
    return Anchors(tuple(rows))


def _plain(data: bytes) -> bytes:
    """``data``, or what it is hexadecimal or base64 of."""
    from fastness.collateral import encodings

    return (encodings.decoded(data) if encodings.is_text(data) else None) or data


def _is_cbor(data: bytes) -> bool:
    """Whether ``data`` starts as an array or a map does (major types 4 and 5); JSON, PEM and DER do not."""
    return bool(data) and data[0] >> 5 in (4, 5)


def _keys(tee: str, path: Path, data: bytes) -> Anchors:
    from fastness.collateral import jwk

    try:
        keys = jwk.of_cose(data) if _is_cbor(data) else jwk.parse(data)
    except MalformedEvidence as error:
        raise UsageError(f"not a JSON web key or COSE_Key: {error.what}", where=str(path), hint=_FORMS) from None
    if tee not in ("*", "cca") and any(item.line for item in keys):
        raise UsageError(f"a trust anchor store of CCA vouches for nothing of {tee}", where=str(path))
    return Anchors(tuple(_named(item, tee, path) for item in keys))


def _named(item: jwk.Named, tee: str, path: Path) -> anchors.Anchor:
    whose = "cca" if item.line else tee
    row = anchors.from_key(whose, item.name or path.name, item.key, simulated=tee == "nil")
    return row._replace(line=item.line)


def _launch(tee: str, path: Path, data: bytes) -> Anchors:
    from fastness.tee.sev import launch

    if tee not in ("*", "sev"):
        raise UsageError(f"the record of a SEV launch vouches for nothing of {tee}", where=str(path))
    try:
        held = launch.record(data)
    except MalformedEvidence as error:
        raise UsageError(f"not the record of a SEV launch: {error.field}", where=str(path)) from None
    return Anchors((anchors.Anchor("sev", f"launch keys in {path.name}", held.pdh.hex(), secret=anchors.Secret(data)),))


def _row(tee: str, path: Path, label: str, der: bytes) -> anchors.Anchor | None:
    simulated = tee == "nil" or label == "FASTNESS SIMULATED ROOT"
    try:
        if label in ("CERTIFICATE", ""):
            return anchors.from_certificate(tee, x509.certificate(der), simulated=simulated)
    except MalformedEvidence:
        if label:
            raise UsageError(
                "the anchor file holds a damaged certificate", where=str(path), hint="get it again"
            ) from None
    if label not in ("PUBLIC KEY", "FASTNESS SIMULATED ROOT", ""):
        return None
    try:
        name = "nil" if label == "FASTNESS SIMULATED ROOT" else tee
        return anchors.from_key(name, path.name, x509.parse_public_key(der), simulated=simulated)
    except MalformedEvidence as error:
        raise UsageError(f"not a certificate or public key: {error.what}", where=str(path), hint=_FORMS) from None
