"""SEV platform chains and guest reports as values. Nothing is trusted here.

The certificates lie in separate files; :func:`assemble` puts them into one container, which is what is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastness.errors import MalformedEvidence
from fastness.tee.sev import launch
from fastness.tee.sev import layout as at
from fastness.wire import cbor, injected
from fastness.wire.cursor import Cursor

MAX_SIZE = 32 * 1024


@dataclass(frozen=True, slots=True)
class AmdCertificate:
    """An ARK or ASK: ids of 16 bytes in hexadecimal, an RSA key, a signature as a number of the key's size."""

    raw: bytes
    key_id: str
    certifying_id: str
    usage: int
    exponent: int
    modulus: int
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that are signed."""
        return self.raw[: -len(self.signature)]


@dataclass(frozen=True, slots=True)
class Slot:
    """One signature of a SEV certificate: usage of the signing key, algorithm, 512 bytes."""

    usage: int
    algorithm: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class SevCertificate:
    """An OCA, CEK, PEK or PDH: a key on P-256 or P-384 (x ‖ y, big endian) and up to two signatures."""

    raw: bytes
    kind: str
    api: tuple[int, int]
    algorithm: int
    curve: int
    point: bytes
    slots: tuple[Slot, ...]

    @property
    def signed(self) -> bytes:
        """The bytes that are signed."""
        return self.raw[: at.SEV_SIGNED]


@dataclass(frozen=True, slots=True)
class Report:
    """An ATTESTATION report of a guest: mnonce 16 bytes, launch digest 32, policy."""

    raw: bytes
    mnonce: bytes
    launch_digest: bytes
    policy: int
    algorithm: int
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that are signed."""
        return self.raw[: at.REPORT_SIGNED]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A platform's chain; of a guest, its report, its launch, and its proof by the secret it was given (118 bytes).

    What is absent is None.
    """

    raw: bytes
    ark: AmdCertificate | None
    ask: AmdCertificate | None
    cek: SevCertificate
    pek: SevCertificate
    oca: SevCertificate | None
    pdh: SevCertificate | None
    report: Report | None
    launch: launch.Measurement | None
    proof: bytes | None
    offsets: Mapping[str, int]


def recognise(data: bytes) -> bool:
    """Whether ``data`` is our container."""
    return len(data) <= MAX_SIZE and at.PROFILE.encode() in data[:24]


def recognise_part(data: bytes) -> str | None:
    """Which certificate or report ``data`` is, by size, version and usage; None if none."""
    if data[:4] == b"\x01\0\0\0" and len(data) in at.AMD_SIZES:
        return {at.ARK_USAGE: "ark", at.ASK_USAGE: "ask"}.get(int.from_bytes(data[0x24:0x28], "little"))
    if len(data) == at.SEV_SIZE and (kind := _sev_kind(data)):
        return kind
    if len(data) <= launch.MAX_MEASUREMENT and data.lstrip()[:1] == b"{":
        return "launch" if launch.MEASUREMENT.encode() in data else None
    if len(data) == at.REPORT_SIZE and data[0x34:0x38] == b"\x02\x10\0\0":
        return "report"
    return "proof" if injected.recognise(data) else None


def _sev_kind(data: bytes) -> str | None:
    """The kind of a SEV certificate. A damaged head is not another file: what follows it tells, and parsing refuses."""
    kind = at.USAGES.get(int.from_bytes(data[8:12], "little"))
    if data[:4] == b"\x01\0\0\0" and kind is not None:
        return kind
    shaped = data[at.KEY_AT : at.KEY_AT + 4] in (b"\x01\0\0\0", b"\x02\0\0\0")
    if not shaped or any(data[at.KEY_AT + 4 + 2 * at.COORDINATE : at.SEV_SIGNED]):
        return None
    return kind or at.UNKNOWN


def split(data: bytes) -> list[tuple[str, bytes]]:
    """(kind, certificate) of each of several that lie one after the other, as ``sevctl export --full`` writes them.
    Where something is left over: the whole as one part, if it begins like one, for parsing to refuse; else nothing."""
    found: list[tuple[str, bytes]] = []
    whole = data
    while data and len(found) < len(at.PARTS):
        for size in (at.SEV_SIZE, *at.AMD_SIZES):
            kind = recognise_part(data[:size]) if len(data) >= size else None
            # an ASK of 4096 bits begins like one of 2048
            if kind is not None and at.AMD_SIZES.get(size, _bits(data)) == _bits(data):
                found.append((kind, data[:size]))
                data = data[size:]
                break
        else:
            break
    kind = _resized(whole) if data else None
    return [(kind, whole)] if kind else [] if data else found


def _resized(data: bytes) -> str | None:
    """What ``data`` of another size than any part begins like: one that was cut, or that something was added to."""
    usage = int.from_bytes(data[8:12], "little")
    key = at.KEY_AT + 4 + 2 * at.COORDINATE
    if data[:4] == b"\x01\0\0\0" and usage in at.USAGES and not any(data[6:8]) and len(data) >= key:
        return None if any(data[key : at.SEV_SIGNED]) else at.USAGES[usage]
    amd = {at.ARK_USAGE: "ark", at.ASK_USAGE: "ask"}.get(int.from_bytes(data[0x24:0x28], "little"))
    if (
        data[:4] == b"\x01\0\0\0"
        and amd
        and data[0x38:0x3C] == data[0x3C:0x40]
        and _bits(data) in at.AMD_SIZES.values()
    ):
        return amd
    signed = data[0x34:0x38] == b"\x02\x10\0\0" and data[0x38:0x3C] in _REPORT_ALGORITHMS
    return "report" if signed and data[0x3C:0x40] == bytes(4) else None


_REPORT_ALGORITHMS = tuple(code.to_bytes(4, "little") for code in (at.ECDSA_SHA256, at.ECDSA_SHA384))


def _bits(data: bytes) -> int:
    """What an AMD certificate says of the size of its modulus."""
    return int.from_bytes(data[0x3C:0x40], "little")


def assemble(parts: Mapping[str, bytes]) -> bytes | None:
    """The container of ``parts`` by kind; None without a CEK and a PEK, which evidence cannot do without.

    Raises:
        MalformedEvidence: a certificate of a usage that no part has.
    """
    if at.UNKNOWN in parts:
        usage = int.from_bytes(parts[at.UNKNOWN][8:12], "little")
        raise MalformedEvidence("certificate.usage", 8, "one of OCA, CEK, PEK, PDH", f"0x{usage:x}")
    if "cek" not in parts or "pek" not in parts:
        return None
    named = {index: parts[name] for index, name in enumerate(at.PARTS, 2) if name in parts}
    return cbor.encode({1: at.PROFILE, **named})


def parse(data: bytes) -> Evidence:
    """A platform's chain from its container.

    Raises:
        MalformedEvidence: not canonical, an unknown part, a certificate of the wrong size, kind or algorithm.
    """
    if len(data) > MAX_SIZE:
        raise MalformedEvidence("sev evidence", 0, f"at most {MAX_SIZE} bytes", len(data))
    body = cbor.decode(data, canonical=True)
    known = set(range(1, 2 + len(at.PARTS)))
    if not isinstance(body, dict) or body.get(1) != at.PROFILE or not set(body) <= known:
        raise MalformedEvidence("sev evidence", 0, f"a map of {at.PROFILE}", "something else")
    parts = {at.PARTS[key - 2]: value for key, value in body.items() if key != 1}
    if not all(isinstance(value, bytes) for value in parts.values()) or not {"cek", "pek"} <= parts.keys():
        raise MalformedEvidence("sev evidence", 0, "CEK and PEK as byte strings", ", ".join(parts))
    offsets = {name: data.find(value) for name, value in parts.items()}
    sev = {
        name: sev_certificate(parts[name], name, offsets[name])
        for name in ("cek", "pek", "oca", "pdh")
        if name in parts
    }
    amd = {name: amd_certificate(parts[name], name, offsets[name]) for name in ("ark", "ask") if name in parts}
    report = _report(parts["report"], offsets["report"]) if "report" in parts else None
    measured = launch.measurement(parts["launch"]) if "launch" in parts else None
    proof = parts.get("proof")
    if proof is not None and not injected.recognise(proof):
        raise MalformedEvidence("proof", offsets["proof"], f"{injected.PROOF_SIZE} bytes of a proof", len(proof))
    return Evidence(
        data, amd.get("ark"), amd.get("ask"), sev["cek"], sev["pek"], sev.get("oca"), sev.get("pdh"), report, measured,
        proof, offsets,
    )  # fmt: skip


def unparse(evidence: Evidence) -> bytes:
    """The bytes ``evidence`` was parsed from."""
    return evidence.raw


def amd_certificate(data: bytes, name: str, offset: int = 0) -> AmdCertificate:
    """An ARK (``name`` ark) or ASK."""
    bits = at.AMD_SIZES.get(len(data))
    if bits is None:
        raise MalformedEvidence(name, offset, f"{' or '.join(map(str, at.AMD_SIZES))} bytes", len(data))
    read = Cursor(data, offset)
    _same(read.little(4, f"{name}.version"), 1, f"{name}.version", offset)
    key_id, certifying = read.take(16, f"{name}.key_id"), read.take(16, f"{name}.certifying_id")
    usage = read.little(4, f"{name}.key_usage")
    _same(usage, at.ARK_USAGE if name == "ark" else at.ASK_USAGE, f"{name}.key_usage", offset + 0x24)
    read.zeros(16, f"{name}.reserved")
    for field in ("pub_exp_size", "modulus_size"):
        _same(read.little(4, f"{name}.{field}"), bits, f"{name}.{field}", read.offset - 4)
    exponent, modulus = read.little(bits // 8, f"{name}.exponent"), read.little(bits // 8, f"{name}.modulus")
    signature = read.take(bits // 8, f"{name}.signature")
    return AmdCertificate(data, key_id.hex(), certifying.hex(), usage, exponent, modulus, signature)


def sev_certificate(data: bytes, name: str, offset: int = 0) -> SevCertificate:
    """A SEV certificate, which must be of the kind ``name``."""
    if len(data) != at.SEV_SIZE:
        raise MalformedEvidence(name, offset, f"{at.SEV_SIZE} bytes", len(data))
    read = Cursor(data, offset)
    _same(read.little(4, f"{name}.version"), 1, f"{name}.version", offset)
    api = (read.little(1, f"{name}.api_major"), read.little(1, f"{name}.api_minor"))
    read.zeros(2, f"{name}.reserved")
    kind = at.USAGES.get(read.little(4, f"{name}.usage"))
    _same(kind, name, f"{name}.usage", offset + 8)
    algorithm = read.little(4, f"{name}.algorithm")
    if algorithm not in at.SIGNING[name]:
        raise MalformedEvidence(f"{name}.algorithm", offset + 12, "an algorithm for such a key", f"0x{algorithm:x}")
    curve = read.little(4, f"{name}.curve")
    if curve not in at.CURVES:
        raise MalformedEvidence(f"{name}.curve", offset + at.KEY_AT, "1 (P-256) or 2 (P-384)", curve)
    point = b"".join(_coordinate(read, at.CURVES[curve], f"{name}.{axis}") for axis in ("x", "y"))
    read.zeros(at.KEY_SIZE - 4 - 2 * at.COORDINATE, f"{name}.key")
    slots = tuple(
        Slot(
            read.little(4, f"{name}.signature"),
            read.little(4, f"{name}.signature"),
            read.take(512, f"{name}.signature"),
        )
        for _ in at.SLOTS
    )
    for slot, start in zip(slots, at.SLOTS, strict=True):
        if slot.usage == at.NO_USAGE and (slot.algorithm or any(slot.signature)):
            raise MalformedEvidence(f"{name}.signature", offset + start, "an unused slot of zeros", "something")
        if slot.usage != at.NO_USAGE and slot.algorithm not in at.SIGNATURES:
            raise MalformedEvidence(f"{name}.signature", offset + start, "an algorithm, or an unused slot", "neither")
    return SevCertificate(data, name, api, algorithm, curve, point, slots)


def _coordinate(read: Cursor, size: int, field: str) -> bytes:
    value = read.take(size, field)
    read.zeros(at.COORDINATE - size, field)
    return value[::-1]


def _same(have: object, need: object, field: str, offset: int) -> None:
    if have != need:
        raise MalformedEvidence(field, offset, need, have)


def _report(data: bytes, offset: int) -> Report:
    if len(data) != at.REPORT_SIZE:
        raise MalformedEvidence("report", offset, f"{at.REPORT_SIZE} bytes", len(data))
    read = Cursor(data, offset)
    mnonce, digest = read.take(16, "report.mnonce"), read.take(32, "report.launch_digest")
    policy = read.little(4, "report.policy")
    if policy & at.POLICY_RESERVED:
        raise MalformedEvidence("report.policy", offset + 0x30, "reserved bits clear", f"0x{policy:x}")
    _same(read.little(4, "report.sig_usage"), 0x1002, "report.sig_usage", offset + 0x34)
    algorithm = read.little(4, "report.sig_algo")
    read.zeros(4, "report.reserved")
    return Report(data, mnonce, digest, policy, algorithm, read.take(144, "report.signature"))


Row = tuple[str, int, int, str]


def show(evidence: Evidence) -> list[Row]:
    """Every field as (name, offset, size, meaning); offsets are those of the container."""
    rows: list[Row] = []
    for name in at.PARTS:
        part, start = getattr(evidence, name), evidence.offsets.get(name, 0)
        if isinstance(part, AmdCertificate):
            rows += _amd_rows(name, part, start)
        elif isinstance(part, SevCertificate):
            rows += _sev_rows(name, part, start)
        elif isinstance(part, Report):
            rows += _report_rows(name, part, start)
        elif isinstance(part, launch.Measurement):
            api = f"{part.api[0]}.{part.api[1]} build {part.build}"
            meaning = f"launch measurement {part.measurement.hex()}, firmware {api}, policy {_policy(part.policy)}"
            rows.append((name, start, len(part.raw), meaning))
        elif part is not None:
            meaning = "proof by the injected secret over report_data " + part[len(injected.LABEL) : -32].hex()
            rows.append((name, start, len(part), meaning))
    return rows


def _placed(name: str, start: int, fields: Iterable[tuple[str, int, int, str]]) -> list[Row]:
    return [(f"{name}.{field}", start + offset, size, meaning) for field, offset, size, meaning in fields]


def _amd_rows(name: str, part: AmdCertificate, start: int) -> list[Row]:
    """AMD 55766, appendix B.1."""
    size = len(part.signature)
    fields = [
        ("version", 0, 4, "1"), ("key_id", 4, 16, part.key_id), ("certifying_id", 0x14, 16, part.certifying_id),
        ("key_usage", 0x24, 4, {at.ARK_USAGE: "ARK", at.ASK_USAGE: "ASK"}[part.usage]),
        ("sizes", 0x38, 8, f"bits of exponent and modulus: {8 * size}"),
        ("exponent", at.AMD_HEAD, size, str(part.exponent)),
        ("modulus", at.AMD_HEAD + size, size, f"RSA-{part.modulus.bit_length()}, little endian"),
        ("signature", at.AMD_HEAD + 2 * size, size, "RSA-PSS by the certifying key, little endian"),
    ]  # fmt: skip
    return _placed(name, start, fields)


def _sev_rows(name: str, part: SevCertificate, start: int) -> list[Row]:
    """AMD 55766, appendix C.1."""
    half = len(part.point) // 2
    fields = [
        ("version", 0, 4, "1"), ("api", 4, 2, f"firmware interface {part.api[0]}.{part.api[1]}"),
        ("usage", 8, 4, part.kind.upper()), ("algorithm", 12, 4, at.ALGORITHMS[part.algorithm]),
        ("curve", at.KEY_AT, 4, f"P-{8 * half}"),
        ("x", at.KEY_AT + 4, at.COORDINATE, f"0x{part.point[:half].hex()}, little endian"),
        ("y", at.KEY_AT + 4 + at.COORDINATE, at.COORDINATE, f"0x{part.point[half:].hex()}, little endian"),
    ]  # fmt: skip
    signers = {code: kind.upper() for code, kind in at.USAGES.items()} | {at.ARK_USAGE: "ARK", at.ASK_USAGE: "ASK"}
    for number, (slot, place) in enumerate(zip(part.slots, at.SLOTS, strict=True), 1):
        by = f"{at.ALGORITHMS[slot.algorithm]} by {signers.get(slot.usage, f'0x{slot.usage:x}')}"
        used = slot.usage != at.NO_USAGE
        fields.append((f"signature{number}", place, 8 + 512, by if used else "unused"))
    return _placed(name, start, fields)


def _report_rows(name: str, part: Report, start: int) -> list[Row]:
    """AMD 55766, ATTESTATION."""
    fields = [
        ("mnonce", 0, 16, part.mnonce.hex()), ("launch_digest", 0x10, 32, part.launch_digest.hex()),
        ("policy", 0x30, 4, _policy(part.policy)), ("sig_usage", 0x34, 4, "PEK"),
        ("sig_algo", 0x38, 4, at.ALGORITHMS.get(part.algorithm, f"0x{part.algorithm:x}")),
        ("signature", 0x40, len(part.signature), "r and s, 72 bytes each, little endian"),
    ]  # fmt: skip
    return _placed(name, start, fields)


def _policy(policy: int) -> str:
    words = [word for word, bit in at.POLICY_BITS.items() if policy >> bit & 1]
    return f"0x{policy:x} ({', '.join([*words, f'api {policy >> 16 & 0xFF}.{policy >> 24}'])})"
