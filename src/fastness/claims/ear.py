"""EAT Attestation Results (draft-ietf-rats-ear-04) as JWT: written, and read back.

The JSON names are those of revision 04, ``eat_profile`` ``tag:ietf.org,2026:rats/ear#04``; earlier revisions wrote
dots and hyphens in their place (``ear.status``), and libraries still do: with the profile of 2023 those are written and
read too. One submodule for each attester: ``cpu``, ``gpu``,
``tpm``, with ``-2`` and so on after a name that is taken.

What is read back is checked in this order:

1. the token: size, base64url, JSON, and the signature by the key one trusts (:mod:`fastness.pki.jose`);
2. ``ear.profile``: the profile;
3. form: the claims this revision makes mandatory, tiers and vectors within their ranges, no status better than its
   vector;
4. ``ear.time``: not issued in the future, within ``nbf`` and ``exp`` where stated, no older than asked;
5. ``ear.nonce``: the nonce asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from fastness.claims import vector
from fastness.errors import MalformedEvidence, NotGenuine, UsageError
from fastness.pki import jose

PROFILE = "tag:ietf.org,2026:rats/ear#04"
PROFILE_2023 = "tag:github.com,2023:veraison/ear"
PROFILES = {"04": PROFILE, "2023": PROFILE_2023}
OLDER = {
    "ear_status": "ear.status",
    "ear_trustworthiness_vector": "ear.trustworthiness-vector",
    "ear_verifier_id": "ear.verifier-id",
}
"""Names of revision 04 → of 2023; there, too, one ``ear.appraisal-policy-id`` stands for the list of them."""
KINDS = {"nvgpu": "gpu", "tpm": "tpm"}
"""Name of the submodule by TEE; any other is ``cpu``."""
LEEWAY = 60
"""Seconds by which clocks may differ."""
MAX_SUBMODS = 64


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What is said of one attester. ``policy`` is the SHA-256 of the policy's canonical form, hexadecimal, or none."""

    tee: str
    status: str
    vector: Mapping[str, int]
    policy: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a submodule."""
        out: dict[str, Any] = {"ear_status": self.status, "ear_trustworthiness_vector": dict(self.vector)}
        if self.policy is not None:
            out["ear_appraisal_policy_ids"] = [f"urn:sha256:{self.policy}"]
        return out


@dataclass(frozen=True, slots=True)
class Ear:
    """A result whose signature held. ``submods`` is name → claims as they stand; ``status`` the worst of them."""

    status: str
    issued: int
    developer: str
    build: str
    nonces: tuple[str, ...]
    submods: Mapping[str, Mapping[str, Any]]


def write(
    appraisals: tuple[Appraisal, ...],
    key: jose.Private,
    *,
    at: datetime,
    build: str,
    nonce: bytes | None = None,
    profile: str = "04",
) -> str:
    """The token.

    Args:
        appraisals: of each attester, outermost first.
        key: what it is signed with.
        at: the time judged at; it becomes ``iat``, so that judging by the past never looks fresh.
        build: version of this verifier.
        nonce: what the evidence was found fresh over, 8 to 64 bytes (RFC 9711 section 4.1).
        profile: one of :data:`PROFILES`.

    Raises:
        UsageError: a nonce an EAT cannot carry.
    """
    whole: dict[str, Any] = {
        "eat_profile": PROFILE,
        "iat": int(at.timestamp()),
        "ear_verifier_id": {"developer": "Fastness", "build": build},
    }
    if nonce is not None:
        if not 8 <= len(nonce) <= 64:
            raise UsageError(f"an EAR carries 8 to 64 bytes of nonce, not {len(nonce)}", where="--nonce")
        whole["eat_nonce"] = jose.encode(nonce)
    submods: dict[str, Any] = {}
    for item in appraisals:
        name = kind = KINDS.get(item.tee, "cpu")
        count = 1
        while name in submods:
            count += 1
            name = f"{kind}-{count}"
        submods[name] = item.to_json()
    whole["submods"] = submods
    if profile != "04":
        whole = _older(whole) | {"eat_profile": PROFILES[profile]}
        whole["submods"] = {name: _older(item) for name, item in submods.items()}
    return key.sign(json.dumps(whole, separators=(",", ":"), sort_keys=True).encode())


def read(
    token: bytes, trusted: jose.Public, *, at: datetime, nonce: bytes | None = None, max_age: int | None = None
) -> Ear:
    """What the token says, once every check of this module's list held.

    Raises:
        MalformedEvidence: no EAR of this revision.
        NotGenuine: a check did not hold.
    """
    whole = jose.verify(token, trusted, "ear")
    _profile(whole)
    if whole["eat_profile"] != PROFILE:
        whole = _newer(whole)
        if isinstance(whole.get("submods"), dict):
            whole["submods"] = {name: _newer(item) for name, item in whole["submods"].items()}
    found = _form(whole)
    _timely(whole, found.issued, int(at.timestamp()), max_age)
    if nonce is not None and jose.encode(nonce) not in found.nonces:
        raise NotGenuine(
            "ear.nonce", "not over the nonce asked for", where="eat_nonce", hint="an old result: have it made again"
        )
    return found


def _older(claims: Mapping[str, Any]) -> dict[str, Any]:
    out = {OLDER.get(name, name): value for name, value in claims.items()}
    ids = out.pop("ear_appraisal_policy_ids", [])
    return out | ({"ear.appraisal-policy-id": ids[0]} if ids else {})


def _newer(claims: Any) -> Any:
    """The reverse; each profile's names are read under that profile only."""
    if not isinstance(claims, dict):
        return claims
    names = {old: new for new, old in OLDER.items()}
    out = {names.get(name, name): value for name, value in claims.items() if name not in OLDER}
    policy = out.pop("ear.appraisal-policy-id", None)
    return out | ({"ear_appraisal_policy_ids": [policy]} if policy is not None else {})


