"""Telling bytes apart by content, never by name: each piece is unwrapped until what is left has a kind.

Wrappings: PEM, base64, hexadecimal (also ``xxd`` dumps), gzip, zip, tar, JSON bundles, CMW records and collections,
certificate tables, certificate requests, RA-TLS certificates. At most :data:`MAX_DEPTH` of them around one piece.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastness import tee as tees
from fastness.collateral import carriers, encodings, json_forms, parts, sniff
from fastness.collateral.heap import MAX_FILE, Carrier, Found, Heap
from fastness.errors import MalformedEvidence
from fastness.tee import MAX_EVENT_LOG, MAX_EVIDENCE, Document
from fastness.wire import der, x509

MAX_DEPTH = 6
MAX_NODES = 512
MAX_PATH = 32
"""Most certificates and lists in one sequence of them."""
MAX_BLOB = MAX_EVENT_LOG + 4 * MAX_EVIDENCE
"""Largest piece shown to a TEE: TPM evidence holds its event log. What is too large for its kind is refused later."""
NONCE_SIZES = range(8, encodings.MAX_NONCE + 1)

_CCEL, _GZIP, _ZIP = b"CCEL", b"\x1f\x8b\x08", b"PK\x03\x04"
"""How an ACPI table, a gzip member (RFC 1952 section 2.3.1, deflate) and a zip archive start."""
_TAR = slice(257, 262), b"ustar"
"""Where the first header of a tar archive has its magic (POSIX.1-2017, ustar interchange format)."""
_LONG_BYTES = (0x58, 0x59)
"""How byte strings of CBOR of 24 bytes to 64 KiB start."""
_TEXT_FORMAT = (b"report:", b"report {")
"""How the text format of go-sev-guest's messages starts."""
_PROTOBUF = b"\x0a"
"""Field 1, bytes: how protocol buffers of go-tpm-tools start."""
_BANKS = frozenset((b"sha1", b"sha256", b"sha384", b"sha512", b"sm3_256", b"sha3_256", b"sha3_384", b"sha3_512"))
"""How JSON with the register values of a TPM starts."""


