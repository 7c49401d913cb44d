"""The AR4SI trustworthiness vector (draft-ietf-rats-ar4si-10 section 2.3) of claims and findings.

==================== ==== =======================================================================================
claim                says when
==================== ==== =======================================================================================
``instance-identity``  2  a rule that held names ``hardware_id``
                      97  a rule on ``hardware_id`` did not hold
                      99  cryptography said no (then all eight say 99)
``configuration``      2  a policy accepted, and debug is off
                      96  debug is on
``executables``        3  a rule that held names measurements of this evidence that say what was booted (not the host's
                          own word, nor what a measurement is not)
                      33  such a rule did not hold
``file-system``        0  always: no evidence of ours shows files
``hardware``           2  genuine, revocation looked up, TCB ``UpToDate`` or of a TEE whose vendor gives no such word
                      32  any other TCB status
                      96  ``Revoked``, or a simulated root vouches
``runtime-opaque``     2  memory encrypted and integrity-protected by the processor (snp, tdx, sgx, cca), no debug
                      32  isolated from other guests (sev: no integrity; nitro: the hypervisor's word), no debug
                      96  debug is on, or simulated
``storage-opaque``     0  always: evidence does not speak of storage
``sourced-data``       0  always: what a workload reads is not appraised
==================== ==== =======================================================================================

What no row decides is 0, which is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import NOT_WHAT_RUNS, Claims

NAMES = (
    "instance-identity", "configuration", "executables", "file-system",
    "hardware", "runtime-opaque", "storage-opaque", "sourced-data",
)  # fmt: skip
TIERS = ("none", "affirming", "warning", "contraindicated")
"""From what is said least of to the worst (AR4SI section 2.3.2)."""
CRYPTO_FAILED, UNEXPECTED = 99, 1
_NEGATIVE = re.compile(r"\S+ (?:not |!=)")
_ENCRYPTED, _ISOLATED = ("snp", "tdx", "sgx", "cca"), ("sev", "nitro")


def tier(value: int) -> str:
    """The tier of one claim: -1 to 1 none, 2 to 31 affirming, 32 to 95 warning, 96 to 127 contraindicated."""
    if -1 <= value <= 1:
        return "none"
    if value < 0:
        value = -value - 1  # -2 to -32 are affirming, -33 to -96 warning
        return "affirming" if value <= 31 else "warning" if value <= 95 else "contraindicated"
    return "affirming" if value <= 31 else "warning" if value <= 95 else "contraindicated"


def worst(tiers: Iterable[str]) -> str:
    """The worst of several tiers."""
    return max(tiers, key=TIERS.index, default="none")


def of(claims: Claims, findings: Iterable[Finding], *, accepted: bool) -> dict[str, int]:
    """The eight claims on genuine evidence; ``accepted`` by a policy."""
    seen = tuple(findings)
    return {
        "instance-identity": _told(seen, ("hardware_id",), 2, 97),
        "configuration": 96 if claims.debug else 2 if accepted and claims.debug is False else 0,
        "executables": _told(seen, _that_run(claims), 3, 33),
        "file-system": 0,
        "hardware": _hardware(claims, seen),
        "runtime-opaque": _opaque(claims),
        "storage-opaque": 0,
        "sourced-data": 0,
    }


def every(value: int) -> dict[str, int]:
    """The vector of evidence that is not genuine, or cannot be read."""
    return dict.fromkeys(NAMES, value)


def _that_run(claims: Claims) -> tuple[str, ...]:
    return ("measurements", *(f"measurements.{name}" for name in claims.measurements if name not in NOT_WHAT_RUNS))


def _told(seen: tuple[Finding, ...], paths: tuple[str, ...], held: int, failed: int) -> int:
    """What the rules that name one of ``paths`` saw; the worse word counts."""
    outcomes = {
        item.outcome
        for item in seen
        if item.check.startswith("policy.rule.")
        and any(place.field in paths and place.file for place in item.where)
        and not (item.outcome is Outcome.HELD and _NEGATIVE.match(item.expected))
    }
    if outcomes & {Outcome.FAILED, Outcome.UNKNOWN}:
        return failed
    return held if Outcome.HELD in outcomes else 0


def _hardware(claims: Claims, seen: tuple[Finding, ...]) -> int:
    if claims.simulated or claims.tcb_status == "Revoked":
        return 96
    if claims.tcb_status not in (None, "UpToDate"):
        return 32
    open_ = {item.check for item in seen if item.outcome in (Outcome.UNKNOWN, Outcome.WAIVED)}
    return 0 if f"{claims.tee}.revocation" in open_ else 2


def _opaque(claims: Claims) -> int:
    if claims.debug or claims.simulated:
        return 96
    if claims.debug is None:
        return 0
    return 2 if claims.tee in _ENCRYPTED else 32 if claims.tee in _ISOLATED else 0
