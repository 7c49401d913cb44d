"""Event logs as dstack's guests write them: JSON, read as strictly as the binary ones."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha384
from typing import Any

import pytest
from dcap_tools import judge

from fastness.attestation import verify
from fastness.claims.finding import Outcome
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.forge import tdx
from fastness.forge.model import Forged
from fastness.result import Result
from fastness.tee import Document
from fastness.tee.tdx import dstack
from fastness.wire import eventlog

BOOT = [(register, f"firmware {register}".encode()) for register in (0, 0, 1, 2)]
OWN = [("app-id", b"\x86\xb0"), ("compose-hash", bytes(32)), ("system-ready", b"")]


TYPE = 0x08000001


def digest(name: str, value: bytes) -> bytes:
    return sha384(TYPE.to_bytes(4, "little") + b":" + name.encode() + b":" + value).digest()


def rows() -> list[dict[str, Any]]:
    """A log whose own events have no digests, as dstack sends it."""
    found = [{"imr": register, "event_type": 0x80000001, "digest": sha384(text).hexdigest(), "event": "",
              "event_payload": ""} for register, text in BOOT]  # fmt: skip
    return found + [
        {"imr": 3, "event_type": TYPE, "digest": "", "event": name, "event_payload": value.hex()} for name, value in OWN
    ]


def measured() -> Forged:
    """A TD with the registers that this log leads to."""
    registers = [bytes(48)] * 4
    for register, value in [(at, sha384(text).digest()) for at, text in BOOT] + [(3, digest(*own)) for own in OWN]:
        registers[register] = sha384(registers[register] + value).digest()
    return tdx.make({"fields": {f"rtmr{number}": value.hex() for number, value in enumerate(registers)}})


def told(log: object) -> Outcome:
    forged = measured()
    document = Document("event-log-json", log if isinstance(log, bytes) else json.dumps(log).encode())
    documents = (*forged.collateral.documents, document)
    return judge(replace(forged, collateral=forged.collateral._replace(documents=documents)))[1]["tdx.event-log"]


def refused(log: object) -> None:
    with pytest.raises(NotGenuine) as caught:
        told(log)
    assert caught.value.check == "tdx.event-log"


def changed(index: int, **members: object) -> list[dict[str, Any]]:
    found = rows()
    found[index] |= members
    return found


def test_a_log_leads_to_the_registers_with_and_without_digests_of_own_events() -> None:
    assert told(rows()) is Outcome.HELD
    assert told(changed(-3, digest=digest(*OWN[0]).hex())) is Outcome.HELD


@pytest.mark.parametrize("version", [1, 2, 3, 0, "2", 2.0, True, None])
def test_no_version_leaves_names_and_values_unchecked(version: object) -> None:
    """Whoever stated a version could write any name and value beside the digest that was measured."""
    was = digest(*OWN[1]).hex()
    refused(changed(-2, version=version, digest=was, event="another"))
    refused(changed(-2, version=version, digest=was, event_payload="11" * 32))


def test_the_version_may_be_stated() -> None:
    assert told(changed(-2, version=1)) is Outcome.HELD


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("compose-hash", '"compose-hash"'), ("", '""'), ('a"\\\n\x01\x7fé/', '"a\\"\\\\\\n\\u0001\x7fé/"')],
)
def test_a_second_version_is_canonical_json(name: str, quoted: str) -> None:
    measured = sha384(f'{{"name":{quoted},"payload":"abcd","type":134217729}}'.encode()).hexdigest()
    row = {"imr": 3, "event_type": TYPE, "event": name, "event_payload": "ABCD", "version": 2}
    for stated in ("", measured):
        (event,) = dstack.parse(json.dumps([row | {"digest": stated}]).encode()).events
        assert event.digests["sha384"].hex() == measured


@pytest.mark.parametrize(
    "lie",
    [
        changed(-2, event="compose_hash"),
        changed(-2, event_payload="11" * 32),
        changed(-2, digest="11" * 48),
        changed(-2, digest=digest(*OWN[1]).hex(), event_payload="11" * 32),
        changed(-2, event_type=1, digest="11" * 48),
        changed(0, digest=sha384(b"other").hexdigest()),
        changed(0, imr=1),
        rows()[:-1],
        [*rows(), rows()[-1]],
        rows()[::-1],
        [],
    ],
)  # fmt: skip
def test_a_log_that_leads_elsewhere_fails(lie: object) -> None:
    refused(lie)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (b"[{", "JSON"), (b"{}", "a list"), (b"7", "a list"), (b"[[]]", "event 0: imr"), (b"[" * 100_000, "JSON"),
        (b"\xff", "JSON"), (b'[{"imr":0}]', "event 0: event_type"), (changed(0, imr=4), "event 0: imr: need 0 to 3"),
        (changed(1, imr=-1), "event 1: imr: need 0 to 3"), (changed(0, imr=True), "event 0: imr: need int"),
        (changed(0, imr="0"), "event 0: imr: need int"), (changed(0, event_type=None), "event 0: event_type"),
        (changed(0, event=7), "event 0: event"), (changed(0, digest="zz"), "event 0: digest: need hexadecimal"),
        (changed(0, digest=7), "event 0: digest: need hexadecimal"), (changed(0, digest="11" * 47), "need 48 bytes"),
        (changed(0, digest=""), "need 48 bytes"), (changed(-1, event_payload="1"), "event_payload: need hexadecimal"),
        (changed(-2, digest="11" * 48), "need the digest of type, name and value"),
        (changed(-2, version=3), "event 5: version: need 1 or 2"),
        (changed(-2, version=True), "event 5: version: need 1 or 2"),
        (changed(-2, version=2, digest=digest(*OWN[1]).hex()), "need the digest of type, name and value"),
    ],
)  # fmt: skip
def test_anything_else_is_no_log(odd: object, words: str) -> None:
    with pytest.raises(MalformedEvidence) as caught:
        dstack.parse(odd if isinstance(odd, bytes) else json.dumps(odd).encode())
    assert words in str(caught.value)
    refused(odd)


def test_half_a_character_is_a_name_like_another() -> None:
    refused(changed(-1, event="\ud800"))


def test_a_log_has_bounds() -> None:
    row = json.dumps(rows()[0], separators=(",", ":"))
    full = f"[{','.join([row] * eventlog.MAX_EVENTS)}]".encode()
    assert len(dstack.parse(full).events) == eventlog.MAX_EVENTS
    with pytest.raises(MalformedEvidence, match="a list of at most"):
        dstack.parse(full[:-1] + b"," + row.encode() + b"]")
    assert dstack.parse(b"[]".ljust(eventlog.MAX_LOG)).events == ()
    with pytest.raises(MalformedEvidence, match="at most"):
        dstack.parse(b"[]".ljust(eventlog.MAX_LOG + 1))


def answered(log: list[dict[str, Any]]) -> Result:
    """What is said of a quote and its log in one document, as dstack's ``GetQuote`` returns them."""
    forged = measured()
    text = json.dumps(
        {"quote": forged.evidence.hex(), "event_log": json.dumps(log), "report_data": "", "vm_config": "{}"}
    )
    others = [item.raw for item in (*forged.collateral.certificates, *forged.collateral.crls)]
    others += [item.data for item in forged.collateral.documents]
    return verify(text.encode(), *others, at=forged.at, anchors=forged.anchors)


def test_the_log_is_found_beside_the_quote() -> None:
    honest, lie = answered(rows()), answered(changed(-2, event="compose_hash"))
    assert honest.genuine and Outcome.HELD in [i.outcome for i in honest.findings if i.check == "tdx.event-log"]
    assert lie.exit_code == 4 and lie.error is not None and lie.error.check == "tdx.event-log"


def test_a_log_alone_wants_its_quote() -> None:
    result = verify(json.dumps(rows()).encode())
    assert result.genuine is None and result.error is not None
    assert result.error.check == "tdx.signature" and "quote" in result.error.what