class Sorter:
    """Sorts pieces into a heap."""

    def __init__(self, heap: Heap) -> None:
        self.heap = heap

    def sort(self, data: bytes, source: str, depth: int = 0, carrier: Carrier | None = None) -> bool:
        """Puts ``data`` where it belongs; False when nothing in it was understood."""
        self.heap.count(len(data), source)
        if depth > MAX_DEPTH or not data:
            return False
        if data[:5] == b"HTTP/":
            return self._response(data, source, depth)
        if data[:3] == _GZIP:
            return self._zipped(data, source, depth, carrier)
        if data[:4] == _ZIP:
            return self._archive(data, source, depth)
        if data[_TAR[0]] == _TAR[1] and self._archive(data, source, depth):
            return True
        if data[:64].lstrip().startswith(_TEXT_FORMAT) and self._fielded(data, source, depth):
            return True
        data = encodings.narrowed(data)
        if encodings.is_text(data):
            return self._text(data, source, depth, carrier)
        return self._evidence(data, source, carrier) or self._binary(data, source, depth, carrier)

    def _all(self, pieces: Iterable[bytes], source: str, depth: int, carrier: Carrier | None) -> bool:
        """Sorts every piece; whether any was understood."""
        understood = [self.sort(piece, source, depth + 1, carrier) for piece in pieces]
        return any(understood)

    def _response(self, data: bytes, source: str, depth: int) -> bool:
        """A response as ``curl -i`` keeps it: PCS and PCCS send issuer chains in headers, the document in the body."""
        head, _, body = data.partition(b"\r\n\r\n" if b"\r\n" in data[:256] else b"\n\n")
        values = [line.partition(b":")[2].strip() for line in head.splitlines()[1:]]
        chains = [value for value in values if value.startswith(b"-----BEGIN")]
        return self._all([*chains, *([body] if body else [])], source, depth, None)

    def _zipped(self, data: bytes, source: str, depth: int, carrier: Carrier | None) -> bool:
        """A gzip member, as Tinfoil's enclaves send reports. What it unfolds to counts, and is cut off, like a file."""
        import zlib

        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            plain = member.decompress(data, MAX_FILE)
        except zlib.error:
            return False
        if not member.eof or member.unused_data.strip(b"\0"):
            self.heap.count(len(plain), source)
            return False
        return self.sort(plain, source, depth + 1, carrier)

    def _fielded(self, data: bytes, source: str, depth: int) -> bool:
        """The text format of protocol buffers, in which strings of bytes may hold what is UTF-8 by chance."""
        from fastness.collateral import snp_forms

        return self._all(snp_forms.of_text(data), source, depth, None)

    def _archive(self, data: bytes, source: str, depth: int) -> bool:
        """An archive, zip as sev-tool exports a platform's chain, or tar: each file in it counts as one on its own."""
        from fastness.collateral import archive

        found = False
        for item in archive.members(data, source) if data[:4] == _ZIP else archive.tarred(data, source):
            place = f"{source}/{item.name}"
            if item.data is None:
                self.heap.count(item.size, place)
                self.heap.ignore(place, "cannot be read: damaged, encrypted, too large or a link")
            else:
                found |= self.sort(item.data, place, depth + 1)
        return found

    def _evidence(self, data: bytes, source: str, carrier: Carrier | None) -> bool:
        data = sniff.answered(data)
        name = sniff.evidence_of(data) if len(data) <= MAX_BLOB else None
        if name is None:
            return False
        self.heap.add_evidence(Found(name, data, source, carrier))
        return True

    def _binary(self, data: bytes, source: str, depth: int, carrier: Carrier | None) -> bool:
        if carrier is not None and data[0] == der.OCTET_STRING and self._harvest(data, source, depth, carrier):
            return True
        if data[0] == der.SEQUENCE and self._der(data, source, depth, carrier):
            return True
        if data[:4] == _CCEL and len(data) <= 4096:
            self.heap.add_document("acpi-table", data, source)
            return True
        from fastness.wire import eventlog

        if len(data) <= MAX_EVENT_LOG and eventlog.recognise(data):
            self.heap.add_document("event-log", data, source)
            return True
        identity = sniff.snp_identity(data)
        if identity is not None:
            self.heap.add_document(identity, data, source)
            return True
        table = sniff.certificate_table(data)
        if table is not None:
            return self._all(table, source, depth, None)
        if self._record(data, source, depth, carrier):
            return True
        if data[:1] == _PROTOBUF:
            from fastness.collateral import snp_forms, tdx_forms, tpm_forms

            found = tpm_forms.of_bytes(data) or (*snp_forms.of_attestation(data), *tdx_forms.of_quote(data))
            if self._all(found, source, depth, None):
                return True
        return self._last(data, source, carrier)

    def _last(self, data: bytes, source: str, carrier: Carrier | None) -> bool:
        """What only the TEEs themselves can tell: parts of evidence, then evidence without a telling head."""
        for name in parts.TEES if len(data) <= MAX_EVENT_LOG else ():
            if self._part(name, data, source):
                return True
        found = sniff.any_evidence(data) if len(data) <= MAX_BLOB else None
        if found is not None:
            self.heap.add_evidence(Found(found, data, source, carrier))
            return True
        if data[1:4] == b"\0\0\0" and self._old_log(data):
            self.heap.add_document("event-log", data, source)
            return True
        if len(data) in NONCE_SIZES:
            self.heap.add_document("nonce", data, source)
            return True
        self.heap.doubt(data, source)
        return False

    def _part(self, name: str, data: bytes, source: str) -> bool:
        try:
            module: Any = tees.load(name)
        except ModuleNotFoundError:
            return False
        kind = module.recognise_part(data)
        several = [(kind, data)] if kind else module.split(data) if hasattr(module, "split") else []
        for kind, part in several:
            self.heap.add_part(name, Document(kind, part, source))
        return bool(several)

    def _old_log(self, data: bytes) -> bool:
        """A SHA-1 log of TPM 1.2 times has no mark: it is one if all of it reads as one."""
        from fastness.wire import eventlog

        try:
            return len(data) <= MAX_EVENT_LOG and len(eventlog.parse(data).events) > 0
        except MalformedEvidence:
            return False

    # DER

    def _der(self, data: bytes, source: str, depth: int, carrier: Carrier | None) -> bool:
        if self._certificate(data, source, depth) or self._crl(data):
            return True
        carried = carriers.of_request(data)
        if carried is not None:
            return self._carried(carried, source, depth)
        if carrier is not None:
            return self._harvest(data, source, depth, carrier)
        return self._public_key(data, source) or self._ocsp(data, source) or self._path(data, source, depth)

    def _certificate(self, data: bytes, source: str, depth: int) -> bool:
        try:
            certificate = x509.certificate(data)
        except MalformedEvidence:
            return False
        carried = carriers.of_certificate(certificate)
        if carried:
            return self._carried(carried, source, depth)
        self.heap.certificates.setdefault(data, certificate)
        return True

    def _crl(self, data: bytes) -> bool:
        try:
            self.heap.crls.setdefault(data, x509.crl(data))
        except MalformedEvidence:
            return False
        return True

    def _public_key(self, data: bytes, source: str) -> bool:
        try:
            x509.parse_public_key(data)
        except MalformedEvidence:
            return False
        if not any(self._part(name, data, source) for name in parts.TEES):
            self.heap.add_document("public-key", data, source)
        return True

    def _ocsp(self, data: bytes, source: str) -> bool:
        """OCSPResponse (RFC 6960 section 4.2.1): a status, then [0] with the type id-pkix-ocsp-basic."""
        try:
            fields = der.first(der.one(data, der.SEQUENCE, "ocsp"), 1, "ocsp")
        except MalformedEvidence:
            return False
        if not fields or fields[0].tag != der.ENUMERATED:
            return False
        self.heap.add_document("ocsp", data, source)
        return True

    def _path(self, data: bytes, source: str, depth: int) -> bool:
        """A PkiPath, or any sequence of certificates and lists, back to back or wrapped in one SEQUENCE."""
        try:
            node, end = der.read(data)
            inside = der.first(node, MAX_PATH, "path") if end == len(data) else []
        except MalformedEvidence:
            return False
        items = [item.raw for item in inside] if end == len(data) else [node.raw, data[end:]]
        items = [item for item in items if item[:1] == b"\x30" and len(item) > 64]
        return self._all(items, source, depth, None)

    def _carried(self, carried: list[tuple[Carrier, bytes]], source: str, depth: int) -> bool:
        found = False
        for carrier, value in carried:
            pair = carriers.tagged(value) if carrier.oid == carriers.DICE else None
            inner, claims = pair if pair is not None else (value, b"")
            found |= self.sort(inner, source, depth + 1, carrier._replace(claims=claims))
        return found

    def _harvest(self, data: bytes, source: str, depth: int, carrier: Carrier) -> bool:
        """Evidence and endorsements wherever they stand in a vendor's own ASN.1 (Enarx nests them three deep)."""
        found, stack, seen = False, [data], 0
        while stack and seen < MAX_NODES:
            seen += 1
            try:
                node = der.read(stack.pop())[0]
                children = der.first(node, MAX_NODES, "evidence") if node.tag == der.SEQUENCE else []
            except MalformedEvidence:
                continue
            if node.tag == der.OCTET_STRING:
                found |= self.sort(node.value, source, depth + 1, carrier)
            elif node.tag == der.SEQUENCE and not (
                self._certificate(node.raw, source, depth + 1) or self._crl(node.raw)
            ):
                stack.extend(child.raw for child in reversed(children))
            else:
                found = True
        return found

    # CMW and text

    def _record(self, data: bytes, source: str, depth: int, carrier: Carrier | None) -> bool:
        """A CMW in CBOR: a record ``[type, bytes]``, a tagged one, or a collection of them; or any other CBOR."""
        if data[0] >> 5 not in (4, 5, 6) and data[0] not in _LONG_BYTES:
            return False
        from fastness.wire import cbor

        try:
            value = cbor.decode(data)
        except MalformedEvidence:
            return False
        return self._all(json_forms.cmw(value) or json_forms.of_cbor(value, self.heap.ask), source, depth, carrier)

    def _text(self, data: bytes, source: str, depth: int, carrier: Carrier | None) -> bool:
        stripped = data.lstrip(b"\xef\xbb\xbf \t\r\n")
        if stripped[:1] in (b"{", b"[", b'"'):
            return self._json(stripped.rstrip(), source, depth, carrier)
        if b"-----BEGIN " in data:
            return self._pem(data, source, depth)
        if stripped[:1] == b"<" and b"SoftwareIdentity" in stripped[:4096]:
            self.heap.add_document("rim", data, source)
            return True
        plain = encodings.decoded(stripped)
        if plain is not None:
            return self.sort(plain, source, depth + 1, carrier)
        from fastness.collateral import tpm_forms

        forms = tpm_forms.of_text(data)
        return self._all(forms or encodings.arrays(data), source, depth, None if forms else carrier)

    def _pem(self, data: bytes, source: str, depth: int) -> bool:
        from fastness.wire import pem

        found = False
        for block in pem.blocks(data):
            if "PRIVATE" in block.label:
                self.heap.ignore(source, "a private key")
                found = True
                continue
            try:
                plain = block.der()
            except MalformedEvidence as error:  # spoils none of the other blocks
                self.heap.ignore(source, error.what)
                found = True
                continue
            found |= self.sort(plain, source, depth + 1)
        return found

    def _json(self, data: bytes, source: str, depth: int, carrier: Carrier | None) -> bool:
        kind = json_forms.signed_kind(data)
        schema = json_forms.launch_schema(data)
        if schema == "sev-launch":
            self.heap.ignore(
                source, "a tenant's launch keys: name them with --anchors, among evidence they count nothing"
            )
            return True
        if schema == "sev-measurement":
            return self._part("sev", data, source)
        if kind is not None:
            self.heap.add_document(kind, data, source)
            return True
        if json_forms.first_name(data) == b"keys" and b'"HCLAkPub"' in data:  # exactly these bytes are what is hashed
            self.heap.add_part("tpm", Document("runtime_data", data, source))
            return True
        if json_forms.is_log(data):
            self.heap.add_document("event-log-json", data, source)
            return True
        pieces, at = json_forms.pieces(data, self.heap.ask)
        if pieces:
            self.heap.bundle_at = at or self.heap.bundle_at
            return self._all(pieces, source, depth, carrier)
        if json_forms.first_name(data) in _BANKS and self._part("tpm", data, source):
            return True
        return self._all(encodings.arrays(data), source, depth, carrier)
