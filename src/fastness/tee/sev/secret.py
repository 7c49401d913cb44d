"""Secrets for a guest that has been measured and has not run: the packets of LAUNCH_SECRET, and the table inside.

Packet (AMD 55766, SEV API 0.24, section 6.6): header of 52 bytes, flags 4 ‖ IV 16 ‖ MAC 32, and the data encrypted by
AES-128-CTR under TEK. MAC = HMAC-SHA-256 with TIK over 0x01 ‖ flags ‖ IV ‖ guest length ‖ transported length ‖ data ‖
measurement, lengths 4 bytes little endian. The measurement in it ties the secret to this launch of this guest.

Table (edk2 and Linux ``drivers/virt/coco/efi_secret``): GUID of the table, its size, then entries of GUID, size and
data; sizes are 4 bytes little endian and count GUID and themselves. QEMU's ``sev-inject-launch-secret`` takes header
and data as base64.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from uuid import UUID

from fastness.errors import MalformedEvidence, NotGenuine, UsageError
from fastness.tee.sev import launch, session
from fastness.tee.sev.launch import Measurement, Record
from fastness.wire.cursor import Cursor

TABLE = UUID("1e74f542-71dd-4d66-963e-ef4287ff173b")
KEEP = UUID("5dbe1a2c-7c0e-4a55-9c44-6f6b1e3b0f57")
"""The entry a keep looks for: the secret by which it proves that it is the guest that was measured."""

HEADER_SIZE = 52
MAX_TABLE = 3072
"""Size of the page part that edk2's AmdSevX64 sets aside (``PcdSevLaunchSecretSize``)."""

_HEAD = 20


def table(entries: Mapping[UUID, bytes]) -> bytes:
    """The table of ``entries``, padded with zeros to 16 bytes as the firmware wants.

    Raises:
        UsageError: no entry, or more than the guest's firmware has room for.
    """
    body = b"".join(guid.bytes_le + (_HEAD + len(data)).to_bytes(4, "little") + data for guid, data in entries.items())
    whole = TABLE.bytes_le + (_HEAD + len(body)).to_bytes(4, "little") + body
    whole += bytes(-len(whole) % 16)
    if not entries or len(whole) > MAX_TABLE:
        raise UsageError(f"secrets of {len(whole)} bytes", hint=f"at least one, {MAX_TABLE} bytes in all")
    return whole


def entries(data: bytes) -> dict[UUID, bytes]:
    """The entries of a table, as a guest finds it.

    Raises:
        MalformedEvidence: another GUID, a size that lies, an entry twice, padding that is not zero.
    """
    read = Cursor(data)
    if read.take(16, "secrets.guid") != TABLE.bytes_le:
        raise MalformedEvidence("secrets.guid", 0, str(TABLE), "another")
    size = read.little(4, "secrets.size")
    if not _HEAD <= size <= len(data):
        raise MalformedEvidence("secrets.size", 16, f"{_HEAD} to {len(data)}", size)
    found: dict[UUID, bytes] = {}
    while read.position < size:
        start = read.offset
        guid, length = UUID(bytes_le=read.take(16, "secret.guid")), read.little(4, "secret.size")
        if not _HEAD <= length <= size - start or guid in found:
            raise MalformedEvidence("secret.size", start + 16, f"one entry of {_HEAD} to {size - start} bytes", length)
        found[guid] = read.take(length - _HEAD, "secret.data")
    read.zeros(read.remaining, "secrets.padding")
    return found


def packet(held: Record, measured: Measurement, secrets: Mapping[UUID, bytes]) -> tuple[bytes, bytes]:
    """Header and data for LAUNCH_SECRET, for the guest that was measured and no other.

    Raises:
        NotGenuine: ``sev.launch``: the measurement is not that of a guest the tenant accepts. Nothing is encrypted.
        UsageError: as :func:`table`.
    """
    import os

    if launch.find(held, measured) is None or not launch.kept(held, measured):
        raise NotGenuine(
            "sev.launch",
            "no secret for a guest that is not the expected one",
            where="measurement",
            hint="the host started something else, or says another policy or firmware version than it has",
        )
    iv = os.urandom(16)
    data = session.counter(held.tek, iv, table(secrets))
    flags = bytes(4)  # not compressed
    return flags + iv + mac(held.tik, flags, iv, data, measured.measurement), data


def mac(tik: bytes, flags: bytes, iv: bytes, data: bytes, measured: bytes) -> bytes:
    """What a packet's header is signed with; guest and transported length are one without compression."""
    size = len(data).to_bytes(4, "little")
    return hmac.digest(tik, b"\x01" + flags + iv + size + size + data + measured, "sha256")
