"""Conditions of a policy one by one: what is written, what a claim says, and the answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from fastness.appraise import conditions
from fastness.appraise.conditions import Condition, Told, Wrong, compile_matcher

AT = datetime(2026, 6, 1, tzinfo=UTC)
YES, NO, UNKNOWN = Told.YES, Told.NO, Told.UNKNOWN


def condition(written: Any, path: str = "x.y") -> Condition:
    return Condition(path, "text", 7, compile_matcher(written, {}, path), written=written)


def told(written: Any, value: Any, generation: Any = "genoa") -> Told:
    return condition(written).ask({"x": {"y": value}, "cpu": {"generation": generation}}, AT)[0]


@pytest.mark.parametrize(
    ("written", "value", "answer"),
    [
        (5, 5, YES), (5, 6, NO), (5, True, UNKNOWN), (5, "5", UNKNOWN), (1, True, UNKNOWN),
        (True, True, YES), (True, False, NO), (True, 1, UNKNOWN), (False, False, YES),
        (2**64 - 1, 2**64 - 1, YES), (1 - 2**64, 0, NO),
        ("10..20", 9, NO), ("10..20", 10, YES), ("10..20", 20, YES), ("10..20", 21, NO), ("10..10", 10, YES),
        (">=5", 4, NO), (">=5", 5, YES), (">=5", "7", UNKNOWN), (">=1", True, UNKNOWN), (">=1", 1.5, UNKNOWN),
        (">5", 5, NO), (">5", 6, YES), ("<=5", 5, YES), ("<=5", 6, NO), ("<5", 4, YES), ("<5", 5, NO),
        ("!=5", 5, NO), ("!=5", 4, YES), ("word", "word", YES), ("word", "other", NO), ("word", 5, UNKNOWN),
        ("ABCDEF01", "abcdef01", YES), ("!=word", "word", NO), ("!=word", "other", YES),
        ("2026-01-01", "2026-01-01T12:00:00Z", YES), ("2026-01-01", "2026-01-02", NO),
        ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", YES), ("2026-01-01T00:00:00Z", "never", UNKNOWN),
        (">=1.9", "1.55", YES), (">=1.9", "1.9", YES), (">=1.9", "1.8", NO), (">=1.1", "1.２", UNKNOWN),
        (">=96.0A", "96.0b", YES), (">=96.0A", "96.09", NO), (">=96.0A", "9.0A", UNKNOWN),
        (">=96.0A", "zz.00", UNKNOWN),
        ([5, 6], 6, YES), ([5, 6], 7, NO), ([5, "word"], "word", YES), (["word", 5], 6, UNKNOWN),
        ({"not": 5}, 6, YES), ({"not": 5}, 5, NO), ({"not": 5}, "5", UNKNOWN),
        ({"none": ["a", "b"]}, ["c"], YES), ({"none": ["a", "b"]}, ["c", "a"], NO), ({"none": ["a"]}, "a", UNKNOWN),
        ({"only": ["a", "b"]}, ["a"], YES), ({"only": ["a"]}, ["a", "b"], NO), ({"only": []}, [], YES),
        ({"only": ["a"]}, {"a": 1}, UNKNOWN),
        ({"bits": 3}, 7, YES), ({"bits": 3}, 5, NO), ({"bits": "0x3"}, "0x7", YES), ({"clear": 3}, 4, YES),
        ({"clear": 3}, 1, NO), ({"bits": 1}, True, UNKNOWN), ({"bits": 1}, "1", UNKNOWN),
        ({"at_least": [1, 2]}, [1, 2], YES), ({"at_least": [1, 2]}, [2, 1], NO), ({"at_least": [1, 2]}, (9, 9), YES),
        ({"at_least": [1, 2]}, [9], UNKNOWN), ({"at_least": [1, 2]}, {9: 0, 8: 0}, UNKNOWN),
        ({"at_least": [0, 2**64 - 1]}, [0, 0], NO),
        ({"by_generation": {"genoa": 5}}, 5, YES), ({"by_generation": {"genoa": 5}}, 6, NO),
        ({"by_generation": {"turin": 5}}, 5, NO),
        ({"days": 0}, "2026-06-01T00:00:00Z", YES), ({"days": 1}, "2026-05-31T00:00:00Z", YES),
        ({"days": 1}, "2026-05-30T23:59:59Z", NO), ({"days": 1, "grace": 1}, "2026-05-30T00:00:00Z", YES),
        ({"days": 1, "grace": 1}, "2026-05-29T23:59:59Z", NO), ({"days": 1}, 5, UNKNOWN),
    ],
)  # fmt: skip
def test_answers(written: Any, value: Any, answer: Told) -> None:
    assert told(written, value) is answer


@pytest.mark.parametrize("generation", [None, 5, ["genoa"]])
def test_what_is_of_no_generation_cannot_be_told(generation: Any) -> None:
    assert told({"by_generation": {"genoa": 5}}, 5, generation) is UNKNOWN


@pytest.mark.parametrize(
    "written",
    [
        [], {}, None, 1.5, "", " word", "word ", "=word", "20..10", 2**64, -(2**64), f">={2**64}", ">=", "@nothing",
        ">= 2026-99-99", {"days": 1, "grace": "x"}, {"days": "x", "grace": 1}, {"days": -1, "grace": 1}, {"days": "1"},
        {"days": -1}, {"days": True}, {"days": 10**10}, {"days": 1, "not": 5}, {"not": 5, "none": ["a"]}, {"grace": 1},
        {"nosuch": {"genoa": 5}}, {"by_generation": 5}, {"by_generation": [5]}, {"by_generation": {}},
        {"by_generation": {"nosuch generation ": 5}}, {"some": ["a"]}, {"none": "ab"}, {"none": {"a": 1}},
        {"none": [1]}, {"none": ["a", 1]}, {"none": ["@set"]}, {"only": ["a "]}, {"most": [1]}, {"at_least": []},
        {"at_least": {1: 1}}, {"at_least": [1, "x"]}, {"at_least": [-1]}, {"at_least": [2**64]}, {"at_least": 1},
        {"bits": 0}, {"bits": "0x0"}, {"bits": True}, {"bits": "word"}, {"bits": 2**64}, {"bits": 1.5}, {"clear": -1},
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_an_error(written: Any) -> None:
    with pytest.raises(Wrong):
        compile_matcher(written, {}, "x.y")


def test_errors_say_what_is_wrong() -> None:
    for written, words in (
        ({}, "dict is not a condition"), ({"days": 1, "not": 5}, "do not stand together"), ([], "never holds"),
        ({"days": 10**10}, "days are too many"),
    ):  # fmt: skip
        with pytest.raises(Wrong, match=words):
            compile_matcher(written, {}, "x.y")


@pytest.mark.parametrize(
    ("claims", "answer"),
    [
        ({"x": MappingProxyType({"y": 5})}, YES), (MappingProxyType({"x": {"y": 5}}), YES),
        ({"x": {"y": None}}, UNKNOWN), ({"x": {}}, UNKNOWN), ({}, UNKNOWN), ({"x": "y"}, UNKNOWN),
        ({"x": True}, UNKNOWN), ({"x": ["y"]}, UNKNOWN), ({"x": None}, UNKNOWN),
    ],
)  # fmt: skip
def test_a_path_leads_through_mappings_alone(claims: Any, answer: Told) -> None:
    assert condition(5).ask(claims, AT)[0] is answer


def test_of_several_generations_the_one_at_hand_is_said() -> None:
    cases = condition({"by_generation": {"genoa": ">=5"}})
    assert cases.said({"cpu": {"generation": "genoa"}}) == ">=5 (genoa)"
    for claims in ({"cpu": {"generation": "turin"}}, {"cpu": {"generation": ["genoa"]}}, {"cpu": "genoa"}, {}):
        assert cases.said(claims) == "text"
    assert condition(5).said({"cpu": {"generation": "genoa"}}) == "text"


def test_hints_say_what_would_turn_the_answer() -> None:
    assert "does not say x.y" in condition(5).hint(UNKNOWN, "5")
    assert "if x.y were 5" in condition(5).hint(NO, "5")
    debug = condition(5, "debug")
    assert "policy.debug" in debug.hint(UNKNOWN, "false") and "if debug were false" in debug.hint(NO, "false")


@pytest.mark.parametrize(("since", "words"), [(10, ""), (11, "in grace until 2026-06-0"), (15, "in grace"), (16, "")])
def test_grace_begins_after_the_days_and_ends_with_its_last(since: int, words: str) -> None:
    tell = conditions.grace({"days": 10, "grace": 5})
    assert tell is not None
    said = tell(f"{AT - timedelta(days=since):%Y-%m-%d}", AT, {})
    assert said.startswith(words) and bool(said) is bool(words)
    for written in (5, {"days": 10}, {"grace": 5}):
        assert conditions.grace(written) is None
