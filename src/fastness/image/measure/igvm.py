"""Launch digests of SEV-SNP guests that start from an IGVM file: firmware, image and processor state in one.

Source: Independent Guest Virtual Machine file format, versions 1 and 2 (microsoft/igvm, ``igvm_defs``). A fixed header
(24 bytes; 32 in version 2): ``IGVM``, version, offset and size of the variable headers, size of the file, CRC-32 of
both headers with itself as zero. Variable headers: type 4, length 4, body, zeros to 8 bytes; platforms first, then
initialisations, then directives, which the loader follows in order. All integers little endian.

Loaders differ. The specification measures a page without data as a page of zeros, and all in the order of the file;
QEMU (``backends/igvm.c``) as a zero page, gathers neighbouring pages and puts parameter areas before the run it is
gathering, and KVM measures the processor last, at its own address. Both values bind the same contents.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from fastness.errors import Malformed, MalformedEvidence, UsageError
from fastness.image.measure import Machine, Parts, Row
from fastness.image.measure.ovmf import PAGE
from fastness.image.measure.snp_pages import VMSA_GPA, Digest, PageType
from fastness.wire.cursor import Cursor

MAGIC = b"IGVM"
MAX_SIZE = 512 << 20
MAX_PAGES = 1 << 18
LARGE = 2 << 20
SNP = 2
_PLATFORM, _AREA, _DATA, _INSERT, _PROCESSOR = 0x1, 0x301, 0x302, 0x303, 0x304
_OPTIONAL = 1 << 31
_SILENT = {0x101, 0x102, 0x103, 0x305, *range(0x307, 0x314)} - {0x30D}
"""Headers that no page comes of: policies, parameters that loaders fill in, hints, ID blocks."""

_SIZES = {_PLATFORM: 16, _AREA: 16, _DATA: 24, _INSERT: 16, _PROCESSOR: 20}
_TYPES = {1: PageType.SECRETS, 2: PageType.CPUID, 3: PageType.CPUID}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of 4096 bytes that a loader measures; ``index`` is that of its directive, ``data`` empty for zeros."""

    kind: PageType
    gpa: int
    data: bytes
    index: int
    flags: int = 0


def recognise(data: bytes) -> bool:
    """Whether ``data`` is an IGVM file."""
    return data[:4] == MAGIC


def pages(data: bytes) -> tuple[Page, ...]:
    """What an SNP guest is made of, in the order of the file.

    Raises:
        Malformed: not an IGVM file, cut, altered, with headers a loader could not follow, or not for SNP.
    """
    try:
        return _Reader(data).pages()
    except MalformedEvidence as error:  # of the cursor
        raise _bad(error.field, error.offset, error.need, error.have) from None


def _bad(field: str, offset: int, need: object, have: object) -> Malformed:
    return Malformed(
        f"IGVM {field}: need {need}, have {have}",
        where=f"IGVM file at byte {offset}",
        hint="build the IGVM file again; it was cut or altered, or is for another kind of guest",
    )


