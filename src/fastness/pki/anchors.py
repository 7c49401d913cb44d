"""Anchors: the roots that may vouch, as data. Pinned by SHA-256 of the root's SubjectPublicKeyInfo, never by name."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, NamedTuple

from fastness.errors import UsageError
from fastness.pki import keys
from fastness.pki.anchors_table import ROWS
from fastness.wire import x509


class Secret(bytes):
    """Bytes that no log, error or result shows."""

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__


NO_SECRET = Secret()


class Anchor(NamedTuple):
    """One root: ``tee`` it may vouch for (``snp`` …), ``name`` for people, ``spki`` SHA-256 in hexadecimal.

    ``key`` is the key itself where evidence carries no root certificate and a bare key is the anchor (CCA, TPM, nil).
    ``secret`` is what its owner shares with the maker of evidence that is signed by no public key (SEV launches).
    ``simulated`` marks roots that protect nothing: the software root of ``nil``, and the vendors of ``forge``.
    """

    tee: str
    name: str
    spki: str
    source: str = ""
    line: str = ""
    simulated: bool = False
    key: x509.PublicKey | None = None
    certificate: x509.Certificate | None = None
    secret: Secret = NO_SECRET

    @property
    def pin(self) -> tuple[object, ...]:
        """All it says, in bytes and words: hashing a parsed certificate would walk the whole of it."""
        tee, name, spki, source, line, simulated, key, certificate, secret = self
        said = (tee, name, spki, source, line, simulated, bytes(secret))
        return (*said, key and key.raw, certificate and certificate.raw)


class Anchors(NamedTuple):
    """A set of anchors. Empty by default: nothing is trusted that was not named."""

    items: tuple[Anchor, ...] = ()

    def of(self, tee: str) -> tuple[Anchor, ...]:
        """The anchors that may vouch for ``tee`` (those named for every TEE, ``*``, included)."""
        return tuple([item for item in self.items if item.tee in (tee, "*")])

    def find(self, tee: str, key: x509.PublicKey) -> Anchor | None:
        """The anchor of ``tee`` that pins ``key``."""
        digest = keys.fingerprint(key)
        for item in self.items:
            if item.spki == digest and item.tee in (tee, "*"):
                return item
        return None

    def pins(self, tee: str) -> Hashable:
        """What the anchors of ``tee`` say: part of the key of whatever they vouched for."""
        held = _pins.get(tee)
        if held is None or held[0] is not self:
            held = _pins[tee] = self, tuple([item.pin for item in self.of(tee)])
        return held[1]

    def __add__(self, other: Anchors) -> Anchors:  # type: ignore[override]  # a union, not a longer tuple
        return Anchors(self.items + other.items)


_pins: dict[str, tuple[Anchors, Hashable]] = {}
"""What was said last for each TEE: the same object, which cannot change, says it again."""


def from_key(tee: str, name: str, key: x509.PublicKey, *, simulated: bool = False) -> Anchor:
    """An anchor for a bare public key."""
    return Anchor(tee, name, keys.fingerprint(key), simulated=simulated, key=key)


def from_certificate(tee: str, certificate: x509.Certificate, *, simulated: bool = False) -> Anchor:
    """An anchor for a root certificate somebody named."""
    digest = keys.fingerprint(certificate.key)
    return Anchor(
        tee, certificate.subject_cn, digest, simulated=simulated, key=certificate.key, certificate=certificate
    )


@cache
def vendor() -> Anchors:
    """The silicon vendors' roots, as ``anchors.toml`` next to this module has them."""
    return Anchors(tuple(_row(row) for row in ROWS))


def _row(row: dict[str, Any]) -> Anchor:
    spki = str(row["spki"])
    if len(spki) != 64 or set(spki) - set("0123456789abcdef"):
        raise UsageError(f"anchor {row.get('name')}: spki must be 64 hexadecimal digits", where="anchors.toml")
    return Anchor(row["tee"], row["name"], spki, row["source"], row.get("line", ""))
