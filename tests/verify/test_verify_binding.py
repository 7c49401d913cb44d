"""What evidence is bound to: nonce, report_data, the key of the request or certificate that carries it."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from datetime import UTC, datetime, timedelta

import judged
import pytest
from cryptography import x509 as theirs
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import vectors
from fastness import verify
from fastness.collateral import carriers
from fastness.collateral.heap import Carrier
from fastness.errors import UsageError
from fastness.forge import nitro, snp
from fastness.wire import cbor, x509

pytestmark = vectors.needs_vectors


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def outcome(answer, check):
    return [row["outcome"] for row in answer.document["findings"] if row["check"] == check]


def test_report_data_and_nonce(capsys):
    """binding.nonce"""
    case = vectors.case("tdx/v4-uptodate")
    held = case.facts["report_data"]
    words = ["verify", case.path, *judged.options(case)]
    for option in ("--report-data", "--nonce"):
        answer = judged.run(capsys, *words, option, held)
        assert answer.code == 0 and outcome(answer, "binding.nonce") == ["held"]
        for other in (held[:-2] + "00", held[:32], "00" * 64):
            refused = judged.run(capsys, *words, option, other)
            assert refused.code == 4 and refused.document["error"]["check"] == "binding.nonce"
            assert refused.document["genuine"] is False


def test_a_nonce_that_stands_there_as_text(tmp_path):
    """binding.nonce: a service that asked over the hexadecimal digits; where it stands is said of the field it is."""
    asked = bytes(range(32))
    forged = nitro.make({"nonce": asked.hex().encode().hex()})
    (tmp_path / "document").write_bytes(forged.evidence)
    for wanted, hint in ((asked, "hexadecimal digits as text"), (bytes(range(1, 33)), "another conversation")):
        refused = verify(tmp_path, at=forged.at, anchors=forged.anchors, nonce=wanted)
        assert refused.genuine is False and refused.error.check == "binding.nonce"
        assert hint in refused.error.hint and refused.error.where.startswith("nonce ")
    assert verify(tmp_path, at=forged.at, anchors=forged.anchors, nonce=asked.hex().encode()).genuine is True


def test_a_nonce_as_long_as_nitro_takes(capsys):
    """binding.nonce: AWS allows 1024 bytes, and real documents hold 256."""
    case = vectors.case("nitro/release-2022")
    words = ["verify", case.path, *judged.options(case), "--nonce"]
    held = judged.run(capsys, *words[:-1]).document["claims"]["nitro"]["nonce"]
    assert len(held) == 512
    answer = judged.run(capsys, *words, held)
    assert answer.code == 0 and outcome(answer, "binding.nonce") == ["held"]
    assert judged.run(capsys, *words, held[:-2] + "00").code == 4
    assert judged.run(capsys, *words, "ab" * 1025).code == 2


def test_b16_nothing_is_no_nonce():
    """binding.nonce: what nobody drew must not be held by evidence that answers nobody."""
    forged = snp.make({"report_data": "00" * 64})
    for name in ("nonce", "report_data"):
        with pytest.raises(UsageError, match="is empty") as error:
            verify(forged.evidence, at=forged.at, anchors=forged.anchors, **{name: b""})
        assert error.value.where == name and error.value.hint


def test_b16_zeros_are_no_nonce(tmp_path, capsys):
    """binding.nonce: a report_data of zeros answers nobody, though it may be the one that is expected."""
    forged = snp.make({"report_data": "00" * 64})
    (tmp_path / "report").write_bytes(forged.evidence)
    for index, item in enumerate(forged.collateral.certificates):
        (tmp_path / str(index)).write_bytes(item.raw)
    result = verify(tmp_path, at=forged.at, anchors=forged.anchors, report_data=bytes(64))
    assert result.genuine is True
    for nonce in (b"\0", bytes(32), bytes(64)):
        refused = verify(tmp_path, at=forged.at, anchors=forged.anchors, nonce=nonce)
        assert refused.genuine is False and refused.error.check == "binding.nonce"
    (tmp_path / "nonce").write_bytes(bytes(32))
    beside = verify(tmp_path, at=forged.at, anchors=forged.anchors)
    assert [item.outcome.value for item in beside.findings if item.check == "binding.nonce"] == ["not-checked"]


def test_a_nonce_file_beside_the_evidence(tmp_path, capsys):
    case = vectors.case("tdx/v4-uptodate")
    words = ["verify", case.path, tmp_path, *judged.options(case)]
    (tmp_path / "x").write_bytes(bytes.fromhex(case.facts["report_data"]))
    assert outcome(judged.run(capsys, *words), "binding.nonce") == ["held"]
    (tmp_path / "x").write_bytes(bytes(range(64)))
    answer = judged.run(capsys, *words)
    assert answer.code == 0 and outcome(answer, "binding.nonce") == ["not-checked"]
    assert judged.run(capsys, *words, "--policy", "default").code == 1


def test_a_request_of_another_key(tmp_path, capsys):
    """binding.key: the request's key and signature replaced by somebody who holds no such enclave."""
    case = vectors.case("sgx/v3-steward-csr-outofdate")
    value = next(value for _, value in carriers.of_request(case.files["csr"]) or [])
    key = ec.generate_private_key(ec.SECP256R1())
    oid = theirs.ObjectIdentifier("1.3.6.1.4.1.58270.1.2")
    request = (
        theirs.CertificateSigningRequestBuilder()
        .subject_name(theirs.Name([]))
        .add_extension(theirs.UnrecognizedExtension(oid, value), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "r").write_bytes(request.public_bytes(serialization.Encoding.DER))
    rest = [path for path in case.path.iterdir() if path.name not in ("quote.bin", "request.csr")]
    answer = judged.run(capsys, "verify", tmp_path, *rest, *judged.options(case))
    assert answer.code == 4 and answer.document["error"]["check"] == "binding.key"


def test_a_request_that_was_altered(tmp_path, capsys):
    """binding.carrier: its signature no longer holds."""
    case = vectors.case("sgx/v3-steward-csr-outofdate")
    data = bytearray(case.files["csr"])
    data[-1] ^= 1
    (tmp_path / "r").write_bytes(data)
    rest = [path for path in case.path.iterdir() if path.name not in ("quote.bin", "request.csr")]
    answer = judged.run(capsys, "verify", tmp_path, *rest, *judged.options(case))
    assert answer.code == 4 and answer.document["error"]["check"] == "binding.carrier"


def certificate(oid: str, value: bytes, key=None) -> bytes:
    key = key or ec.generate_private_key(ec.SECP384R1())
    name = theirs.Name([theirs.NameAttribute(theirs.NameOID.COMMON_NAME, "RA-TLS")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return (
        theirs.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=9))
        .add_extension(theirs.UnrecognizedExtension(theirs.ObjectIdentifier(oid), value), critical=False)
        .sign(key, hashes.SHA384())
        .public_bytes(serialization.Encoding.DER)
    )


@pytest.mark.parametrize("oid", ["1.2.840.113741.1337.6", "2.23.133.5.4.9", "1.3.6.1.4.1.62397.1.1"])
def test_ra_tls_certificates_are_read_and_a_stolen_quote_in_one_is_told(oid, capsys, monkeypatch):
    case = vectors.case("tdx/v4-uptodate")
    quote = case.files["quote"]
    claims = cbor.encode({"pubkey-hash": cbor.encode([1, bytes(32)])})
    value = {
        "2.23.133.5.4.9": cbor.encode(cbor.Tag(60000, [quote, claims])),
        "1.3.6.1.4.1.62397.1.1": b"\x04\x82" + len(quote).to_bytes(2, "big") + quote,
    }.get(oid, quote)  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(certificate(oid, value))))
    rest = [path for path in case.path.iterdir() if path.name != "quote.bin"]
    answer = judged.run(capsys, "verify", "-", *rest, *judged.options(case))
    assert answer.code == 4 and answer.document["error"]["check"] == "binding.key" and answer.document["tee"] == "tdx"


