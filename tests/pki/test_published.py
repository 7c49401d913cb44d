"""The table of published certificates says the truth, and speaks for nothing but the very bytes it names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from fastness.errors import MalformedEvidence
from fastness.pki import chain, keys
from fastness.pki.published_table import ROWS
from fastness.wire import pem, x509
from vectors import ROOT


def found() -> Iterator[bytes]:
    """Every certificate in a PEM file of the vectors."""
    for path in ROOT.rglob("*.pem"):
        for _, der in pem.unarmour(path.read_bytes(), "CERTIFICATE"):
            yield der


@pytest.fixture(scope="module")
def real() -> dict[str, x509.Certificate]:
    if not ROOT.is_dir():
        pytest.skip("no real certificates beside the project")
    read = {}
    for der in found():
        try:
            read[hashlib.sha256(der).hexdigest()] = x509.certificate(der)
        except MalformedEvidence:
            continue
    return read


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['name']} {row['certificate'][:8]}" for row in ROWS])
def test_the_key_of_each_row_signed_its_certificate(row: dict[str, str], real: dict[str, x509.Certificate]) -> None:
    certificate = real[row["certificate"]]
    issuers = [item.key for item in real.values() if keys.fingerprint(item.key) == row["issuer"]]
    assert issuers, row["by"]
    assert keys.verify(keys.load(issuers[0]), certificate.algorithm, certificate.signature, certificate.tbs)


def test_a_row_spares_the_signature_of_its_bytes_under_its_key_alone(
    real: dict[str, x509.Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in ROWS if row["name"] == "SEV-Milan")
    asked: list[bytes] = []

    def verify(key: object, algorithm: object, signature: bytes, data: bytes) -> bool:
        asked.append(data)
        return False

    monkeypatch.setattr(keys, "verify", verify)
    certificate = real[row["certificate"]]
    ark = next(item for item in real.values() if keys.fingerprint(item.key) == row["issuer"])
    assert chain.signed_by(certificate, ark.key)
    assert not asked
    other = next(item for item in real.values() if item.subject_cn == "ARK-Genoa")
    assert not chain.signed_by(certificate, other.key)
    altered = certificate._replace(raw=certificate.raw[:-1] + bytes((certificate.raw[-1] ^ 1,)))
    assert not chain.signed_by(altered, ark.key)
    assert asked == [certificate.tbs, altered.tbs]


def test_digests_are_sha_256_in_lower_case_and_no_certificate_comes_twice() -> None:
    words = [row[key] for row in ROWS for key in ("certificate", "issuer")]
    assert all(len(word) == 64 and not set(word) - set("0123456789abcdef") for word in words)
    assert len({row["certificate"] for row in ROWS}) == len(ROWS)
