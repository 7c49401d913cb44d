"""The real TPM cases as blobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastness.claims.genuine import Genuine, vouch
from fastness.pki import anchors
from fastness.pki.anchors import Anchors
from fastness.tee import tpm
from vectors import Case

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = {"attest": "quote", "signature": "signature", "pcrs": "pcrs", "event_log": "event_log",
         "hcl_report": "hcl_report", "td_quote": "td_quote"}  # fmt: skip


def blob(case: Case) -> bytes:
    parts = {NAMES[role]: data for role, data in case.files.items() if role in NAMES}
    return tpm.assemble(parts | {"ak": case.files.get("ak_public", case.files["ak_pub"])})


def owner(blob: bytes) -> Anchors:
    """The AK named by whoever asks: what is left to test without an endorsement."""
    return Anchors((anchors.from_key("tpm", "the owner's", tpm.parse(blob).key),))


@dataclass(frozen=True)
class Around:
    """Stands for verified hardware evidence: verifying it is not this TEE's business."""

    raw: bytes


def around(data: bytes) -> Genuine[object]:
    return vouch(Around(data), anchors=(), at=WHEN)
