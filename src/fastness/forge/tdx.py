"""Forged TDX quotes. Beside the keys of :mod:`fastness.forge.dcap`: ``td_report`` (``1.0``, ``1.5``, ``1.5-extended``),
any field of the TD report in hexadecimal under ``fields``, ``event_log`` (true: one that leads to the registers)."""

from __future__ import annotations

from hashlib import sha384
from typing import Any

from fastness.forge.dcap import OTHER, Body, Maker, Spec
from fastness.forge.model import Forged
from fastness.tee import Document
from fastness.tee.dcap import layout as shared
from fastness.tee.tdx import layout

KINDS = {"1.0": shared.BODY_TD10, "1.5": shared.BODY_TD15, "1.5-extended": shared.BODY_TD15_EX}
EVENTS = ((1, b"firmware"), (2, b"kernel"), (3, b"command line"), (4, b"workload"))
"""(register of the CCEL, what is measured)."""


def make(spec: Spec) -> Forged:
    """A forged TDX quote with its collateral and anchors; version 5 where the TD report is not 1.0."""
    kind = KINDS[spec.get("td_report", "1.0")]
    wanted = {"version": 5 if kind != shared.BODY_TD10 else 4} | dict(spec)
    made = body(wanted)
    more = (Document("event-log", log()),) if spec.get("event_log") or spec.get("lie") == "event-log" else ()
    if str(spec.get("status", "")).startswith("TDRelaunchAdvised"):
        wanted.setdefault("module_status", "OutOfDate")
    return Maker("tdx", wanted).forged(made, more)


def body(spec: Spec) -> Body:
    """The TD report."""
    kind = KINDS[spec.get("td_report", "1.0")]
    values = _defaults(spec) | {name: bytes.fromhex(text) for name, text in spec.get("fields", {}).items()}
    raw = b"".join(values.get(name, bytes(size)) for name, _, size, _ in layout.BY_TYPE[kind])
    return Body(kind, raw, raw[:16], raw[584:600])


def _defaults(spec: Spec) -> dict[str, bytes]:
    lie: str = spec.get("lie", "")
    attributes = 1 << layout.ATTRIBUTES["sept_ve_disable"] | (1 if spec.get("debug") else 0)
    if lie == "attributes":
        attributes |= 1 << 40
    born = 0xA06D0 if lie == "migrated" else 0xC06F0
    found: dict[str, Any] = {
        "tee_tcb_svn": bytes((6, 1, 3)) + bytes(13),
        "tee_tcb_svn2": bytes((8, 1, 4)) + bytes(13),
        "mrseam": b"\x5e" * 48,
        "mrsignerseam": OTHER if lie == "module" else bytes(48),
        "td_attributes": attributes.to_bytes(8, "little"),
        "xfam": (0x602E7).to_bytes(8, "little"),
        "mrtd": b"\x17" * 48,
        "report_data": bytes.fromhex(spec.get("report_data", "d4" * 64)),
        "init_tee_fmspc": bytes(4) + born.to_bytes(4, "little") + bytes(4),
    }
    if spec.get("event_log"):
        found |= {f"rtmr{index - 1}": sha384(bytes(48) + sha384(data).digest()).digest() for index, data in EVENTS}
    return found


def log() -> bytes:
    """A crypto-agile event log with one SHA-384 entry for each runtime register, padded with 0xFF as firmware does."""
    header = b"Spec ID Event03\0" + bytes.fromhex("0000000000020002 01000000 0c003000 00")
    out = (1).to_bytes(4, "little") + (3).to_bytes(4, "little") + bytes(20)
    out += len(header).to_bytes(4, "little") + header
    for index, data in EVENTS:
        out += index.to_bytes(4, "little") + (0x0D).to_bytes(4, "little") + (1).to_bytes(4, "little")
        out += (0x0C).to_bytes(2, "little") + sha384(data).digest() + len(data).to_bytes(4, "little") + data
    return out + b"\xff" * 256
