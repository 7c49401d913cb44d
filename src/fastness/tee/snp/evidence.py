"""SNP attestation reports as values: parse, unparse, show. Nothing is trusted here.

Evidence is a report of 1184 bytes, optionally followed by the certificate table of an extended report.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence
from fastness.tee import MAX_EVIDENCE
from fastness.tee.snp import layout as at
from fastness.wire import pem
from fastness.wire.hexdump import Span

KEY_INFO_AUTHOR, KEY_INFO_MASKED = 1, 2


class Entry(NamedTuple):
    """One entry of the certificate table: its ``kind`` (or GUID in hexadecimal), and the bytes."""

    kind: str
    data: bytes
    offset: int


class Evidence(NamedTuple):
    """One report. TCBs are the raw 8 bytes, laid out by generation; ``cpuid`` is None before version 3."""

    raw: bytes
    table: tuple[Entry, ...]
    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    current_version: tuple[int, int, int]
    committed_version: tuple[int, int, int]
    launch_tcb: bytes
    launch_mit_vector: int | None
    current_mit_vector: int | None
    r: int
    s: int

    @property
    def report(self) -> bytes:
        """The 1184 bytes of the report alone."""
        return self.raw[: at.REPORT_SIZE]

    @property
    def signed(self) -> bytes:
        """The bytes that are signed, as received."""
        return self.raw[: at.SIGNED_SIZE]

    @property
    def signing_key(self) -> int:
        """Which kind of key signed: VCEK, VLEK or none."""
        return self.key_info >> 2 & 7

    @property
    def masked(self) -> bool:
        """Whether the host keeps the chip's own key from signing (MASK_CHIP_KEY). Its id it hides by another setting,
        MASK_CHIP_ID, of which a report shows only the zeros."""
        return bool(self.key_info & KEY_INFO_MASKED)

    @property
    def provisional(self) -> bool:
        """Whether the firmware now running is not committed (AMD 56860, SNP_COMMIT): versions of one security level
        differ in their numbers alone."""
        return (self.current_tcb, self.current_version) != (self.committed_tcb, self.committed_version)

    @property
    def author_key_enabled(self) -> bool:
        """Whether the author key digest means anything."""
        return bool(self.key_info & KEY_INFO_AUTHOR)


def spans() -> dict[str, Span]:
    """Where every field stands."""
    return {name: Span(name, offset, size) for name, (offset, size, _) in at.FIELDS.items()}


def recognise(data: bytes) -> bool:
    """Whether ``data`` begins like a report, by two of three: a known version, ECDSA P-384, policy bit 17.

    One that is cut short, or of a later version, is one all the same: parsing says what is wrong with it.
    """
    if len(data) < at.SIGNED_SIZE or data[1:4] != b"\0\0\0":
        return False
    return (data[0] in at.VERSIONS) + (data[0x34:0x38] == b"\x01\0\0\0") + bool(data[0x0A] & 2) >= 2


def parse(data: bytes) -> Evidence:
    """A report, with its certificate table if one follows.

    Raises:
        MalformedEvidence: a wrong size, an unknown version or algorithm, reserved bits that are not zero, a signature
            that is not in its range, a certificate table out of bounds.
    """
    if not at.REPORT_SIZE <= len(data) <= MAX_EVIDENCE:
        raise MalformedEvidence("report", 0, f"{at.REPORT_SIZE} to {MAX_EVIDENCE} bytes", f"{len(data)} bytes")
    (version, guest_svn, policy, family_id, image_id, vmpl, algorithm, current_tcb, platform_info, key_info,
     report_data, measurement, host_data, id_key, author_key, report_id, report_id_ma, reported_tcb, family, model,
     stepping, chip_id, committed_tcb, build, minor, major, build2, minor2, major2, launch_tcb, launch_mit,
     current_mit) = at.REPORT.unpack_from(data)  # fmt: skip
    if version not in at.VERSIONS:
        raise MalformedEvidence("version", 0, "2 to 5", version)
    if algorithm != at.ECDSA_P384_SHA384:
        raise MalformedEvidence("signature_algo", 0x34, "1 (ECDSA P-384 with SHA-384)", algorithm)
    _reserved(data, version, policy, key_info)
    r, s = _signature(data)
    return Evidence(
        data, _table(data), version, guest_svn, policy, family_id, image_id, vmpl, current_tcb, platform_info,
        key_info, report_data, measurement, host_data, id_key, author_key, report_id, report_id_ma, reported_tcb,
        (family, model, stepping) if version >= 3 else None, chip_id, committed_tcb, (major, minor, build),
        (major2, minor2, build2), launch_tcb, launch_mit if version >= 5 else None,
        current_mit if version >= 5 else None, r, s,
    )  # fmt: skip


def _reserved(data: bytes, version: int, policy: int, key_info: int) -> None:
    for offset, size in at.RESERVED:
        _zero(data, offset, size)
    for since, offset, size in at.RESERVED_BEFORE:
        if version < since:
            _zero(data, offset, size)
    if not policy & at.POLICY_ONE or policy & at.POLICY_RESERVED:
        raise MalformedEvidence("policy", 0x08, "bit 17 set and bits 26 to 63 clear", f"0x{policy:x}")
    if key_info & at.KEY_INFO_RESERVED:
        raise MalformedEvidence("key_info", 0x48, "reserved bits clear", f"0x{key_info:x}")


def _zero(data: bytes, offset: int, size: int) -> None:
    if data[offset : offset + size].count(0) != size:
        raise MalformedEvidence("reserved", offset, f"{size} bytes of zero", data[offset : offset + size].hex())


def _signature(data: bytes) -> tuple[int, int]:
    """r and s: 72 bytes each, little endian, whose upper 24 must be zero, as must be all that follows them."""
    values = []
    for name, offset in (("signature.r", 0x2A0), ("signature.s", 0x2E8)):
        _zero(data, offset + 48, 24)
        value = int.from_bytes(data[offset : offset + 48], "little")
        if not value:
            raise MalformedEvidence(name, offset, "a number above zero", 0)
        values.append(value)
    _zero(data, 0x330, at.REPORT_SIZE - 0x330)
    return values[0], values[1]


def _table(data: bytes) -> tuple[Entry, ...]:
    """The certificate table behind the report: GUID (16 bytes), offset and length (4 bytes each) from its start."""
    body = data[at.REPORT_SIZE :]
    if not body.strip(b"\0"):
        return ()
    entries: list[Entry] = []
    seen: set[bytes] = set()
    for index in range(at.MAX_ENTRIES + 1):
        row = body[index * at.ENTRY_SIZE : (index + 1) * at.ENTRY_SIZE]
        place = at.REPORT_SIZE + index * at.ENTRY_SIZE
        if len(row) < at.ENTRY_SIZE or index == at.MAX_ENTRIES:
            raise MalformedEvidence("certificate table", place, f"an end within {at.MAX_ENTRIES} entries", "none")
        if not any(row):
            return tuple(entries)
        guid, offset, size = row[:16], int.from_bytes(row[16:20], "little"), int.from_bytes(row[20:], "little")
        if guid in seen:
            raise MalformedEvidence("certificate table", place, "distinct GUIDs", f"{guid.hex()} twice")
        if size and (offset + size > len(body) or offset < (index + 1) * at.ENTRY_SIZE):
            raise MalformedEvidence(
                "certificate table", place, f"an entry within {len(body)} bytes", f"{offset}+{size}"
            )
        seen.add(guid)
        kind = at.TABLE.get(guid.hex()) or at.TABLE.get(_swapped(guid).hex(), guid.hex())
        entries.append(Entry(kind, body[offset : offset + size], at.REPORT_SIZE + offset))
    return tuple(entries)


def _swapped(guid: bytes) -> bytes:
    """A GUID whose first three fields were written little endian (Microsoft's order)."""
    return guid[3::-1] + guid[5:3:-1] + guid[7:5:-1] + guid[8:]


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return evidence.raw


def certificates(entry: Entry) -> list[bytes]:
    """The DER blocks of an entry, which producers write as DER, one after the other, or PEM, zero padded."""
    data = entry.data
    if b"-----BEGIN" in data[:64]:
        return [der for _, der in pem.unarmour(data)]
    if not data.strip(b"\0"):  # an entry kept free
        return []
    found = []
    while data[:2] == b"\x30\x82":  # a certificate of 256 bytes to 64 KiB says its own size
        size = 4 + int.from_bytes(data[2:4], "big")
        found.append(data[:size])
        data = data[size:]
    return found or [data]


def show(evidence: Evidence) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning)."""
    rows = [
        (name, offset, size, f"{text}: {_value(evidence, name)}".removesuffix(": "))
        for name, (offset, size, text) in at.FIELDS.items()
    ]
    rows += [("certificate table", item.offset, len(item.data), item.kind) for item in evidence.table]
    return sorted(rows, key=lambda row: row[1])


def _value(evidence: Evidence, name: str) -> str:
    value: Any = getattr(evidence, name, "")
    if name == "cpuid" or name.endswith("_version"):
        return ".".join(map(str, value or ()))
    if name in ("policy", "platform_info", "key_info"):
        return f"0x{value:x} ({_bits(evidence, name)})"
    if name == "vmpl" and value == at.HOST_VMPL:
        return "none, the host asked"
    if name.endswith("_tcb"):
        return f"{value.hex()}{_components(evidence, value)}"
    if name == "signature":
        return f"r 0x{evidence.r:x}, s 0x{evidence.s:x}"
    return value.hex() if isinstance(value, bytes) else "" if value is None else str(value)


def _bits(evidence: Evidence, name: str) -> str:
    """The bits that are set, by name."""
    if name == "key_info":
        kind = {at.VCEK: "VCEK", at.VLEK: "VLEK", at.NO_KEY: "no key"}.get(evidence.signing_key, "unknown key")
        known = (("author key", evidence.author_key_enabled), ("chip key masked", evidence.masked))
        return ", ".join([f"signed by {kind}", *(word for word, on in known if on)])
    value, names = evidence.policy, at.POLICY_BITS
    if name == "platform_info":
        value, names = evidence.platform_info, at.PLATFORM_BITS
    words = [word for word, bit in names.items() if value >> bit & 1]
    if name == "policy":
        words.insert(0, f"abi {value >> 8 & 0xFF}.{value & 0xFF}")
    elif value & ~at.PLATFORM_KNOWN:
        words.append(f"unknown 0x{value & ~at.PLATFORM_KNOWN:x}")
    return ", ".join(words) or "none"


def _components(evidence: Evidence, raw: bytes) -> str:
    """TCB components where the report says which processor, and so which layout, they are of."""
    generation = at.generation_of(*evidence.cpuid[:2]) if evidence.cpuid else None
    if generation is None:
        return ""
    return f" ({', '.join(f'{word} {value}' for word, value in at.tcb(raw, generation.tcb).claims().items())})"