class _Reader:
    """The directives of one file, for the platform that is SEV-SNP."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.mask = 0
        self.areas: dict[int, int] = {}
        self.found: list[Page] = []
        self.index = 0

    def pages(self) -> tuple[Page, ...]:
        section = 0
        for kind, body in self._headers():
            part = min((kind & ~_OPTIONAL) - 1 >> 8, 2)
            if part < section:
                self._fail("header", f"no 0x{kind:x} after a later section")
            section = part
            self._header(kind, body)
        if not self.mask:
            self._fail("platform", "SEV-SNP among its platforms")
        return tuple(self.found)

    def _fail(self, field: str, need: str) -> NoReturn:
        raise _bad(field, 0, need, "another")

    def _headers(self) -> list[tuple[int, Cursor]]:
        """Type and body of each variable header."""
        data = self.data
        if len(data) > MAX_SIZE or data[:4] != MAGIC:
            self._fail("magic", f"IGVM, at most {MAX_SIZE} bytes")
        head = Cursor(data[4:24], 4)
        version, start, size, total, crc = (head.little(4, "header") for _ in range(5))
        fixed = {1: 24, 2: 32}.get(version, 0)
        if not fixed or start != fixed or total != len(data) or start + size > total or size % 8:
            self._fail("header", "version 1 or 2, headers inside a whole file")
        if version == 2 and data[24:32] != bytes(4) + PAGE.to_bytes(4, "little"):
            self._fail("architecture", "x86-64, pages of 4096 bytes")
        if zlib.crc32(data[24 : start + size], zlib.crc32(data[:20] + bytes(4))) != crc:
            self._fail("checksum", "the CRC-32 of the headers")
        read, found = Cursor(data[start : start + size], start), []
        while read.remaining:
            kind, length = read.little(4, "type"), read.little(4, "length")
            place = read.offset
            found.append((kind, Cursor(read.take(length, "body"), place)))
            read.zeros(-length % 8, "padding")
        return found

    def _header(self, kind: int, body: Cursor) -> None:
        known: dict[int, Callable[[Cursor], None]] = {
            _PLATFORM: self._platform, _AREA: self._area, _DATA: self._page, _INSERT: self._insert,
            _PROCESSOR: self._processor,
        }  # fmt: skip
        self.index += 1
        if kind in known:
            if body.remaining != _SIZES[kind]:
                raise _bad("length", body.offset, _SIZES[kind], body.remaining)
            known[kind](body)
        elif kind not in _SILENT and not kind & _OPTIONAL:
            raise _bad("type", body.offset, "a header of the specification", f"0x{kind:x}")

    def _platform(self, body: Cursor) -> None:
        mask, _, platform = body.little(4, "mask"), body.little(1, "vtl"), body.little(1, "platform")
        if platform == SNP:
            if self.mask or mask.bit_count() != 1:
                raise _bad("platform", body.base, "SEV-SNP once, one bit", f"0x{mask:x}")
            self.mask = mask

    def _area(self, body: Cursor) -> None:
        size, index, _ = body.little(8, "size"), body.little(4, "index"), body.little(4, "offset")
        if index in self.areas or not size or size % PAGE or size > MAX_PAGES * PAGE:
            raise _bad("parameter area", body.base, "whole pages, each index once", f"{size} bytes, index {index}")
        self.areas[index] = size

    def _insert(self, body: Cursor) -> None:
        gpa, mask, index = body.little(8, "gpa"), body.little(4, "mask"), body.little(4, "index")
        if not mask & self.mask:
            return
        if index not in self.areas:
            raise _bad("parameter insert", body.base, "an area that was declared, once", index)
        self._add(PageType.UNMEASURED, gpa, self.areas.pop(index), b"", -1)

    def _page(self, body: Cursor) -> None:
        gpa, mask, offset = body.little(8, "gpa"), body.little(4, "mask"), body.little(4, "offset")
        flags, kind = body.little(4, "flags"), body.little(2, "type")
        body.zeros(2, "reserved")
        if not mask & self.mask or flags & 4:  # shared with the host: not part of the guest
            return
        if kind > 3 or flags & ~7:
            raise _bad("page data", body.base, "a known type and flags", f"type {kind}, flags 0x{flags:x}")
        size = LARGE if flags & 1 else PAGE
        chosen = _TYPES.get(kind, PageType.UNMEASURED if flags & 2 else PageType.NORMAL)
        data = self._at(offset, size) if offset and chosen is PageType.NORMAL else b""
        self._add(chosen, gpa, size, data, flags << 8 | bool(offset) << 7 | kind)

    def _processor(self, body: Cursor) -> None:
        gpa, mask, offset = body.little(8, "gpa"), body.little(4, "mask"), body.little(4, "offset")
        number = body.little(2, "processor")
        body.zeros(2, "reserved")
        if not mask & self.mask:
            return
        if number or any(item.kind is PageType.VMSA for item in self.found):
            raise _bad("processor", body.base, "the first one only", number)
        if not offset:
            raise _bad("processor", body.base, "a save area", "none")
        self.found.append(Page(PageType.VMSA, gpa, self._at(offset, PAGE), self.index))

    def _at(self, offset: int, size: int) -> bytes:
        if offset + size > len(self.data):
            raise _bad("data", offset, f"{size} bytes inside the file", len(self.data) - offset)
        return self.data[offset : offset + size]

    def _add(self, kind: PageType, gpa: int, size: int, data: bytes, flags: int) -> None:
        if gpa % PAGE or gpa >> 52 or len(self.found) + size // PAGE > MAX_PAGES:
            raise _bad("gpa", 0, f"pages below 2⁵², at most {MAX_PAGES}", f"0x{gpa:x}")
        for start in range(0, size, PAGE):
            self.found.append(Page(kind, gpa + start, data[start : start + PAGE], self.index, flags))


def launch_digest(found: tuple[Page, ...], *, qemu: bool) -> bytes:
    """The launch digest of :func:`pages`, 48 bytes, as QEMU loads them or as the specification says."""
    digest = Digest()
    for page in _as_qemu(found) if qemu else found:
        if page.kind is PageType.VMSA:
            digest.page(PageType.VMSA, page.gpa, page.data)
        elif page.kind is not PageType.NORMAL:
            digest.page(page.kind, page.gpa)
        elif page.data or not qemu:
            digest.page(PageType.NORMAL, page.gpa, page.data or bytes(PAGE))
        else:
            digest.page(PageType.ZERO, page.gpa)
    return digest.value


def _as_qemu(found: tuple[Page, ...]) -> list[Page]:
    """QEMU's order: a run of neighbours is passed on when the next run begins, everything else at once."""
    out: list[Page] = []
    run: list[Page] = []
    last: list[Page] = []
    for page in found:
        if page.kind is PageType.VMSA:
            last.append(replace(page, gpa=VMSA_GPA))
        elif page.flags < 0:
            out.append(page)
        else:
            if run and not _neighbours(run[-1], page):
                out += run
                run = []
            run.append(page)
    return out + run + last


