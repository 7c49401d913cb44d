"""SNP reports that programs keep in fields, put together again: whether that was done rightly, the signature tells.

=============== ======================================================================================================
program         form
=============== ======================================================================================================
virtee/sev      JSON of its ``AttestationReport``, in Trustee's evidence under ``attestation_report``
go-sev-guest    ``sevsnp.Attestation`` as a protocol buffer (go-tpm-tools has one in its own), in its JSON or text
=============== ======================================================================================================
"""

from __future__ import annotations

import binascii
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from fastness.collateral import encodings
from fastness.collateral.protobuf import fields
from fastness.errors import MalformedEvidence

_ALIASES = {"sigalgo": "signaturealgo", "platinfo": "platforminfo", "signerinfo": "keyinfo", "authorkeyen": "keyinfo",
            "current": "currentversion", "committed": "committedversion"}  # fmt: skip
_BYTES = {"cpuidfamid": 0x188, "cpuidmodid": 0x189, "cpuidstep": 0x18A,
          "currentbuild": 0x1E8, "currentminor": 0x1E9, "currentmajor": 0x1EA,
          "committedbuild": 0x1EC, "committedminor": 0x1ED, "committedmajor": 0x1EE}  # fmt: skip
"""What is one byte of a field of the report has a name of its own in these forms: its place."""
NEEDED = frozenset({"measurement", "reportdata", "chipid", "reportedtcb", "signature"})
"""Names, without case and ``_``, of which each report in fields has all."""
_NUMBERED = (
    "version", "guestsvn", "policy", "familyid", "imageid", "vmpl", "signaturealgo", "currenttcb", "platforminfo",
    "keyinfo", "reportdata", "measurement", "hostdata", "idkeydigest", "authorkeydigest", "reportid", "reportidma",
    "reportedtcb", "chipid", "committedtcb", "currentbuild", "currentminor", "currentmajor", "committedbuild",
    "committedminor", "committedmajor", "launchtcb", "signature", "cpuid1eaxfms", "launchmitvector", "currentmitvector",
)  # fmt: skip
"""The fields of ``sevsnp.Report``, from number 1."""


@cache
def _places() -> dict[str, tuple[int, int]]:
    """Offset and size by name."""
    from fastness.tee.snp import layout

    found = {name.replace("_", ""): (offset, size) for name, (offset, size, _) in layout.FIELDS.items()}
    return found | {name: (offset, 1) for name, offset in _BYTES.items()}


def _plain(name: str) -> str:
    short = name.replace("_", "").lower()
    return _ALIASES.get(short, short)


