"""Reference values: written and read back, and every fault with its place."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.appraise import reference
from fastness.appraise.reference import Row, Statement
from fastness.errors import UsageError

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))
DIGESTS = st.lists(st.binary(min_size=16, max_size=64).map(bytes.hex), min_size=1, max_size=3).map(tuple)
ROWS = st.builds(
    Row,
    tee=st.sampled_from(["snp", "tdx", "tpm"]),
    measurements=st.dictionaries(st.text(min_size=1, max_size=8), DIGESTS, min_size=1, max_size=3),
    note=st.text(max_size=30),
)
STATEMENTS = st.builds(
    Statement,
    name=st.just("keep-images"),
    image=st.text(max_size=10),
    issued=TIMES,
    expires=st.none() | TIMES,
    rows=st.lists(ROWS, min_size=1, max_size=4).map(tuple),
)


@given(STATEMENTS)
def test_what_is_written_is_read_back(statement: Statement) -> None:
    assert reference.parse(reference.dump_toml(statement).encode(), "x.toml") == statement


HEAD = 'schema = "fastness/reference-values/v1"\nname = "n"\nissued = 2026-11-23T12:00:00Z\n'
VALUE = f'[[value]]\ntee = "snp"\nmeasurements = {{ launch = ["{"AB" * 48}"] }}\n'


def test_values_are_lower_case_whatever_was_written() -> None:
    assert reference.parse((HEAD + VALUE).encode(), "x").rows[0].measurements == {"launch": ("ab" * 48,)}


@pytest.mark.parametrize(
    ("written", "place", "said"),
    [
        (HEAD.replace("/v1", "/v9") + VALUE, "x:1:1", "schema"),
        (HEAD.replace('"n"', '"@n"') + VALUE, "x:2:1", "name of a set"),
        (HEAD.replace("T12:00:00Z", "") + VALUE, "x:3:1", "time with a zone"),
        (HEAD.replace("issued", "expires") + VALUE, "x:1:1", "'issued' is missing"),
        (HEAD, "x:1:1", "1 to"),
        (HEAD + VALUE.replace("snp", "spn"), "x:5:1", "no TEE is called 'spn'"),
        (HEAD + VALUE.replace("ABAB", "AZ"), "x:6:1", "hexadecimal"),
        (HEAD + VALUE.replace("launch", "").replace("= [", "[").split("measurements")[0], "x:4:3", "without measurements"),
        (HEAD + "extra = 1\n" + VALUE, "x:4:1", "unknown key 'extra'"),
        (HEAD + VALUE + "notes = 1\n", "x:7:1", "unknown key 'notes'"),
        (HEAD + VALUE.replace('["', '"').replace('"]', '"'), "x:6:1", "lists of"),
    ],
)  # fmt: skip
def test_a_fault_has_a_place(written: str, place: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        reference.parse(written.encode(), "x")
    assert caught.value.where == place
