"""Certification data of a quote: which platform's key stands behind its quoting enclave, read once per platform."""

from __future__ import annotations

from typing import NamedTuple

from fastness.errors import MalformedEvidence
from fastness.tee.dcap import layout as at
from fastness.tee.dcap import pck
from fastness.wire import pem, x509
from fastness.wire.cursor import Cursor

MAX_CERTIFICATES = 6
MAX_KNOWN = 256
"""Most certification data that are remembered."""


class Certification(NamedTuple):
    """Certification data of type ``kind``: ``data`` as it stands, its certificates, the PCK certificate among them.

    Types that name the platform by its PPID have no certificates.
    """

    kind: int
    data: bytes
    chain: tuple[x509.Certificate, ...] = ()
    leaf: x509.Certificate | None = None


_TELLING = slice(27, 92)
_known: dict[bytes, Certification] = {}
"""What was read, by the line that has the serial of the first certificate: to compare takes a tenth of hashing."""


def parse(cursor: Cursor) -> Certification:
    """The certification data at ``cursor``: type u16, size u32 and contents.

    Raises:
        MalformedEvidence: an unknown type, a length that does not fit, anything but certificates in a chain.
    """
    offset = cursor.offset
    kind, size = cursor.unpack(at.CERTIFICATION, "certification data")
    if size > at.MAX_CERTIFICATION:
        raise MalformedEvidence("certification data size", offset + 2, f"at most {at.MAX_CERTIFICATION}", size)
    start = cursor.position
    telling = cursor.data[start + _TELLING.start : start + _TELLING.stop]
    known = _known.get(telling)
    if (
        known is not None
        and (known.kind, len(known.data)) == (kind, size)
        and cursor.data.startswith(known.data, start)
    ):
        cursor.position += size
        return known
    found = _read(kind, cursor.take(size, "certification data"), offset)
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    _known[telling] = found
    return found


def _read(kind: int, data: bytes, offset: int) -> Certification:
    if kind in at.PPID_SIZES:
        if len(data) != at.PPID_SIZES[kind] + at.PPID_TAIL:
            need = at.PPID_SIZES[kind] + at.PPID_TAIL
            raise MalformedEvidence("certification data size", offset + 2, need, len(data))
        return Certification(kind, data)
    if kind not in (at.PCK_LEAF, at.PCK_CHAIN):
        raise MalformedEvidence("certification data type", offset, "1 to 5", kind)
    try:
        certificates = chain(data)
    except MalformedEvidence as error:
        start = offset + at.CERTIFICATION.size
        raise MalformedEvidence(f"PCK {error.field}", start, error.need, error.have) from None
    return Certification(kind, data, certificates, pck.platform_leaf(certificates))


def chain(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM bundle, in the order given; white space between them and a final NUL are known."""
    found = [block for block in pem.blocks(data) if block.label == "CERTIFICATE"]
    ends = [0, *[block.end for block in found]]
    starts = [*[block.start for block in found], len(data)]
    left = b"".join([data[end:start] for end, start in zip(ends, starts, strict=True)]).strip(b"\0 \t\r\n")
    if left:
        raise MalformedEvidence("certificate chain", 0, "PEM certificates only", repr(left[:16]))
    if not 1 <= len(found) <= MAX_CERTIFICATES:
        raise MalformedEvidence("certificate chain", 0, f"1 to {MAX_CERTIFICATES} certificates", len(found))
    return tuple([x509.certificate(block.der()) for block in found])