def names(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object has the names of a report's fields."""
    return len(value) < 64 and {_plain(name) for name in value} >= NEEDED


def of_fields(value: Mapping[str, Any]) -> bytes | None:
    """The report with these fields; None where one of them does not fit. What is not there is zero."""
    report, places = bytearray(1184), _places()
    for name, field in value.items():
        short = _plain(name)
        if short == "cpuid1eaxfms" and type(field) is int:
            report[0x188:0x18B] = _processor(field)
        elif short in places and field is not None:
            offset, size = places[short]
            data = _encoded(field, size)
            if data is None:
                return None
            report[offset : offset + size] = data
    return bytes(report)


def _processor(eax: int) -> bytes:
    """Family, model and stepping of CPUID function 1 (AMD 24594, ``Fn0000_0001_EAX``)."""
    return bytes((
        (eax >> 8 & 0xF) + (eax >> 20 & 0xFF) & 0xFF, (eax >> 4 & 0xF) | (eax >> 12 & 0xF0), eax & 0xF
    ))  # fmt: skip


def _encoded(value: Any, size: int) -> bytes | None:
    """A field of ``size`` bytes: a number, in digits too, bytes as text or list, or fields of its own."""
    if isinstance(value, str) and size <= 8 and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if type(value) is int:
        return value.to_bytes(size, "little") if 0 <= value < 1 << 8 * size else None
    data = _inner(value) if isinstance(value, dict) else _spelt(value, size)
    signature = size == 512 and len(data) == 144  # r and s alone; the rest is zero
    return data.ljust(size, b"\0") if len(data) == size or signature else None


def _spelt(value: Any, size: int) -> bytes:
    """Bytes as they are, as a list or as text; zeros in base64 are digits of hexadecimal, too: the size tells."""
    if isinstance(value, bytes):
        return value
    data = encodings.octets(value)
    if len(data) != size and isinstance(value, str):
        with suppress(ValueError):
            return binascii.a2b_base64(value.encode("ascii", "replace"), strict_mode=True)
    return data


def _inner(value: Mapping[str, Any]) -> bytes:
    """A signature, a TCB version (Turin's begin with the FMC; AMD 56860, table 3) or a firmware version."""
    if {"r", "s"} <= set(value):
        return encodings.octets(value["r"]) + encodings.octets(value["s"])
    part = {_plain(name): item for name, item in value.items() if type(item) is int and 0 <= item < 256}
    if {"major", "minor", "build"} <= set(part):
        return bytes((part["build"], part["minor"], part["major"]))
    if not {"bootloader", "tee", "snp", "microcode"} <= set(part):
        return b""
    boot, tee, snp, microcode = (part[name] for name in ("bootloader", "tee", "snp", "microcode"))
    if "fmc" in part:
        return bytes((part["fmc"], boot, tee, snp, 0, 0, 0, microcode))
    return bytes((boot, tee, 0, 0, 0, 0, snp, microcode))


_FIELD = rb'([a-z0-9_]{1,40})\s*:\s*(?:"((?:[^"\\\n]|\\[^\n])*+)"|([0-9]{1,20})(?![0-9]))'
_ESCAPE = rb'\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{1,3})|([abfnrtv?"\'\\]))'
_SHORT = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v", strict=True))
MAX_FIELDS, MAX_TEXT = 256, 1 << 18
"""Most fields of a text, and its longest, in bytes: an attestation with its chain has 30 KiB."""


def of_text(data: bytes) -> Iterator[bytes]:
    """The same of the text format of protocol buffers (``attest -outform textproto``), as Go and C++ escape it."""
    found: dict[str, Any] = {}
    data = data if len(data) <= MAX_TEXT else b""
    for name, text, number in itertools.islice((item.groups() for item in re.finditer(_FIELD, data)), MAX_FIELDS):
        found[name.decode()] = int(number) if number is not None else re.sub(_ESCAPE, _escaped, text)
    places = _places() | {"cpuid1eaxfms": (0, 4)}
    report = of_fields({name: value for name, value in found.items() if _plain(name) in places})
    if report is not None and names(found):
        yield report
        certificates = (found.get(f"{name}_cert") for name in ("vcek", "vlek", "ask", "ark"))
        yield from (item for item in certificates if isinstance(item, bytes) and item)


def _escaped(found: re.Match[bytes]) -> bytes:
    """A byte, by its number or name, or the UTF-8 of a character."""
    short_hex, four, eight, octal, named = found.groups()
    if named is not None:
        return bytes((_SHORT.get(named[0], named[0]),))
    if short_hex or octal:
        return bytes(((int(short_hex, 16) if short_hex else int(octal, 8)) & 0xFF,))
    number = int(four or eight, 16)
    return chr(number).encode(errors="replace") if number <= sys.maxunicode else b"?"


def of_attestation(data: bytes) -> Iterator[bytes]:
    """The report and the certificates of a ``sevsnp.Attestation``; nothing of anything else."""
    try:
        outer = dict(fields(data))
        found = {_NUMBERED[number - 1]: value for number, value in fields(outer.get(1, b"")) if 0 < number < 32}
        chain = [value for number, value in fields(outer.get(2, b"")) if number in (1, 2, 3, 6) and value]
    except MalformedEvidence:
        return
    places = _places() | {"cpuid1eaxfms": (0, 4)}
    report = of_fields({
        name: int.from_bytes(value, "big") if places[name][1] <= 8 else value for name, value in found.items()
    })  # fmt: skip
    if report is not None and set(found) >= NEEDED:
        yield from (report, *chain)
