"""Policies: TOML read into frozen values. A policy is data with a digest; errors in it have line and column.

::

    id = "ours"                                 # optional
    [sets]                                      # named sets of text, used as "@name"
    keep-images = ["9f3a…"]
    [[rule]]                                    # refusals override acceptances, whatever the order
    id = "no-milan"
    effect = "refuse"
    why = "root seed extractable (2026-05)"
    when = { "cpu.vendor" = "amd", "cpu.generation" = "milan" }
    [[rule]]                                    # nothing is accepted by default
    id = "amd-rest"
    effect = "accept"
    when = { tee = "snp" }
    require = { "tcb.reported.snp" = ">=23", "measurements.launch" = "@keep-images" }
    [[waive]]                                   # a check that may stay unanswered, by name, with a reason
    check = "snp.revocation"
    why = "air-gapped; CRLs are reviewed by hand"
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fastness import packaged
from fastness import tee as tees
from fastness.appraise import canonical, reader
from fastness.appraise.rules import Policy, Rule, Waiver
from fastness.errors import UsageError
from fastness.wire import toml

__all__ = ["PROFILES", "Policy", "Rule", "Waiver", "load", "opened", "parse"]

PROFILES = ("strict", "default", "development")
MAX_POLICY = 1 << 20
MAX_ENVELOPE = 48 << 20
"""Largest signed policy, in bytes: reference values and their auditors are inside."""


def load(name: str, owners: str | Path | None = None, *, at: datetime | None = None) -> Policy:
    """The built-in profile ``name``, or the policy in the file of that name: TOML, or a signed envelope.

    Args:
        name: a profile, or a file.
        owners: a file of keys; None for the one that ``FASTNESS_OWNERS`` names, empty for none. Where there is one, the
            policy must be signed by enough of them.
        at: the time their signatures must count at (now).

    Raises:
        UsageError: no such profile or file, or a fault in it, with file, line and column; not signed as owners demand.
        Malformed: an envelope that cannot be read.
    """
    demanded = os.environ.get("FASTNESS_OWNERS") if owners is None else owners
    if name in PROFILES:
        if demanded:
            what = f"the profile {name!r} is not signed, and owners are asked for"
            raise UsageError(what, where=str(demanded), hint=f"fastness policy show {name} > FILE, and sign it")
        return parse(_profile(name), name)
    data = _read(name)
    if _is_envelope(data):
        return opened(data, name, demanded or None, at or datetime.now(UTC))
    if demanded:
        what = "the policy is not signed, and owners are asked for"
        raise UsageError(what, where=name, hint="fastness policy sign FILE --key KEY")
    return parse(_decoded(data, name), name)


def opened(data: bytes, where: str, owners: str | Path | None, at: datetime) -> Policy:
    """The policy in a signed envelope; with a file of ``owners``, only if enough of them signed it at ``at``.

    Lines in findings are those of the payload: `fastness policy show` prints it.

    Raises:
        Malformed, UsageError: no envelope of a policy, not signed by enough of them, a payload that is not canonical.
    """
    from fastness.appraise import signed  # DSSE and keys: most policies are plain files

    payload, by = signed.opened(data, where, owners, at)
    try:
        chosen = parse(payload.decode(), where)
    except UnicodeDecodeError:
        raise UsageError("the policy in the envelope is not UTF-8", where=where) from None
    if chosen.canonical.encode() != payload:
        # anything else could rest on files beside it, which nobody signed
        hint = "fastness policy sign signs the canonical form"
        raise UsageError("the policy in the envelope is not in canonical form", where=where, hint=hint)
    return replace(chosen, signed=by)


def parse(text: str, file: str) -> Policy:
    """The policy written in ``text``; ``file`` names it in errors and findings, and is where includes start from."""
    parts = reader.read(text, file, _fetch)
    whole = canonical.dump(parts.id, parts.sets, parts.references, parts.rules, parts.waivers)
    digest = hashlib.sha256(whole.encode()).hexdigest()
    types = frozenset(
        name for rule in parts.rules if rule.effect == "accept" for name in tees.NAMES if rule.admits(name)
    )
    name = parts.id or Path(file).stem
    return Policy(name, file, text, parts.rules, parts.waivers, digest, whole, sets=parts.named, types=types)


def _fetch(name: str) -> str:
    """The text of an included policy. Envelopes are not included: whose signature would count?"""
    return _profile(name) if name in PROFILES else _decoded(_read(name), name)


def _profile(name: str) -> str:
    return packaged.text("appraise", "profiles", f"{name}.toml")


def _read(name: str) -> bytes:
    path = Path(name)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ENVELOPE + 1)
    except OSError as error:
        close = toml.nearest(name, PROFILES)
        hint = f"did you mean {close!r}? " if close else ""
        raise UsageError(
            f"the policy {name!r} cannot be read: {(error.strerror or '').lower()}",
            where=name or repr(name),
            hint=f"{hint}a file, or one of {', '.join(PROFILES)}",
        ) from None
    limit = MAX_ENVELOPE if _is_envelope(data) else MAX_POLICY
    if len(data) > limit:
        raise UsageError(f"a policy has at most {limit} bytes", where=name, hint="a policy is text: is it this file?")
    return data


def _is_envelope(data: bytes) -> bool:
    """Whether this is a JSON object, which no TOML is; :mod:`fastness.pki.dsse` is not loaded to say no."""
    return data.lstrip(b" \t\r\n")[:1] == b"{"


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            "the policy is not UTF-8", where=f"{name}, byte {error.start}", hint="save it as UTF-8"
        ) from None
