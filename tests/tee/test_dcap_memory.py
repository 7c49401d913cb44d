"""What is remembered of one platform's quotes answers for the very same bytes, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dcap_tools import FORGES, judge

from fastness.claims.finding import Outcome
from fastness.errors import MalformedEvidence
from fastness.forge.dcap import Maker
from fastness.forge.model import Forged
from fastness.tee import load
from fastness.tee.dcap import certification, documents, layout

BOTH = pytest.mark.parametrize("tee", ["sgx", "tdx"])


def beside(tee: str, first: dict[str, Any], second: dict[str, Any], **body: Any) -> tuple[Forged, Forged]:
    """Two quotes of one platform under the same collateral: after ``first`` its quote changes as ``second`` says."""
    maker = Maker(tee, dict(first))
    forged = maker.forged(FORGES[tee].body({}))
    other = Maker(tee, {**first, **second})
    other.facts, other.pck, other.key = maker.facts, maker.pck, maker.key
    return forged, replace(forged, evidence=other.quote(FORGES[tee].body(body)))


def chained(raw: bytes, edit: Any) -> bytes:
    """A version 3 quote whose certification data, the last of it, is edited."""
    start = raw.rindex(layout.CERTIFICATION.pack(layout.PCK_CHAIN, len(raw) - raw.index(b"-----BEGIN")))
    kind, data = edit(layout.PCK_CHAIN, raw[start + 6 :])
    body = raw[436:start] + layout.CERTIFICATION.pack(kind, len(data)) + data
    return raw[:432] + len(body).to_bytes(4, "little") + body


def test_the_type_of_certification_data_is_that_of_the_quote() -> None:
    raw = FORGES["sgx"].make({}).evidence
    for kind in (layout.PCK_CHAIN, layout.PCK_LEAF, layout.PCK_CHAIN):
        changed = chained(raw, lambda _, data, kind=kind: (kind, data))
        evidence = load("sgx").parse(changed)
        assert evidence.quote.certification.kind == kind and load("sgx").unparse(evidence) == changed


def test_a_chain_that_goes_on_is_read_to_its_end() -> None:
    raw = FORGES["sgx"].make({}).evidence
    load("sgx").parse(raw)
    with pytest.raises(MalformedEvidence, match="PEM certificates only"):
        load("sgx").parse(chained(raw, lambda kind, data: (kind, data + b"and more")))


def test_a_chain_that_begins_alike_is_another() -> None:
    raw = FORGES["sgx"].make({}).evidence
    load("sgx").parse(raw)
    for end in (b"----- \n", b"-----\r\n", b"----- "):
        changed = chained(
            raw, lambda kind, data, end=end: (kind, data.replace(b"-----\n-----BEGIN", end + b"-----BEGIN"))
        )
        assert changed != raw and load("sgx").unparse(load("sgx").parse(changed)) == changed


def test_certification_data_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certification, "_known", {})
    monkeypatch.setattr(certification, "MAX_KNOWN", 3)
    for _ in range(5):
        load("sgx").parse(FORGES["sgx"].make({}).evidence)
        assert len(certification._known) <= 3


@BOTH
def test_a_quoting_enclave_of_another_version_has_another_status(tee: str) -> None:
    first, second = beside(tee, {}, {"qe_isvsvn": 0})
    assert judge(first)[0].tcb_status == "UpToDate"
    assert judge(second)[1][f"{tee}.tcb-level"] is Outcome.FAILED
    assert judge(first)[0].tcb_status == "UpToDate"


def test_bits_are_told_of_the_report_that_has_them() -> None:
    first, second = beside("tdx", {}, {}, lie="attributes")
    assert "tdx.attributes" not in judge(first)[1]
    assert judge(second)[1]["tdx.attributes"] is Outcome.UNKNOWN
    assert "tdx.attributes" not in judge(first)[1]


def test_places_are_those_of_the_quote_at_hand() -> None:
    places = []
    for version in (4, 5):
        maker = Maker("tdx", {"version": version})
        places.append((maker, maker.forged(FORGES["tdx"].body({}))))
    (_, forged), (later, _) = places
    later.facts, later.pck, later.key = places[0][0].facts, places[0][0].pck, places[0][0].key
    odd = FORGES["tdx"].body({"lie": "attributes"})
    found = []
    for raw in (places[0][0].quote(odd), later.quote(odd)):
        tee = load("tdx")
        genuine = tee.verify(tee.parse(raw), forged.collateral, forged.anchors, at=forged.at)
        found.append(next(item for item in genuine.findings if item.check == "tdx.attributes").where[0].offset)
    assert found == [48 + 120, 54 + 120]


def test_the_tcb_is_that_of_the_report_at_hand() -> None:
    first, second = beside("tdx", {}, {}, fields={"tee_tcb_svn": "00" * 16})
    assert judge(first)[0].tcb_status == "UpToDate"
    assert judge(second)[1]["tdx.tcb-level"] is Outcome.FAILED


def test_the_tcb_now_running_is_that_of_the_report_at_hand() -> None:
    spec = {"version": 5, "td_report": "1.5"}
    maker, body = Maker("tdx", spec), FORGES["tdx"].body(spec)
    forged = maker.forged(body)
    assert judge(forged)[0].tcb_status == "UpToDate"
    lower = body.raw[:584] + bytes(16) + body.raw[600:]
    other = replace(forged, evidence=maker.quote(replace(body, raw=lower, svn2=bytes(16))))
    assert judge(other)[1]["tdx.tcb-level"] is Outcome.FAILED


def test_large_documents_are_read_and_not_remembered() -> None:
    forged = FORGES["sgx"].make({})
    held = [item.data for item in forged.collateral.documents]
    for data, read, known in zip(
        held, (documents.tcb_info, documents.identity), (documents._known_info, documents._known_identity), strict=True
    ):
        known.cache_clear()
        wide = data[:-1] + b" " * (documents.MAX_REMEMBERED - len(data)) + data[-1:]
        assert read(wide).signed == read(wide[:-1] + b" " + wide[-1:]).signed
        assert known.cache_info().currsize == 1
