"""Azure's HCL report: the hardware report around a vTPM, and the runtime data (JSON) whose hash that report carries.

Source: Microsoft, "Azure confidential VM guest attestation"; NV index 0x01400001. Layout in
:mod:`fastness.tee.tpm.layout`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from fastness.errors import MalformedEvidence
from fastness.tee.tpm import layout as at
from fastness.tee.tpm.structures import rsa_spki
from fastness.wire import x509
from fastness.wire.cursor import Cursor

MAX_USER_DATA = 64
"""What fits NV index 0x01400002, which the guest writes to."""


@dataclass(frozen=True, slots=True)
class Report:
    """``kind`` is ``"snp"`` or ``"tdx"``; ``hardware`` the SNP report (1184 bytes) or TDREPORT (1024 bytes).

    ``ak`` is the key HCLAkPub of the runtime data, ``configuration`` its ``vm-configuration``, ``user_data`` what the
    guest wrote to be in it, at most 64 bytes; ``runtime`` the bytes as hashed, ``bound`` their hash.
    """

    kind: str
    hardware: bytes
    runtime: bytes
    bound: bytes
    ak: x509.PublicKey
    configuration: dict[str, Any]
    user_data: bytes

    @property
    def report_data(self) -> bytes:
        """The 64 bytes of report data inside ``hardware``."""
        start = at.SNP_REPORT_DATA if self.kind == "snp" else at.TD_REPORT_DATA
        return self.hardware[start : start + 64]


def named_key(runtime: bytes) -> x509.PublicKey:
    """The attestation key that runtime data names, whatever stands around it.

    Raises:
        MalformedEvidence: no JSON, or not one HCLAkPub in it.
    """
    return _ak(_json(runtime, 0), 0)


def quoted_data(quote: bytes) -> bytes:
    """REPORTDATA of a TD report body: at a fixed place in version 4, after a body descriptor of 6 bytes in 5."""
    start = at.QUOTE_HEADER + at.QUOTE_REPORT_DATA + (6 if quote[:2] == b"\x05\0" else 0)
    return quote[start : start + 64]


def parse(data: bytes) -> Report:
    """An HCL report; zeros may follow it, as the NV index is larger than what it holds.

    Raises:
        MalformedEvidence: truncated, reserved bytes set, an unknown type, or runtime data without one HCLAkPub.
    """
    cursor = Cursor(data)
    if cursor.take(4, "hcl.signature") != at.HCL_SIGNATURE:
        raise MalformedEvidence("hcl.signature", 0, "HCLA", data[:4].hex())
    cursor.take(at.HCL_HEADER - 16, "hcl.header")
    cursor.zeros(12, "hcl.reserved")
    hardware = cursor.take(at.HCL_HARDWARE, "hcl.hardware")
    start = cursor.offset
    cursor.take(8, "hcl.runtime.version")
    kind = cursor.little(4, "hcl.runtime.reportType")
    hash_type = cursor.little(4, "hcl.runtime.hashType")
    if kind not in (at.HCL_SNP, at.HCL_TDX):
        raise MalformedEvidence("hcl.runtime.reportType", start + 8, "2 (SNP) or 4 (TDX)", kind)
    if hash_type not in at.HCL_HASHES:
        raise MalformedEvidence("hcl.runtime.hashType", start + 12, "1, 2 or 3", hash_type)
    runtime = cursor.sized(4, "hcl.runtime.data", limit=at.LIMITS[at.KEYS["hcl_report"]])
    cursor.zeros(cursor.remaining, "hcl.padding")
    if kind == at.HCL_TDX:
        Cursor(hardware[at.TD_REPORT_SIZE :], at.HCL_HEADER + at.TD_REPORT_SIZE).zeros(160, "hcl.hardware.padding")
        hardware = hardware[: at.TD_REPORT_SIZE]
    document = _json(runtime, start + at.HCL_RUNTIME_HEADER)
    bound = hashlib.new(at.HCL_HASHES[hash_type], runtime).digest()
    configuration = document.get("vm-configuration", {})
    if not isinstance(configuration, dict):
        raise MalformedEvidence("vm-configuration", start, "an object", type(configuration).__name__)
    name = "snp" if kind == at.HCL_SNP else "tdx"
    key, told = _ak(document, start), _scalars(configuration)
    return Report(name, hardware, runtime, bound, key, told, _user_data(document.get("user-data")))


def _user_data(text: Any) -> bytes:
    """In hexadecimal; empty where it is absent or of another form, which no rule holds for."""
    try:
        found = bytes.fromhex(text)
    except (TypeError, ValueError):
        return b""
    return found if len(found) <= MAX_USER_DATA else b""


def _scalars(configuration: dict[str, Any]) -> dict[str, Any]:
    """What may become a claim: the runtime data is the paravisor's word, but nested values have no place in a rule."""
    return {name: value for name, value in configuration.items() if isinstance(value, bool | int | str)}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _json(data: bytes, offset: int) -> dict[str, Any]:
    import json

    try:
        document = json.loads(data.decode(), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise MalformedEvidence("runtime data", offset, "JSON with distinct names", str(error)[:60]) from None
    if not isinstance(document, dict):
        raise MalformedEvidence("runtime data", offset, "an object", type(document).__name__)
    return document


def _ak(document: dict[str, Any], offset: int) -> x509.PublicKey:
    keys = document.get("keys")
    found = [item for item in keys if isinstance(item, dict) and item.get("kid") == "HCLAkPub"] if isinstance(
        keys, list) else []  # fmt: skip
    if len(found) != 1 or found[0].get("kty") != "RSA":
        raise MalformedEvidence("HCLAkPub", offset, "one RSA key of that id", f"{len(found)}")
    return rsa_spki(_number(found[0].get("n"), offset), _number(found[0].get("e"), offset))


def _number(text: Any, offset: int) -> int:
    """Base64urlUInt (RFC 7518 section 2)."""
    import base64
    import binascii

    if not isinstance(text, str) or not 1 <= len(text) <= 1400:
        raise MalformedEvidence("HCLAkPub", offset, "a base64url number", type(text).__name__)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise MalformedEvidence("HCLAkPub", offset, "a base64url number", text[:20]) from None
    return int.from_bytes(raw, "big")
