"""configfs-tsm: one interface of the kernel for SEV-SNP, TDX and CCA (Linux 6.7, ABI/testing/configfs-tsm).

A folder is made, ``inblob`` written, ``outblob`` read, and ``generation`` compared: another process that wrote in
between changes it, and the answer would be for its data.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from fastness.devices import MAX_ANSWER, Quote
from fastness.devices.failure import DeviceError, bounded, failed

PLACE = "sys/kernel/config/tsm/report"
PROVIDERS = {"sev_guest": "snp", "tdx_guest": "tdx", "arm_cca_guest": "cca"}


def present(root: Path) -> bool:
    """Whether the interface is here and a TEE behind it: without one the kernel makes no folder (ENXIO)."""
    if not (root / PLACE).is_dir():
        return False
    folder = _folder(root)
    try:
        folder.mkdir()
        folder.rmdir()
    except OSError as error:
        return error.errno != errno.ENXIO  # another trouble is told when evidence is asked for
    return True


def _folder(root: Path) -> Path:
    return root / PLACE / f"fastness-{os.getpid()}-{secrets.token_hex(4)}"


def quote(report_data: bytes, root: Path) -> Quote:
    """Evidence over ``report_data`` (64 bytes), with the certificate table where the provider has one."""
    folder = _folder(root)
    try:
        folder.mkdir()
    except OSError as error:
        raise failed(folder, error) from None
    try:
        return _ask(folder, report_data)
    finally:
        with contextlib.suppress(OSError):  # a folder left behind is untidy, not wrong
            folder.rmdir()


def _ask(folder: Path, report_data: bytes) -> Quote:
    try:
        (folder / "inblob").write_bytes(report_data)
    except OSError as error:
        raise failed(folder / "inblob", error) from None
    before = bounded(folder / "generation", 32)
    provider = bounded(folder / "provider", 64).decode("ascii", "replace").strip()
    if provider not in PROVIDERS:
        raise DeviceError(f"unknown provider {provider!r}", where=str(folder))
    evidence = bounded(folder / "outblob", MAX_ANSWER)
    auxiliary = folder / "auxblob"
    table = _optional(auxiliary)
    if bounded(folder / "generation", 32) != before:
        raise DeviceError("another process wrote at the same time", where=str(folder), hint="try again")
    return Quote(PROVIDERS[provider], evidence, (("certificate-table", table),) if table else ())


def _optional(path: Path) -> bytes:
    """A blob that a provider may leave out. The kernel gives every binary attribute the size 0: only reading tells."""
    try:
        return bounded(path, MAX_ANSWER)
    except DeviceError:
        return b""
