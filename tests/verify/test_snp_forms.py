"""SNP reports that programs took apart: put together again they are the very bytes that were signed."""

from __future__ import annotations

import base64
import json
import re
import struct

import pytest
from protobufs import field

from fastness import verify
from fastness.collateral import snp_forms
from fastness.collateral.gather import gather
from fastness.forge import snp

MADE = {
    "milan 2": {"generation": "milan", "version": 2}, "milan vlek": {"generation": "milan", "key": "vlek"},
    "genoa 5": {"generation": "genoa", "version": 5}, "turin 5": {"generation": "turin", "version": 5},
}  # fmt: skip
PARTS = struct.Struct("<IIQ16s16sII8sQI4x64s48s32s48s48s32s32s8s3B21x64s8s3Bx3Bx8sQQ152x72s72s368x")
NAMES = ("version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "sig_algo", "current_tcb", "plat_info",
         "key_info", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest", "report_id",
         "report_id_ma", "reported_tcb", "cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "chip_id", "committed_tcb",
         "current_build", "current_minor", "current_major", "committed_build", "committed_minor", "committed_major",
         "launch_tcb", "launch_mit_vector", "current_mit_vector", "r", "s")  # fmt: skip
NUMBERS = ("version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "sig_algo", "current_tcb", "plat_info",
           "key_info", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest", "report_id",
           "report_id_ma", "reported_tcb", "chip_id", "committed_tcb", "current_build", "current_minor",
           "current_major", "committed_build", "committed_minor", "committed_major", "launch_tcb", "signature",
           "cpuid1eax_fms", "launch_mit_vector", "current_mit_vector")  # fmt: skip
"""Of sevsnp.proto."""


def apart(report):
    return dict(zip(NAMES, PARTS.unpack(report), strict=True))


