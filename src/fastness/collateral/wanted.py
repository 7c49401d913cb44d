"""What verification of one piece of evidence wants from the vendors' services, and under which key it is cached."""

from __future__ import annotations

import os
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass

from fastness.errors import UsageError

KDS, PCS, INTEL_CERTIFICATES = "FASTNESS_KDS_URL", "FASTNESS_PCS_URL", "FASTNESS_INTEL_CERTIFICATES_URL"
RIM, OCSP = "FASTNESS_RIM_URL", "FASTNESS_OCSP_URL"
DEFAULTS = {
    KDS: "https://kdsintf.amd.com",
    PCS: "https://api.trustedservices.intel.com",
    INTEL_CERTIFICATES: "https://certificates.trustedservices.intel.com",
    RIM: "https://rim.attestation.nvidia.com",
    OCSP: "https://ocsp.ndis.nvidia.com",
}
"""Base addresses, and the environment variables that replace them."""


def base(name: str) -> str:
    """The base address of a service, without a slash at its end.

    Raises:
        UsageError: the environment names one that is no http address.
    """
    address = (os.environ.get(name) or DEFAULTS[name]).rstrip("/")
    try:
        parts = urllib.parse.urlsplit(address)
        right = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half of an IPv6 address, a port out of range
        right = False
    if not right:
        raise UsageError(f"not an http address: {address[:80]!r}", where=name, hint=f"such as {DEFAULTS[name]}")
    return address


def addressed(text: str) -> str:
    """``text`` with the base addresses that the environment names in the place of the vendors'; one that is no address
    is left for who fetches to refuse."""
    for name, default in DEFAULTS.items():
        if default in text:
            with suppress(UsageError):
                text = text.replace(default, base(name))
    return text


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing to fetch.

    Attributes:
        key: names it in the cache with every dimension the answer depends on; never an address, so that mirrors share.
        url: where it is.
        kinds: what a right answer holds: ``certificate``, ``crl``, ``tcb-info``, ``qe-identity``, ``rim``, ``ocsp``.
        holds: text that a right document holds (the FMSPC), empty for none.
        headers: response headers that carry the issuer chain as URL-encoded PEM.
        body: POSTed when not empty.
        alternative: shared by those of which only one can be there: that the others are not is no failure.
    """

    key: str
    url: str
    kinds: tuple[str, ...]
    holds: str = ""
    headers: tuple[str, ...] = ()
    body: bytes = b""
    content_type: str = ""
    alternative: str = ""
