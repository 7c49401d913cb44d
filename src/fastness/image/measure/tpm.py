"""PCRs of the platform ``vm``: q35, OVMF, a vTPM, SHA-256 bank.

====== ========================================================================================================
PCR    told
====== ========================================================================================================
0      by event-log policy: firmware version string and volumes
1      by event-log policy: ACPI tables and boot order, which change with QEMU, processors and devices
2, 3   that no option ROM ran: a separator and nothing else
4      the kernel or the UKI with the kernel in it, by Authenticode
7      that Secure Boot is off and no key enrolled, in both forms that OVMF has of saying so
9      command line and initrd
11     the sections of the UKI; zero where no stub ran
12, 13 UKI: that nothing the host supplied (command line, credentials, extensions) was used
====== ========================================================================================================
"""

from __future__ import annotations

import hashlib

from fastness.errors import UsageError
from fastness.image.measure import Machine, Parts, Row
from fastness.image.measure.boot import SEPARATOR, Boot, direct, replay, unified

BANK = "sha256"
ZERO = bytes(32)

_GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
_SECURITY = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
_KEYS = ((_GLOBAL, "PK"), (_GLOBAL, "KEK"), (_SECURITY, "db"), (_SECURITY, "dbx"))


def rows(parts: Parts, machine: Machine) -> tuple[Row, ...]:
    """One row for each way of booting.

    Raises:
        UsageError: the parts do not belong together, or do not fit into the machine.
        Malformed: a kernel or UKI that does not follow its format.
    """
    if not parts.cmdline.isascii() or "\0" in parts.cmdline:
        raise UsageError("a command line that is not ASCII", hint="fastness image build")
    boots = direct(parts, machine, BANK)
    if parts.uki:
        boots += unified(parts, BANK)
    return tuple(Row("tpm", f"OVMF and vTPM; {boot.note}", _registers(boot)) for boot in boots)


def secure_boot_off(*, variable: bool) -> bytes:
    """PCR 7 with Secure Boot off and no key enrolled.

    Firmware built with Secure Boot support has a variable ``SecureBoot`` of one zero byte; firmware without it measures
    the variable as empty (PFP section 3.3.4.8).
    """
    events = [_variable(_GLOBAL, "SecureBoot", b"\0" if variable else b"")]
    events += [_variable(guid, name, b"") for guid, name in _KEYS]
    return replay([hashlib.sha256(item).digest() for item in (*events, SEPARATOR)], BANK)


def _variable(guid: bytes, name: str, value: bytes) -> bytes:
    """UEFI_VARIABLE_DATA (PFP section 10.2.6)."""
    sizes = len(name).to_bytes(8, "little") + len(value).to_bytes(8, "little")
    return guid + sizes + name.encode("utf-16-le") + value


def _registers(boot: Boot) -> dict[str, tuple[str, ...]]:
    silent = replay([hashlib.sha256(SEPARATOR).digest()], BANK)
    found = {
        "pcr2": (silent,),
        "pcr3": (silent,),
        "pcr4": (replay(boot.loader, BANK),),
        "pcr7": tuple(secure_boot_off(variable=there) for there in (False, True)),
        "pcr9": (replay(boot.kernel, BANK),),
        "pcr11": (replay(boot.sections, BANK),),
        "pcr12": (ZERO,),
        "pcr13": (ZERO,),
    }
    return {name: tuple(value.hex() for value in values) for name, values in found.items()}
