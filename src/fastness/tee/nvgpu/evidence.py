"""NVIDIA attestation reports as values: parse, unparse, show. Nothing is trusted here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastness.errors import MalformedEvidence
from fastness.tee import MAX_EVIDENCE
from fastness.tee.nvgpu import layout as at
from fastness.wire.cursor import Cursor
from fastness.wire.hexdump import Span
from fastness.wire.x509 import Certificate


@dataclass(frozen=True, slots=True)
class Evidence:
    """One report of a GPU or an NVSwitch.

    ``raw`` is request ‖ response without ``padding`` (a number of zero bytes); ``nonce`` is that of whoever asked, 32
    bytes; ``measurements`` are by index, counted from 0 as manifests do; ``opaque`` by type, in the order sent;
    ``svns`` are those of ``opaque`` that say of themselves that they are security version numbers.

    Two fields are empty until ``verify`` fills them: ``path``, the device's certificates from the leaf on (a report
    carries none), and ``compared``, the ids of the manifests whose every measurement was found in it.
    """

    raw: bytes
    padding: int
    nonce: bytes
    measurements: Mapping[int, bytes]
    opaque: Mapping[int, bytes]
    svns: Mapping[int, int]
    spans: Mapping[str, Span]
    path: tuple[Certificate, ...] = ()
    compared: tuple[str, ...] | None = None

    @property
    def signed(self) -> bytes:
        """What the signature is over: request ‖ response without its signature (DSP0274 section 10.11.2)."""
        return self.raw[: -at.SIGNATURE_SIZE]

    @property
    def signature(self) -> bytes:
        """r ‖ s, 48 bytes each, big endian."""
        return self.raw[-at.SIGNATURE_SIZE :]

    @property
    def kind(self) -> str:
        """``switch`` for an NVSwitch, which states its own device identifier and no driver; otherwise ``gpu``."""
        return _kind(self.opaque)

    def text(self, kind: int) -> str | None:
        """Opaque data of ``kind`` as text, zeros at its end cut off; None when absent or empty."""
        value = self.opaque.get(kind, b"").rstrip(b"\0")
        return value.decode("ascii") if value else None

    @property
    def vbios(self) -> str | None:
        """VBIOS version as manifests write it, ``96.00.9F.00.01``; None when absent.

        GPUs state it as two little-endian words of four bytes, of which the second one's last byte is the OEM part;
        switches as text.
        """
        value = self.opaque.get(at.VBIOS)
        if value is None or self.kind == "switch":
            return self.text(at.VBIOS)
        return ".".join(f"{byte:02X}" for byte in (*value[3::-1], value[4]))


_TEXTS = (at.DRIVER, at.CHIP_SKU, at.CHIP_SKU_MOD, at.PROJECT, at.PROJECT_SKU, at.PROJECT_SKU_MOD)
_SIZES = {at.FWID: (at.HASH_SIZE,), at.NVDEC0: (1,), at.FEATURE: (1, 2, 4)}


def recognise(data: bytes) -> bool:
    """Whether ``data`` starts with a request for all measurements and a response to it."""
    size = at.REQUEST_SIZE
    return data[:2] == bytes((at.VERSION, at.REQUEST_CODE)) and data[size : size + 2] == bytes(
        (at.VERSION, at.RESPONSE_CODE)
    )


def parse(data: bytes) -> Evidence:
    """A report: request ‖ response, and at most 8 KiB of zeros after it.

    Raises:
        MalformedEvidence: a field of another value or size, an index or type twice, leftovers that are not zero.
    """
    if len(data) > MAX_EVIDENCE:
        raise MalformedEvidence("report", 0, f"at most {MAX_EVIDENCE} bytes", len(data))
    cursor = Cursor(bytes(data))
    spans: dict[str, Span] = {}
    nonce = _request(cursor, spans)
    measurements = _response(cursor, spans)
    spans["device_nonce"] = Span("device_nonce", cursor.offset, at.NONCE_SIZE)
    cursor.take(at.NONCE_SIZE, "device_nonce")
    opaque, svns = _opaque(cursor, spans)
    spans["signature"] = Span("signature", cursor.offset, at.SIGNATURE_SIZE)
    cursor.take(at.SIGNATURE_SIZE, "signature")
    raw = cursor.data[: cursor.position]
    padding = cursor.remaining
    if padding > at.MAX_PADDING:
        raise MalformedEvidence("padding", cursor.offset, f"at most {at.MAX_PADDING} bytes", padding)
    cursor.zeros(padding, "padding")
    return Evidence(raw, padding, nonce, measurements, opaque, svns, spans)


def unparse(evidence: Evidence) -> bytes:
    """The bytes it was parsed from."""
    return evidence.raw + bytes(evidence.padding)


def _constant(cursor: Cursor, value: int, name: str) -> None:
    where = cursor.offset
    found = cursor.little(1, name)
    if found != value:
        raise MalformedEvidence(name, where, f"0x{value:02x}", f"0x{found:02x}")


def _slot(cursor: Cursor, name: str) -> int:
    where = cursor.offset
    found = cursor.little(1, name)
    if found & 0xF0:
        raise MalformedEvidence(name, where, "a slot of 0 to 15", f"0x{found:02x}")
    return found


def _request(cursor: Cursor, spans: dict[str, Span]) -> bytes:
    _constant(cursor, at.VERSION, "request.SPDMVersion")
    _constant(cursor, at.REQUEST_CODE, "request.RequestResponseCode")
    _constant(cursor, at.SIGNATURE_REQUESTED, "request.Param1")
    _constant(cursor, at.ALL_MEASUREMENTS, "request.Param2")
    spans["nonce"] = Span("nonce", cursor.offset, at.NONCE_SIZE)
    nonce = cursor.take(at.NONCE_SIZE, "request.Nonce")
    _slot(cursor, "request.SlotIDParam")
    return nonce


def _response(cursor: Cursor, spans: dict[str, Span]) -> dict[int, bytes]:
    _constant(cursor, at.VERSION, "response.SPDMVersion")
    _constant(cursor, at.RESPONSE_CODE, "response.RequestResponseCode")
    cursor.take(1, "response.Param1")
    _slot(cursor, "response.Param2")
    where = cursor.offset
    count = cursor.little(1, "NumberOfBlocks")
    if not 1 <= count <= at.MAX_BLOCKS:
        raise MalformedEvidence("NumberOfBlocks", where, f"1 to {at.MAX_BLOCKS}", count)
    size = cursor.little(3, "MeasurementRecordLength")
    start = cursor.offset
    blocks = Cursor(cursor.take(size, "MeasurementRecord"), start)
    found: dict[int, bytes] = {}
    for _ in range(count):
        _block(blocks, found, spans)
    blocks.done("MeasurementRecord")
    return found


def _block(cursor: Cursor, found: dict[int, bytes], spans: dict[str, Span]) -> None:
    where = cursor.offset
    index = cursor.little(1, "Index") - 1
    if not 0 <= index < at.MAX_BLOCKS or index in found:
        raise MalformedEvidence("Index", where, f"1 to {at.MAX_BLOCKS}, each once", index + 1)
    _constant(cursor, at.DMTF, "MeasurementSpecification")
    where = cursor.offset
    size = cursor.little(2, "MeasurementSize")
    kind = cursor.little(1, "DMTFSpecMeasurementValueType")
    inner = cursor.little(2, "DMTFSpecMeasurementValueSize")
    if inner + 3 != size or not 1 <= inner <= at.MAX_VALUE:
        need = f"a value of 1 to {at.MAX_VALUE} bytes in a block of 3 more"
        raise MalformedEvidence("MeasurementSize", where, need, f"{inner} in {size}, type {kind}")
    name = f"m{index:02d}"
    spans[name] = Span(name, cursor.offset, inner)
    found[index] = cursor.take(inner, "DMTFSpecMeasurementValue")


def _opaque(cursor: Cursor, spans: dict[str, Span]) -> tuple[dict[int, bytes], dict[int, int]]:
    where = cursor.offset
    size = cursor.little(2, "OpaqueLength")
    if size > at.MAX_OPAQUE:
        raise MalformedEvidence("OpaqueLength", where, f"at most {at.MAX_OPAQUE}", size)
    start = cursor.offset
    items = Cursor(cursor.take(size, "OpaqueData"), start)
    headed = _header(items)
    found: dict[int, bytes] = {}
    svns: dict[int, int] = {}
    while items.remaining:
        where = items.offset
        kind = items.little(2, "OpaqueData.type")
        if kind in found:
            raise MalformedEvidence("OpaqueData.type", where, "each type once", f"{kind} twice")
        meaning = items.little(2, "OpaqueData.valueType") if headed else 0
        size = items.little(2, "OpaqueData.size")
        name = at.NAMES.get(kind, f"opaque_{kind}")
        spans[name] = Span(name, items.offset, size)
        found[kind] = items.take(size, name)
        _sane(kind, found[kind], spans[name])
        if meaning == at.MIN_SVN and size == 2:
            svns[kind] = int.from_bytes(found[kind], "little")
    _vbios(found, spans)
    return found, svns


def _header(items: Cursor) -> bool:
    """Whether the opaque data has a header, which is read and checked then."""
    if not items.data.startswith(at.OPAQUE_MAGIC):
        return False
    items.take(len(at.OPAQUE_MAGIC), "OpaqueData.magic")
    items.zeros(2, "OpaqueData.profile")
    _constant(items, at.OPAQUE_MAJOR, "OpaqueData.major")
    items.take(2, "OpaqueData.minor")
    items.zeros(1, "OpaqueData.padding")
    return True


def _kind(opaque: Mapping[int, bytes]) -> str:
    return "switch" if at.SWITCH_PDI in opaque and at.DRIVER not in opaque else "gpu"


def _vbios(found: Mapping[int, bytes], spans: Mapping[str, Span]) -> None:
    value = found.get(at.VBIOS)
    if value is None:
        return
    good = len(value) == 8 if _kind(found) == "gpu" else _printable(value.rstrip(b"\0"))
    if not good:
        need = "8 bytes for a GPU, printable ASCII for a switch"
        raise MalformedEvidence("vbios_version", spans["vbios_version"].offset, need, value[:32].hex())


def _sane(kind: int, value: bytes, span: Span) -> None:
    """Sizes and characters of what claims are made from."""
    if kind in _SIZES and len(value) not in _SIZES[kind]:
        need = " or ".join(map(str, _SIZES[kind])) + " bytes"
        raise MalformedEvidence(span.field, span.offset, need, len(value))
    if kind in _TEXTS and not _printable(value.rstrip(b"\0")):
        raise MalformedEvidence(span.field, span.offset, "printable ASCII, zeros after it", value[:32].hex())
    if kind == at.COUNTS and len(value) % 4:
        raise MalformedEvidence(span.field, span.offset, "a multiple of 4 bytes", len(value))


def _printable(value: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in value)


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning)."""
    meanings = {
        "nonce": "of whoever asked",
        "device_nonce": "of the device",
        "vbios_version": evidence.vbios or "",
        "signature": "ES384 over request and response",
    }
    meanings |= {at.NAMES[kind]: evidence.text(kind) or "" for kind in _TEXTS if kind in evidence.opaque}
    powered = at.STATUS.get(evidence.opaque.get(at.NVDEC0, b""))
    meanings[at.NAMES[at.NVDEC0]] = "" if powered is None else "on" if powered else "off"
    number = int.from_bytes(evidence.opaque.get(at.FEATURE, b""), "little")
    meanings[at.NAMES[at.FEATURE]] = at.FEATURES.get(number, "")
    rows = [(name, span.offset, span.size, meanings.get(name, "")) for name, span in evidence.spans.items()]
    rows += [(name, offset, size, "") for name, offset, size in at.HEADERS]
    return sorted(rows, key=lambda row: row[1])
