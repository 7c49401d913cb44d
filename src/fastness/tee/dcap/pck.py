"""The SGX extension of PCK certificates (Intel SGX PCK Certificate and CRL Profile specification, section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fastness.errors import MalformedEvidence
from fastness.wire import der, x509

EXTENSION = "1.2.840.113741.1.13.1"
_PREFIX = EXTENSION + "."

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


@lru_cache(maxsize=256)
def read(certificate: x509.Certificate) -> Pck:
    """The SGX extension of ``certificate``.

    Raises:
        MalformedEvidence: absent, or a field missing, twice, or of the wrong size.
    """
    found = certificate.extension(EXTENSION)
    if found is None:
        raise MalformedEvidence("SGX extension", 0, f"extension {EXTENSION}", "none")
    top = _fields(der.one(found.value, der.SEQUENCE, "SGX extension", found.offset), _PREFIX)
    tcb = _fields(_need(top, "2"), _PREFIX + "2.")
    options = _fields(top["7"], _PREFIX + "7.") if "7" in top else {}
    kind = der.expect(_need(top, "5"), der.ENUMERATED, "SGXType")
    if kind.value not in (b"\0", b"\1", b"\2"):
        raise MalformedEvidence("SGXType", kind.offset, "0, 1 or 2", kind.value.hex())
    return Pck(
        ppid=_octets(top, "1", 16),
        components=tuple(der.unsigned(_need(tcb, str(i)), f"TCB component {i}", 255) for i in range(1, 17)),
        pcesvn=der.unsigned(_need(tcb, "17"), "PCESVN", 65535),
        cpusvn=_octets(tcb, "18", 16),
        pceid=_octets(top, "3", 2),
        fmspc=_octets(top, "4", 6),
        sgx_type=SGX_TYPES[kind.value[0]],
        platform_instance=_octets(top, "6", 16) if "6" in top else None,
        dynamic_platform=_flag(options, "1"),
        cached_keys=_flag(options, "2"),
        smt_enabled=_flag(options, "3"),
    )


def _fields(node: der.Node, prefix: str) -> dict[str, der.Node]:
    found: dict[str, der.Node] = {}
    for item in der.children(der.expect(node, der.SEQUENCE, "SGX extension"), "SGX extension"):
        parts = der.children(der.expect(item, der.SEQUENCE, "SGX extension"), "SGX extension")
        if len(parts) != 2:
            raise MalformedEvidence("SGX extension", item.offset, "an id and a value", f"{len(parts)} elements")
        name = der.oid(parts[0], "SGX extension")
        key = name.removeprefix(prefix)
        if key == name or key in found:
            raise MalformedEvidence("SGX extension", item.offset, f"distinct fields under {prefix}", name)
        found[key] = parts[1]
    return found


def _need(fields: dict[str, der.Node], key: str) -> der.Node:
    if key not in fields:
        raise MalformedEvidence("SGX extension", 0, f"field .{key}", "none")
    return fields[key]


def _octets(fields: dict[str, der.Node], key: str, size: int) -> bytes:
    node = der.expect(_need(fields, key), der.OCTET_STRING, f"SGX extension .{key}")
    if len(node.value) != size:
        raise MalformedEvidence(f"SGX extension .{key}", node.offset, f"{size} bytes", len(node.value))
    return node.value


def _flag(fields: dict[str, der.Node], key: str) -> bool | None:
    return der.boolean(fields[key], f"SGX extension .7.{key}") if key in fields else None
