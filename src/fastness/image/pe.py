"""PE images as UEFI firmware measures them: sections, and the Authenticode digest.

Sources: Microsoft PE/COFF specification revision 11, sections 2 to 4; "Windows Authenticode Portable Executable
Signature Format" 1.0, "Calculating the PE Image Hash"; TCG PFP 1.06 section 3.3.5.2 (that digest is what an
application is measured by). All integers little endian. Only x86-64 images (PE32+) are read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fastness.errors import Malformed

MAX_SECTIONS = 96
"""Most sections the specification's loader takes (section 3.3)."""

PE32_PLUS = 0x20B
_SECURITY = 4
"""Index of the certificate table among the data directories (section 3.4.3)."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: ``name`` without padding, ``offset`` and ``raw`` size in the file, ``size`` in memory."""

    name: str
    offset: int
    raw: int
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    """A PE32+ image.

    Attributes:
        data: the file.
        checksum: offset of the CheckSum field, 4 bytes that Authenticode leaves out.
        directory: offset of the certificate table's directory entry, 8 bytes that it leaves out too.
        headers: SizeOfHeaders.
        certificates: size of the certificate table, which is left out.
        sections: in the order of the table.
    """

    data: bytes
    checksum: int
    directory: int
    headers: int
    certificates: int
    sections: tuple[Section, ...]

    def content(self, name: str) -> bytes | None:
        """What the section ``name`` holds in memory: as long as its virtual size, zero past the file's part."""
        found = next((item for item in self.sections if item.name == name), None)
        if found is None:
            return None
        return self.data[found.offset : found.offset + min(found.raw, found.size)].ljust(found.size, b"\0")

    def authenticode(self, algorithm: str) -> bytes:
        """The digest a measured boot extends: the file without CheckSum, directory entry and certificate table."""
        digest = hashlib.new(algorithm, self.data[: self.checksum])
        digest.update(self.data[self.checksum + 4 : self.directory])
        digest.update(self.data[self.directory + 8 : self.headers])
        hashed = self.headers
        for section in sorted((item for item in self.sections if item.raw), key=lambda item: item.offset):
            digest.update(memoryview(self.data)[section.offset : section.offset + section.raw])
            hashed += section.raw
        end = len(self.data) - self.certificates
        if end < hashed:
            raise _malformed("certificate table", self.directory, "a table behind the sections", "one over them")
        digest.update(memoryview(self.data)[hashed:end])
        return digest.digest()


def parse(data: bytes) -> Image:
    """The image in ``data``.

    Raises:
        Malformed: not PE32+, or a header or section outside the file.
    """
    if data[:2] != b"MZ":
        raise _malformed("e_magic", 0, "MZ", repr(data[:2]))
    at = _number(data, 0x3C, 4, "e_lfanew")
    if data[at : at + 4] != b"PE\0\0":
        raise _malformed("signature", at, "PE", repr(data[at : at + 4]))
    count, size = _number(data, at + 6, 2, "NumberOfSections"), _number(data, at + 20, 2, "SizeOfOptionalHeader")
    optional = at + 24
    magic = _number(data, optional, 2, "Magic")
    if magic != PE32_PLUS:
        raise _malformed("Magic", optional, f"0x{PE32_PLUS:x}", f"0x{magic:x}")
    headers = _number(data, optional + 60, 4, "SizeOfHeaders")
    directories = _number(data, optional + 108, 4, "NumberOfRvaAndSizes")
    directory = optional + 112 + 8 * _SECURITY
    if directories <= _SECURITY or size < 112 + 8 * (_SECURITY + 1):
        raise _malformed("NumberOfRvaAndSizes", optional + 108, f"more than {_SECURITY}", directories)
    table = optional + size
    if not table + 40 * count <= headers <= len(data) or count > MAX_SECTIONS:
        raise _malformed("SizeOfHeaders", optional + 60, f"the headers of {count} sections in the file", headers)
    return Image(
        data,
        optional + 64,
        directory,
        headers,
        _number(data, directory + 4, 4, "certificate table"),
        tuple(_section(data, table + 40 * index) for index in range(count)),
    )


def _section(data: bytes, at: int) -> Section:
    name = data[at : at + 8].rstrip(b"\0").decode("ascii", "backslashreplace")
    size, _, raw, offset = (_number(data, at + 8 + 4 * index, 4, name) for index in range(4))
    if offset + raw > len(data):
        raise _malformed(f"section {name}", at, f"at most {len(data)} bytes", offset + raw)
    if size > len(data) + (16 << 20):
        raise _malformed(f"section {name}", at, "a size in memory not far beyond the file", size)
    return Section(name, offset, raw, size)


def _number(data: bytes, at: int, size: int, field: str) -> int:
    if at + size > len(data):
        raise _malformed(field, at, f"{size} bytes", f"{max(len(data) - at, 0)} bytes")
    return int.from_bytes(data[at : at + size], "little")


def _malformed(field: str, at: int, need: object, have: object) -> Malformed:
    return Malformed(
        f"PE image: {field}: need {need}, have {have}", where=f"{field} at byte {at}", hint="build the image again"
    )
