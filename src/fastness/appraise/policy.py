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
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from fastness import packaged
from fastness import tee as tees
from fastness.appraise import canonical, reader
from fastness.appraise.rules import Rule, Waiver
from fastness.appraise.sets import NamedSet
from fastness.appraise.verdict import Verdict, refusal
from fastness.claims.finding import Finding, Outcome, Where
from fastness.errors import UsageError
from fastness.wire import toml

__all__ = ["PROFILES", "Policy", "Rule", "Waiver", "load", "parse"]

PROFILES = ("strict", "default", "development")
MAX_POLICY = 1 << 20
MAX_ENVELOPE = 48 << 20
"""Largest signed policy, in bytes: reference values and their auditors are inside."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. ``digest`` is the SHA-256 of ``canonical``, its canonical form; ``text`` is what was read.

    ``signed`` says who signed it, where owners were asked for; ``sets`` are those its rules name by ``@name``.
    """

    name: str
    file: str
    text: str
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    digest: str
    canonical: str = ""
    signed: tuple[str, ...] = ()
    sets: tuple[NamedSet, ...] = ()
    types: frozenset[str] = frozenset()
    """What :meth:`evidence_types` answers."""

    def waiver(self, check: str) -> Waiver | None:
        """The waiver of ``check``, if there is one."""
        return next((item for item in self.waivers if fnmatchcase(check, item.check)), None)

    def evidence_types(self) -> frozenset[str]:
        """The TEEs an accepting rule could accept; ``nil`` only where one names it."""
        return self.types

    def refuse_evidence(self, has: tuple[str, ...], *, at: datetime) -> Verdict:
        """The refusal of a keep that has only evidence this policy never accepts."""
        types = ", ".join(sorted(self.evidence_types())) or "nothing"
        shown = ", ".join(name if name in tees.NAMES else "unknown" for name in has)
        hint = f"deploy to a host with one of {types}, or add a rule that names {shown}"
        if "nil" in has:
            hint = (
                f"nil protects nothing: deploy to a host with one of {types}; to try things out, --policy development"
            )
        finding = Finding(
            "policy.evidence-type",
            Outcome.FAILED,
            expected=f"evidence of {types}",
            actual=f"{shown}{' (SIMULATED)' if 'nil' in has else ''}",
            where=(Where(file=self.file),),
            because="no accepting rule of the policy can ever hold for it",
            hint=hint,
        )
        return refusal("policy.evidence-type", (finding,), self.name, self.digest, at)


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
        from fastness.appraise import signed

        return signed.policy(data, name, demanded or None, at or datetime.now(UTC))
    if demanded:
        what = "the policy is not signed, and owners are asked for"
        raise UsageError(what, where=name, hint="fastness policy sign FILE --key KEY")
    return parse(_decoded(data, name), name)


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
            hint=f"{hint}a file, or one of {', '.join(PROFILES)}",
        ) from None
    limit = MAX_ENVELOPE if _is_envelope(data) else MAX_POLICY
    if len(data) > limit:
        raise UsageError(f"a policy has at most {limit} bytes", where=name)
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
