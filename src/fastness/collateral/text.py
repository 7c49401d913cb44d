"""Text forms of evidence and collateral: hexadecimal, base64, Intel's signed JSON, JSON bundles of several makers."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Any

from fastness.errors import MalformedEvidence

_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n\f"
# compiled when first met: few inputs are of more than one form
_DUMP = rb"(?m)^[0-9a-f]{4,16}:? +((?:[0-9a-f]{2}){1,4}(?: {1,2}(?:[0-9a-f]{2}){1,4})*)(?:  .*)?$"
_BASE64 = rb"[A-Za-z0-9+/_-]+={0,2}"
_SIGNED = frozenset((b"tcbInfo", b"enclaveIdentity", b"tcb_info", b"signature"))
_BEARERS = frozenset((
    "quote", "report", "evidence", "attestation_report", "attestation_doc", "attestation_document", "document", "token",
    "td_quote", "hcl_report", "cc_report", "cert_chain", "certificate", "certificates", "certs", "vcek", "vlek",
    "auxblob", "outblob", "cc_eventlog", "event_log", "eventlog", "quote_collateral", "collateral",
    "attestationReportHexStr", "certChainBase64Encoded", "nvidia_payload", "intel_quote", "rim",
))  # fmt: skip
"""Keys whose strings hold evidence or collateral in the JSON of common producers; no other string is looked into."""

BUNDLE = "fastness/bundle/v1"
MAX_STRINGS = 1024


def is_text(data: bytes) -> bool:
    """Whether ``data`` is text: printable ASCII and white space, or UTF-8 that starts like JSON or XML."""
    head = data[:512]
    if head.translate(None, _PRINTABLE):
        return head[:3] == b"\xef\xbb\xbf" or (head.lstrip()[:1] in (b"{", b"[", b"<") and b"\0" not in head)
    return not data.translate(None, _PRINTABLE) or head.lstrip()[:1] in (b"{", b"[", b"<")


def decoded(data: bytes) -> bytes | None:
    """The bytes that hexadecimal, a hex dump or base64 (either alphabet, padded or not) stands for, or None."""
    body = data.strip()
    plain = _hexadecimal(body)
    if plain:
        return plain
    rows = re.findall(_DUMP, body)
    if rows and len(rows) == body.count(b"\n") + 1:
        return bytes.fromhex(b"".join(rows).replace(b" ", b"").decode())
    joined = b"".join(line.strip() for line in body.splitlines())  # words with spaces between them are prose
    return _base64(joined) if len(joined) >= 16 else None


def _hexadecimal(body: bytes) -> bytes | None:
    """``0xab01``, ``ab 01``, ``ab:01``: white space and colons stand between bytes only."""
    try:
        return bytes.fromhex(body.removeprefix(b"0x").removeprefix(b"0X").replace(b":", b" ").decode("ascii"))
    except ValueError:
        return None


def first_name(data: bytes) -> bytes:
    """The name of the first member of a JSON object, from its first 256 bytes; empty when there is none."""
    head = data[:256].lstrip()
    parts = head[1:].lstrip().split(b'"', 2) if head[:1] == b"{" else []
    return parts[1] if len(parts) == 3 and not parts[0] and parts[2].lstrip()[:1] == b":" else b""


def _base64(joined: bytes) -> bytes | None:
    if not re.fullmatch(_BASE64, joined):
        return None
    standard = joined.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    try:
        return binascii.a2b_base64(standard + b"=" * (-len(standard) % 4), strict_mode=True)
    except binascii.Error:
        return None


def signed_kind(data: bytes) -> str | None:
    """``tcb-info`` or ``qe-identity`` for JSON that Intel signed; its bytes must not be touched."""
    if first_name(data) not in _SIGNED:
        return None
    if b'"tcbInfo"' in data:
        return "tcb-info"
    return "qe-identity" if b'"enclaveIdentity"' in data else None


MAX_LAUNCH = 64 * 1024
"""Largest document of a SEV launch (:mod:`fastness.tee.sev.launch`)."""

_LAUNCH = rb'"schema"\s*:\s*"fastness/(sev-launch|sev-measurement)/v1"'


def launch_schema(data: bytes) -> str | None:
    """``sev-launch`` or ``sev-measurement`` for the documents of a SEV launch."""
    found = re.search(_LAUNCH, data) if len(data) <= MAX_LAUNCH else None
    return found[1].decode() if found else None


def pieces(data: bytes) -> tuple[list[bytes], str]:
    """What a JSON document of ours or of another maker carries, as bytes to be sorted again, and a bundle's time."""
    import json

    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return [], ""
    if isinstance(value, dict):
        if value.get("schema") == BUNDLE:
            return bundled(value), str(value.get("at", ""))[:40]
        if isinstance(value.get("tcb_info"), str) and isinstance(value.get("tcb_info_signature"), str):
            return _dcap(value), ""
    return list(_limited(cmw(value) or _borne(value, 0))), ""


