"""The event log of a TD, its ACPI table, and the registers it leads to."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha384

import pytest
from dcap_tools import judge

from fastness.claims.finding import Finding, Outcome
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.forge import tdx
from fastness.forge import tpm as forge_tpm
from fastness.forge.model import Forged
from fastness.tee import Document, load
from fastness.tee.tdx import ccel
from fastness.wire import eventlog


def table(kind: int = 2, *, mark: bytes = b"CCEL", length: int = 56, more: bytes = b"", off: int = 0) -> bytes:
    """A CCEL table whose bytes add up to ``off``."""
    data = bytearray(mark + length.to_bytes(4, "little") + bytes(28) + bytes((kind, 0, 0, 0)) + bytes(16) + more)
    data[9] = (off - sum(data)) & 0xFF
    return bytes(data)


def with_table(data: bytes) -> Outcome:
    forged = tdx.make({"event_log": True})
    documents = (*forged.collateral.documents, Document("acpi-table", data))
    return judge(replace(forged, collateral=forged.collateral._replace(documents=documents)))[1]["tdx.event-log"]


def test_a_table_of_another_kind_is_not_one_of_this_log() -> None:
    assert with_table(table()) is Outcome.HELD
    for wrong in (
        table(mark=b"APIC"), table(length=57), table(length=57, more=b"\0"), table(more=b"\0"), table(off=1), table(1),
    ):  # fmt: skip
        with pytest.raises(NotGenuine, match="none of a TD"):
            with_table(wrong)


def log(*indices: int) -> eventlog.EventLog:
    whole = eventlog.parse(tdx.log())
    first = whole.events[0]
    return replace(whole, events=tuple(replace(first, index=index) for index in indices))


@pytest.mark.parametrize(
    ("indices", "registers"), [((1, 2, 3, 4), {0, 1, 2, 3}), ((1, 5), {0, 1}), ((4, 7, 8), {0, 1, 2}), ((0, 4), {3})]
)
def test_a_log_counts_registers_or_pcrs(indices: tuple[int, ...], registers: set[int]) -> None:
    """Firmware before the CCEL wrote PCRs, and no entry of the newer form is above 4."""
    assert set(ccel.replay(log(*indices))) == registers


def test_a_log_of_another_bank_leads_nowhere() -> None:
    with pytest.raises(MalformedEvidence, match="SHA-384"):
        entry = log(1).events[0]
        ccel.replay(replace(log(1), events=(replace(entry, digests={"sha256": bytes(32)}),)))


def told(forged: Forged) -> Finding:
    module = load("tdx")
    genuine = module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    return next(item for item in genuine.findings if item.check == "tdx.event-log")


def test_a_log_that_extends_nothing_leads_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tdx, "EVENTS", ())
    with pytest.raises(NotGenuine, match="extends no register"):
        told(tdx.make({"event_log": True}))


@pytest.mark.parametrize(
    ("register", "rest"), [("00" * 48, ""), ("00" * 47 + "01", "; rtmr3 not zero and not in the log")]
)
def test_a_register_that_the_log_is_silent_about(register: str, rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tdx, "EVENTS", ((1, b"firmware"), (2, b"kernel")))
    first = sha384(bytes(48) + sha384(b"firmware").digest()).digest().hex()
    found = told(tdx.make({"event_log": True, "fields": {"rtmr0": first, "rtmr3": register}}))
    assert (found.outcome, found.actual) == (Outcome.HELD, f"the log leads to rtmr0, rtmr1{rest}")


def test_a_tpms_log_says_so() -> None:
    forged = tdx.make({})
    beside = (*forged.collateral.documents, Document("event-log", forge_tpm._boot({}, "sha256", "")[0]))
    found = told(replace(forged, collateral=forged.collateral._replace(documents=beside)))
    assert found.outcome is Outcome.NOTE