def test_which_report_data_speaks_for_a_key():
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    plain = Carrier("certificate", spki, "1.2.840.113741.1337.6", True)
    for digest in (hashlib.sha256(spki), hashlib.sha384(spki), hashlib.sha512(spki),
                   hashlib.sha512(b"ratls-cert:" + spki)):  # fmt: skip
        assert carriers.bound(plain, digest.digest().ljust(64, b"\0"))
        *most, last = digest.digest()
        assert not carriers.bound(plain, bytes((*most, last ^ 1)).ljust(64, b"\0"))
    assert not carriers.bound(plain, bytes(64)) and not carriers.bound(plain, b"")
    for number, name in ((1, "sha256"), (7, "sha384"), (8, "sha512")):
        hashed = hashlib.new(name, spki).digest()
        for entry in (cbor.encode([number, hashed]), [number, hashed]):
            claims = cbor.encode({"pubkey-hash": entry})
            dice = Carrier("certificate", spki, carriers.DICE, True, claims)
            assert carriers.bound(dice, hashlib.sha256(claims).digest().ljust(64, b"\0"))
            assert not carriers.bound(dice, hashlib.sha256(spki).digest().ljust(64, b"\0"))
    other = Carrier("certificate", spki, carriers.DICE, True, cbor.encode({"pubkey-hash": [1, bytes(32)]}))
    assert not carriers.bound(other, hashlib.sha256(other.claims).digest().ljust(64, b"\0"))


