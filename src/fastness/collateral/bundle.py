"""Bundles: evidence and everything it was verified with in one file, so that it verifies offline, years later.

``{"schema": "fastness/bundle/v1", "at": TIME, "items": [{"kind", "source", "data": base64}]}``. ``at`` is the time the
contents were good at; it is used only by ``--at bundle``: a file does not set the clock.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from fastness.collateral.gather import Gathered, place
from fastness.collateral.json_forms import BUNDLE
from fastness.wire.der import zulu


def make(gathered: Gathered, at: datetime) -> dict[str, Any]:
    """The bundle of ``gathered``, in a fixed order: the same inputs give the same file."""
    collateral = gathered.collateral
    # evidence that came in a request or certificate is bound to its key: that travels whole
    rows = [
        (found.tee, found.carrier.raw, found.source) if found.carrier else (found.tee, found.data, found.source)
        for found in gathered.evidence
    ]
    rows += [("certificate", item.raw, item.subject_cn) for item in collateral.certificates]
    rows += [("crl", item.raw, item.issuer_cn) for item in collateral.crls]
    assembled = {"quote", "signature", "ak", "pcrs", "hcl_report", "event_log", "runtime_data"}
    rows += [(item.kind, item.data, item.source) for item in collateral.documents if item.kind not in assembled]
    items = [
        {"kind": kind, "source": place(source), "data": base64.b64encode(data).decode()}
        for kind, data, source in sorted(set(rows))
    ]
    return {"schema": BUNDLE, "at": zulu(at), "items": items}
