"""What is remembered is bounded, and holds only between the dates of what was supplied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest

from fastness.errors import MissingCollateral, NotGenuine
from fastness.forge import sgx, snp
from fastness.forge.dcap import Maker as DcapMaker
from fastness.forge.snp import Maker as SnpMaker
from fastness.pki.anchors import Anchor, Anchors, Secret
from fastness.pki.memory import Memory, window
from fastness.tee import load
from fastness.tee.dcap import endorse
from fastness.tee.dcap import verify as dcap_verify

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_an_entry_holds_strictly_between_two_dates() -> None:
    memory: Memory[str] = Memory(limit=4)
    memory.put("key", "value", (NOON, NOON + 2 * HOUR))
    assert memory.get("key", NOON + HOUR) == "value"
    assert memory.get("key", NOON) is None
    assert memory.get("key", NOON + 2 * HOUR) is None
    assert memory.get("other", NOON + HOUR) is None


def test_the_entry_not_asked_for_the_longest_goes_first() -> None:
    memory: Memory[int] = Memory(limit=2)
    span = (NOON - HOUR, NOON + HOUR)
    memory.put("a", 1, span)
    memory.put("b", 2, span)
    assert memory.get("a", NOON) == 1
    memory.put("c", 3, span)
    assert len(memory) == 2
    assert memory.get("b", NOON) is None
    assert memory.get("a", NOON) == 1


def test_the_window_is_that_of_the_nearest_dates() -> None:
    certificate = SnpMaker({}).forged().collateral.certificates[0]
    start, end = certificate.not_before, certificate.not_after
    assert window(start + HOUR, [certificate], []) == (start, end)
    assert window(start + 2 * HOUR, [certificate], [], [start + HOUR]) == (start + HOUR, end)
    assert window(start, [certificate], []) == (start, start)
    assert window(end + HOUR, [certificate], [])[1] == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("tee", ["sgx", "snp"])
def test_what_is_remembered_is_refused_after_its_time_and_under_other_roots(tee: str) -> None:
    forged = {"sgx": sgx, "snp": snp}[tee].make({})
    module = load(tee)
    evidence = module.parse(forged.evidence)
    for _ in range(2):
        assert module.verify(evidence, forged.collateral, forged.anchors, at=forged.at).at == forged.at
    end = max(item.not_after for item in forged.collateral.certificates)
    with pytest.raises((NotGenuine, MissingCollateral)):
        module.verify(evidence, forged.collateral, forged.anchors, at=end + HOUR)
    with pytest.raises((NotGenuine, MissingCollateral)):
        module.verify(evidence, forged.collateral, Anchors(), at=forged.at)
    assert module.verify(evidence, forged.collateral, forged.anchors, at=forged.at).at == forged.at


def test_collateral_too_large_is_judged_but_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    forged = snp.make({})
    module = load("snp")
    steps = import_module("fastness.tee.snp.verify")
    steps.paths.clear()
    monkeypatch.setattr(steps, "MAX_REMEMBERED", 1)
    module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    assert len(steps.paths) == 0


def test_memories_stay_within_their_limits_under_many_machines() -> None:
    module = load("sgx")
    limit = endorse.memory._limit
    for number in range(limit + 3):
        forged = DcapMaker("sgx", {"ppid": f"{number:032x}"}).forged(sgx.body({}))
        module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    assert len(endorse.memory) == limit
    info = dcap_verify._attestation_key.cache_info()
    assert info.maxsize is not None
    assert info.currsize <= info.maxsize


def test_a_root_given_as_anchor_alone_is_judged_at_each_time_too() -> None:
    forged = sgx.make({"certification": 4})
    anchor = forged.anchors.items[0]
    assert anchor.certificate is not None
    soon = anchor.certificate._replace(not_after=forged.at + HOUR)
    anchors = Anchors((anchor._replace(certificate=soon),))
    rest = tuple(item for item in forged.collateral.certificates if item.raw != soon.raw)
    collateral = forged.collateral._replace(certificates=rest)
    module = load("sgx")
    evidence = module.parse(forged.evidence)
    assert module.verify(evidence, collateral, anchors, at=forged.at).at == forged.at
    with pytest.raises(NotGenuine) as caught:
        module.verify(evidence, collateral, anchors, at=forged.at + 2 * HOUR)
    assert caught.value.check == "sgx.validity"


def test_two_anchors_that_differ_in_anything_are_pinned_apart() -> None:
    certificate = SnpMaker({}).forged().collateral.certificates[0]
    anchor = Anchor("snp", "a", "00" * 32, "source", "milan", False, certificate.key, certificate)
    other = Anchor("*", "b", "11" * 32, "elsewhere", "genoa", True, None, None, Secret(b"s"))
    for name in Anchor._fields:
        changed = anchor._replace(**{name: getattr(other, name)})
        assert Anchors((changed,)).pins("snp") != Anchors((anchor,)).pins("snp"), name
    assert Anchors((anchor._replace(tee="tdx"),)).pins("snp") == ()
