"""The SGX report body, 384 bytes: the body of an SGX quote, and the quoting enclave's own report in every quote."""

from __future__ import annotations

from typing import NamedTuple

from fastness.errors import MalformedEvidence
from fastness.tee.dcap import layout
from fastness.wire.hexdump import Span

FIELDS = (
    ("cpusvn", 0, 16, "security version of the processor"),
    ("miscselect", 16, 4, "extended SSA frame features"),
    ("isv_ext_prod_id", 32, 16, "extended product id (KSS)"),
    ("attributes", 48, 16, "enclave attributes: flags 8, XFRM 8"),
    ("mrenclave", 64, 32, "measurement of the enclave"),
    ("mrsigner", 128, 32, "SHA-256 of the key that signed the enclave"),
    ("config_id", 192, 64, "configuration id (KSS)"),
    ("isv_prod_id", 256, 2, "product id"),
    ("isv_svn", 258, 2, "security version of the enclave"),
    ("config_svn", 260, 2, "configuration security version (KSS)"),
    ("isv_family_id", 304, 16, "product family id (KSS)"),
    ("report_data", 320, 64, "chosen by the enclave"),
)
"""(name, offset in the report, size in bytes, meaning)."""


_RESERVED = bytes(12 + 32 + 32 + 42)


class Report(NamedTuple):
    """An SGX report body; bytes as they stand, integers little endian. ``flags`` and ``xfrm`` are the attributes."""

    raw: bytes
    cpusvn: bytes
    miscselect: int
    isv_ext_prod_id: bytes
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes

    @property
    def flags(self) -> int:
        """ATTRIBUTES.FLAGS."""
        return int.from_bytes(self.attributes[:8], "little")

    @property
    def xfrm(self) -> int:
        """ATTRIBUTES.XFRM."""
        return int.from_bytes(self.attributes[8:], "little")


def parse(raw: bytes, offset: int, field: str) -> Report:
    """A report body at byte ``offset`` of the quote; reserved bytes must be zero."""
    if len(raw) != layout.REPORT_SIZE:
        raise MalformedEvidence(field, offset, f"{layout.REPORT_SIZE} bytes", len(raw))
    (cpusvn, misc, r1, ext, attributes, mrenclave, r2, mrsigner, r3, config_id, prod, svn, config_svn, r4, family,
     data) = layout.REPORT.unpack(raw)  # fmt: skip
    if r1 + r2 + r3 + r4 == _RESERVED:
        return Report(
            raw, cpusvn, misc, ext, attributes, mrenclave, mrsigner, config_id, prod, svn, config_svn, family, data
        )
    for name, at, value in (("1", 20, r1), ("2", 96, r2), ("3", 160, r3), ("4", 262, r4)):
        if value.count(0) != len(value):
            raise MalformedEvidence(f"{field}.reserved{name}", offset + at, "reserved bytes of zero", value.hex()[:32])
    raise MalformedEvidence(field, offset, "reserved bytes of zero", "other bytes")


def rows(prefix: str, offset: int) -> list[tuple[str, int, int, str]]:
    """The fields for ``evidence show``."""
    return [(f"{prefix}{name}", offset + at, size, meaning) for name, at, size, meaning in FIELDS]


def spans(offset: int) -> dict[str, Span]:
    """Where each field stands in the quote."""
    return {name: Span(name, offset + at, size) for name, at, size, _ in FIELDS}
