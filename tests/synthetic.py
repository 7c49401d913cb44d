"""Tiny inputs of a keep image, made here: a Debian package, a wheel, ELF files, a kernel module, an EFI stub."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Mapping

from fastness.image import cpio
from fastness.image.contents import Contents
from fastness.image.ingredients import Part
from fastness.image.lock import Input, Lock

EPOCH = 1_792_622_081


def ar(members: Mapping[str, bytes]) -> bytes:
    """An ``ar`` archive, as deb(5) uses it."""
    out = b"!<arch>\n"
    for name, data in members.items():
        out += (
            f"{name:<16}{EPOCH:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return out


def deb(files: Mapping[str, bytes | str], packing: str = "xz") -> bytes:
    """A Debian package of ``files``; a ``str`` is a symbolic link."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"./{path}")
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    body = raw.getvalue()
    if packing == "zst":
        import zstandard

        body = zstandard.ZstdCompressor().compress(body)
    elif packing == "xz":
        body = lzma.compress(body)
    suffix = f".{packing}" if packing else ""
    return ar({"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(b""), f"data.tar{suffix}": body})


def wheel(files: Mapping[str, bytes]) -> bytes:
    """A wheel of ``files``."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return raw.getvalue()


def library(needed: tuple[str, ...] = (), soname: str = "", interpreter: str = "") -> bytes:
    """An ELF file that needs ``needed``; its segments lie at an address that is not their offset."""
    base, head, each = 0x10000, 64, 56
    names = b"\0"
    places = {}
    for name in (*needed, soname, interpreter):
        places[name] = len(names)
        names += name.encode() + b"\0"
    rows = [(1, places[name]) for name in needed] + ([(14, places[soname])] if soname else [])
    strings = head + 3 * each
    dynamic = strings + len(names)
    table = b"".join(struct.pack("<QQ", *row) for row in [*rows, (5, base + strings), (0, 0)])
    size = dynamic + len(table)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096)
    linked = struct.pack("<IIQQQQQQ", 2, 6, dynamic, base + dynamic, 0, len(table), len(table), 8)
    at = strings + places[interpreter]
    loader = struct.pack("<IIQQQQQQ", 3 if interpreter else 0, 4, at, base + at, 0, len(interpreter) + 1, 0, 1)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 3, 62, 1, 0, head, 0, 0, head, each, 3, 64, 0, 0)
    return header + load + linked + loader + names + table


def module(**fields: str) -> bytes:
    """A kernel module with these fields in ``.modinfo``."""
    info = b"".join(f"{key}={value}\0".encode() for key, value in fields.items())
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64 + len(info) + len(names)
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, 64, len(info), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 1, 62, 1, 0, 0, start, 0, 64, 0, 0, 64, 3, 2)
    return header + info + names + sections


def stub(sections: int = 1, room: int = 8, alignment: int = 512) -> bytes:
    """An EFI program of x86-64 with ``sections`` sections and room for ``room`` in all."""
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<II", optional, 32, alignment, 512)
    headers = (64 + 24 + 240 + 40 * room + 511) // 512 * 512
    struct.pack_into("<II", optional, 56, 0x5000, headers)
    struct.pack_into("<I", optional, 64, 0xABCD)
    struct.pack_into("<I", optional, 108, 16)
    coff = struct.pack("<HHIIIHH", 0x8664, sections, 0, 0, 0, len(optional), 0x206)
    table = b"".join(
        struct.pack("<8sIIIIIIHHI", b".s%d" % index, 16, 0x4000 + 0x100 * index, 512, headers, 0, 0, 0, 0, 0x60000020)
        for index in range(sections)
    )
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    # room that is not room: what follows the table to a whole 512 bytes is the section's
    return (dos + b"PE\0\0" + coff + bytes(optional) + table).ljust(headers, b"\0") + b"S" * 512


DRIVERS = b"virtio_mmio.device\0nsm-hwrng\0vmw_vsock_virtio_transport\0"
"""Words that stand in a kernel with the drivers of an enclave."""


def config(*lines: str) -> bytes:
    """A kernel that tells its configuration."""
    return b"code" + b"IKCFG_ST" + gzip.compress("\n".join(lines).encode()) + b"IKCFG_ED"


def bzimage(kernel: bytes = DRIVERS, release: str = "6.12-own", packed: bytes | None = None) -> bytearray:
    """A boot image of x86-64 around ``kernel``, packed by gzip, or around ``packed``."""
    payload = gzip.compress(kernel) if packed is None else packed
    body = b"start" + payload
    body += bytes(-len(body) % 16)
    head = bytearray(1024)
    head[0x1F1] = 1
    struct.pack_into("<I", head, 0x1F4, len(body) // 16)
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x020F)
    struct.pack_into("<H", head, 0x20E, 0x100)
    head[0x211], head[0x236] = 1, 1
    struct.pack_into("<II", head, 0x248, 5, len(payload))
    text = f"{release} (somebody@somewhere) #1\0".encode()
    head[0x300 : 0x300 + len(text)] = text
    return head + body


def item(kind: str, name: str, data: bytes, version: str = "1") -> Input:
    """The pin of ``data``."""
    import hashlib

    digest = hashlib.sha256(data).hexdigest()
    return Input(kind, name, version, f"{name}_{version}.{kind}", digest, len(data), "MIT", f"deb:{name}={version}")


def lock(*inputs: Input) -> Lock:
    """A lock of ``inputs``, for the compressor that is here."""
    import zstandard

    return Lock(EPOCH, zstandard.__version__, ("http://deb.example/debian bookworm main",), inputs)


def contents(extra: bytes = b"") -> Contents:
    """Contents of an image that would not boot."""
    root = (
        cpio.file("init", b"#!/none\n", "image", execute=True),
        cpio.file("usr/lib/fastness/a.py", b"pass\n" + extra, "fastness"),
        cpio.file("usr/lib/lib.so", b"\x7fELF" * 100, "libx"),
    )
    parts = {"libx": (Part("inner", "2", "MIT", "pkg:cargo/inner@2", "sbom"),)}
    return Contents("6.12-test", b"kernel" * 1000, stub(), root, {"usr/lib/fastness/a.py": 1}, parts)
