"""Inputs in any order, wrapping and name."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import sys
import uuid

import judged
import pytest

import vectors
from fastness.collateral import json_forms
from fastness.collateral.gather import gather
from fastness.collateral.heap import MAX_FILE
from fastness.errors import UsageError
from fastness.forge import snp
from fastness.tee import Collateral
from fastness.wire import cbor, pem

pytestmark = vectors.needs_vectors
PLAIN = ["tdx/v4-uptodate", "sgx/v3-swhardening-icelake", "nitro/release-2025", "snp/milan-v3-vcek-azure",
         "snp/turin-v5-vcek-azure", "sev/naples-chain", "cca/veraison-good", "tpm/gce-cos85-nonce",
         "nvgpu/hopper-sample"]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def loose(case, folder, wrap):
    """The files of a case under meaningless names, in an order of chance, each through ``wrap``."""
    chance = random.Random(case.name)
    names = [f"{chance.randrange(1 << 32):08x}" for _ in case.files]
    paths = []
    for name, data in zip(names, case.files.values(), strict=True):
        (folder / name).write_bytes(wrap(data))
        paths.append(folder / name)
    chance.shuffle(paths)
    return paths


def dump(data: bytes) -> bytes:
    rows = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16].hex()
        groups = " ".join(row[i : i + 4] for i in range(0, len(row), 4))
        rows.append(f"{start:08x}: {groups:<39}  ................")
    return "\n".join(rows).encode() + b"\n"


URL = str.maketrans("+/", "-_")


def canonical(data: bytes) -> bytes:
    """As ``hexdump -C``: rows like the one before are a star, and the size comes last."""
    lines, before = [], b""
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        if row == before:
            lines += [] if lines[-1] == "*" else ["*"]
            continue
        halves = (" ".join(f"{byte:02x}" for byte in half) for half in (row[:8], row[8:]))
        lines.append(f"{start:08x}  {'  '.join(halves):<48}  |{'.' * len(row)}|")
        before = row
    return "\n".join([*lines, f"{len(data):08x}", ""]).encode()


def source(data, head, form, tail):
    rows = ("".join(map(form.format, data[start : start + 16])) for start in range(0, len(data), 16))
    return "\n".join([head, *rows, tail]).encode()


WRAPS = {
    "plain": bytes,
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "base64url without padding": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "hex": lambda data: data.hex().encode(),
    "HEX with a prefix": lambda data: b"0x" + data.hex().upper().encode() + b"\n",
    "hex of base64": lambda data: base64.b64encode(data).hex().encode(),
    "hexdump -C": canonical,
    "hex with a byte order mark": lambda data: b"\xef\xbb\xbf" + data.hex().encode(),
    "gzip": gzip.compress,
    "base64 of gzip": lambda data: base64.b64encode(gzip.compress(data)),
    "hex as a string of C": lambda data: data.hex().encode() + b"\0",
    "base64 in UTF-16": lambda data: base64.b64encode(data).decode().encode("utf-16"),
    "array of C": lambda data: source(data, "static const uint8_t x[] = {", "0x{:02X}, ", "};\nint x_len = 4;"),
    "array of Rust": lambda data: source(data, "const X: [u8; 9] = [", "{}, ", "];"),
    "array alone": lambda data: source(data, "[", "0x{:02x}, ", "]"),
    "print of Go": lambda data: source(data, "quote: [", "{} ", "]"),
    "cmw": lambda data: json.dumps(["application/octet-stream", base64.urlsafe_b64encode(data).decode()]).encode(),
    "cbor cmw": lambda data: cbor.encode(["application/octet-stream", data]),
}


def test_tables_of_a_program_are_no_evidence():
    """Of 256 bytes: as long as a bare signature. Zeros: as an old event log that ends at once."""
    tables = (bytes(range(256)), bytes(512), bytes(range(255, -1, -1)) * 2)
    text = b"\n".join(source(table, "const T: [u8; 9] = [", "{}, ", "];") for table in tables)
    none = gather((text,))
    assert len(none.ignored) == 1 and not none.evidence and none.collateral == Collateral()
    report = snp.make({}).evidence
    found = gather((text + b"\n" + source(report, "static R: [u8; 9] = [", "{}, ", "];"),))
    assert [item.data for item in found.evidence] == [report] and not found.collateral.documents


@pytest.mark.parametrize("wrapping", WRAPS)
@pytest.mark.parametrize("name", PLAIN)
def test_any_order_name_and_wrapping(name, wrapping, tmp_path, capsys):
    case = vectors.case(name)
    judged.needs(case)
    paths = loose(case, tmp_path, WRAPS[wrapping])
    answer = judged.run(capsys, "verify", *paths, *judged.options(case))
    assert answer.code == 0, answer.document["error"]
    whole = judged.run(capsys, "verify", case.path, *judged.options(case)).document
    assert answer.document["claims"] == whole["claims"]


@pytest.mark.parametrize("shape", ["nvtrust", "nvtrust-1", "nras", "cmw", "payload"])
def test_nvidia_evidence_as_its_tools_write_it(shape, tmp_path, capsys):
    case = vectors.case("nvgpu/hopper-sample")
    report, chain = case.files["report"], case.files["cert_chain"]
    plain, armoured = base64.b64encode(report).decode(), base64.b64encode(chain).decode()
    item = {"arch": "HOPPER", "certificate": armoured, "evidence": plain, "nonce": report[4:36].hex(), "version": "1.0"}
    listed = {"nonce": item["nonce"], "evidence_list": [item], "arch": "HOPPER"}
    record = {
        "evidence": ["application/vnd.nvidia.spdm-measurement-transcript", plain.translate(URL).rstrip("=")],
        "certificate": ["application/vnd.nvidia.pem-cert-chain", armoured.translate(URL).rstrip("=")],
        "__cmwc_t": "tag:nvidia.com,2026:evidence-item/v1",
    }
    document = {
        "nvtrust": [item],
        "nvtrust-1": [{"certChainBase64Encoded": armoured, "attestationReportHexStr": report.hex()}],
        "nras": listed,
        "cmw": {"__cmwc_t": "tag:nvidia.com,2026:verifier-input/profiles/base/pre-1.0.0", "gpu_0": record},
        "payload": {"signing_address": "0x00", "nvidia_payload": json.dumps(listed)},
    }[shape]
    (tmp_path / "x").write_text(json.dumps(document))
    answer = judged.run(capsys, "verify", tmp_path / "x", *judged.options(case))
    assert answer.code == 0 and answer.document["tee"] == "nvgpu"


def test_a_quote_in_a_report_of_open_enclave(tmp_path, capsys):
    case = vectors.case("sgx/v3-swhardening-icelake")
    quote = case.files["quote"]
    wrapped = b"\1\0\0\0\2\0\0\0" + len(quote).to_bytes(8, "little") + quote
    rest = [data for role, data in case.files.items() if role != "quote"]
    assert [item.data for item in gather([wrapped, *rest]).evidence] == [quote]
    assert not gather([wrapped[:-1]]).evidence


@pytest.mark.parametrize("text", [
    b"0000: 0102  ..\n*\n0000: 03  .", b"0000: 0102  ..\n0004: 03  .", b"*\n0000: 0102  ..",
    b"0000: 0102  ..\n*\nffffffff: 03  .", b"0000:\n*\n0010: 01  .",
])  # fmt: skip
def test_a_dump_that_skips_bytes_is_none(text):
    from fastness.collateral.encodings import decoded

    assert decoded(text) is None
    assert decoded(b"0010: 0102\n*\n0016: 03\n0017\n") == b"\1\2" * 3 + b"\3"


@pytest.mark.parametrize("digest", ["ab" * 32, "ab" * 64, base64.b64encode(bytes(range(48))).decode()])
def test_a_digest_in_a_document_is_no_nonce(digest, tmp_path, capsys):
    """binding.nonce: notes beside the evidence name certificates and reports by their hashes."""
    case = vectors.case("cca/veraison-good")
    (tmp_path / "notes.json").write_text(
        json.dumps({"certificate": digest, "report": digest, "quote": {"token": digest}})
    )
    answer = judged.run(capsys, "verify", case.path, tmp_path, *judged.options(case))
    assert answer.code == 0 and not answer.document["findings"]
    (tmp_path / "nonce").write_text(digest)
    named = judged.run(capsys, "verify", case.path, tmp_path, *judged.options(case)).document["findings"]
    assert [row["outcome"] for row in named if row["check"] == "binding.nonce"] == ["not-checked"]


def test_an_answer_of_the_nitro_device(tmp_path, capsys):
    case = vectors.case("nitro/release-2025")
    (tmp_path / "x").write_bytes(cbor.encode({"Attestation": {"document": case.files["document"]}}))
    answer = judged.run(capsys, "verify", tmp_path / "x", *judged.options(case))
    assert answer.code == 0 and answer.document["tee"] == "nitro"


def test_evidence_in_any_message_of_cbor(monkeypatch):
    case = vectors.case("snp/milan-v3-vcek-azure")
    report, leaf = case.files["report"], case.files["vek"]
    forms = [
        cbor.encode(report), cbor.encode({"evidence": [report, "x", 5], "certs": {"vcek": leaf}}),
        cbor.encode(cbor.Tag(99, [1, {2: cbor.Tag(98, cbor.Tag(97, report))}])),
    ]  # fmt: skip
    for data in forms:
        found = gather([data])
        assert [item.data for item in found.evidence] == [report] and not found.ignored
    assert [item.raw for item in gather([forms[1]]).collateral.certificates] == [leaf]
    deep: object = report
    for _ in range(json_forms.MAX_NESTING + 2):
        deep = [deep]
    for other in (deep, {"x": report[:600]}, {"x": b"y" * 700}, [], {"x": {}}, "x" * 100):
        assert not gather([cbor.encode(other)]).evidence
    monkeypatch.setattr("fastness.collateral.heap.MAX_ASKED", 1)
    assert not gather([cbor.encode([leaf + b"x", report])]).evidence


def test_a_session_of_veraison(tmp_path, capsys):
    case = vectors.case("cca/veraison-good")
    value = {"type": "application/eat-collection; profile=x", "value": base64.b64encode(case.files["token"]).decode()}
    (tmp_path / "x").write_text(json.dumps({"nonce": "AA==", "status": "waiting", "evidence": value}))
    assert judged.run(capsys, "verify", tmp_path / "x", *judged.options(case)).code == 0


def test_a_manifest_as_the_service_gives_it(tmp_path, capsys):
    data = vectors.case("nvgpu/hopper-sample").files["driver_rim"]
    (tmp_path / "x").write_text(json.dumps({"id": "x", "rim": base64.b64encode(data).decode(), "sha256": "00"}))
    shown = judged.run(capsys, "evidence", "show", tmp_path / "x", "--json").document
    assert [(row["kind"], row["what"]) for row in shown["collateral"]] == [("rim", f"{len(data)} bytes")]


def test_a_hex_dump(tmp_path, capsys):
    case = vectors.case("tdx/v4-uptodate")
    paths = loose(case, tmp_path, dump)
    assert judged.run(capsys, "verify", *paths, *judged.options(case)).code == 0


def test_certificates_and_lists_as_pem_or_der(tmp_path, capsys):
    case = vectors.case("tdx/v4-uptodate")
    blocks = []
    for data in case.files.values():
        if b"-----BEGIN" in data[:32]:
            blocks += [block for _, block in pem.unarmour(data)]
        elif data[:1] == b"\x30":
            (tmp_path / f"{len(blocks)}{data[:4].hex()}").write_bytes(pem.armour("X509 CRL", [data]))
        else:
            (tmp_path / f"{len(data)}").write_bytes(data)
    (tmp_path / "all").write_bytes(b"".join(sorted(blocks)))
    answer = judged.run(capsys, "verify", tmp_path, *judged.options(case))
    assert answer.code == 0 and not [row for row in answer.document["findings"] if row["outcome"] == "not-checked"]


def test_collateral_of_dcap_libraries(tmp_path, capsys):
    case = vectors.case("tdx/v4-uptodate")
    info, identity = json.loads(case.files["tcb_info"]), json.loads(case.files["qe_identity"])
    inner = {name: case.files[name].decode() for name in ("tcb_info", "qe_identity")}
    chain = case.files["tcb_signing_chain"].decode()
    document = {
        "pck_crl_issuer_chain": case.files["pck_crl_issuer_chain"].decode(),
        "root_ca_crl": case.files["root_ca_crl"].hex(),
        "pck_crl": case.files["pck_crl"].hex(),
        "tcb_info_issuer_chain": chain,
        "tcb_info": inner["tcb_info"][inner["tcb_info"].index(":") + 1 : inner["tcb_info"].rindex(',"signature"')],
        "tcb_info_signature": info["signature"],
        "qe_identity_issuer_chain": chain,
        "qe_identity": inner["qe_identity"][
            inner["qe_identity"].index(":") + 1 : inner["qe_identity"].rindex(',"signature"')
        ],
        "qe_identity_signature": identity["signature"],
    }
    (tmp_path / "c").write_text(json.dumps(document))
    (tmp_path / "q").write_bytes(case.files["quote"])
    answer = judged.run(capsys, "verify", tmp_path, *judged.options(case))
    assert answer.code == 0 and answer.document["claims"]["tcb_status"] == "UpToDate"


def test_a_bundle_verifies_at_its_time(tmp_path, capsys):
    case = vectors.case("tdx/v4-uptodate")
    file = tmp_path / "bundle"
    words = ["collateral", "bundle", str(case.path), "--offline", "--at", case.at.isoformat(), "--output", str(file)]
    assert judged.run(capsys, *words).code == 0
    first = file.read_bytes()
    judged.run(capsys, *words)
    assert file.read_bytes() == first
    assert judged.run(capsys, "verify", file, "--at", "bundle", "--offline", "--json").code == 0
    assert judged.run(capsys, "verify", file, "--offline", "--json").code == 5  # a file does not set the clock


@pytest.mark.parametrize("name", ["sgx/v3-steward-csr-outofdate", "snp/milan-v2-steward-csr-crl"])
def test_a_bundle_keeps_what_evidence_came_in(name, tmp_path, capsys):
    case = vectors.case(name)
    words = judged.options(case)
    judged.run(capsys, "collateral", "bundle", case.path, "--offline", "--output", tmp_path / "bundle")
    before = judged.run(capsys, "verify", case.path, *words).document
    after = judged.run(capsys, "verify", tmp_path / "bundle", *words).document
    assert after["claims"] == before["claims"]
    assert [item["check"] for item in after["findings"]] == [item["check"] for item in before["findings"]]
    assert "binding.key" in [item["check"] for item in after["findings"]]


@pytest.mark.parametrize("name", ["sgx/v3-steward-csr-outofdate", "snp/milan-v2-steward-csr-crl"])
def test_a_request_alone(name, capsys):
    case = vectors.case(name)
    judged.needs(case)
    rest = [path for path in case.path.iterdir() if path.name not in ("quote.bin", "report.bin")]
    answer = judged.run(capsys, "verify", *rest, *judged.options(case))
    assert answer.code == 0
    held = {row["check"] for row in answer.document["findings"] if row["outcome"] == "held"}
    assert {"binding.carrier", "binding.key"} <= held
    data = case.files["csr"]
    gathered = gather([data])
    assert gathered.evidence[0].carrier.kind == "request"
    assert gathered.collateral.certificates and gathered.collateral.crls


def test_standard_input(capsys, monkeypatch):
    case = vectors.case("nitro/release-2025")
    judged.needs(case)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(case.files["document"])))
    assert judged.run(capsys, "verify", "-", *judged.options(case)).code == 0


def test_strangers_in_a_folder_are_left_aside_and_named(tmp_path, capsys):
    case = vectors.case("nitro/release-2025")
    judged.needs(case)
    (tmp_path / "a").write_bytes(case.files["document"])
    (tmp_path / "README").write_text("read me, please\n")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "key.pem").write_bytes(pem.armour("PRIVATE KEY", [b"0" * 40]))
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    (tmp_path / "deep.json").write_text("[" * 5000)
    (tmp_path / "bundle.json").write_text(json.dumps({"schema": json_forms.BUNDLE, "items": [{"data": "&&&"}]}))
    answer = judged.run(capsys, "verify", tmp_path, *judged.options(case))
    assert answer.code == 0
    named = {row["source"].rsplit("/", 1)[1] for row in answer.document["ignored"]}
    assert named == {"README", "empty", "key.pem", "broken.pem", "deep.json", "bundle.json"}


def test_several_machines(capsys):
    one, other = vectors.case("tdx/v4-uptodate"), vectors.case("tdx/v4-debug")
    answer = judged.run(capsys, "verify", one.path, other.path, "--json", "--offline", "--at", one.at.isoformat())
    assert answer.document["schema"] == "fastness/verdicts/v1" and len(answer.document["results"]) == 2
    assert answer.code == 5  # the other's collateral was not yet issued or had ended


def test_bounds(tmp_path):
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(UsageError, match="at most"):
        gather([big])
    assert gather([tmp_path]).ignored[0].why.startswith("an input holds")


def test_nothing_and_nobody(tmp_path, capsys):
    assert judged.run(capsys, "verify", tmp_path / "none", "--json").code == 2
    assert judged.run(capsys, "verify", tmp_path, "--json").code == 2
    (tmp_path / "x").write_bytes(b"\x00\x01\x02" * 40)
    answer = judged.run(capsys, "verify", tmp_path, "--json", "--offline")
    assert answer.code == 3 and answer.document["tee"] is None and answer.document["ignored"]


def json_of(**members: object) -> bytes:
    return json.dumps(members).encode()


def plain64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def amd(name: str = "snp/genoa-v3-vcek-azure") -> tuple[bytes, bytes, bytes]:
    files = vectors.case(name).files
    return files["report"], files["vek"], files["vek_chain"]


def answered(*sources: bytes) -> object:
    from fastness import verify

    return verify(*sources, at=vectors.case("snp/genoa-v3-vcek-azure").at).genuine


def test_json_of_clouds_and_tools() -> None:
    """Azure's THIM and MAA, go-sev-guest's, a guest agent's own: what is long is looked into whatever its name."""
    report, leaf, chain = amd()
    armoured = pem.armour("CERTIFICATE", [leaf])
    thim = json_of(
        vcekCert=armoured.decode(), tcbm="DB18000000000004", certificateChain=chain.decode(), cacheControl="1"
    )
    maa = json_of(report=plain64(json_of(SnpReport=plain64(report), VcekCertChain=plain64(armoured + chain))))
    ask, ark = (der for _, der in pem.unarmour(chain))
    go = json_of(certificateChain={"vcekCert": plain64(leaf), "askCert": plain64(ask), "arkCert": plain64(ark)})
    listed = json.dumps([plain64(item) for item in (report, leaf, ask, ark)]).encode()
    assert answered(report, thim) is True
    assert answered(report, base64.b64encode(thim)) is True
    assert answered(maa) is True
    assert answered(report, go) is True
    assert answered(listed) is True
    assert answered(json.dumps(list(report)).encode(), leaf, chain) is True
    assert answered(json.dumps(plain64(report)).encode(), leaf, chain) is True
    nitro = vectors.case("nitro/release-2025").files["document"]
    found = gather([json_of(Recipient={"AttestationDocument": plain64(nitro)})])
    assert [item.tee for item in found.evidence] == ["nitro"]


