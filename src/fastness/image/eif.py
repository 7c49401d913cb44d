"""The Nitro enclave image format, version 4: kernel, command line and ramdisks in one file, and its registers.

Source: aws-nitro-enclaves-image-format (``EifHeader``, ``EifSectionHeader``; the format has no other specification);
AWS Nitro Enclaves User Guide, "Cryptographic attestation". All integers big endian.

=========== ==== ===========================================================================================
field       size value
=========== ==== ===========================================================================================
magic       4    ``.eif``
version     2    4
flags       2    bit 0: aarch64
memory      8    default memory of the enclave, bytes
cpus        8    default number of processors
reserved    2    zero
sections    2    number of sections, at most 32
offsets     256  32 × 8: where each section's header stands; zero for those that are not there
sizes       256  32 × 8: bytes of each section without its header
unused      4    zero
crc         4    CRC-32 (IEEE 802.3) of the whole file but for this field
=========== ==== ===========================================================================================

A section: type (2: 1 kernel, 2 command line, 3 ramdisk, 4 signature, 5 metadata), flags (2), size (8), content. The
order is kernel, command line, metadata, ramdisks, signature. No register covers header and metadata.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastness.errors import Malformed, MalformedEvidence
from fastness.wire import cbor, pem
from fastness.wire.cursor import Cursor
from fastness.wire.eventlog import extend

MAGIC, VERSION, ARM = b".eif", 4, 1
KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = 1, 2, 3, 4, 5
NAMES = {KERNEL: "kernel", CMDLINE: "command line", RAMDISK: "ramdisk", SIGNATURE: "signature", METADATA: "metadata"}
MAX_SECTIONS = 32
HEADER, SECTION = 548, 12
"""Sizes of the file's and of a section's header."""

MAX_METADATA = 64 * 1024
_CRC = HEADER - 4
_ORDER = {KERNEL: 0, CMDLINE: 1, METADATA: 2, RAMDISK: 3, SIGNATURE: 4}


@dataclass(frozen=True, slots=True)
class Eif:
    """An enclave image. ``metadata`` is JSON, ``signature`` CBOR or empty; neither is part of PCR 0 to 2."""

    kernel: bytes
    cmdline: bytes
    ramdisks: tuple[bytes, ...]
    metadata: bytes
    signature: bytes = b""
    memory: int = 1 << 30
    cpus: int = 2
    arm: bool = False

    def sections(self) -> tuple[tuple[int, bytes], ...]:
        """(type, content) in the order of the file."""
        fixed = [(KERNEL, self.kernel), (CMDLINE, self.cmdline), (METADATA, self.metadata)]
        fixed += [(RAMDISK, content) for content in self.ramdisks]
        return tuple(fixed + ([(SIGNATURE, self.signature)] if self.signature else []))


def unparse(image: Eif) -> bytes:
    """The file.

    Raises:
        Malformed: more ramdisks than the header has room for.
    """
    sections = image.sections()
    if len(sections) > MAX_SECTIONS:
        raise Malformed(f"enclave image: {len(image.ramdisks)} ramdisks", where="sections", hint="join them into one")
    offset, offsets, sizes, body = HEADER, [], [], []
    for kind, content in sections:
        offsets.append(offset)
        sizes.append(len(content))
        body += [kind.to_bytes(2, "big"), bytes(2), len(content).to_bytes(8, "big"), content]
        offset += SECTION + len(content)
    head = MAGIC + VERSION.to_bytes(2, "big") + (ARM if image.arm else 0).to_bytes(2, "big")
    head += image.memory.to_bytes(8, "big") + image.cpus.to_bytes(8, "big")
    head += bytes(2) + len(sizes).to_bytes(2, "big")
    for values in (offsets, sizes):
        head += b"".join(value.to_bytes(8, "big") for value in values).ljust(8 * MAX_SECTIONS, b"\0")
    head += bytes(4)
    crc = zlib.crc32(head)
    for piece in body:
        crc = zlib.crc32(piece, crc)
    return b"".join([head, crc.to_bytes(4, "big"), *body])


def parse(data: bytes) -> Eif:
    """The image in ``data``.

    Raises:
        Malformed: another version, a table that does not describe the sections, sections missing, repeated or out of
            order, leftovers, or a CRC that does not hold.
    """
    try:
        return _parse(data)
    except MalformedEvidence as error:
        raise Malformed(f"enclave image: {error.what}", where=error.where, hint="fastness image build") from None


def _parse(data: bytes) -> Eif:
    cursor = Cursor(data)
    if cursor.take(4, "magic") != MAGIC:
        raise MalformedEvidence("magic", 0, ".eif", repr(data[:4]))
    version, flags = cursor.big(2, "version"), cursor.big(2, "flags")
    if version != VERSION:
        raise MalformedEvidence("version", 4, VERSION, version)
    if flags & ~ARM:
        raise MalformedEvidence("flags", 6, "bit 0 only", f"0x{flags:x}")
    memory, cpus = cursor.big(8, "memory"), cursor.big(8, "cpus")
    cursor.zeros(2, "reserved")
    count = cursor.big(2, "sections")
    if not 3 <= count <= MAX_SECTIONS:
        raise MalformedEvidence("sections", cursor.offset - 2, f"3 to {MAX_SECTIONS}", count)
    table = [[cursor.big(8, name) for _ in range(MAX_SECTIONS)] for name in ("offsets", "sizes")]
    cursor.zeros(4, "unused")
    crc = cursor.big(4, "crc")
    found = zlib.crc32(memoryview(data)[HEADER:], zlib.crc32(memoryview(data)[:_CRC]))
    if crc != found:
        raise MalformedEvidence("crc", _CRC, f"{found:08x}", f"{crc:08x}")
    sections = _sections(cursor, count, *table)
    by_kind = {kind: [content for known, content in sections if known == kind] for kind in NAMES}
    for kind, least, most in ((KERNEL, 1, 1), (CMDLINE, 1, 1), (METADATA, 1, 1), (RAMDISK, 0, 32), (SIGNATURE, 0, 1)):
        if not least <= len(by_kind[kind]) <= most:
            raise MalformedEvidence("sections", 26, f"{least} to {most} × {NAMES[kind]}", len(by_kind[kind]))
    return Eif(
        by_kind[KERNEL][0],
        by_kind[CMDLINE][0],
        tuple(by_kind[RAMDISK]),
        by_kind[METADATA][0],
        (by_kind[SIGNATURE] or [b""])[0],
        memory,
        cpus,
        bool(flags & ARM),
    )


def _sections(cursor: Cursor, count: int, offsets: list[int], sizes: list[int]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for index in range(count):
        at = cursor.offset
        kind = cursor.big(2, "section.type")
        cursor.zeros(2, "section.flags")
        size = cursor.big(8, "section.size")
        if kind not in NAMES:
            raise MalformedEvidence("section.type", at, "1 to 5", kind)
        if (offsets[index], sizes[index]) != (at, size):
            raise MalformedEvidence(f"offsets[{index}]", at, f"{at} and {size}", f"{offsets[index]} and {sizes[index]}")
        if found and _ORDER[kind] < _ORDER[found[-1][0]]:
            raise MalformedEvidence("section.type", at, f"no {NAMES[kind]} here", f"one after {NAMES[found[-1][0]]}")
        if kind == SIGNATURE and not size:
            raise MalformedEvidence("section.size", at + 4, "a signature", 0)
        found.append((kind, cursor.take(size, NAMES[kind])))
    cursor.done("enclave image")
    if any(offsets[count:]) or any(sizes[count:]):
        raise MalformedEvidence("offsets", 28, "zero for sections that are not there", "something else")
    return found


def registers(image: Eif) -> dict[str, bytes]:
    """``pcr0`` image, ``pcr1`` kernel, command line and first ramdisk, ``pcr2`` further ramdisks, ``pcr8`` signer.

    Each is SHA-384(48 zero bytes ‖ SHA-384(contents, one after the other)). ``pcr8`` is there for a signed image only.
    What is hashed has no boundaries: what moves from the end of one section to the start of the next is not told apart.
    """
    first, further = image.ramdisks[:1], image.ramdisks[1:]
    start = (image.kernel, image.cmdline)
    found = {
        "pcr0": _register(*start, *image.ramdisks),
        "pcr1": _register(*start, *first),
        "pcr2": _register(*further),
    }
    if image.signature:
        found["pcr8"] = _register(signer(image))
    return found


def _register(*contents: bytes) -> bytes:
    digest = hashlib.sha384()
    for content in contents:
        digest.update(content)
    return extend(bytes(48), digest.digest(), "sha384")


def signer(image: Eif) -> bytes:
    """The certificate of the signature section, DER. That the signature is good is for the hypervisor to check.

    The section is CBOR: a list of maps of ``signing_certificate`` (PEM) and ``signature`` (COSE_Sign1 over the value of
    PCR 0), both as lists of numbers or as byte strings.

    Raises:
        Malformed: the section is not of that form.
    """
    try:
        text = cbor.decode(image.signature)[0]["signing_certificate"]
        if not isinstance(text, bytes | list):
            raise TypeError  # bytes() of a number would be that many bytes
        ((_, der),) = pem.unarmour(bytes(text), "CERTIFICATE")
    except (MalformedEvidence, TypeError, ValueError, KeyError, IndexError):
        raise Malformed(
            "enclave image: the signature section holds no certificate", where="signature", hint="sign it again"
        ) from None
    return der


def metadata(name: str, version: str, built: datetime, kernel: str, custom: Mapping[str, Any] | None = None) -> bytes:
    """The metadata section: JSON of the producer's form. ``built`` comes from SOURCE_DATE_EPOCH, so that it repeats."""
    text = json.dumps(
        {
            "ImageName": name,
            "ImageVersion": version,
            "BuildMetadata": {
                "BuildTime": built.isoformat(),
                "BuildTool": "fastness",
                "BuildToolVersion": version,
                "OperatingSystem": "Linux",
                "KernelVersion": kernel,
            },
            "DockerInfo": None,
            "CustomMetadata": dict(custom) if custom else None,
        },
        separators=(",", ":"),
    ).encode()
    if len(text) > MAX_METADATA:
        raise Malformed(f"enclave image: metadata of {len(text)} bytes", where="metadata", hint="keep it short")
    return text
