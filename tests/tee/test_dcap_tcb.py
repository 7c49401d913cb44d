"""The TCB algorithm alone, row by row."""

from __future__ import annotations

import pytest

from fastness.tee.dcap.tcb import converge, reaches

TABLE = {
    "UpToDate": ("UpToDate", "OutOfDate"),
    "SWHardeningNeeded": ("SWHardeningNeeded", "OutOfDate"),
    "ConfigurationNeeded": ("ConfigurationNeeded", "OutOfDateConfigurationNeeded"),
    "ConfigurationAndSWHardeningNeeded": ("ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"),
    "OutOfDate": ("OutOfDate", "OutOfDate"),
    "OutOfDateConfigurationNeeded": ("OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"),
    "Revoked": ("Revoked", "Revoked"),
}


@pytest.mark.parametrize("platform", TABLE)
def test_b13_convergence(platform: str) -> None:
    current, late = TABLE[platform]
    assert converge(platform, "UpToDate") == current
    assert converge(platform, "OutOfDate") == late
    assert converge(platform, "Revoked") == "Revoked"


def test_reaches_needs_every_component() -> None:
    assert reaches((1, 2, 3), (1, 2, 3))
    assert not reaches((9, 9, 2), (1, 2, 3))
