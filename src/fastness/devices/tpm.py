"""``/dev/tpmrm0``: a TPM 2.0 quote by a key made for it, over PCRs 0 to 15 of the SHA-256 bank.

Commands: TPM2_CreatePrimary (endorsement hierarchy, restricted ECDSA P-256 key: the same key each time),
TPM2_Quote, TPM2_PCR_Read, TPM2_FlushContext (TCG TPM 2.0 library specification, part 3). All integers big endian.
Evidence is in parts, as :mod:`fastness.tee.tpm` assembles them: quote, signature, ak, pcrs, event_log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from fastness.devices import Quote
from fastness.devices.failure import DeviceError, failed
from fastness.errors import MalformedEvidence
from fastness.wire.cursor import Cursor

PLACE = "dev/tpmrm0"
LOG = "sys/kernel/security/tpm0/binary_bios_measurements"
MAX_LOG = 4 << 20
PCRS = range(16)
MAX_RESPONSE = 4096
RETRIES = 4
"""TPM_RC_RETRY asks for the same command again (part 1, section 30.5)."""

_SESSIONS, _NO_SESSIONS = 0x8002, 0x8001
_CREATE_PRIMARY, _QUOTE, _PCR_READ, _FLUSH = 0x131, 0x158, 0x17E, 0x165
_ENDORSEMENT, _PASSWORD = 0x4000000B, 0x40000009
_RETRY = 0x922
_SHA256, _ECC, _ECDSA, _NULL, _P256 = 0x000B, 0x0023, 0x0018, 0x0010, 0x0003
_ATTRIBUTES = 0x00050072
"""fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign (part 2, table 37)."""

_EMPTY_AUTH = struct.pack(">IIHBH", 9, _PASSWORD, 0, 0, 0)
Transmit = Callable[[bytes], bytes]


def present(root: Path) -> bool:
    """Whether the device is here."""
    return (root / PLACE).exists()


def quote(report_data: bytes, root: Path, *, transmit: Transmit | None = None) -> Quote:
    """A quote with the first 32 bytes of ``report_data`` as qualifying data (all of it when its rest is not zero)."""
    wanted = report_data[:32] if not any(report_data[32:]) else report_data
    if transmit is not None:
        return _quote(wanted, transmit, root)
    path = root / PLACE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise failed(path, error) from None

    def send(command: bytes) -> bytes:
        try:
            os.write(handle, command)
            return os.read(handle, MAX_RESPONSE)
        except OSError as error:
            raise failed(path, error) from None

    try:
        return _quote(wanted, send, root)
    finally:
        os.close(handle)


def _quote(qualifying: bytes, send: Transmit, root: Path) -> Quote:
    try:
        key, public = _create(send)
        try:
            attest, signature = _sign(send, key, qualifying)
        finally:
            send(_command(_NO_SESSIONS, _FLUSH, struct.pack(">I", key)))
        values = {index: _read(send, index) for index in PCRS}
    except MalformedEvidence as error:
        raise DeviceError(f"the TPM answered out of form: {error.what}") from None
    listed = ", ".join(f'"{index}": "{value.hex()}"' for index, value in values.items())
    parts = [("signature", signature), ("ak", public), ("pcrs", f'{{"sha256": {{{listed}}}}}'.encode())]
    log = root / LOG
    if log.exists():
        parts.append(("event_log", _log(log)))
    return Quote("tpm", attest, tuple(parts))


def _log(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise failed(path, error) from None
    if len(data) > MAX_LOG:
        raise DeviceError(f"an event log of {len(data)} bytes", where=str(path))
    return data


def _command(tag: int, code: int, body: bytes) -> bytes:
    return struct.pack(">HII", tag, 10 + len(body), code) + body


def _answer(send: Transmit, tag: int, code: int, body: bytes) -> Cursor:
    for _ in range(RETRIES):
        data = send(_command(tag, code, body))
        cursor = Cursor(data)
        cursor.big(2, "tag")
        size, result = cursor.big(4, "responseSize"), cursor.big(4, "responseCode")
        if result != _RETRY:
            break
    if result != 0:
        raise DeviceError(f"the TPM refused command 0x{code:x} with 0x{result:x}")
    if size != len(data):
        raise DeviceError(f"the TPM answered with {len(data)} of {size} bytes")
    return cursor


def _create(send: Transmit) -> tuple[int, bytes]:
    """Handle of the key and its TPMT_PUBLIC."""
    public = struct.pack(">HHIH", _ECC, _SHA256, _ATTRIBUTES, 0)
    public += struct.pack(">HHHHHHH", _NULL, _ECDSA, _SHA256, _P256, _NULL, 0, 0)
    body = struct.pack(">I", _ENDORSEMENT) + _EMPTY_AUTH + struct.pack(">HHH", 4, 0, 0)
    body += struct.pack(">H", len(public)) + public + struct.pack(">HI", 0, 0)
    cursor = _answer(send, _SESSIONS, _CREATE_PRIMARY, body)
    handle = cursor.big(4, "objectHandle")
    cursor.big(4, "parameterSize")
    return handle, cursor.sized(2, "outPublic", limit=1024, order="big")


def _sign(send: Transmit, key: int, qualifying: bytes) -> tuple[bytes, bytes]:
    """TPMS_ATTEST and TPMT_SIGNATURE."""
    bits = sum(1 << index for index in PCRS).to_bytes(3, "little")
    selection = struct.pack(">IHB", 1, _SHA256, 3) + bits
    body = struct.pack(">I", key) + _EMPTY_AUTH + struct.pack(">H", len(qualifying)) + qualifying
    cursor = _answer(send, _SESSIONS, _QUOTE, body + struct.pack(">H", _NULL) + selection)
    size = cursor.big(4, "parameterSize")
    start = cursor.position
    attest = cursor.sized(2, "quoted", limit=2048, order="big")
    return attest, cursor.take(size - (cursor.position - start), "signature")


def _read(send: Transmit, index: int) -> bytes:
    selection = struct.pack(">IHB", 1, _SHA256, 3) + (1 << index).to_bytes(3, "little")
    cursor = _answer(send, _NO_SESSIONS, _PCR_READ, selection)
    cursor.big(4, "pcrUpdateCounter")
    cursor.take(len(selection), "pcrSelectionOut")
    if cursor.big(4, "pcrValues.count") != 1:
        raise DeviceError(f"the TPM has no SHA-256 bank for PCR {index}")
    return cursor.sized(2, "pcrValues.digest", limit=64, order="big")
