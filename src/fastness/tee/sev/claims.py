"""Claims of genuine SEV platforms and guests."""

from __future__ import annotations

import hashlib
from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims, Cpu
from fastness.tee.sev import layout as at
from fastness.tee.sev.verify import Proven
from fastness.wire import injected
from fastness.wire.hexdump import Span

PRODUCTS = {"naples": (0x17, "EPYC 7001"), "rome": (0x17, "EPYC 7002"), "milan": (0x19, "EPYC 7003"),
            "genoa": (0x19, "EPYC 9004"), "turin": (0x1A, "EPYC 9005")}  # fmt: skip
"""CPUID family and product of a line (AMD 54945, 55898, 57019): SEV says no model."""

PLATFORM_ONLY = "the chain speaks of a platform only, of no guest: nothing is said of what runs, or of debug"
NOT_CHECKED = (
    "the firmware's version is its own word: SEV derives no key from it",
    "SEV does not protect a guest's memory from being altered by its host",
)


def claims(genuine: Genuine[Proven]) -> Claims:
    """The normalised claims; those of a guest only where its report or launch measurement is there."""
    evidence = genuine.evidence.evidence
    report, launch = evidence.report, evidence.launch
    guest = launch or report
    line = genuine.anchors[0].line
    family, product = PRODUCTS.get(line, (None, None))
    extra: dict[str, Any] = {
        "speaks_of": "guest" if guest else "platform",
        "api": "{}.{}".format(*evidence.pek.api),
        "owned": evidence.oca is not None,
    }
    spans: dict[str, Span] = {}
    if guest is not None:
        extra["policy"] = {name: bool(guest.policy >> bit & 1) for name, bit in at.POLICY_BITS.items()}
        extra["policy"] |= {"api_major": guest.policy >> 16 & 0xFF, "api_minor": guest.policy >> 24}
    if launch is not None:
        extra["firmware"] = {"api_major": launch.api[0], "api_minor": launch.api[1], "build": launch.build}
        extra["mnonce"] = launch.mnonce.hex()
        whole = Span("launch", evidence.offsets["launch"], len(launch.raw))
        spans = {"measurements.launch": whole, "debug": whole}
    if report is not None:
        start = evidence.offsets["report"]
        spans = {
            "measurements.launch": Span("launch_digest", start + 0x10, 32),
            "debug": Span("policy", start + 0x30, 4),
        }
    if evidence.proof is not None:
        start = evidence.offsets["proof"] + len(injected.LABEL)
        spans["report_data"] = Span("proof", start, injected.REPORT_DATA_SIZE)
    return Claims(
        tee="sev",
        cpu=Cpu("amd", family, None, None, line or None, product, "cek"),
        debug=None if guest is None else not guest.policy & 1,
        simulated=genuine.simulated,
        measurements=_measurements(genuine.evidence),
        report_data=_report_data(genuine.evidence),
        hardware_id=hashlib.sha256(evidence.cek.point).hexdigest(),
        extra=extra,
        not_checked=NOT_CHECKED if guest is not None else (PLATFORM_ONLY, *NOT_CHECKED),
        spans=spans,
    )


def _report_data(proven: Proven) -> str | None:
    """What a proof is over; without one, the nonce of the report."""
    proof, report = proven.evidence.proof, proven.evidence.report
    if proof is not None:
        return proof[len(injected.LABEL) : -32].hex()
    return None if report is None else report.mnonce.hex()


def _measurements(proven: Proven) -> dict[str, str]:
    report = proven.evidence.report
    digest = proven.digest or (report.launch_digest if report is not None else None)
    return {} if digest is None else {"launch": digest.hex()}
