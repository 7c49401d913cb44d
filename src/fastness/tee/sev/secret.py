"""Secrets for a guest that has been measured and has not run: the packets of LAUNCH_SECRET.

Packet (AMD 55766, SEV API 0.24, section 6.6): header of 52 bytes, flags 4 ‖ IV 16 ‖ MAC 32, and the data encrypted by
AES-128-CTR under TEK. MAC = HMAC-SHA-256 with TIK over 0x01 ‖ flags ‖ IV ‖ guest length ‖ transported length ‖ data ‖
measurement, lengths 4 bytes little endian. The measurement in it ties the secret to this launch of this guest.

The table is :mod:`fastness.wire.injected`'s. QEMU's ``sev-inject-launch-secret`` takes header
and data as base64.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from fastness.errors import NotGenuine
from fastness.tee.sev import launch, session
from fastness.tee.sev.launch import Measurement, Record
from fastness.wire import injected

HEADER_SIZE = 52


def packet(held: Record, measured: Measurement, secrets: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """Header and data for LAUNCH_SECRET, ``secrets`` by GUID, for the guest that was measured and no other.

    Raises:
        NotGenuine: ``sev.launch``: the measurement is not that of a guest the tenant accepts. Nothing is encrypted.
        UsageError: as :func:`fastness.wire.injected.table`.
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
    data = session.counter(held.tek, iv, injected.table(secrets))
    flags = bytes(4)  # not compressed
    return flags + iv + mac(held.tik, flags, iv, data, measured.measurement), data


def mac(tik: bytes, flags: bytes, iv: bytes, data: bytes, measured: bytes) -> bytes:
    """What a packet's header is signed with; guest and transported length are one without compression."""
    size = len(data).to_bytes(4, "little")
    return hmac.digest(tik, b"\x01" + flags + iv + size + size + data + measured, "sha256")
