"""SGX quotes as values: parse, unparse, show."""

from __future__ import annotations

from typing import NamedTuple

from fastness.tee.dcap import quote as quotes
from fastness.tee.dcap import report
from fastness.tee.dcap.quote import Quote
from fastness.tee.dcap.report import Report
from fastness.tee.dcap.verify import Appraisal
from fastness.tee.sgx import layout as at
from fastness.wire.hexdump import Span


class Evidence(NamedTuple):
    """An SGX quote: the container, the enclave's report, and, once verified, what Intel says of the platform."""

    quote: Quote
    body: Report
    appraisal: Appraisal | None = None

    @property
    def raw(self) -> bytes:
        """The quote as received: what evidence that rests on it (a vTPM's) holds it against."""
        return quotes.unparse(self.quote)

    @property
    def report_data(self) -> bytes:
        """64 bytes chosen by the enclave."""
        return self.body.report_data

    @property
    def spans(self) -> dict[str, Span]:
        """Where the fields of the body stand."""
        return report.spans(self.quote.body_offset)


def recognise(data: bytes) -> bool:
    """Whether ``data`` starts like an SGX quote."""
    return quotes.recognise(data, at.TEE_SGX)


def parse(data: bytes) -> Evidence:
    """An SGX quote, at most 64 KiB.

    Raises:
        MalformedEvidence: it does not follow the layout.
    """
    quote = quotes.parse(data, at.TEE_SGX)
    return Evidence(quote, report.parse(quote.body, quote.body_offset, "body"))


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return quotes.unparse(evidence.quote)


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning and value)."""
    from fastness.tee.dcap import shown

    rows = quotes.show(evidence.quote, report.rows("", evidence.quote.body_offset))
    return shown.decoded(evidence.quote, unparse(evidence), rows, {})