def test_certificates_and_requests_without_evidence_are_plain():
    assert carriers.of_certificate(x509.certificate(certificate("1.2.3.4", b"\x05\x00"))) == []
    assert carriers.of_request(b"\x30\x00") is None


def test_batch(capsys, monkeypatch):
    case, other = vectors.case("tdx/v4-uptodate"), vectors.case("tdx/v4-uptodate--flip-mrtd")
    import base64

    encoded = [base64.b64encode(data).decode() for data in case.files.values()]
    lines = [
        {"id": 1, "paths": [str(case.path)], "at": case.at.isoformat()},
        {"id": "two", "evidence": encoded, "at": case.at.isoformat()},
        {"id": 3, "paths": [str(other.path)], "at": other.at.isoformat()},
        {"id": 4, "paths": ["/none"]},
        {"id": 5, "path": []},
        {"id": 6, "paths": [str(case.path)], "at": case.at.isoformat(), "nonce": "00"},
        {"id": 7, "evidence": ["&"]},
        [],
        {"id": 9, "paths": ["-"]},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + "\n\nnot json\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    from fastness.cli.main import main

    assert main(["verify", "--batch", "--offline"]) == 0
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["exit_code"] for row in replies] == [0, 0, 4, 2, 2, 4, 2, 2, 2, 2]
    assert [row["id"] for row in replies] == [1, "two", 3, 4, 5, 6, 7, None, 9, None]
    assert replies[0]["schema"] == "fastness/verdict/v1" and replies[3]["schema"] == "fastness/error/v1"
    assert replies[0]["claims"] == replies[1]["claims"]


def test_no_line_ends_the_service(capsys, monkeypatch):
    monkeypatch.setattr("fastness.cli.batch.MAX_LINE", 100)
    lines = [b'{"id": 1, "paths": ["' + b"A" * 250 + b'"]}', b'{"id": NaN}', b'{"id": "\\ud800"}', b'{"id": "boom"}']
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))

    def boom(sources: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("fastness.cli.batch.gather", boom)
    from fastness.cli.main import main

    assert main(["verify", "--batch", "--offline"]) == 0
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["exit_code"]) for row in replies] == [(None, 2), (None, 2), ("\ud800", 70), ("boom", 70)]
    assert all(row["error"]["hint"] for row in replies)


@pytest.mark.parametrize(("name", "value"), [("at", "2026-01-01"), ("nonce", "aabb"), ("report_data", 7)])
def test_arguments_of_another_type_are_wrong_use(name: str, value: object) -> None:
    with pytest.raises(UsageError) as error:
        verify(b"", **{name: value})
    assert error.value.where == name and error.value.hint
