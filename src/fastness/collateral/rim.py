"""NVIDIA's reference integrity manifests and certificate status.

Manifests are named by what the report states: ``NV_GPU_DRIVER_GH100_535.86.09`` (Hopper),
``NV_GPU_CC_DRIVER_GB100_575.32`` (Blackwell, the chip as the report's chip info has it),
``NV_GPU_VBIOS_1010_0200_882_96009F0001`` (project, project SKU, chip SKU, VBIOS version without dots, upper case),
``NV_SWITCH_BIOS_5612_0002_890_9610550001`` (LS10 states no project: NVIDIA's tools fix it). Source: NVIDIA
attestation-sdk, ``gpu`` and ``switch`` evidence.
The service wraps the TagSwid XML in JSON: ``{"id", "rim": base64, "sha256"}``. Status is OCSP (RFC 6960) over POST.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from fastness.collateral.wanted import OCSP, RIM, Wanted, base
from fastness.errors import MalformedEvidence, UsageError
from fastness.wire import der, x509

_DRIVER, _CHIP_SKU, _PROJECT, _PROJECT_SKU, _CHIP_INFO = 3, 15, 17, 18, 35
"""Types of opaque data."""
_CHIP = re.compile(r"(G[A-Z]\d{3}) ")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SHA256 = bytes.fromhex("300d06096086480165030402010500")
"""DER AlgorithmIdentifier of SHA-256 with NULL parameters."""


def manifest(identity: str) -> Wanted:
    """The manifest called ``identity``."""
    if not _ID.fullmatch(identity):
        raise UsageError(f"not the name of a manifest: {identity[:80]!r}")
    path = f"/v1/rim/{identity}"
    return Wanted(f"rim{path}", base(RIM) + path, ("rim",), plain(identity.rpartition("_")[2]))


def plain(version: str) -> str:
    """A version as names of manifests spell it: no dots, upper case."""
    return version.replace(".", "").upper()


def versions(manifests: Iterable[bytes]) -> set[str]:
    """The versions that manifests are for, as :func:`plain` spells them."""
    return {plain(item.version) for item in _read(manifests)}


def _read(manifests: Iterable[bytes]) -> Iterator[Any]:
    from fastness.tee.nvgpu import rim

    for data in manifests:
        with contextlib.suppress(MalformedEvidence):  # what cannot be read wants nothing; the verifier refuses it
            yield rim.read(data)


def driver(chip: str, version: str) -> Wanted:
    """The driver's manifest: chip as the certificate chain names it (``GH100``), version as the report does."""
    return manifest(f"NV_GPU_{'' if chip.startswith('GH') else 'CC_'}DRIVER_{chip}_{version}")


def switch(version: str) -> Wanted:
    """The manifest of an NVSwitch's firmware."""
    return manifest(f"NV_SWITCH_BIOS_5612_0002_890_{version.replace('.', '').upper()}")


def of_report(evidence: Any, certificates: Sequence[x509.Certificate], manifests: Iterable[bytes] = ()) -> list[Wanted]:
    """What a report wants: its manifests, and the status of each certificate whose issuer is there.

    The certificates in ``manifests`` that are there already count too. A device makes its own leaf: nobody knows its
    status.
    """
    found: list[Wanted] = []
    with contextlib.suppress(UsageError):  # a version that names no manifest: nobody has signed the report yet
        found = list(_manifests(evidence, certificates))
    inside = (item for manifest in _read(manifests) for item in manifest.signed.certificates)
    return found + _statuses({item.raw: item for item in (*certificates, *inside)}.values())


def _manifests(evidence: Any, certificates: Sequence[x509.Certificate]) -> Iterator[Wanted]:
    version = evidence.vbios
    if evidence.kind == "switch":
        if version:
            yield switch(version)
        return
    chip, stated = evidence.text(_CHIP_INFO) or _chip(certificates), evidence.text(_DRIVER)
    if chip and stated:
        yield driver(chip, stated)
    project, project_sku, chip_sku = (evidence.text(kind) for kind in (_PROJECT, _PROJECT_SKU, _CHIP_SKU))
    if version and project and project_sku and chip_sku:
        yield vbios(project, project_sku, chip_sku, version)


def _statuses(certificates: Collection[x509.Certificate]) -> list[Wanted]:
    from fastness.tee.nvgpu import endorse

    by_name = {item.subject: item for item in certificates}
    pairs = ((item, by_name.get(item.issuer)) for item in certificates if not endorse.has_fwid(item))
    return [status(item, issuer) for item, issuer in pairs if issuer is not None and issuer.raw != item.raw]


def _chip(certificates: Sequence[x509.Certificate]) -> str:
    names = [_CHIP.match(item.subject_cn) for item in certificates if "GSP" in item.subject_cn]
    return next((name[1] for name in names if name), "")


def vbios(project: str, project_sku: str, chip_sku: str, version: str) -> Wanted:
    """The VBIOS's manifest."""
    return manifest(f"NV_GPU_VBIOS_{project}_{project_sku}_{chip_sku}_{version.replace('.', '').upper()}")


def status(certificate: x509.Certificate, issuer: x509.Certificate) -> Wanted:
    """The status of ``certificate``: an OCSPRequest with one CertID over SHA-256, no nonce (answers are cached)."""
    request = ocsp_request(certificate, issuer)
    key = f"ocsp/{hashlib.sha256(request).hexdigest()}"
    return Wanted(key, base(OCSP), ("ocsp",), body=request, content_type="application/ocsp-request")


def ocsp_request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """DER OCSPRequest (RFC 6960 section 4.1.1)."""
    serial = certificate.serial.to_bytes(certificate.serial.bit_length() // 8 + 1, "big")
    identity = _sequence(
        _SHA256,
        _tlv(der.OCTET_STRING, hashlib.sha256(certificate.issuer).digest()),
        _tlv(der.OCTET_STRING, hashlib.sha256(issuer.key.bits).digest()),
        _tlv(der.INTEGER, serial),
    )
    return _sequence(_sequence(_sequence(_sequence(identity))))


def _sequence(*parts: bytes) -> bytes:
    return _tlv(der.SEQUENCE, b"".join(parts))


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value
