"""The TCB algorithm alone, row by row."""

from __future__ import annotations

import pytest
from dcap_tools import made

from fastness.claims.finding import Outcome
from fastness.tee.dcap.tcb import converge, reaches, relaunch

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


GOOD = ("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded")


@pytest.mark.parametrize("now", TABLE)
@pytest.mark.parametrize("launch", TABLE)
def test_relaunch_only_from_out_of_date_to_current(launch: str, now: str) -> None:
    """QVL 2026, TDRelaunchCheck: the whole evaluation of what runs now against that of the launch."""
    if not launch.startswith("OutOfDate") or now not in GOOD:
        assert relaunch(launch, now) == launch
    elif "Configuration" in launch + now:
        assert relaunch(launch, now) == "TDRelaunchAdvisedConfigurationNeeded"
    else:
        assert relaunch(launch, now) == "TDRelaunchAdvised"


def _relaunched(svn: str, svn2: str) -> tuple[str | None, object]:
    fields = {"tee_tcb_svn": svn.ljust(32, "0"), "tee_tcb_svn2": svn2.ljust(32, "0")}
    claims, _ = made("tdx", td_report="1.5", status="TDRelaunchAdvised", module_status="UpToDate", fields=fields)
    return claims.tcb_status, claims.tcb.get("current_status")


def test_relaunch_when_the_platform_was_late_and_the_module_was_not() -> None:
    assert _relaunched("060103", "060104") == ("TDRelaunchAdvised", "UpToDate")
    assert _relaunched("060103", "060103") == ("UpToDate", "UpToDate")


def test_what_runs_now_must_have_a_level() -> None:
    fields = {"tee_tcb_svn2": "080904".ljust(32, "0")}
    claims, checks = made("tdx", td_report="1.5", status="TDRelaunchAdvised", fields=fields)
    assert claims.tcb_status is None and checks == {"tdx.tcb-level": Outcome.FAILED}


@pytest.mark.parametrize("late", ["platform", "qe", "module"])
def test_the_part_that_is_late_is_told(late: str) -> None:
    spec = {"status" if late == "platform" else f"{late}_status": "OutOfDate"}
    claims, _ = made("tdx", **spec)
    told = {part: claims.tcb[f"{part}_status"] for part in ("platform", "qe", "module")}
    assert claims.tcb_status == "OutOfDate"
    assert told == {part: "OutOfDate" if part == late else "UpToDate" for part in told}


def test_a_component_that_is_late_in_any_words_is_late() -> None:
    assert converge("UpToDate", "OutOfDateConfigurationNeeded") == "OutOfDate"
    assert converge("UpToDate", "ConfigurationNeeded") == "OutOfDate"
    assert converge("ConfigurationNeeded", "ConfigurationNeeded") == "OutOfDateConfigurationNeeded"
