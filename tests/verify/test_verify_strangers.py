"""What lies beside evidence and is not needed changes no verdict: odd certificates, lists and documents."""

from __future__ import annotations

from collections.abc import Iterator

import judged
import pytest
import strangers

import forgeries
import vectors
from fastness import tee as tees
from fastness.appraise.policy import load
from fastness.attestation import Question, answer
from fastness.collateral import anchors_file
from fastness.collateral.gather import gather
from fastness.collateral.supply import Supply
from fastness.errors import FastnessError
from fastness.pki import anchors as roots
from fastness.pki.anchors import Anchors
from fastness.wire import pem, x509

FORGED = [f"forged/{tee}" for tee in forgeries.MAKERS]
REAL = [name for name in judged.every() if "--" not in name]
EACH = 3
"""Of all strangers every so manieth is tried, another set for each case."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def given(name: str) -> tuple[list[bytes], Question]:
    """The files of a case and what is asked of them."""
    if name in FORGED:
        forged = forgeries.plain(name.partition("/")[2])
        certificates, lists, documents = forged.collateral
        files = [forged.evidence, *(item.raw for item in (*certificates, *lists)), *(item.data for item in documents)]
        return files, Question(forged.at, policy=load("development"), anchors=roots.vendor() + forged.anchors)
    case = vectors.case(name)
    judged.needs(case)
    words = judged.options(case)
    named = [words[at + 1] for at, word in enumerate(words) if word == "--anchors"]
    nonce = case.document.get("inputs", {}).get("expected_nonce")
    anchors = roots.vendor() + (anchors_file.load(named) if named else Anchors())
    asked = Question(case.at or judged.NOW, bytes.fromhex(nonce) if nonce else None, None, load("default"), anchors)
    return list(case.files.values()), asked


def said(files: list[bytes], asked: Question) -> list[tuple[object, ...]]:
    """What the results come to, but for words."""
    results = answer(gather(files), asked._replace(supply=Supply(offline=True)))
    return [
        (item.tee, item.genuine, item.exit_code, type(item.error).__name__, getattr(item.error, "check", ""),
         [(one.check, one.outcome) for one in item.findings])
        for item in results
    ]  # fmt: skip


def found(files: list[bytes]) -> Iterator[tuple[str, bytes]]:
    gathered = gather(files)
    certificates = {item.raw: item for item in gathered.collateral.certificates}
    for piece in gathered.evidence:
        module = tees.load(piece.tee)
        try:
            enclosed: tuple[x509.Certificate, ...] = module.enclosed(module.parse(piece.data)).certificates
        except FastnessError:
            continue
        certificates |= {item.raw: item for item in enclosed}
    known = tuple(certificates.values())
    yield from strangers.certificates(known)
    yield from strangers.lists(known)
    yield from strangers.documents(gathered)


@pytest.mark.parametrize("name", [*REAL, *FORGED])
def test_what_is_not_needed_changes_nothing(name):
    files, asked = given(name)
    plain = said(files, asked)
    odd = [item for at, item in enumerate(found(files)) if at % EACH == hash_of(name)]
    assert len(odd) > 50
    for at, (label, data) in enumerate(odd):
        beside = [data, *files] if at % 2 else [*files, data]
        assert said(beside, asked) == plain, label


def hash_of(name: str) -> int:
    return sum(name.encode()) % EACH


def test_a_block_that_is_no_base64_spoils_none_beside_it():
    files, asked = given("forged/snp")
    armour = pem.armour("CERTIFICATE", [item for item in files if item[:1] == b"\x30"])
    broken = b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n"
    for bundle in (broken + armour, armour + broken):
        assert said([files[0], bundle], asked) == said(files, asked)
        assert "base64" in gather([bundle]).ignored[0].why
