"""JSON that carries evidence and collateral: Intel's signed documents, our bundles, documents of several makers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, TypeAlias

from fastness.collateral import encodings
from fastness.collateral.encodings import LONG, base64, is_bytes, octets
from fastness.errors import MalformedEvidence

_SIGNED = frozenset((b"tcbInfo", b"enclaveIdentity", b"signature"))
_SIGNED_BODY = rb'"(tcbInfo|enclaveIdentity)"\s*:\s*\{'
_ARMOUR = r"-----BEGIN(?: |%20|\+)(?:CERTIFICATE|X509)"
"""Not any PEM: a key beside a TPM's quote may be another key than the quote's."""

_PEM = "-----BEGIN"
_NESTED = r'\{\s*"(?:tcbInfo|enclaveIdentity|signature)"\s*:'
_BEARERS = frozenset((
    "quote", "report", "evidence", "attestationreport", "attestationdoc", "attestationdocument", "document", "token",
    "tdquote", "hclreport", "ccreport", "certchain", "certificate", "certificates", "certs", "vcek", "vlek",
    "auxblob", "outblob", "cceventlog", "eventlog", "quotecollateral", "collateral", "akpublic", "akpub", "akcert",
    "akpubkey", "akpubkeypem", "akpublickey", "akpublickeypem", "akpem",
    "ekcert", "pckcrl", "rootcacrl",
    "attestationreporthexstr", "certchainbase64encoded", "nvidiapayload", "intelquote", "rim",
))  # fmt: skip
"""Names under which short strings hold evidence or collateral in the JSON of common producers, without case, ``_`` and
``-``. Other strings must say themselves what they are (:func:`_telling`), or be long enough for a report."""

_QUOTED = ({"message", "signature", "pcrs"}, {"quote", "signature", "pcrs"}, {"ak_pub", "quotes"}, {"akPub", "quotes"})
"""Names of the parts of a TPM's quote in one object (:mod:`fastness.collateral.tpm_forms`)."""

DIGEST = 2 * encodings.MAX_NONCE
"""Characters of the longest digest in hexadecimal."""

SHORT = 64
"""Least characters of a string, or numbers of a list of bytes, under such a name; under any other :data:`LONG`."""

BUNDLE = "fastness/bundle/v1"
MAX_STRINGS = 1024
MAX_NESTING = 6
MAX_NESTED, MAX_SIGNED = 16, 1 << 18
"""Most signed documents that are looked for inside one JSON document, and the longest of them, in characters: each look
reads on from there."""

Ask: TypeAlias = Callable[[], bool]
"""Whether one more string may be decoded to see what it is."""


def first_name(data: bytes) -> bytes:
    """The name of the first member of a JSON object, from its first 256 bytes; empty when there is none."""
    head = data[:256].lstrip()
    parts = head[1:].lstrip().split(b'"', 2) if head[:1] == b"{" else []
    return parts[1] if len(parts) == 3 and not parts[0] and parts[2].lstrip()[:1] == b":" else b""


def signed_kind(data: bytes) -> str | None:
    """``tcb-info`` or ``qe-identity`` for JSON that Intel signed; its bytes must not be touched."""
    if first_name(data) not in _SIGNED:
        return None
    found = re.search(_SIGNED_BODY, data)
    return {b"tcbInfo": "tcb-info", b"enclaveIdentity": "qe-identity"}[found[1]] if found else None


def is_log(data: bytes) -> bool:
    """Whether a document is an event log of dstack (:mod:`fastness.tee.tdx.dstack`), from its first bytes."""
    head = data[:512]
    return head[:1] == b"[" and b'"imr"' in head and b'"event_type"' in head


MAX_LAUNCH = 64 * 1024
"""Largest document of a SEV launch (:mod:`fastness.tee.sev.launch`)."""

_LAUNCH = rb'"schema"\s*:\s*"fastness/(sev-launch|sev-measurement)/v1"'


def launch_schema(data: bytes) -> str | None:
    """``sev-launch`` or ``sev-measurement`` for the documents of a SEV launch."""
    found = re.search(_LAUNCH, data) if len(data) <= MAX_LAUNCH else None
    return found[1].decode() if found else None


def pieces(data: bytes, ask: Ask) -> tuple[list[bytes], str]:
    """What a JSON document of ours or of another maker carries, as bytes to be sorted again, and a bundle's time.

    Short strings under unknown names are asked what they are as long as ``ask`` lets them.
    """
    import json

    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return [], ""
    if isinstance(value, dict):
        if value.get("schema") == BUNDLE:
            return bundled(value), str(value.get("at", ""))[:40]
        if isinstance(value.get("tcb_info"), str) and "tcb_info_signature" in value:
            return _dcap(value), ""
    return list(_limited(cmw(value) or chain(_nested(data), _borne(value, 0, ask)))), ""


