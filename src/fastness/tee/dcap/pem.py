"""The PEM chain inside a quote: certificates and nothing else, parsed once per distinct chain."""

from __future__ import annotations

import re
from functools import lru_cache

from fastness.errors import MalformedEvidence
from fastness.wire import pem, x509

MAX_CERTIFICATES = 6
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----")


@lru_cache(maxsize=256)
def chain(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM bundle, in the order given; white space between them and a final NUL are known."""
    left = _BLOCK.sub(b"", data).strip(b"\0 \t\r\n")
    if left:
        raise MalformedEvidence("certificate chain", 0, "PEM certificates only", repr(left[:16]))
    blocks = pem.unarmour(data, "CERTIFICATE")
    if not 1 <= len(blocks) <= MAX_CERTIFICATES:
        raise MalformedEvidence("certificate chain", 0, f"1 to {MAX_CERTIFICATES} certificates", len(blocks))
    return tuple(x509.certificate(block) for _, block in blocks)
