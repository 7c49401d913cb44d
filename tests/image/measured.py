"""Small parts to measure: a PE file, a kernel that is one, a UKI, a firmware with TDX metadata, an SGXS stream."""

from __future__ import annotations

import struct
import uuid

from fastness.image.measure import Parts

STUB = b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####"
CMDLINE = "console=ttyS0 quiet"
INITRD = b"an initramfs, " * 99
HEADERS = 0x800


def pe(sections: dict[str, bytes], *, certificates: bytes = b"", trailing: bytes = b"", lead: bytes = b"") -> bytes:
    """PE32+: headers of 0x800 bytes with ``lead`` in the DOS part, sections one after the other, certificates last."""
    at = 0x400
    head = bytearray(HEADERS)
    head[: len(lead)] = lead
    head[:2] = b"MZ"
    head[0x3C:0x40] = struct.pack("<I", at)
    size = 112 + 16 * 8
    head[at : at + 24] = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(sections), 7, 0, 0, size, 0x22E)
    struct.pack_into("<H", head, at + 24, 0x20B)
    struct.pack_into("<III", head, at + 24 + 56, 0x10000, HEADERS, 0xCC0DE)
    struct.pack_into("<I", head, at + 24 + 108, 16)
    body = b""
    for index, (name, content) in enumerate(sections.items()):
        raw = content.ljust((len(content) + 511) // 512 * 512, b"\0")
        row = struct.pack("<8sIIII12xI", name.encode(), len(content), 0x1000, len(raw), HEADERS + len(body), 0x60000020)
        head[at + 24 + size + 40 * index : at + 24 + size + 40 * (index + 1)] = row
        body += raw
    body += trailing
    if certificates:
        struct.pack_into("<II", head, directory(), HEADERS + len(body), len(certificates))
    return bytes(head) + body + certificates


def checksum() -> int:
    return 0x400 + 24 + 64


def directory() -> int:
    return 0x400 + 24 + 112 + 4 * 8


def kernel(text: bytes = b"a kernel", *, flags: int = 3, highest: int = 0x7FFFFFFF, certificates: bytes = b"") -> bytes:
    """A PE file that is also a bzImage of protocol 2.15."""
    lead = bytearray(0x270)
    lead[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", lead, 0x206, 0x20F)
    lead[0x211] = 1
    struct.pack_into("<I", lead, 0x22C, highest)
    struct.pack_into("<H", lead, 0x236, flags)
    return pe({".text": text * 500}, lead=bytes(lead), certificates=certificates)


def uki(linux: bytes, initrd: bytes = INITRD, cmdline: str = CMDLINE, **more: bytes) -> bytes:
    sections = {".sdmagic": STUB, ".osrel": b"ID=test\n", ".cmdline": cmdline.encode(), ".initrd": initrd}
    return pe(sections | {f".{name}": content for name, content in more.items()} | {".linux": linux})


def parts(*, linux: bytes | None = None, initrd: bytes = INITRD, cmdline: str = CMDLINE, unified: bool = True) -> Parts:
    chosen = kernel() if linux is None else linux
    return Parts(chosen, initrd, cmdline, uki(chosen, initrd, cmdline) if unified else b"")


def firmware(sections: list[tuple[int, int, int, int, int]], size: int = 0x8000, version: int = 1) -> bytes:
    """A firmware file; sections are (offset, raw size, address, size in memory, attributes)."""
    data = bytearray((index * 7 + index // 256) & 0xFF for index in range(size))
    descriptor = b"TDVF" + struct.pack("<III", 16 + 32 * len(sections), version, len(sections))
    for offset, raw, address, memory, attributes in sections:
        descriptor += struct.pack("<IIQQII", offset, raw, address, memory, 0, attributes)
    start = size - 0x400
    data[start : start + len(descriptor)] = descriptor
    entry = struct.pack("<I", size - start) + struct.pack("<H", 22) + guid("e47a6535-984a-4798-865e-4685a7bf8ec2")
    footer = struct.pack("<H", len(entry) + 18) + guid("96b582de-1fb2-45f7-baea-a366c55a082d")
    data[size - 32 - len(entry + footer) : size - 32] = entry + footer
    return bytes(data)


def guid(text: str) -> bytes:
    return uuid.UUID(text).bytes_le


def record(tag: bytes, first: int, second: int = 0) -> bytes:
    return (tag.ljust(8, b"\0") + struct.pack("<QQ", first, second)).ljust(64, b"\0")


def sgxs() -> bytes:
    """Four pages: a TCS and a page of code measured, one of data added but not measured."""
    out = (b"ECREATE\0" + struct.pack("<IQ", 1, 0x4000)).ljust(64, b"\0")
    for page, flags in ((0, 0x100), (0x1000, 0x205)):
        out += record(b"EADD", page, flags)
        for chunk in range(0, 4096, 256):
            filling = bytes((page // 256 + chunk // 256 + index) & 255 for index in range(256))
            out += record(b"EEXTEND", page + chunk) + filling
    return out + record(b"EADD", 0x2000, 0x203)