def _neighbours(one: Page, two: Page) -> bool:
    return two.flags == one.flags and two.gpa == one.gpa + PAGE and two.index - one.index in (0, 1)


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """What an SNP guest reports that starts from the IGVM file ``machine.firmware``.

    Raises:
        UsageError: several processors (a host measures those it adds itself), or a file without the image in it.
        Malformed: as :func:`pages`.
    """
    found = pages(machine.firmware)
    if machine.vcpus != 1:
        raise UsageError(
            f"an IGVM file describes the first of {machine.vcpus} processors; the others are the host's own affair",
            hint="start the guest with one processor",
        )
    if not _holds(found, parts):
        raise UsageError(
            "the IGVM file does not hold this image: its digest would say nothing of it",
            hint="build it from the image's UKI, or from its kernel, initrd and command line, not compressed again",
        )
    values = {launch_digest(found, qemu=True).hex(), launch_digest(found, qemu=False).hex()}
    note = f"IGVM sha256:{hashlib.sha256(machine.firmware).hexdigest()}, as QEMU loads it or the specification says"
    return (Row("snp", note, {"launch": tuple(sorted(values))}),)


def _holds(found: tuple[Page, ...], parts: Parts) -> bool:
    """Whether the measured pages, as they lie in guest memory, hold the UKI, or kernel, initrd and command line.

    That the firmware beside them starts these, and nothing else, is for whoever built the file to know.
    """
    runs: list[list[bytes]] = []
    end = -1
    for page in sorted((item for item in found if item.kind is PageType.NORMAL), key=lambda item: item.gpa):
        if page.gpa != end:
            runs.append([])
        runs[-1].append(page.data or bytes(PAGE))
        end = page.gpa + PAGE
    memory = [b"".join(run) for run in runs]
    if parts.uki and any(parts.uki in item for item in memory):
        return True
    loose = (parts.kernel, parts.initrd, parts.cmdline.encode())
    return all(any(part in item for item in memory) for part in loose)
