"""The table of fields against the verifiers: what they claim stands in it, of that kind."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest

import vectors
from fastness import attestation
from fastness import tee as tees
from fastness.appraise import fields
from fastness.collateral.gather import gather

AT = datetime(2025, 10, 1, tzinfo=UTC)

SPECS: dict[str, list[dict[str, Any]]] = {
    "snp": [{}, {"generation": "turin", "version": 5}, {"key": "vlek"}, {"masked": True}, {"version": 2}],
    "nvgpu": [{}, {"kind": "switch"}, {"manifests": False}],
}


def paths(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in tree.items():
        found += paths(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def made(tee: str, spec: dict[str, Any]) -> list[tuple[str, Any]]:
    forged = import_module(f"fastness.forge.{tee}").make(spec)
    module = tees.load(tee)
    evidence = module.parse(forged.evidence)
    genuine = module.verify(evidence, forged.collateral, forged.anchors, at=forged.at, within=())
    return paths(module.claims(genuine).tree())


@pytest.mark.parametrize("tee", [name for name in tees.NAMES if name != "nil"])
def test_every_claim_of_the_forge_has_a_row(tee: str) -> None:
    for spec in SPECS.get(tee, [{}]):
        for path, value in made(tee, spec):
            row = fields.of(tee, path)
            assert row is not None, (tee, path)
            assert row.holds(value), (tee, path, value)


def test_every_claim_of_real_evidence_has_a_row() -> None:
    found = 0
    for name in (name for tee in tees.NAMES for name in vectors.names(tee)):
        case = vectors.case(name)
        asked = attestation.question(case.at or AT, None, None, None, None, offline=True)
        for result in attestation.answer(gather([str(case.path)]), asked):
            if result.genuine and result.claims is not None:
                found += 1
                layers = (result.claims["tee"], *result.within)
                for path, value in paths(result.claims):
                    rows = [row for tee in layers if (row := fields.of(tee, path)) is not None]
                    assert any(row.holds(value) for row in rows), (name, path, value)
    if not found:
        pytest.skip("no real evidence here")
