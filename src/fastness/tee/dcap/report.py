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


_RESERVED = ((20, 32), (96, 128), (160, 192), (262, 304))
_ZERO = bytes(12 + 32 + 32 + 42)


class Report(NamedTuple):
    """An SGX report body, 384 bytes ``raw``, integers little endian; fields are read where they stand."""

    raw: bytes

    @property
    def cpusvn(self) -> bytes:
        """Security version of the processor, 16 bytes."""
        return self.raw[0:16]

    @property
    def miscselect(self) -> int:
        """Extended SSA frame features, 32 bits."""
        return int.from_bytes(self.raw[16:20], "little")

    @property
    def isv_ext_prod_id(self) -> bytes:
        """Extended product id (KSS), 16 bytes."""
        return self.raw[32:48]

    @property
    def attributes(self) -> bytes:
        """ATTRIBUTES: FLAGS 8, XFRM 8."""
        return self.raw[48:64]

    @property
    def flags(self) -> int:
        """ATTRIBUTES.FLAGS."""
        return int.from_bytes(self.raw[48:56], "little")

    @property
    def xfrm(self) -> int:
        """ATTRIBUTES.XFRM."""
        return int.from_bytes(self.raw[56:64], "little")

    @property
    def mrenclave(self) -> bytes:
        """Measurement of the enclave, 32 bytes."""
        return self.raw[64:96]

    @property
    def mrsigner(self) -> bytes:
        """SHA-256 of the key that signed the enclave, 32 bytes."""
        return self.raw[128:160]

    @property
    def config_id(self) -> bytes:
        """Configuration id (KSS), 64 bytes."""
        return self.raw[192:256]

    @property
    def isv_prod_id(self) -> int:
        """Product id, 16 bits."""
        return int.from_bytes(self.raw[256:258], "little")

    @property
    def isv_svn(self) -> int:
        """Security version of the enclave, 16 bits."""
        return int.from_bytes(self.raw[258:260], "little")

    @property
    def config_svn(self) -> int:
        """Configuration security version (KSS), 16 bits."""
        return int.from_bytes(self.raw[260:262], "little")

    @property
    def isv_family_id(self) -> bytes:
        """Product family id (KSS), 16 bytes."""
        return self.raw[304:320]

    @property
    def report_data(self) -> bytes:
        """64 bytes chosen by the enclave."""
        return self.raw[320:384]

    @property
    def identity(self) -> bytes:
        """All that Intel's identity of a quoting enclave speaks of: MISCSELECT to MRSIGNER, ISVPRODID and ISVSVN."""
        return self.raw[16:64] + self.raw[128:160] + self.raw[256:260]


def parse(raw: bytes, offset: int, field: str) -> Report:
    """A report body at byte ``offset`` of the quote; reserved bytes must be zero."""
    if len(raw) != layout.REPORT_SIZE:
        raise MalformedEvidence(field, offset, f"{layout.REPORT_SIZE} bytes", len(raw))
    if raw[20:32] + raw[96:128] + raw[160:192] + raw[262:304] != _ZERO:
        for number, (start, end) in enumerate(_RESERVED, 1):
            value = raw[start:end]
            if value.count(0) != len(value):
                name, have = f"{field}.reserved{number}", value.hex()[:32]
                raise MalformedEvidence(name, offset + start, "reserved bytes of zero", have)
    return Report(raw)


def rows(prefix: str, offset: int) -> list[tuple[str, int, int, str]]:
    """The fields for ``evidence show``."""
    return [(f"{prefix}{name}", offset + at, size, meaning) for name, at, size, meaning in FIELDS]


def spans(offset: int) -> dict[str, Span]:
    """Where each field stands in the quote."""
    return {name: Span(name, offset + at, size) for name, at, size, _ in FIELDS}
