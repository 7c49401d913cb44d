"""TDX quotes as values: parse, unparse, show."""

from __future__ import annotations

from typing import NamedTuple

from fastness.tee.dcap import quote as quotes
from fastness.tee.dcap.quote import Quote
from fastness.tee.dcap.verify import Appraisal
from fastness.tee.tdx import layout as at
from fastness.wire.hexdump import Span


class Body(NamedTuple):
    """A TD report: ``raw`` is 584, 648 or 885 bytes of ``kind`` 2, 3 or 4; fields are read where they stand."""

    kind: int
    raw: bytes

    def has(self, name: str) -> bool:
        """Whether this kind of report has the field ``name``."""
        return any(row[0] == name for row in at.BY_TYPE[self.kind])

    def field(self, name: str) -> bytes:
        """The bytes of the field ``name`` of the layout; KeyError where this kind has none."""
        for row, offset, size, _ in at.BY_TYPE[self.kind]:
            if row == name:
                return self.raw[offset : offset + size]
        raise KeyError(name)

    @property
    def tee_tcb_svn(self) -> bytes:
        """16 SVNs at the launch of the TD."""
        return self.raw[0:16]

    @property
    def tee_tcb_svn2(self) -> bytes:
        """16 SVNs now running; empty in body 1.0."""
        return self.raw[584:600]

    @property
    def mrsignerseam(self) -> bytes:
        """Signer of the TDX module, 48 bytes."""
        return self.raw[64:112]

    @property
    def seam_attributes(self) -> bytes:
        """Attributes of the TDX module, 8 bytes."""
        return self.raw[112:120]

    @property
    def td_attributes(self) -> int:
        """TD attributes as a word of 64 bits."""
        return int.from_bytes(self.raw[120:128], "little")

    @property
    def xfam(self) -> int:
        """XFAM as a word of 64 bits."""
        return int.from_bytes(self.raw[128:136], "little")

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four runtime registers, 48 bytes each."""
        return self.raw[328:376], self.raw[376:424], self.raw[424:472], self.raw[472:520]

    @property
    def report_data(self) -> bytes:
        """64 bytes chosen by the guest."""
        return self.raw[520:584]


class Evidence(NamedTuple):
    """A TDX quote: the container, the TD report, and, once verified, what Intel says of the platform."""

    quote: Quote
    body: Body
    appraisal: Appraisal | None = None

    @property
    def raw(self) -> bytes:
        """The quote as received: what evidence that rests on it (a vTPM's) holds it against."""
        return quotes.unparse(self.quote)

    @property
    def report_data(self) -> bytes:
        """64 bytes chosen by the guest."""
        return self.body.report_data

    @property
    def spans(self) -> dict[str, Span]:
        """Where the fields of the body stand."""
        start = self.quote.body_offset
        return {name: Span(name, start + offset, size) for name, offset, size, _ in at.BY_TYPE[self.body.kind]}


def recognise(data: bytes) -> bool:
    """Whether ``data`` starts like a TDX quote."""
    return quotes.recognise(data, at.TEE_TDX)


def parse(data: bytes) -> Evidence:
    """A TDX quote, at most 64 KiB.

    Raises:
        MalformedEvidence: it does not follow the layout.
    """
    quote = quotes.parse(data, at.TEE_TDX)
    return Evidence(quote, Body(quote.body_type, quote.body))


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return quotes.unparse(evidence.quote)


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning and value)."""
    from fastness.tee.dcap import shown

    start = evidence.quote.body_offset
    rows = [(name, start + offset, size, meaning) for name, offset, size, meaning in at.BY_TYPE[evidence.body.kind]]
    flags = {"td_attributes": at.ATTRIBUTES, "xfam": at.XFRM_BITS}
    return shown.decoded(evidence.quote, unparse(evidence), quotes.show(evidence.quote, rows), flags)
