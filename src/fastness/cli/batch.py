"""``fastness verify --batch``: a resident verifier. One JSON object a line in, one a line out, in order.

In: ``{"id": any, "paths": [PATH…], "evidence": [base64…], "at": TIME, "nonce": HEX, "report_data": HEX}``; all but one
of ``paths`` and ``evidence`` may be absent; the options of the command line hold for each line that says nothing else.
Out: the ``fastness/verdict/v1`` (or ``fastness/verdicts/v1``) document with ``id`` and ``exit_code``; for a line that
cannot be answered ``{"id", "schema": "fastness/error/v1", "error": {…}, "exit_code"}``. Chains and collateral seen once
are not verified again; their validity is checked every time.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import gc
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from fastness.attestation import answer, question
from fastness.cli.values import MAX_NONCE, hexadecimal, when
from fastness.cli.verify import moment
from fastness.cli.words import as_json
from fastness.collateral import anchors_file
from fastness.collateral.gather import Source, gather
from fastness.errors import Bug, FastnessError, UsageError
from fastness.result import ERROR, document, error_json, exit_code

if TYPE_CHECKING:
    from fastness.appraise.policy import Policy
    from fastness.pki.anchors import Anchors

_BYTES = ("nonce", "report-data")
_FORM = '{"paths": ["quote.bin"], "evidence": ["BASE64"], "at": "2026-11-23T12:00:00Z", "nonce": "HEX"}'
MAX_LINE = 16 << 20
"""Longest line of input, in bytes."""
KEYS = frozenset(("id", "paths", "evidence", "at", "nonce", "report_data"))


def serve(options: argparse.Namespace, policy: Policy | None) -> int:
    """Answers until standard input ends; 0 then.

    Raises:
        UsageError: the options cannot hold for any line.
    """
    if options.paths:
        what = "--batch reads what to verify from standard input"
        raise UsageError(what, where=options.paths[0], hint="leave the paths out")
    gc.enable()
    nonce, report_data = (
        hexadecimal(f"--{name}", getattr(options, name.replace("-", "_")), MAX_NONCE) for name in _BYTES
    )
    at, anchors = None if options.at == "bundle" else when(options.at), anchors_file.load(options.anchors)
    question(at, nonce, report_data, policy, anchors, offline=True)
    for line in _lines():
        if line.strip():
            reply = _reply(line, options, policy, anchors)
            sys.stdout.write(as_json(reply, separators=(",", ":")) + "\n")
            sys.stdout.flush()
    return 0


def _lines() -> Iterator[bytes]:
    """The lines of standard input; of one that is too long its first :data:`MAX_LINE` + 1 bytes."""
    while line := sys.stdin.buffer.readline(MAX_LINE + 1):
        rest = line
        while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
            rest = sys.stdin.buffer.readline(MAX_LINE + 1)
        yield line


def _reply(line: bytes, options: argparse.Namespace, policy: Policy | None, anchors: Anchors) -> dict[str, Any]:
    identity: Any = None
    try:
        if len(line) > MAX_LINE:
            raise UsageError(f"a line holds at most {MAX_LINE} bytes", where="standard input", hint="name its paths")
        request = _object(line)
        identity = request.get("id")
        _known(request)
        gathered = gather(_sources(request))
        asked = question(
            moment(request.get("at", options.at), gathered, "at"),
            hexadecimal("nonce", request.get("nonce", options.nonce), MAX_NONCE),
            hexadecimal("report_data", request.get("report_data", options.report_data), MAX_NONCE),
            policy,
            anchors,
            offline=options.offline,
        )
        results = answer(gathered, asked)
    except Exception as unmeant:  # one line ends nobody's service
        error = unmeant if isinstance(unmeant, FastnessError) else Bug(unmeant)
        return {"id": identity, "schema": ERROR, "error": error_json(error), "exit_code": error.exit_code}
    return {"id": identity, **document(results), "exit_code": exit_code(results)}


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise UsageError("not a line of JSON", where="standard input", hint=_FORM) from None
    if not isinstance(value, dict):
        raise UsageError("a line must be an object", where="standard input", hint=_FORM)
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _known(value: dict[str, Any]) -> None:
    unknown = sorted(set(value) - KEYS)
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r}", where=unknown[0], hint="known: " + ", ".join(sorted(KEYS)))
    for name in ("at", "nonce", "report_data"):
        if not isinstance(value.get(name, ""), str):
            raise UsageError(f"{name} must be a text", where=name, hint=_FORM)


def _sources(request: dict[str, Any]) -> list[Source]:
    paths, evidence = request.get("paths", []), request.get("evidence", [])
    for name, value in (("paths", paths), ("evidence", evidence)):
        if not _texts(value):
            raise UsageError(f"{name} must be a list of texts", where=name, hint=_FORM)
    if "-" in paths:
        hint = 'standard input carries the lines themselves: "evidence": ["BASE64"]'
        raise UsageError("- is no path here", where="paths", hint=hint)
    try:
        return [*paths, *(base64.b64decode(item, validate=True) for item in evidence)]
    except (binascii.Error, ValueError):
        raise UsageError("evidence must be base64", where="evidence", hint=_FORM) from None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