def _profile(whole: Mapping[str, Any]) -> None:
    if whole.get("eat_profile") not in PROFILES.values():
        raise NotGenuine(
            "ear.profile",
            f"the profile is {str(whole.get('eat_profile'))[:80]!r}, not {PROFILE!r}",
            where="eat_profile",
            hint="another kind of token, or an earlier draft's: have it made by revision 04",
        )


def _form(whole: Mapping[str, Any]) -> Ear:
    issued, verifier, submods = whole.get("iat"), whole.get("ear_verifier_id"), whole.get("submods")
    if not _is_time(issued):
        raise _wrong("iat", "seconds since 1970", issued)
    if not isinstance(verifier, dict) or not all(
        isinstance(verifier.get(name), str) for name in ("developer", "build")
    ):
        raise _wrong("ear_verifier_id", "developer and build", verifier)
    if not isinstance(submods, dict) or not 1 <= len(submods) <= MAX_SUBMODS:
        raise _wrong("submods", f"1 to {MAX_SUBMODS} appraisals", submods)
    nonces = whole.get("eat_nonce", [])
    nonces = nonces if isinstance(nonces, list) else [nonces]
    if not all(isinstance(item, str) and 8 <= len(item) <= 88 for item in nonces):
        raise _wrong("eat_nonce", "texts of 8 to 88 characters", nonces)
    tiers = [_submod(name, item) for name, item in submods.items()]
    if "ear_status" in whole:
        tiers.append(_tier("ear_status", whole["ear_status"]))
    # of several attesters one that nothing is said of is not covered by the others
    status = "none" if "none" in tiers and vector.worst(tiers) == "affirming" else vector.worst(tiers)
    return Ear(status, issued, verifier["developer"], verifier["build"], tuple(nonces), submods)


def _submod(name: str, item: Any) -> str:
    where = f"submods.{name[:40]}"
    if not isinstance(item, dict):
        raise _wrong(where, "an appraisal", item)
    status = _tier(f"{where}.ear_status", item.get("ear_status"))
    claims = item.get("ear_trustworthiness_vector", {})
    if not isinstance(claims, dict) or not claims.keys() <= set(vector.NAMES):
        raise _wrong(f"{where}.ear_trustworthiness_vector", "AR4SI claims", claims)
    for value in claims.values():
        if isinstance(value, bool) or not isinstance(value, int) or not -128 <= value <= 127:
            raise _wrong(f"{where}.ear_trustworthiness_vector", "numbers of one byte", value)
    floor = vector.worst(vector.tier(value) for value in claims.values())
    if vector.TIERS.index(floor) >= 2 and vector.TIERS.index(status) < vector.TIERS.index(floor):
        raise _wrong(f"{where}.ear_status", f"no better than its vector ({floor})", status)
    policies = item.get("ear_appraisal_policy_ids", [])
    if not isinstance(policies, list) or not all(isinstance(text, str) for text in policies):
        raise _wrong(f"{where}.ear_appraisal_policy_ids", "a list of texts", policies)
    return status


def _tier(where: str, value: Any) -> str:
    if not isinstance(value, str) or value not in vector.TIERS:
        raise _wrong(where, f"one of {', '.join(vector.TIERS)}", value)
    return value


def _timely(whole: Mapping[str, Any], issued: int, now: int, max_age: int | None) -> None:
    for name in ("nbf", "exp"):
        if name in whole and not _is_time(whole[name]):
            raise _wrong(name, "seconds since 1970", whole[name])
    if max(issued, whole.get("nbf", issued)) > now + LEEWAY:
        raise _untimely("it is of the future", "iat")
    if whole.get("exp", now + 1) <= now - LEEWAY:
        raise _untimely("it has expired", "exp")
    if max_age is not None and now - issued > max_age + LEEWAY:
        raise _untimely(f"it is {now - issued} seconds old, and {max_age} are allowed", "iat")


def _is_time(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def _untimely(what: str, where: str) -> NotGenuine:
    return NotGenuine("ear.time", what, where=where, hint="have it made again, or say the time to judge at (--at)")


def _wrong(name: str, need: str, have: Any) -> MalformedEvidence:
    return MalformedEvidence(name, 0, need, str(have)[:60] if isinstance(have, str | int) else type(have).__name__)
