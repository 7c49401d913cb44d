"""Forged TDX quotes. Beside the keys of :mod:`fastness.forge.dcap`: ``td_report`` (``1.0``, ``1.5``, ``1.5-extended``),
any field of the TD report in hexadecimal under ``fields``, ``event_log`` (true: one that leads to the registers).

.. code-block:: toml

    tee = "tdx"
    td_report = "1.5-extended"
    generation = "granite-rapids"
    status = "TDRelaunchAdvised"
    [fields]
    mrtd = "aa…"
"""

from __future__ import annotations

import struct
from hashlib import sha384
from typing import Any

from fastness.errors import UsageError
from fastness.forge import dcap
from fastness.forge.dcap import OTHER, RELAUNCH, Body, Maker, Spec, understood
from fastness.forge.model import Forged
from fastness.tee import Document
from fastness.tee.dcap import layout as shared
from fastness.tee.tdx import layout
from fastness.wire.eventlog import EV_EFI_ACTION

KINDS = {"1.0": shared.BODY_TD10, "1.5": shared.BODY_TD15, "1.5-extended": shared.BODY_TD15_EX}
LIES = (*dcap.LIES, "module", "attributes", "migrated", "event-log", "event-text")
EVENTS = ((1, b"firmware"), (2, b"kernel"), (3, b"command line"), (4, b"workload"))
"""(register of the CCEL, what is measured)."""


def make(spec: Spec) -> Forged:
    """A forged TDX quote with its collateral and anchors; version 5 where the TD report is not 1.0."""
    understood(spec, LIES)
    relaunch = spec.get("status") in RELAUNCH
    wanted: dict[str, Any] = {"td_report": "1.5" if relaunch else "1.0"} | dict(spec)
    if wanted["td_report"] not in KINDS or (relaunch and wanted["td_report"] == "1.0"):
        raise UsageError(f"no TD report {wanted['td_report']!r} with this status", hint="one of " + ", ".join(KINDS))
    wanted = {"version": 4 if wanted["td_report"] == "1.0" else 5} | wanted
    made = body(wanted)
    lie = spec.get("lie", "")
    more: tuple[Document, ...] = ()
    if spec.get("event_log") or lie in ("event-log", "event-text"):
        more = (Document("event-log", log(altered=lie == "event-text")),)
    if relaunch:
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
    if spec.get("event_log") or lie == "event-text":
        found |= {f"rtmr{index - 1}": sha384(bytes(48) + sha384(data).digest()).digest() for index, data in EVENTS}
    return found


def log(*, altered: bool = False) -> bytes:
    """A crypto-agile event log with one SHA-384 entry for each runtime register, padded with 0xFF as firmware does.

    ``altered``: the text of one is not what was measured, the digest still is.
    """
    header = b"Spec ID Event03\0" + bytes.fromhex("0000000000020002 01000000 0c003000 00")
    out = (1).to_bytes(4, "little") + (3).to_bytes(4, "little") + bytes(20)
    out += len(header).to_bytes(4, "little") + header
    for index, data in EVENTS:
        text = data.upper() if altered else data
        out += struct.pack("<IIIH", index, EV_EFI_ACTION, 1, 0x0C) + sha384(data).digest()
        out += len(text).to_bytes(4, "little") + text
    return out + b"\xff" * 256
