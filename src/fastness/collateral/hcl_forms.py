"""Azure's runtime data without the HCL report around it, as Constellation and Intel Trust Authority's client keep it.

Beside the hardware report whose report data is its hash, it says as much as the HCL report it stood in: that is put
together again, with a TDREPORT of nothing but report data, as the quote of the TD stands beside it. Layout in
:mod:`fastness.tee.tpm.layout`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

from fastness.collateral.heap import Found
from fastness.tee.tpm import hcl
from fastness.tee.tpm import layout as at


def _reports(evidence: Iterable[Found]) -> Iterable[tuple[int, bytes, bytes]]:
    """(report type, what an HCL report holds of it, report data) of each that may be around a vTPM."""
    for found in evidence:
        if found.tee == "snp" and len(found.data) == at.HCL_HARDWARE:
            yield at.HCL_SNP, found.data, found.data[at.SNP_REPORT_DATA :][:64]
        elif found.tee == "tdx":
            data = hcl.quoted_data(found.data)
            yield at.HCL_TDX, (bytes(at.TD_REPORT_DATA) + data).ljust(at.HCL_HARDWARE, b"\0"), data


def around(runtimes: list[bytes], evidence: Iterable[Found]) -> bytes | None:
    """The HCL report of the runtime data whose hash a report carries; where none does, of the first two there are: it
    does not hold, and is refused for that. None without a hardware report."""
    chosen = None
    for kind, hardware, data in _reports(evidence):
        for runtime in runtimes:
            for number, name in at.HCL_HASHES.items():
                fits = hashlib.new(name, runtime).digest().ljust(64, b"\0") == data
                if fits or chosen is None:
                    chosen = kind, hardware, number, runtime
                if fits:
                    return _report(*chosen)
    return None if chosen is None else _report(*chosen)


def _report(kind: int, hardware: bytes, number: int, runtime: bytes) -> bytes:
    size = at.HCL_RUNTIME_HEADER + len(runtime)
    head = at.HCL_SIGNATURE + struct.pack("<IIII", 2, at.HCL_HEADER + at.HCL_HARDWARE + size, 2, 0) + bytes(12)
    return head + hardware + struct.pack("<IIIII", size, 1, kind, number, len(runtime)) + runtime
