"""``/dev/tpmrm0``: quotes by a key made for it over PCRs 0 to 15 (SHA-256), and PCR 15 as a register.

Evidence is in parts, as :mod:`fastness.tee.tpm` assembles them: quote, signature, ak, pcrs, event_log, ek_certificate.
The attestation key is a restricted ECDSA P-256 key under the endorsement seed, the same each time. The endorsement key
is the RSA 2048 one of the default template L-1 (TCG EK Credential Profile 2.5, annex B.3.3), whose certificate the
maker leaves in NV index 0x01C00002.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from fastness.devices import Quote
from fastness.devices import tpm_commands as tpm2
from fastness.devices.failure import DeviceError, failed
from fastness.devices.tpm_commands import Tpm, Transmit
from fastness.errors import MalformedEvidence

PLACE = "dev/tpmrm0"
LOG = "sys/kernel/security/tpm0/binary_bios_measurements"
MAX_LOG = 4 << 20
PCRS = range(16)
RUNTIME = 15
"""The register a keep measures its workload into."""

EK_CERTIFICATE = 0x01C00002
EK_HANDLE = 0x81010001
MAX_CERTIFICATE = 4096
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicySecret(endorsement), SHA-256 (EK Credential Profile, annex B.3.3)."""

_AK_ATTRIBUTES = 0x00050072
"""fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign (part 2, table 37)."""
_EK_ATTRIBUTES = 0x000300B2
"""fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt."""

AK = struct.pack(">HHIH", tpm2.ECC, tpm2.SHA256, _AK_ATTRIBUTES, 0) + struct.pack(
    ">HHHHHHH", tpm2.NULL, tpm2.ECDSA, tpm2.SHA256, tpm2.P256, tpm2.NULL, 0, 0
)
EK = (
    struct.pack(">HHI", tpm2.RSA, tpm2.SHA256, _EK_ATTRIBUTES)
    + tpm2.sized(EK_POLICY)
    + struct.pack(">HHHHHI", tpm2.AES, 128, tpm2.CFB, tpm2.NULL, 2048, 0)
    + tpm2.sized(bytes(256))
)


def present(root: Path) -> bool:
    """Whether the device is here."""
    return (root / PLACE).exists()


def quote(report_data: bytes, root: Path, *, transmit: Transmit | None = None) -> Quote:
    """A quote with the first 32 bytes of ``report_data`` as qualifying data (all of it when its rest is not zero)."""
    wanted = report_data[:32] if not any(report_data[32:]) else report_data
    with _opened(root, transmit) as tpm:
        parts = _quote(wanted, tpm)
    log = root / LOG
    if log.exists():
        parts.append(("event_log", _log(log)))
    return Quote("tpm", parts.pop(0)[1], tuple(parts))


def extend(measured: bytes, root: Path, *, transmit: Transmit | None = None) -> None:
    """Extends PCR 15 by SHA-256(``measured``)."""
    with _opened(root, transmit) as tpm:
        tpm.extend(RUNTIME, hashlib.sha256(measured).digest())


def activate(credential: bytes, secret: bytes, root: Path, *, transmit: Transmit | None = None) -> bytes:
    """What the TPM opens with its endorsement key for the attestation key (TPM2_ActivateCredential)."""
    with _opened(root, transmit) as tpm:
        key, _ = tpm.create_primary(AK)
        try:
            with _endorsement(tpm) as endorsement:
                return tpm.activate(key, endorsement, credential, secret)
        finally:
            tpm.flush(key)


@contextlib.contextmanager
def _opened(root: Path, transmit: Transmit | None) -> Iterator[Tpm]:
    try:
        if transmit is not None:
            yield Tpm(transmit)
            return
        path = root / PLACE
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise failed(path, error) from None
        try:
            yield Tpm(lambda command: _exchange(handle, path, command))
        finally:
            os.close(handle)
    except MalformedEvidence as error:
        raise DeviceError(f"the TPM answered out of form: {error.what}") from None


def _exchange(handle: int, path: Path, command: bytes) -> bytes:
    try:
        os.write(handle, command)
        return os.read(handle, tpm2.MAX_RESPONSE)
    except OSError as error:
        raise failed(path, error) from None


@contextlib.contextmanager
def _endorsement(tpm: Tpm) -> Iterator[int]:
    """The endorsement key: the persistent one where its maker left it, made again otherwise."""
    try:
        tpm.public(EK_HANDLE)
    except tpm2.Refused:
        handle, _ = tpm.create_primary(EK)
        try:
            yield handle
        finally:
            tpm.flush(handle)
    else:
        yield EK_HANDLE


def _quote(qualifying: bytes, tpm: Tpm) -> list[tuple[str, bytes]]:
    key, public = tpm.create_primary(AK)
    try:
        attest, signature = tpm.quote(key, qualifying, PCRS)
    finally:
        tpm.flush(key)
    listed = ", ".join(f'"{index}": "{value.hex()}"' for index, value in tpm.registers(PCRS).items())
    parts = [("quote", attest), ("signature", signature), ("ak", public)]
    parts.append(("pcrs", f'{{"sha256": {{{listed}}}}}'.encode()))
    with contextlib.suppress(tpm2.Refused):  # a TPM without a certificate of its maker
        parts.append(("ek_certificate", tpm.read_index(EK_CERTIFICATE, MAX_CERTIFICATE)))
    return parts


def _log(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise failed(path, error) from None
    if len(data) > MAX_LOG:
        raise DeviceError(f"an event log of {len(data)} bytes", where=str(path))
    return data
