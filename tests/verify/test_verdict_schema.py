"""`fastness verify --json` is what docs/spec/verdict-v1.schema.json says, over real evidence, good and bad."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import judged
import pytest

import vectors
from fastness import attestation
from fastness.result import document

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "spec" / "verdict-v1.schema.json").read_text())
VALID = jsonschema.Draft202012Validator(SCHEMA)


def documents(whole):
    return whole["results"] if whole["schema"] == "fastness/verdicts/v1" else [whole]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("policy", [(), ("--policy", "default")], ids=["genuine", "judged"])
@pytest.mark.parametrize("name", judged.every())
def test_every_answer_fits(name, policy, capsys):
    case = vectors.case(name)
    answer = judged.run(capsys, "verify", case.path, *judged.options(case), *policy)
    if not answer.document:
        pytest.skip(answer.words)
    for item in documents(answer.document):
        VALID.validate(item)


def test_what_is_no_evidence_fits():
    for data in (b"", b"\x00" * 1184, b"{}"):
        for item in documents(document(attestation.verify_all(b"x" + data))):
            VALID.validate(item)
            assert item["genuine"] is False and item["error"]["hint"]


@vectors.needs_vectors
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("genuine",), False), (("verdict",), "maybe"), (("at",), "2025-07-04"), (("claims",), None), (("more",), 1),
        (("error",), {"kind": "bug"}), (("policy",), {"name": "x"}), (("claims", "measurements", "mrtd"), "XY"),
        (("findings", 0, "outcome"), "fine"), (("claims", "cpu", "colour"), "red"), (("decided_by",), None),
    ],
)  # fmt: skip
def test_the_schema_refuses(path, value, capsys):
    case = vectors.case("tdx/v4-uptodate")
    whole = judged.run(capsys, "verify", case.path, *judged.options(case), "--policy", "default").document
    VALID.validate(whole)
    changed = copy.deepcopy(whole)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not VALID.is_valid(changed)