def _limited(items: Any) -> Iterator[bytes]:
    for count, item in enumerate(items):
        if count >= MAX_STRINGS:
            return
        yield item


def bundled(value: dict[str, Any]) -> list[bytes]:
    """The pieces of one of our bundles."""
    items = value.get("items")
    if not isinstance(items, list) or len(items) > MAX_STRINGS:
        raise MalformedEvidence("bundle.items", 0, f"at most {MAX_STRINGS} items", type(items).__name__)
    found = []
    for index, item in enumerate(items):
        text = item.get("data") if isinstance(item, dict) else None
        plain = _base64(text.encode("ascii", "replace")) if isinstance(text, str) and text else None
        if plain is None:
            raise MalformedEvidence(f"bundle.items[{index}].data", 0, "base64", type(text).__name__)
        found.append(plain)
    return found


def _dcap(value: dict[str, Any]) -> list[bytes]:
    """The collateral JSON of DCAP libraries: signed bodies and their signatures stand apart, lists are hexadecimal."""
    found = []
    for body, wrapper in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
        inner, signature = value.get(body), value.get(f"{body}_signature")
        if isinstance(inner, str) and isinstance(signature, str):
            found.append(f'{{"{wrapper}":{inner},"signature":"{signature}"}}'.encode())
    names = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_certificate_chain",
             "root_ca_crl", "pck_crl")  # fmt: skip
    found += [item.encode() for name in names if isinstance(item := value.get(name), str) and item]
    return found


def _borne(value: Any, depth: int) -> Iterator[bytes]:
    if depth > 6 or not isinstance(value, dict | list):
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, str) and str(key) in _BEARERS and len(item) >= 64:
            yield item.encode()
        elif isinstance(item, list) and str(key) in _BEARERS and _is_bytes(item):
            yield bytes(item)
        elif isinstance(item, dict) and str(key) in _BEARERS and isinstance(item.get("value"), str):
            yield item["value"].encode()  # Veraison's sessions: {"type": media type, "value": base64}
        else:
            yield from _borne(item, depth + 1)


def _is_bytes(value: list[Any]) -> bool:
    return len(value) >= 64 and all(type(item) is int and 0 <= item < 256 for item in value)


def cmw(value: Any) -> list[bytes]:
    """The values inside a CMW (draft-ietf-rats-msg-wrap), decoded from JSON or CBOR; empty when it is none.

    A record is ``[type, value, ind?]`` with a media type or content format, a collection a map of them, a tagged CMW a
    CBOR tag around bytes.
    """
    from fastness.wire.cbor import Tag

    if isinstance(value, Tag):
        return [value.value] if isinstance(value.value, bytes) else cmw(value.value)
    if isinstance(value, dict):
        nested = [cmw(item) for key, item in value.items() if key != "__cmwc_t"]
        return [piece for found in nested for piece in found] if nested and all(nested) else []
    if not isinstance(value, list) or not 2 <= len(value) <= 3 or not _is_type(value[0]):
        return []
    body = value[1].encode() if isinstance(value[1], str) else value[1]
    return [body] if isinstance(body, bytes) and body else []


def _is_type(value: Any) -> bool:
    return (isinstance(value, str) and "/" in value and len(value) < 200) or (type(value) is int and 0 <= value < 65536)
