"""Records to judge again, as `fastness verify --json` writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from fastness.appraise.policy import parse
from fastness.appraise.verdict import appraise
from fastness.claims.model import Claims, Cpu

AT = datetime(2026, 11, 1, tzinfo=UTC)
GENOA = Claims("snp", Cpu("amd", 25, 17, 1, "genoa", None, "report"), debug=False, tcb={"reported": {"snp": 23}})
ANY = '[[rule]]\nid = "a"\neffect = "accept"\nwhen = { tee = "snp" }\nrequire = { debug = false }\n'


def row(name: str, held: Claims = GENOA, **more: Any) -> dict[str, Any]:
    """The record of a keep, as :data:`ANY` judged it, with ``more`` in place of what it says."""
    return {**appraise((held,), (), parse(ANY, "p"), at=AT).to_json(), "id": name, **more}


def line(name: str, **more: Any) -> bytes:
    """The same as a line of a file."""
    return json.dumps(row(name, **more)).encode() + b"\n"
