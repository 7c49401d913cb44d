"""The PEM chain inside a quote: certificates and nothing else, parsed once per distinct chain."""

from __future__ import annotations

from functools import lru_cache

from fastness.errors import MalformedEvidence
from fastness.wire import pem, x509

MAX_CERTIFICATES = 6


@lru_cache(maxsize=256)
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
