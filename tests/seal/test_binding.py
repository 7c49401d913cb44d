"""What report_data binds: change any one thing and it changes; the published vector stays."""

from __future__ import annotations

import hashlib

import pytest

from fastness.errors import MalformedEvidence
from fastness.seal import binding, log
from fastness.seal.challenger import only, replay

GIVEN = {
    "role": "tenant",
    "platform": "nil",
    "nonce": bytes(range(32)),
    "exporter": bytes(range(32, 64)),
    "signing_key": b"signing key",
    "hpke_key": bytes(range(64, 96)),
    "workload": bytes(32),
}


def test_the_vector_of_the_specification() -> None:
    assert binding.report_data(**GIVEN).hex() == (  # type: ignore[arg-type]
        "f574874b04e197e963e405c038ca6a75c2e675502bd18eec878ca3ae62f974f2"
        "53368970ee67a582de5b3cd249480754459f60c5c7d45e254bdf0f6fe57f787d"
    )


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_every_part_is_bound(name: str) -> None:
    value = GIVEN[name]
    other = "steward" if name == "role" else "vm" if isinstance(value, str) else bytes((value[0] ^ 1,)) + value[1:]
    assert binding.report_data(**{**GIVEN, name: other}) != binding.report_data(**GIVEN)  # type: ignore[arg-type]


def test_no_two_splits_of_the_texts_read_the_same() -> None:
    one = binding.report_data(**{**GIVEN, "role": "ab", "platform": "c"})  # type: ignore[arg-type]
    other = binding.report_data(**{**GIVEN, "role": "a", "platform": "bc"})  # type: ignore[arg-type]
    assert one != other


@pytest.mark.parametrize("name", ["nonce", "exporter", "workload"])
def test_sizes_are_fixed(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        binding.report_data(**{**GIVEN, name: b"short"})  # type: ignore[arg-type]


def test_the_register_is_the_fold_of_the_log() -> None:
    events = (log.Event(log.WORKLOAD, b"\x01" * 32), log.Event(log.CONFIGURATION, b"\x02" * 32))
    register = bytes(48)
    for event in events:
        body = bytes((len(event.kind),)) + event.kind.encode() + event.digest
        register = hashlib.sha384(register + hashlib.sha384(body).digest()).digest()
    assert replay(events) == register
    assert replay(()) == bytes(48)
    assert replay(events[::-1]) != register


def test_a_log_with_two_workloads_is_refused() -> None:
    twice = (log.Event(log.WORKLOAD, bytes(32)),) * 2
    with pytest.raises(MalformedEvidence, match="at most one workload"):
        only(twice, log.WORKLOAD)


@pytest.mark.parametrize("value", [None, [["workload"]], [["other", bytes(32)]], [["workload", b"short"]], [[]] * 300])
def test_a_malformed_log_is_refused(value: object) -> None:
    with pytest.raises(MalformedEvidence):
        log.from_value(value)
