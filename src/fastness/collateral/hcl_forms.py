"""Azure's runtime data without the HCL report around it, as Constellation and Intel Trust Authority's client keep it.

Beside the hardware report whose report data is its hash, it says as much as the HCL report it stood in: that is put
together again, with a TDREPORT of nothing but report data, as the quote of the TD stands beside it. Layout in
:mod:`fastness.tee.tpm.layout`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fastness.collateral.heap import Found

_SNP, _TDX = 2, 4
"""``report_type`` of a runtime data header."""
_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
_HARDWARE, _SNP_DATA, _TD_DATA = 1184, 0x50, 128


def _reports(evidence: Iterable[Found]) -> Iterable[tuple[int, bytes, bytes]]:
    """(report type, what an HCL report holds of it, report data) of each that may be around a vTPM."""
    for found in evidence:
        if found.tee == "snp" and len(found.data) == _HARDWARE:
            yield _SNP, found.data, found.data[_SNP_DATA : _SNP_DATA + 64]
        elif found.tee == "tdx":
            # header 48 bytes, in version 5 a descriptor of 6; REPORTDATA at 520 of the body
            start = 48 + 520 + (6 if found.data[:2] == b"\x05\0" else 0)
            data = found.data[start : start + 64]
            yield _TDX, (bytes(_TD_DATA) + data).ljust(_HARDWARE, b"\0"), data


def around(runtimes: list[bytes], evidence: Iterable[Found]) -> bytes | None:
    """The HCL report of the runtime data whose hash a report carries; where none does, of the first two there are: it
    does not hold, and is refused for that. None without a hardware report."""
    chosen = None
    for kind, hardware, data in _reports(evidence):
        for runtime in runtimes:
            for number, name in _HASHES.items():
                fits = hashlib.new(name, runtime).digest().ljust(64, b"\0") == data
                if fits or chosen is None:
                    chosen = kind, hardware, number, runtime
                if fits:
                    return _report(*chosen)
    return None if chosen is None else _report(*chosen)


def _report(kind: int, hardware: bytes, number: int, runtime: bytes) -> bytes:
    size = 20 + len(runtime)
    head = b"HCLA" + b"".join(value.to_bytes(4, "little") for value in (2, 32 + _HARDWARE + size, 2, 0)) + bytes(12)
    values = (size, 1, kind, number, len(runtime))
    return head + hardware + b"".join(value.to_bytes(4, "little") for value in values) + runtime
