"""The envelope of Intel's signed documents: the signed bytes are cut out as they stand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import MalformedEvidence
from fastness.tee.dcap import documents, members

SIGNATURE = "ab" * 64
blanks = st.text(" \t\r\n", max_size=3)
inner = st.dictionaries(st.text("ab", max_size=2), st.integers() | st.lists(st.none()), max_size=3).map(json.dumps)


@given(inner, st.booleans(), st.lists(blanks, min_size=9, max_size=9))
def test_white_space_and_order_do_not_matter(value: str, swapped: bool, gaps: list[str]) -> None:
    pairs = [('"tcbInfo"', value), ('"signature"', f'"{SIGNATURE}"')]
    first, second = pairs[::-1] if swapped else pairs
    tokens = ["{", first[0], ":", first[1], ",", second[0], ":", second[1], "}"]
    text = "".join(gap + token for gap, token in zip(gaps, tokens, strict=True))
    raw, parsed, signature = members.envelope(text.encode(), "tcbInfo")
    assert (raw, parsed, signature) == (value.encode(), json.loads(value), bytes.fromhex(SIGNATURE))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}", "[]", "null", '"tcbInfo"', '{"tcbInfo":{}}', f'{{"signature":"{SIGNATURE}"}}',
        f'{{"tcbInfo":{{}},"tcbInfo":{{}},"signature":"{SIGNATURE}"}}',
        '{"tcbInfo":{},"tcbInfo":{}}', f'{{"tcbInfo":{{}},"signature":"{SIGNATURE}","x":1}}',
        f'{{"tcbInfo":{{}},"signature":"{SIGNATURE}"}}x', f'{{"tcbInfo":{{}},"signature":"{SIGNATURE}"',
        f'{{"tcbInfo":{{}} "signature":"{SIGNATURE}"}}', f'{{"tcbInfo":{{}},"signature":"{SIGNATURE}",}}',
        f'{{1:{{}},"signature":"{SIGNATURE}"}}', f'{{"tcbInfo":[],"signature":"{SIGNATURE}"}}',
        '{"tcbInfo":{},"signature":"ab"}', '{"tcbInfo":{},"signature":"' + "ab " * 42 + 'ab"}',
        f'{{"tcbInfo":"é","signature":"{SIGNATURE}"}}', '{"tcbInfo":' + "[" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(MalformedEvidence):
        members.envelope(text.encode(), "tcbInfo")


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00", "20260131T120000Z0000", "2026-02-30T12:00:00Z",
     "2026-01-31 12:00:00Z", "2026-01-31t12:00:00Z", "2026-01-31T12:00:00z", "2026-W05-6T12:00:00Z", ""],
)  # fmt: skip
def test_a_time_of_another_form_is_malformed(text: str) -> None:
    assert members.time("2026-01-31T12:00:00Z", "t").isoformat() == "2026-01-31T12:00:00+00:00"
    with pytest.raises(MalformedEvidence):
        members.time(text, "t")


@pytest.mark.parametrize("svn", [-1, 256, True, 1.0, "1", None])
def test_a_component_is_a_number_of_one_byte(svn: object) -> None:
    rows = [{"svn": number} for number in range(16)]
    assert documents._components(rows, "c") == tuple(range(16))
    rows[7] = {"svn": svn}  # type: ignore[dict-item]
    for bad in (rows, [*rows[:7], {}, *rows[8:]], [*rows[:7], 7, *rows[8:]], rows[:7]):
        with pytest.raises(MalformedEvidence):
            documents._components(bad, "c")
