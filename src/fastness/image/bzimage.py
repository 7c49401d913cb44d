"""A Linux boot image of x86-64 (Linux, Documentation/arch/x86/boot.rst): its release, and its configuration if told.

The file is somebody's word: every offset is checked, and what is unpacked has a bound. Fields used, little-endian:

====== ==== ================== ==================================================================================
offset size name               what
====== ==== ================== ==================================================================================
0x1f1  1    setup_sects        512-byte sectors of real-mode code after the first; 0 means 4
0x1f4  4    syssize            16-byte paragraphs of what follows them
0x1fe  2    boot_flag          0xaa55
0x202  4    header             ``HdrS``
0x206  2    version            of the protocol; 2.12 (Linux 3.8) has all that is read here
0x20e  2    kernel_version     offset, less 0x200, of the release and words on the build, with a NUL
0x211  1    loadflags          bit 0: a bzImage
0x236  2    xloadflags         bit 0: 64-bit entry point
0x248  4    payload_offset     of the compressed kernel, from the protected-mode code on
0x24c  4    payload_length     bytes
====== ==== ================== ==================================================================================

The compressed kernel of a build with ``CONFIG_IKCONFIG`` holds its configuration: ``IKCFG_ST``, gzip, ``IKCFG_ED``.
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from fastness.errors import Malformed

HEAD = 0x250
MAX_KERNEL, MAX_CONFIG = 256 << 20, 8 << 20
"""Bytes of an unpacked kernel, and of its configuration, that are looked at."""

RELEASE = re.compile(rb"[0-9][A-Za-z0-9.+_~-]{0,63}")
"""It becomes the name of a folder."""

LEAST = 0x020C
OPTION = re.compile(r"CONFIG_(\w+)=(.*)")


class BzImage(NamedTuple):
    """What a boot image says of itself.

    Attributes:
        release: as ``uname -r`` will say it.
        packing: how the kernel is compressed (``gzip``, ``zstd`` …).
        kernel: the kernel unpacked; None where nothing here unpacks ``packing``.
        options: the configuration, names without ``CONFIG_``; None where it is not in the kernel, or not to be read.
    """

    release: str
    packing: str
    kernel: bytes | None
    options: Mapping[str, str] | None


def parse(data: bytes, where: str) -> BzImage:
    """What the boot image ``data`` says of itself.

    Raises:
        Malformed: it is none of x86-64, is cut, or holds what cannot be.
        UsageError: it is packed by zstd, and zstandard is not installed.
    """
    if len(data) < HEAD or data[0x202:0x206] != b"HdrS" or data[0x1FE:0x200] != b"\x55\xaa":
        raise _bad(_other(data), where)
    version, name, flags, more = *struct.unpack_from("<H6xH", data, 0x206), data[0x211], data[0x236]
    if version < LEAST:
        raise _bad(f"boot protocol {version >> 8}.{version & 255:02}, need 2.12 or newer", where)
    if not flags & 1 or not more & 1:
        raise _bad("it has no 64-bit entry point", where)
    start = ((data[0x1F1] or 4) + 1) * 512
    if start + struct.unpack_from("<I", data, 0x1F4)[0] * 16 > len(data):
        raise _bad("it is cut: shorter than its header says", where)
    offset, length = struct.unpack_from("<II", data, 0x248)
    if not length or start + offset + length > len(data):
        raise _bad("its compressed kernel does not lie within it", where)
    release = RELEASE.match(data, 0x200 + name)
    if release is None or data[release.end() : release.end() + 1] not in (b" ", b"\0"):
        raise _bad("its release cannot be read", where)
    packing, kernel = _unpacked(data[start + offset : start + offset + length], where)
    return BzImage(release[0].decode(), packing, kernel, None if kernel is None else _options(kernel))


def _other(data: bytes) -> str:
    if data[0x38:0x3C] == b"ARMd":
        return "it is a kernel of aarch64"
    return "it is an ELF file: the boot image is wanted" if data[:4] == b"\x7fELF" else "it has no boot header of x86"


def _unpacked(payload: bytes, where: str) -> tuple[str, bytes | None]:
    """How ``payload`` is packed, and what is in it, as far as :data:`MAX_KERNEL`."""
    name = next((name for magic, name in PACKINGS if payload.startswith(magic)), "an unknown way")
    try:
        if name == "gzip":
            return name, zlib.decompressobj(31).decompress(payload, MAX_KERNEL)
        if name in ("xz", "lzma"):
            return name, lzma.LZMADecompressor().decompress(payload, MAX_KERNEL)
        if name == "bzip2":
            return name, bz2.BZ2Decompressor().decompress(payload, MAX_KERNEL)
        return name, _zstd(payload) if name == "zstd" else None
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise _bad(f"its compressed kernel is damaged: {error}", where) from None


PACKINGS = (
    (b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"\x5d\0\0", "lzma"),
    (b"BZh", "bzip2"), (b"\x02\x21\x4c\x18", "lz4"), (b"\x89LZO", "lzo"),
)  # fmt: skip
"""How a kernel may be packed, by how it begins (Linux, lib/decompress.c)."""


def _zstd(payload: bytes) -> bytes:
    from fastness.errors import UsageError

    try:
        import zstandard
    except ImportError:
        raise UsageError("zstandard is not installed", hint="pip install 'fastness[image]'") from None
    try:
        with zstandard.ZstdDecompressor().stream_reader(payload) as reader:
            return reader.read(MAX_KERNEL)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _options(kernel: bytes) -> Mapping[str, str] | None:
    start = kernel.find(b"IKCFG_ST")
    if start < 0:
        return None
    try:
        text = zlib.decompressobj(31).decompress(kernel[start + 8 : start + 8 + MAX_CONFIG], MAX_CONFIG)
    except zlib.error:
        return None
    rows = (OPTION.fullmatch(line) for line in text.decode("utf-8", "replace").splitlines())
    return {row[1]: row[2] for row in rows if row}


def _bad(what: str, where: str) -> Malformed:
    return Malformed(
        f"not a boot image of Linux for x86-64 (bzImage): {what}",
        where=where,
        hint="AWS's is /usr/share/nitro_enclaves/blobs/bzImage where nitro-cli is; docs/image.md builds one",
    )