def test_json_that_names_half_a_character() -> None:
    assert not gather([b'{"quote": "' + b"\\ud800" * 80 + b'"}']).evidence


@pytest.mark.parametrize(
    "words", ["# für, 日本\n".encode(), "# f\xfcr\n".encode("latin-1"), b"Bag Attributes\r\n", b"\xef\xbb\xbf"]
)  # fmt: skip
def test_pem_among_words(words: bytes) -> None:
    report, leaf, chain = amd()
    assert answered(report, leaf, (words + chain).replace(b"\n", b"\r\n")) is True
    assert answered(report, leaf, chain + words) is True


def test_hexadecimal_as_people_write_it() -> None:
    report, leaf, chain = amd()
    digits = report.hex().encode()
    assert answered(b", ".join(b"0x%02X" % byte for byte in report), leaf, chain) is True
    assert answered(b"\n".join(digits[at : at + 63] for at in range(0, len(digits), 63)), leaf, chain) is True
    assert answered(dump(report).upper(), leaf, chain) is True
    assert not gather([b"a bad fed ace " * 8]).collateral.documents


def test_a_certificate_table_alone() -> None:
    """As configfs-tsm gives it (auxblob): whatever entry comes first, with entries kept free, in either byte order."""
    report, leaf, chain = amd()
    ask, ark = (der for _, der in pem.unarmour(chain))
    known = {"63da758d-e664-4564-adc5-f4b93be8accd": leaf, "4ab7b379-bbac-4fe4-a02f-05aef327c782": ask,
             "c0b406a4-a803-4952-9743-3fb6014cd0ae": ark}  # fmt: skip
    for order in ("bytes", "bytes_le"):
        rows = [(getattr(uuid.UUID(guid), order), data) for guid, data in known.items()]
        for more in ([(b"\x11" * 16, b"manifest")], [(b"\x22" * 16, b"")], []):
            assert answered(report, table([*more, *rows])) is True
    assert answered(report, table([(b"\x33" * 16, data) for data in known.values()])) is None


