"""A tenant's decision on a keep, step by step: which word of the log, the register or the evidence stands."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from fastness.appraise import policy as policies
from fastness.attestation import Examined
from fastness.claims.model import Claims
from fastness.errors import NotGenuine
from fastness.pki.anchors import Anchors
from fastness.seal import binding, challenger, log
from fastness.seal.messages import Challenge, Statement
from fastness.tee import Collateral, Document

deciding = import_module("fastness.tenant.decide")

STATEMENT = Statement("vm", "nil", b"", (), b"key", bytes(32), b"", ())
BUILD = log.Event(log.DEBUG, bytes(32))
WASM, MANIFEST = log.Event(log.WORKLOAD, b"\x01" * 32), log.Event(log.CONFIGURATION, b"\x02" * 32)


def layers(*debug: bool | None) -> Examined:
    return Examined(tuple(Claims("nil", debug=item) for item in debug), ())


@pytest.mark.parametrize(
    ("debug", "flagged", "told"),
    [
        ((False,), False, (False,)), ((False,), True, (True,)), ((True,), False, (True,)), ((None,), False, (False,)),
        ((None, False), False, (None, False)), ((None, False), True, (True, False)),
        ((True, False), True, (True, False)),
    ],
)  # fmt: skip
def test_debug_is_what_the_evidence_or_the_log_says(debug: Any, flagged: bool, told: Any) -> None:
    """A TPM alone cannot tell, and leaves it to the log; above a machine that can, it is left to the machine."""
    events = (WASM, BUILD) if flagged else (WASM,)
    found = deciding._with_debug(layers(*debug), STATEMENT._replace(log=events))
    assert tuple(item.debug for item in found) == told


def register(tee: str, value: bytes, *events: log.Event) -> bool:
    name = deciding.REGISTERS[tee][0]
    claims = Claims(tee, measurements={name: value.hex()})
    return bool(deciding._replays(STATEMENT._replace(tee=tee, log=events), claims))


def test_a_register_of_a_td_may_rest_and_no_other() -> None:
    for tee, (_, hashing) in deciding.REGISTERS.items():
        whole = challenger.replay((WASM,), hashing)
        assert register(tee, whole, WASM)
        assert not register(tee, whole, WASM, MANIFEST)
        assert not register(tee, bytes(len(whole) - 1) + b"\1", WASM)
        assert register(tee, bytes(len(whole)), WASM) is (tee == "tdx")


@pytest.mark.parametrize("events", [(), (WASM,), (MANIFEST,), (WASM, MANIFEST)])
def test_a_workload_is_both_of_its_parts(events: tuple[log.Event, ...]) -> None:
    claims = Claims("snp")
    named = binding.workload_digest(WASM.digest, MANIFEST.digest)
    whole = len(events) == 2
    for workload, holds in ((b"", not whole), (named, whole)):
        statement = STATEMENT._replace(tee="snp", log=events, workload=workload)
        if holds:
            deciding._log(statement, claims)
        else:
            with pytest.raises(NotGenuine) as error:
                deciding._log(statement, claims)
            assert error.value.check == "binding.workload"


def decide(monkeypatch: pytest.MonkeyPatch, found: Examined, **given: Any) -> Collateral:
    """What is looked at beside the statement, when the evidence tells ``found``."""
    seen: list[Collateral] = []

    def examine(sources: object, tee: str, asked: object, ours: Collateral) -> Examined:
        seen.append(ours)
        return found

    monkeypatch.setattr(deciding, "examine", examine)
    with pytest.raises(NotGenuine) as error:
        deciding.decide(
            STATEMENT, signed=b"", signature=b"", challenge=Challenge("tenant", bytes(32), ("nil",)),
            exporter=bytes(32), session_key=b"key", policy=policies.load("development"), anchors=Anchors(),
            at=None, **given,
        )  # fmt: skip
    assert error.value.check == "binding.report-data"
    return seen[0]


def test_evidence_of_no_report_data_is_of_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide(monkeypatch, layers(False)) == Collateral()


def test_what_the_tenant_has_of_collateral_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Collateral(documents=(Document("tcb-info", b"{}"),))
    assert decide(monkeypatch, layers(False), collateral=own) == own
