"""Claims whose words are known beforehand: what a policy compares them with must be one of those.

A refusing rule with a word no evidence has (``Milan``, ``sev-snp``) would let everything pass, so it is an error, and
not only for ``policy check`` to remark on.
"""

from __future__ import annotations

import re
from functools import cache

from fastness import tee as tees
from fastness.wire import toml

VENDORS = frozenset({"amd", "ampere", "arm", "aws", "fujitsu", "hygon", "ibm", "intel", "nvidia", "qualcomm"})
"""Makers of processors a policy may speak of; evidence names ``amd`` and ``intel`` today."""
STATUSES = frozenset({
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded", "Revoked",
})  # fmt: skip
"""Intel's words on a TCB (Intel QVL, ``Verifiers/Checks/EvaluateTcb.cpp``)."""
_FEW = {
    "tee": frozenset(tees.NAMES),
    "cpu.vendor": VENDORS,
    "tcb_status": STATUSES,
    "cloud": frozenset({"aws", "azure", "google"}),
    "snp.signing_key": frozenset({"vcek", "vlek"}),
}
_ADVISORY = re.compile(r"INTEL-[A-Z]+-\d+")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
HEX_TOPS = frozenset({"measurements", "hardware_id", "report_data"})
"""Claims, and what is inside them, that are hexadecimal whatever the TEE."""


@cache
def _generations() -> frozenset[str]:
    from fastness.appraise import knowledge

    return frozenset(row.generation for row in knowledge.processors())


def fault(path: str, word: str) -> str:
    """Why no evidence can have ``word`` at ``path``; empty if it could."""
    if path.partition(".")[0] in HEX_TOPS:
        return "" if _HEX.fullmatch(word) else f"{word!r} is not bytes in hexadecimal"
    if path == "advisory_ids":
        return "" if _ADVISORY.fullmatch(word) else f"{word!r} is no advisory of Intel's: INTEL-SA-00960"
    known = _generations() if path == "cpu.generation" else _FEW.get(path)
    if known is None or word in known:
        return ""
    close = toml.nearest(word.strip().lower(), tuple(sorted(known))) or toml.nearest(word, tuple(sorted(known)))
    meant = f"did you mean {close!r}?" if close else f"one of {', '.join(sorted(known))}"
    return f"no evidence says {word!r}; {meant}"
