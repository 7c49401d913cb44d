"""``/dev/nsm``: the Nitro Secure Module (aws-nitro-enclaves-nsm-api, Linux include/uapi/linux/nsm.h).

The ioctl takes two (address, length) pairs, request and response, both CBOR:
``{"Attestation": {"user_data", "nonce", "public_key"}}`` and ``{"Attestation": {"document": bytes}}``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from fastness.devices import Quote
from fastness.devices.failure import DeviceError, failed
from fastness.errors import MalformedEvidence
from fastness.wire import cbor

PLACE = "dev/nsm"
REQUEST = 0xC0200A00
MAX_RESPONSE = 0x3000
Ioctl = Callable[[int, int, bytearray], int]


def present(root: Path) -> bool:
    """Whether the device is here."""
    return (root / PLACE).exists()


def _ioctl(handle: int, request: int, argument: bytearray) -> int:
    result: int = fcntl.ioctl(handle, request, argument, True)
    return result


def quote(report_data: bytes, root: Path, *, ioctl: Ioctl = _ioctl) -> Quote:
    """A document whose ``user_data`` and ``nonce`` are ``report_data``."""
    message = {"Attestation": {"user_data": report_data, "nonce": report_data, "public_key": None}}
    answer = _ask(cbor.encode(message), root / PLACE, ioctl)
    try:
        value = cbor.decode_prefix(answer)[0]
    except MalformedEvidence as error:
        raise DeviceError(f"the module answered with damaged CBOR: {error.what}") from None
    inner = value.get("Attestation") if isinstance(value, dict) else None
    document = inner.get("document") if isinstance(inner, dict) else None
    if not isinstance(document, bytes):
        raise DeviceError(f"the module gave no document: {str(value)[:80]}")
    return Quote("nitro", document)


def _ask(message: bytes, path: Path, ioctl: Ioctl) -> bytes:
    request = ctypes.create_string_buffer(message, len(message))
    response = ctypes.create_string_buffer(MAX_RESPONSE)
    argument = bytearray(
        struct.pack("<QQQQ", ctypes.addressof(request), len(message), ctypes.addressof(response), MAX_RESPONSE)
    )
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            ioctl(handle, REQUEST, argument)
        finally:
            os.close(handle)
    except OSError as error:
        raise failed(path, error) from None
    size = struct.unpack_from("<Q", argument, 24)[0]
    if not 0 < size <= MAX_RESPONSE:
        raise DeviceError(f"the module answered with {size} bytes", where=str(path))
    return response.raw[:size]
