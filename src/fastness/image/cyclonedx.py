"""A bill of materials as CycloneDX 1.6 JSON (ECMA-424), made of :mod:`fastness.image.bom`'s components alone.

The same components give the same bytes: the serial number follows from what is listed, the time is the image's own.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastness import __version__
from fastness.image import enclave
from fastness.image.bom import Component
from fastness.image.ingredients import Part

NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""RFC 9562, URLs: the serial number is that of ``urn:sha256:…`` over what is listed."""

KEEP = "fastness-keep"


def document(components: Sequence[Component], *, digest: str = "", epoch: int | None = None) -> dict[str, Any]:
    """The document.

    Args:
        components: what is inside.
        digest: the image's, or empty where there is none.
        epoch: the image's time, seconds, or None.
    """
    listed = digest or hashlib.sha256("".join(item.sha256 for item in components).encode()).hexdigest()
    subject: dict[str, Any] = {
        "type": "operating-system",
        "bom-ref": KEEP,
        "name": KEEP,
        "version": digest or __version__,
    }
    if digest:
        subject["hashes"] = [_hash(digest)]
    maker = {"type": "application", "name": "fastness", "version": __version__}
    metadata: dict[str, Any] = {"tools": {"components": [maker]}, "component": subject}
    if epoch is not None:
        metadata = {"timestamp": f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}", **metadata}
    references = [_reference(item) for item in components]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, f'urn:sha256:{listed}')}",
        "version": 1,
        "metadata": metadata,
        "components": [_component(item) for item in components],
        "dependencies": [{"ref": KEEP, "dependsOn": references}, *({"ref": reference} for reference in references)],
    }


def _component(item: Component) -> dict[str, Any]:
    kernel = item.name.startswith("linux-image-") or item.kind == enclave.KERNEL
    inside = [_part(item, part) for part in item.parts]
    inside += [
        {
            "type": "file",
            "name": file.path,
            "hashes": [_hash(file.sha256)],
            "properties": _properties(file.size, file.lines),
        }
        for file in item.files
    ]
    row: dict[str, Any] = {
        "type": "operating-system" if kernel else "library",
        "bom-ref": _reference(item),
        "name": item.name,
        "version": item.version,
        "hashes": [_hash(item.sha256)],
        **_licences(item.licence),
        "purl": item.purl,
        "properties": [
            *_properties(item.size, item.lines),
            {"name": "fastness:reproducible", "value": str(item.reproducible).lower()},
            {"name": "fastness:source", "value": item.source},
        ],
        "components": inside,
    }
    if item.source.startswith("https://"):
        row["externalReferences"] = [{"type": "distribution", "url": item.source}]
    return row


def _part(item: Component, part: Part) -> dict[str, Any]:
    row = {"type": "library", "name": part.name, "version": part.version, **_licences(part.licence)}
    row["bom-ref"] = f"{_reference(item)}/{part.purl or f'{part.name}@{part.version}'}"
    row["properties"] = [{"name": "fastness:seen", "value": part.seen}]
    return row | ({"purl": part.purl} if part.purl else {})


def _reference(item: Component) -> str:
    return f"{item.kind}:{item.name}@{item.version}"


def _licences(expression: str) -> dict[str, Any]:
    return {"licenses": [{"expression": expression}]} if expression else {}


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _properties(size: int, lines: int) -> list[dict[str, str]]:
    rows = [{"name": "fastness:bytes", "value": str(size)}]
    return rows + ([{"name": "fastness:lines", "value": str(lines)}] if lines else [])