def virtee(report, old=False):
    """As the ``sev`` crate writes it: of 2026, or of 2023."""
    found = apart(report)
    turin = found["cpuid_fam_id"] == 0x1A
    for name in [name for name in found if name.endswith("_tcb")]:
        raw = found[name]
        low = dict(zip(("fmc", "bootloader", "tee", "snp") if turin else ("bootloader", "tee"), raw, strict=False))
        found[name] = {"fmc": None, "_reserved": [0] * 4, "snp": raw[6], **low, "microcode": raw[7]}
    found["signature"] = {name: list(found.pop(name)) for name in "rs"}
    if old:
        found["_author_key_en"] = found.pop("key_info")
        found["_reserved_0"] = 0
    else:
        for name in ("current", "committed"):
            found[name] = {part: found.pop(f"{name}_{part}") for part in ("major", "minor", "build")}
        if found["version"] < 3:
            found |= dict.fromkeys(("cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "launch_mit_vector"))
    return {name: list(value) if isinstance(value, bytes) else value for name, value in found.items()}


def google(report):
    """The fields of go-sev-guest's ``sevsnp.Report``."""
    found = apart(report)
    for name in [name for name in found if name.endswith("_tcb")]:
        found[name] = int.from_bytes(found[name], "little")
    family, model, step = (found.pop(name) for name in ("cpuid_fam_id", "cpuid_mod_id", "cpuid_step"))
    base = min(family, 15)
    found["cpuid1eax_fms"] = (family - base) << 20 | (model >> 4) << 16 | base << 8 | (model & 15) << 4 | step
    found["signature"] = (found.pop("r") + found.pop("s")).ljust(512, b"\0")
    return found


def camel(name):
    first, *rest = {"sig_algo": "signature_algo", "plat_info": "platform_info"}.get(name, name).split("_")
    return first + "".join(part.capitalize() for part in rest)


def protojson(report):
    """Without zeros; numbers of 64 bits as text, bytes in base64."""
    wide = {"policy", "plat_info", "launch_mit_vector", "current_mit_vector"}
    fields = {}
    for name, value in google(report).items():
        if isinstance(value, bytes):
            fields[camel(name)] = base64.b64encode(value).decode()
        elif value:
            fields[camel(name)] = str(value) if name in wide or name.endswith("_tcb") else value
    return fields


def protobuf(report, *chain):
    fields = google(report)
    inner = b"".join(field(index, fields[name]) for index, name in enumerate(NUMBERS, 1) if fields[name])
    return field(1, inner) + field(
        2, b"".join(field(index, raw) for index, raw in zip((1, 2, 3, 6), chain, strict=False))
    )


def textproto(report, *, octal=False):
    """As Go writes it (what is UTF-8 stands as it is), or C++ with everything in octal."""

    def text(value):
        if octal:
            return "".join(f"\\{byte:03o}" for byte in value).encode()
        out = b""
        for char in value.decode("utf-8", "surrogateescape"):
            raw = char.encode("utf-8", "surrogateescape")
            if char in '"\\':
                out += b"\\" + raw
            elif len(raw) > 1:
                out += raw if ord(char) > 0x9F else f"\\u{ord(char):04x}".encode()
            else:
                out += {10: b"\\n", 13: b"\\r", 9: b"\\t"}.get(
                    raw[0], raw if 32 <= raw[0] < 127 else b"\\x%02x" % raw[0]
                )
        return out

    rows = [
        b"  %b:  %b\n" % (name.encode(), b'"' + text(value) + b'"' if isinstance(value, bytes) else str(value).encode())
        for name, value in google(report).items()
        if value
    ]
    vcek = (
        b'certificate_chain:  {\n  vcek_cert:  "' + text(LEAF) + b'"\n}\nproduct:  {\n  name:  SEV_PRODUCT_MILAN\n}\n'
    )
    return b"report:  {\n" + b"".join(rows).replace(b"sig_algo", b"signature_algo") + b"}\n" + vcek


LEAF = snp.make({}).collateral.certificates[0].raw
FORMS = {
    "text of protobuf": textproto,
    "text in octal": lambda report: textproto(report, octal=True),
    "virtee": lambda report: json.dumps({"attestation_report": virtee(report), "cert_chain": None}).encode(),
    "virtee of 2023": lambda report: json.dumps(virtee(report, old=True)).encode(),
    "protojson": lambda report: json.dumps({"report": protojson(report)}).encode(),
    "protobuf": protobuf,
    "protobuf in JSON": lambda report: json.dumps({"evidence": base64.b64encode(protobuf(report)).decode()}).encode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("made", MADE)
def test_a_report_in_fields_is_the_report(made, form):
    forged = snp.make(MADE[made])
    (found,) = gather((FORMS[form](forged.evidence),)).evidence
    assert (found.tee, found.data) == ("snp", forged.evidence)


def test_certificates_come_along():
    forged = snp.make(MADE["genoa 5"])
    chain = [item.raw for item in forged.collateral.certificates]
    alone = protobuf(forged.evidence, *chain)
    result = verify(alone, at=forged.at, anchors=forged.anchors)
    assert result.genuine is True and result.claims["snp"]["report_version"] == 5
    # in the attestation of go-tpm-tools, whose quote is nobody's
    quote = field(1, b"\xffTCG" + bytes(80)) + field(2, bytes(200)) + field(3, field(1, 11) + field(2, field(2, b"r")))
    found = gather((field(1, bytes(40)) + field(2, quote) + field(8, alone),))
    assert [item.data for item in found.evidence if item.tee == "snp"] == [forged.evidence]
    assert len(found.collateral.certificates) == len(chain)


def test_a_changed_field_changes_the_report():
    forged = snp.make({})
    chain = [item.raw for item in forged.collateral.certificates]
    fields = virtee(forged.evidence)
    for name, value in (("policy", fields["policy"] | 1 << 19), ("measurement", [1] * 48), ("vmpl", 3)):
        changed = json.dumps({"attestation_report": fields | {name: value}}).encode()
        error = verify(changed, *chain, at=forged.at, anchors=forged.anchors).error
        assert error.check == "snp.signature", name


@pytest.mark.parametrize(("name", "value"), [
    ("measurement", [1] * 47), ("measurement", "AAAA"), ("policy", -1), ("policy", 1 << 64), ("policy", "9" * 21),
    ("vmpl", [0]), ("vmpl", 1.5), ("vmpl", True), ("cpuid_step", 256), ("reported_tcb", {"snp": 1}),
    ("current", {"major": 1}), ("signature", {"r": [1] * 72, "s": [1] * 71}), ("measurement", "é" * 64),
])  # fmt: skip
def test_what_does_not_fit_is_no_report(name, value):
    fields = virtee(snp.make({}).evidence)
    assert snp_forms.of_fields(fields) is not None
    assert snp_forms.of_fields(fields | {name: value}) is None
    assert not gather((json.dumps(fields | {name: value}).encode(),)).evidence


def test_without_its_chief_fields_it_is_none():
    report = snp.make({}).evidence
    fields = virtee(report)
    for name in ("measurement", "report_data", "chip_id", "reported_tcb", "signature"):
        lacking = {key: value for key, value in fields.items() if key != name}
        assert not snp_forms.names(lacking)
        assert not gather((json.dumps(lacking).encode(),)).evidence
    whole = protobuf(report)
    for data in (b"", field(1, b""), field(1, field(12, bytes(48))), field(1, field(32, 1)), whole[:-3], b"\x0a\xff"):
        assert list(snp_forms.of_attestation(data)) == []


def test_reports_in_fields_are_asked_so_many(monkeypatch):
    seen = []
    monkeypatch.setattr(snp_forms, "names", lambda value: seen.append(value) or False)
    gather((json.dumps([{"measurement": 1, "signature": 1}] * 20_000).encode(),))
    assert len(seen) == 8192


@pytest.mark.parametrize("octal", [False, True])
def test_certificates_come_with_the_text_of_an_attestation(octal):
    forged = snp.make({"generation": "turin"})
    found = gather((textproto(forged.evidence, octal=octal),))
    assert [item.raw for item in found.collateral.certificates] == [LEAF] and not found.ignored
    joined = textproto(forged.evidence, octal=octal).replace(b"\n", b" ").replace(b":  {", b" {")
    assert [item.data for item in gather((joined,)).evidence] == [forged.evidence]
    assert not gather((joined.ljust(snp_forms.MAX_TEXT + 1),)).evidence


def test_every_escape_of_the_text_format():
    told = rb'a: "\n\r\t\a\b\f\v\\\"\'\?\x7\xff\u00e9\U0001f600\U7fffffff\101\7\400\q"'
    name, text, number = re.search(snp_forms._FIELD, told).groups()
    assert (name, number) == (b"a", None)
    plain = b"\n\r\t\a\b\f\v\\\"'?\7\xff\xc3\xa9\xf0\x9f\x98\x80?A\7\0\\q"
    assert re.sub(snp_forms._ESCAPE, snp_forms._escaped, text) == plain


@pytest.mark.parametrize("data", [
    b"report: {", b"report: {}\n", b'report:  {\n  version:  5\n  signature:  "x"\n}\n', b"report: the weather {}",
    b'report: {' + b'a: "' * 1000,
])  # fmt: skip
def test_text_that_is_no_attestation_is_left_aside(data):
    found = gather((data,))
    assert not found.evidence and [item.why for item in found.ignored] == ["neither evidence nor collateral"]
