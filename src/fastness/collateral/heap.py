"""What was found in a heap of bytes: evidence, collateral, parts still to be put together, and what was left aside.

A heap is bounded: at most :data:`MAX_FILES` pieces and :data:`MAX_TOTAL` bytes, however they were wrapped.
"""

from __future__ import annotations

from typing import NamedTuple

from fastness.errors import UsageError
from fastness.tee import Collateral, Document
from fastness.wire.x509 import Certificate, Crl

MAX_FILE = 8 << 20
"""Largest single input in bytes: an event log of 4 MiB as base64 or hexadecimal fits."""

MAX_TOTAL = 64 << 20
MAX_FILES = 4096
MAX_ASKED = 8192
"""Most strings in JSON, each of less than 400 characters and under a name that says nothing, that are decoded to see
whether they are certificates or evidence: what a machine's evidence comes in has some dozens."""


class Carrier(NamedTuple):
    """A certificate request or certificate that carries evidence, and the key the evidence must be bound to.

    ``spki`` is the DER SubjectPublicKeyInfo; ``claims`` the claims buffer of DICE tagged evidence, or empty;
    ``signed`` whether the signature by that very key holds; ``raw`` the whole of it.
    """

    kind: str
    spki: bytes
    oid: str
    signed: bool
    claims: bytes = b""
    raw: bytes = b""


class Found(NamedTuple):
    """One piece of evidence of ``tee`` and where it came from."""

    tee: str
    data: bytes
    source: str
    carrier: Carrier | None = None


class Ignored(NamedTuple):
    """An input that is neither evidence nor collateral, and why it was left aside; ``unread`` if nobody can say."""

    source: str
    why: str
    unread: bool = False


class Heap:
    """Collects; every addition is counted once, whichever wrapping it came in."""

    def __init__(self) -> None:
        self.evidence: dict[tuple[str, bytes], Found] = {}
        self.certificates: dict[bytes, Certificate] = {}
        self.crls: dict[bytes, Crl] = {}
        self.documents: dict[tuple[str, bytes], Document] = {}
        self.parts: dict[tuple[str, bytes], Document] = {}
        self.ignored: list[Ignored] = []
        self.bundle_at = ""
        self.pieces = self.total = self.asked = 0

    def count(self, size: int, source: str) -> None:
        """Counts one piece of ``size`` bytes, wrapped or not.

        Raises:
            UsageError: more pieces or bytes than a heap takes.
        """
        self.pieces += 1
        self.total += size
        if self.pieces > MAX_FILES or self.total > MAX_TOTAL:
            raise UsageError(
                f"more than {MAX_FILES} pieces or {MAX_TOTAL >> 20} MiB of input",
                where=source,
                hint="name the files of one machine only",
            )

    def ask(self) -> bool:
        """Counts one string that would be decoded to see what it is; False when there were enough."""
        self.asked += 1
        return self.asked <= MAX_ASKED

    def add_evidence(self, found: Found) -> None:
        """Evidence; a second copy only adds the carrier it came in."""
        key = (found.tee, found.data)
        known = self.evidence.get(key)
        if known is None or known.carrier is None:
            self.evidence[key] = found._replace(source=known.source if known else found.source)

    def add_document(self, kind: str, data: bytes, source: str) -> None:
        """Signed or supporting material."""
        self.documents.setdefault((kind, data), Document(kind, data, source))

    def add_part(self, tee: str, document: Document) -> None:
        """A part of evidence that its TEE assembles; ``tee`` is who recognised it."""
        self.parts.setdefault((tee, document.data), document)

    def of(self, kind: str) -> list[Document]:
        """The documents of one kind."""
        return [document for (name, _), document in self.documents.items() if name == kind]

    def ignore(self, source: str, why: str, *, unread: bool = False) -> None:
        """Leaves an input aside, but says so."""
        self.ignored.append(Ignored(source, why, unread))

    def collateral(self) -> Collateral:
        """Everything that is not evidence."""
        return Collateral(tuple(self.certificates.values()), tuple(self.crls.values()), tuple(self.documents.values()))
