"""Who may sign: the owners of a policy, or the auditors of reference values, as a TOML file.

::

    schema = "fastness/keys/v1"
    threshold = 2                        # how many of them it takes (1)
    [[key]]
    name = "alice"
    key = "<SubjectPublicKeyInfo: PEM, or its base64 alone>"
    expires = 2027-11-23T00:00:00Z       # optional: signatures do not count from then on
    [[key]]
    name = "bob"
    key = "…"
    withdrawn = 2026-11-01T00:00:00Z     # optional: none of its signatures counts from then on, whenever made
    why = "laptop lost"
    [[withdrawn]]                        # what was signed and holds no longer, whoever signed it
    sha256 = "<of the payload>"
    why = "wrong firmware measured"

Keys are Ed25519 or P-256. A key counts once however often it signs, and a name has one key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastness.errors import Malformed, UsageError
from fastness.pki import keys, signer
from fastness.wire import pem, toml, x509
from fastness.wire.der import zulu

SCHEMA = "fastness/keys/v1"
MAX_KEYS = 64
_TOP = ("schema", "threshold", "key", "withdrawn")
_KEY = ("name", "key", "expires", "withdrawn", "why")
_WITHDRAWN = ("sha256", "why")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Holder:
    """One key and whose it is. ``until`` is when it stops to count, by expiry or withdrawal; ``why`` says which."""

    name: str
    public: x509.PublicKey
    until: datetime | None
    why: str

    @property
    def keyid(self) -> str:
        """SHA-256 over the SubjectPublicKeyInfo, in hexadecimal."""
        return keys.fingerprint(self.public)

    def counts(self, at: datetime) -> bool:
        """Whether its signatures do at ``at``."""
        return self.until is None or at < self.until


@dataclass(frozen=True, slots=True)
class Keyring:
    """Who may sign, how many it takes, and what was withdrawn (SHA-256 of the payload → why)."""

    holders: tuple[Holder, ...]
    threshold: int
    withdrawn: Mapping[str, str]
    file: str

    def who(self, verifies: Callable[[keys.Key], bool]) -> tuple[Holder, ...]:
        """The holders for whose key ``verifies`` says yes, each once."""
        return tuple(item for item in self.holders if verifies(keys.load(item.public)))


@dataclass(frozen=True, slots=True)
class Count:
    """Signatures counted: who signed and counts, who signed and does not (with why), who did not sign."""

    needed: int
    signed: tuple[str, ...]
    void: tuple[str, ...]
    missing: tuple[str, ...]
    withdrawn: str = ""

    @property
    def enough(self) -> bool:
        """Whether as many as needed signed what nobody withdrew."""
        return len(self.signed) >= self.needed and not self.withdrawn

    def __str__(self) -> str:
        parts = [f"signed by {', '.join(self.signed) or 'no owner'}, {self.needed} needed"]
        parts += [f"missing {', '.join(self.missing)}"] if self.missing and not self.enough else []
        parts += [f"does not count: {', '.join(self.void)}"] if self.void else []
        return "; ".join([f"withdrawn: {self.withdrawn}"] * bool(self.withdrawn) + parts)


def count(ring: Keyring, payload: bytes, signed: tuple[Holder, ...], at: datetime) -> Count:
    """What ``signed`` under ``payload`` amounts to at ``at``."""
    good = tuple(item.name for item in signed if item.counts(at))
    void = tuple(f"{item.name} ({item.why})" for item in signed if not item.counts(at))
    names = {item.name for item in signed}
    missing = tuple(item.name for item in ring.holders if item.name not in names and item.counts(at))
    return Count(ring.threshold, good, void, missing, ring.withdrawn.get(hashlib.sha256(payload).hexdigest(), ""))


def parse(data: bytes, file: str) -> Keyring:
    """The keyring written in ``data``.

    Raises:
        UsageError: a fault in it, with line and column.
    """
    try:
        document = toml.parse(data.decode(), file)
    except UnicodeDecodeError as error:
        raise UsageError("a file of keys that is not UTF-8", where=f"{file}, byte {error.start}") from None
    return _Reader(document, file).ring()


class _Reader:
    def __init__(self, document: toml.Document, file: str) -> None:
        self._document = document
        self._file = file

    def wrong(self, path: tuple[str | int, ...], what: str, hint: str) -> UsageError:
        at = self._document.where(path)
        return UsageError(what, where=f"{self._file}:{at.line}:{at.column}", hint=hint)

    def known(self, path: tuple[str | int, ...], table: Any, names: tuple[str, ...]) -> Mapping[str, Any]:
        if not isinstance(table, dict):
            raise self.wrong(path, f"{path[0]!r} must be written as [[{path[0]}]]", f"[[{path[0]}]]")
        for key in table:
            if key not in names:
                raise self.wrong((*path, key), f"unknown key {key!r}", f"one of {', '.join(names)}")
        return table

    def ring(self) -> Keyring:
        data = self._document.data
        self.known((), data, _TOP)
        if data.get("schema") != SCHEMA:
            raise self.wrong(
                ("schema",),
                f"not a file of keys: schema {data.get('schema')!r}",
                f'begin the file with: schema = "{SCHEMA}"',
            )
        rows = data.get("key", [])
        if not isinstance(rows, list) or not 0 < len(rows) <= MAX_KEYS:
            raise self.wrong(("key",), f"a file of keys has 1 to {MAX_KEYS} of them", "[[key]]")
        holders = tuple(self.holder(("key", index), row) for index, row in enumerate(rows))
        for index, item in enumerate(holders):
            if any(other.name == item.name or other.public.raw == item.public.raw for other in holders[:index]):
                raise self.wrong(("key", index), f"{item.name!r} or its key stands here twice", "one key, one name")
        threshold = data.get("threshold", 1)
        if type(threshold) is not int or not 1 <= threshold <= len(holders):
            hint = f"a number from 1 to {len(holders)}"
            raise self.wrong(("threshold",), f"threshold {threshold!r} of {len(holders)} keys", hint)
        return Keyring(holders, threshold, dict(self.withdrawals(data.get("withdrawn", []))), self._file)

    def withdrawals(self, rows: Any) -> list[tuple[str, str]]:
        if not isinstance(rows, list):
            raise self.wrong(("withdrawn",), "'withdrawn' must be written as [[withdrawn]]", "[[withdrawn]]")
        found = []
        for index, item in enumerate(rows):
            path = ("withdrawn", index)
            row = self.known(path, item, _WITHDRAWN)
            digest, why = row.get("sha256"), row.get("why")
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest.lower()) or not isinstance(why, str):
                raise self.wrong(path, "a withdrawal has sha256 and why", 'sha256 = "<64 hexadecimal digits>"')
            found.append((digest.lower(), why or "withdrawn"))
        return found

    def holder(self, path: tuple[str | int, ...], item: Any) -> Holder:
        row = self.known(path, item, _KEY)
        name, why = row.get("name"), row.get("why", "")
        if not isinstance(name, str) or not name or not isinstance(why, str):
            raise self.wrong((*path, "name"), "a key has a name", 'name = "…"')
        ends = [(at, word) for word in ("expires", "withdrawn") if (at := self.time((*path, word), row.get(word)))]
        until, word = min(ends, default=(None, ""))
        told = f"{'expired' if word == 'expires' else word} {zulu(until)}" if until else ""
        return Holder(name, self.key((*path, "key"), row.get("key")), until, f"{told}: {why}" if why else told)

    def time(self, path: tuple[str | int, ...], value: Any) -> datetime | None:
        if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
            raise self.wrong(path, f"{path[-1]!r} must be a time with a zone", f"{path[-1]} = 2027-01-01T00:00:00Z")
        return None if value is None else value.astimezone(UTC)

    def key(self, path: tuple[str | int, ...], value: Any) -> x509.PublicKey:
        try:
            text = value.encode() if isinstance(value, str) else b""
            blocks = pem.unarmour(text, "PUBLIC KEY")
            found = x509.parse_public_key(blocks[0][1] if blocks else base64.b64decode(text, validate=True))
            if signer.usable(keys.load(found)):
                return found
        except (Malformed, binascii.Error, ValueError):
            pass
        hint = "openssl pkey -in KEY -pubout, or its base64"
        raise self.wrong(path, "no public key of Ed25519, P-256 or P-384", hint)