def _nested(data: bytes) -> Iterator[bytes]:
    """Intel's signed documents inside other JSON, cut out as they stand: their signature is over these very bytes."""
    import json

    decoder, text = json.JSONDecoder(), data.decode("utf-8", "replace")
    for start in islice((found.start() for found in re.finditer(_NESTED, text)), MAX_NESTED):
        try:
            near = text[start : start + MAX_SIGNED]
            piece = near[: decoder.raw_decode(near)[1]].encode()
        except (ValueError, RecursionError):
            continue
        if signed_kind(piece) is not None:
            yield piece


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
        plain = base64(text.encode("ascii", "replace")) if isinstance(text, str) and text else None
        if plain is None:
            raise MalformedEvidence(f"bundle.items[{index}].data", 0, "base64", type(text).__name__)
        found.append(plain)
    return found


def _dcap(value: dict[str, Any]) -> list[bytes]:
    """The collateral JSON of DCAP libraries: signed bodies and their signatures stand apart, lists are hexadecimal."""
    found = []
    for body, wrapper in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
        inner, signature = value.get(body), value.get(f"{body}_signature")
        if isinstance(inner, str) and (signed := octets(signature)):
            found.append(_bytes(f'{{"{wrapper}":{inner},"signature":"{signed.hex()}"}}'))
    names = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_certificate_chain",
             "root_ca_crl", "pck_crl")  # fmt: skip
    found += [_bytes(item) for name in names if isinstance(item := value.get(name), str) and item]
    return found + [bytes(item) for name in names if isinstance(item := value.get(name), list) and is_bytes(item)]


def _borne(value: Any, depth: int, ask: Ask, name: str = "") -> Iterator[bytes]:
    least = SHORT if name.replace("_", "").replace("-", "").lower() in _BEARERS else LONG
    if isinstance(value, str):
        # what its name and length say first: to ask the string itself decodes it
        named = len(value) >= least and (least < LONG or _PEM not in value)
        if (named and (len(value) > DIGEST or (ask() and not _is_digest(value)))) or (
            len(value) >= SHORT and _telling(value, ask)
        ):
            yield _bytes(value)
    elif isinstance(value, list) and len(value) >= least and is_bytes(value):
        yield bytes(value)
    elif isinstance(value, dict) and (apart := _in_fields(value, depth, ask)) is not None:
        yield from apart
    elif isinstance(value, dict | list) and depth <= MAX_NESTING:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            # Veraison's sessions: {"type": media type, "value": base64} under a name that says what it is
            yield from _borne(item, depth + 1, ask, name if key == "value" else str(key))


def _in_fields(value: dict[str, Any], depth: int, ask: Ask) -> list[bytes] | None:
    """The pieces of a quote or report whose parts stand apart under their names; None for any other object."""
    if any(names <= set(value) for names in _QUOTED) and ask():
        from fastness.collateral import tpm_forms

        apart, rest = tpm_forms.of_fields(value)
        if apart or "message" in value:
            return [*apart, *_borne(rest, depth + 1, ask)]
    if "measurement" in value and "signature" in value and ask():
        from fastness.collateral import snp_forms

        report = snp_forms.of_fields(value) if snp_forms.names(value) else None
        return None if report is None else [report]
    return None


def _is_digest(text: str) -> bool:
    """Whether it is no longer than the digest of what its name says; a nonce is a file of its own."""
    plain = encodings.decoded(text.encode("ascii", "replace"))
    return plain is not None and len(plain) <= encodings.MAX_NONCE


def _bytes(text: str) -> bytes:
    """JSON can name half a character, which no encoding has."""
    return text.encode(errors="replace")


def _telling(item: str, ask: Ask) -> bool:
    """Whether a string under an unknown key says itself what it is: certificates, evidence, JSON that may hold them."""
    if re.search(_ARMOUR, item[:256]) or item.lstrip()[:1] in ("{", "["):
        return True
    if not ask():
        return False
    from fastness.collateral import sniff

    plain = encodings.decoded(item.encode("ascii", "replace"))
    if plain is None:
        return item[:2] == "r/" and item.count(":") == 2  # keylime's quote
    return sniff.endorsement(plain) or sniff.evidence_of(plain) is not None


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
    body = _bytes(value[1]) if isinstance(value[1], str) else value[1]
    return [body] if isinstance(body, bytes) and body else []


def of_cbor(value: Any, ask: Ask, depth: int = 0) -> Iterator[bytes]:
    """The byte strings of any CBOR that say themselves what they are: in what ``/dev/nsm`` answers (AWS nsm-api,
    ``Response::Attestation``), or in a message of another maker."""
    from fastness.collateral import sniff
    from fastness.wire.cbor import Tag

    while isinstance(value, Tag):
        value = value.value
    if isinstance(value, bytes):
        if len(value) >= SHORT and ask() and (sniff.endorsement(value) or sniff.evidence_of(value) is not None):
            yield value
    elif isinstance(value, dict | list) and depth <= MAX_NESTING:
        for item in value.values() if isinstance(value, dict) else value:
            yield from of_cbor(item, ask, depth + 1)


def _is_type(value: Any) -> bool:
    return (isinstance(value, str) and "/" in value and len(value) < 200) or (type(value) is int and 0 <= value < 65536)