def table(rows: list[tuple[bytes, bytes]]) -> bytes:
    head, data, start = b"", b"", 24 * (len(rows) + 1)
    for guid, blob in rows:
        place = start + len(data) if blob else 0
        head += guid + place.to_bytes(4, "little") + len(blob).to_bytes(4, "little")
        data += blob
    return head + bytes(24) + data


def test_an_hcl_report_without_a_quote() -> None:
    """Azure: the SNP report in it is evidence of the machine, of no TPM; its runtime data is the one it carries."""
    from fastness import verify

    case = vectors.case("tpm/azure-snp-vtpm")
    report, leaf, chain = (case.files[role] for role in ("hcl_report", "vcek", "vek_chain"))
    result = verify(report, leaf, chain, at=case.at)
    assert (result.tee, result.genuine) == ("snp", True)
    altered = report.replace(b'"AQAB"', b'"AQAD"', 1)
    assert altered != report
    result = verify(altered, leaf, chain, at=case.at)
    assert (result.genuine, result.exit_code) == (False, 4)


def test_what_the_firmware_answers_a_guest() -> None:
    """MSG_REPORT_RSP in the guest's buffer: the report is taken out of it; with anything else in it, nothing is."""
    report = vectors.case("snp/milan-v3-vcek-azure").files["report"]
    answer = bytes(4) + len(report).to_bytes(4, "little") + bytes(24) + report + bytes(4000 - 32 - len(report))
    (found,) = gather((answer,)).evidence
    assert (found.tee, found.data) == ("snp", report)
    assert [item.data for item in gather((answer[: 32 + len(report)],)).evidence] == [report]
    for place in (0, 4, 8, 31, 3999):
        altered = answer[:place] + b"\x16" + answer[place + 1 :]
        assert all(item.data != report for item in gather((altered,)).evidence), place


@pytest.mark.skipif(not vectors.ROOT.is_dir(), reason="real evidence is not here")
def test_a_damaged_event_log_beside_the_whole_one_is_passed_over():
    case = vectors.case("tpm/gce-cos85-nonce")
    files = list(case.files.values())
    log = max(files, key=len)
    whole = gather(files).evidence[0].data
    for order in ((log[:-100], *files), (*files, log[:-100])):
        assert gather(order).evidence[0].data == whole
