"""One folder per TEE, the same five files in each: layout, evidence, endorse, verify, claims.

A TEE module exports what :class:`Tee` describes. They are imported on first use, so that verifying a TDX quote does not
pay for NVIDIA's parsers.
"""

from __future__ import annotations

from datetime import datetime
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.errors import UsageError
from fastness.pki.anchors import Anchors
from fastness.wire.x509 import Certificate, Crl

NAMES = ("snp", "sev", "sgx", "tdx", "nitro", "cca", "tpm", "nvgpu", "nil")

MAX_EVIDENCE = 64 * 1024
"""Largest evidence accepted, in bytes; event logs are bounded by :data:`MAX_EVENT_LOG`."""

MAX_EVENT_LOG = 4 * 1024 * 1024


class Document(NamedTuple):
    """Signed or supporting material that is neither certificate nor CRL.

    ``kind`` is one of ``tcb-info``, ``qe-identity``, ``rim``, ``ocsp``, ``event-log``, ``event-log-json``,
    ``acpi-table``, ``pcr-values``, ``tpm-signature``, ``tpm-public``, ``runtime-data``, ``nonce``, ``launch-secret``,
    ``sev-session`` …; ``data`` is the raw bytes as received.
    """

    kind: str
    data: bytes
    source: str = ""


class Collateral(NamedTuple):
    """What came with the evidence or was fetched for it, in no order. Each verifier picks what belongs to it."""

    certificates: tuple[Certificate, ...] = ()
    crls: tuple[Crl, ...] = ()
    documents: tuple[Document, ...] = ()

    def of(self, kind: str) -> tuple[Document, ...]:
        """The documents of one kind."""
        return tuple([item for item in self.documents if item.kind == kind])

    def __add__(self, other: Collateral) -> Collateral:  # type: ignore[override]  # a union, not a longer tuple
        return Collateral(
            self.certificates + other.certificates, self.crls + other.crls, self.documents + other.documents
        )


class Tee(Protocol):
    """What ``fastness.tee.<name>`` exports."""

    NAME: str

    def recognise(self, data: bytes) -> bool:
        """Whether ``data`` looks like evidence of this TEE, by content, cheaply; never raises."""

    def parse(self, data: bytes) -> Any:
        """Evidence, or :class:`~fastness.errors.MalformedEvidence`."""

    def unparse(self, evidence: Any) -> bytes:
        """The bytes it was parsed from: ``unparse(parse(b)) == b``."""

    def embedded(self, evidence: Any) -> tuple[tuple[str, bytes], ...]:
        """Other evidence carried inside, as (tee name, bytes): verified first and given to ``verify`` as ``within``."""

    def enclosed(self, evidence: Any) -> Collateral:
        """Collateral that travels inside the evidence (PCK chain, certificate table, cabundle)."""

    def verify(
        self,
        evidence: Any,
        collateral: Collateral,
        anchors: Anchors,
        *,
        at: datetime,
        within: tuple[Genuine[object], ...] = (),
    ) -> Genuine[Any]:
        """Genuine evidence; :class:`~fastness.errors.NotGenuine` or :class:`~fastness.errors.MissingCollateral`."""

    def claims(self, genuine: Genuine[Any]) -> Claims:
        """The normalised claims."""

    def show(self, evidence: Any) -> list[tuple[str, int, int, str]]:
        """Every field as (name, offset, size, meaning), for ``evidence show``."""


def load(name: str) -> Tee:
    """The TEE called ``name``."""
    if name not in NAMES:
        raise UsageError(f"no TEE is called {name!r}", hint="one of " + ", ".join(NAMES))
    return cast("Tee", import_module(f"fastness.tee.{name}"))
