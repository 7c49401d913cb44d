"""Gramine's ``/dev/attestation``: SGX quotes of the enclave this process runs in (Gramine documentation, attestation).

``user_report_data`` takes 64 bytes; ``quote`` then gives the quote; ``attestation_type`` must be ``dcap``.
"""

from __future__ import annotations

from pathlib import Path

from fastness.devices import MAX_ANSWER, Quote
from fastness.devices.failure import DeviceError, bounded, failed

PLACE = "dev/attestation"


def present(root: Path) -> bool:
    """Whether this process runs under Gramine with remote attestation."""
    return (root / PLACE / "user_report_data").exists()


def quote(report_data: bytes, root: Path) -> Quote:
    """A quote over ``report_data`` (64 bytes)."""
    folder = root / PLACE
    kind = bounded(folder / "attestation_type", 32).decode("ascii", "replace").strip()
    if kind != "dcap":
        raise DeviceError(f"attestation of type {kind!r}", hint='set sgx.remote_attestation = "dcap" in the manifest')
    try:
        (folder / "user_report_data").write_bytes(report_data)
    except OSError as error:
        raise failed(folder, error) from None
    return Quote("sgx", bounded(folder / "quote", MAX_ANSWER))
