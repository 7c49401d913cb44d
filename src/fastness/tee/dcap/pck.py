"""The SGX extension of PCK certificates (Intel SGX PCK Certificate and CRL Profile specification, section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fastness.errors import MalformedEvidence
from fastness.wire import der, x509

EXTENSION = "1.2.840.113741.1.13.1"
_EXTENSION = bytes.fromhex("2a864886f84d010d01")
"""The same in DER: fields are told apart by their bytes, which is several times faster than by dotted decimals."""

ROOT = "Intel SGX Root CA"
PLATFORM_CA = "Intel SGX PCK Platform CA"
PROCESSOR_CA = "Intel SGX PCK Processor CA"
LEAF = "Intel SGX PCK Certificate"
TCB_SIGNING = "Intel SGX TCB Signing"
SGX_TYPES = ("standard", "scalable", "scalable-with-integrity")


class Pck(NamedTuple):
    """What a PCK certificate says of the platform.

    Sizes in bytes: ppid 16, components 16 SVNs, cpusvn 16, pceid 2, fmspc 6, platform_instance 16. The last four are
    None where the certificate comes from the Processor CA, which does not state them.
    """

    ppid: bytes
    components: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes
    pceid: bytes
    fmspc: bytes
    sgx_type: str
    platform_instance: bytes | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt_enabled: bool | None


def platform_leaf(certificates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """The PCK certificate among ``certificates``, in whatever order: the one with Intel's extension."""
    return next((item for item in certificates if item.extension(EXTENSION) is not None), None)


def read(certificate: x509.Certificate) -> Pck:
    """The SGX extension of ``certificate``.

    Raises:
        MalformedEvidence: absent, or a field missing, twice, or of the wrong size.
    """
    found = certificate.extension(EXTENSION)
    if found is None:
        raise MalformedEvidence("SGX extension", 0, f"extension {EXTENSION}", "none")
    return _read(found.value, found.offset)


@lru_cache(maxsize=256)
def _read(data: bytes, offset: int) -> Pck:
    top = _fields(der.one(data, der.SEQUENCE, "SGX extension", offset), b"")
    tcb = _fields(_need(top, 2), b"\2")
    options = _fields(top[7], b"\7") if 7 in top else {}
    kind = der.expect(_need(top, 5), der.ENUMERATED, "SGXType")
    if kind.value not in (b"\0", b"\1", b"\2"):
        raise MalformedEvidence("SGXType", kind.offset, "0, 1 or 2", kind.value.hex())
    return Pck(
        ppid=_octets(top, 1, 16),
        components=tuple([der.unsigned(_need(tcb, number), "TCB component", 255) for number in range(1, 17)]),
        pcesvn=der.unsigned(_need(tcb, 17), "PCESVN", 65535),
        cpusvn=_octets(tcb, 18, 16),
        pceid=_octets(top, 3, 2),
        fmspc=_octets(top, 4, 6),
        sgx_type=SGX_TYPES[kind.value[0]],
        platform_instance=_octets(top, 6, 16) if 6 in top else None,
        dynamic_platform=_flag(options, 1),
        cached_keys=_flag(options, 2),
        smt_enabled=_flag(options, 3),
    )


def _fields(node: der.Node, below: bytes) -> dict[int, der.Node]:
    """The values of a SEQUENCE of (identifier, value), by the last arc of identifiers ``EXTENSION.<below>.<arc>``."""
    name, prefix = "SGX extension", _EXTENSION + below
    data, base, item = der.expect(node, der.SEQUENCE, name).value, node.inner, 0
    found: dict[int, der.Node] = {}
    while item < len(data):
        start, end = der.span(data, item, len(data), der.SEQUENCE, name, base)
        start, stop = der.span(data, start, end, der.OID, name, base)
        arc = data[stop - 1]
        if data[start : stop - 1] != prefix or arc in found:
            raise MalformedEvidence(name, base + item, f"distinct fields {prefix.hex()}…", data[start:stop].hex())
        found[arc], stop = der.read(data, stop, base, name)
        if stop != end:
            raise MalformedEvidence(name, base + item, "an id and a value", "more")
        item = end
    return found


def _need(fields: dict[int, der.Node], key: int) -> der.Node:
    if key not in fields:
        raise MalformedEvidence("SGX extension", 0, f"field .{key}", "none")
    return fields[key]


def _octets(fields: dict[int, der.Node], key: int, size: int) -> bytes:
    node = der.expect(_need(fields, key), der.OCTET_STRING, "SGX extension")
    if len(node.value) != size:
        raise MalformedEvidence(f"SGX extension .{key}", node.offset, f"{size} bytes", len(node.value))
    return node.value


def _flag(fields: dict[int, der.Node], key: int) -> bool | None:
    return der.boolean(fields[key], f"SGX extension .7.{key}") if key in fields else None
