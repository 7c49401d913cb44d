"""``/dev/sev-guest``: SNP reports by ioctl (Linux, include/uapi/linux/sev-guest.h).

==================== ====== =====================================================================================
structure            size   fields
==================== ====== =====================================================================================
guest_request_ioctl  32     msg_version u8 (1), padding 7, req_data u64, resp_data u64, exitinfo2 u64
report_req           96     user_data 64, vmpl u32, reserved 28
ext_report_req       112    report_req, certs_address u64, certs_len u32, padding 4
report_resp          4000   status u32, report_size u32, reserved 24, report
==================== ====== =====================================================================================
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

PLACE = "dev/sev-guest"
GET_REPORT, GET_EXT_REPORT = 0xC0205300, 0xC0205302
REPORT_SIZE = 1184
TABLE_SIZE = 32 * 1024
Ioctl = Callable[[int, int, bytearray], int]


def present(root: Path) -> bool:
    """Whether the device is here."""
    return (root / PLACE).exists()


def _ioctl(handle: int, request: int, argument: bytearray) -> int:
    result: int = fcntl.ioctl(handle, request, argument, True)
    return result


def quote(report_data: bytes, root: Path, *, ioctl: Ioctl = _ioctl) -> Quote:
    """A report over ``report_data`` (64 bytes) at the guest's own VMPL, with the host's certificate table if any."""
    path = root / PLACE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise failed(path, error) from None
    try:
        report, table = _request(handle, report_data, ioctl, extended=True)
    except OSError:
        try:  # a host without certificates answers the extended request with an error
            report, table = _request(handle, report_data, ioctl, extended=False)
        except OSError as error:
            raise failed(path, error) from None
    finally:
        os.close(handle)
    return Quote("snp", report, (("certificate-table", table),) if any(table[:24]) else ())


def _request(handle: int, report_data: bytes, ioctl: Ioctl, *, extended: bool) -> tuple[bytes, bytes]:
    table = ctypes.create_string_buffer(TABLE_SIZE)
    body = report_data + bytes(32)
    if extended:
        body += struct.pack("<QII", ctypes.addressof(table), TABLE_SIZE, 0)
    request = ctypes.create_string_buffer(body, len(body))
    response = ctypes.create_string_buffer(4000)
    argument = bytearray(struct.pack("<B7xQQQ", 1, ctypes.addressof(request), ctypes.addressof(response), 0))
    ioctl(handle, GET_EXT_REPORT if extended else GET_REPORT, argument)
    status, size = struct.unpack_from("<II", response.raw)
    if status != 0 or size != REPORT_SIZE:
        raise DeviceError(f"the firmware answered with status {status} and a report of {size} bytes")
    return response.raw[32 : 32 + REPORT_SIZE], table.raw if extended else b""
