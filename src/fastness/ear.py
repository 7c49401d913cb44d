"""Results for others: EAR, EAT attestation results (draft-ietf-rats-ear-04), as signed JWTs; written and read back.

One token holds one appraisal (``submods``) for each independent piece of evidence. Its AR4SI trustworthiness vector
(draft-ietf-rats-ar4si-09, section 2.3) follows from claims and findings by :data:`VECTOR`; a claim that evidence does
not speak about is left out (0, no claim). The status is never better than the worst of vector and verdict.

===================== =============================================================================================
claim                 value
===================== =============================================================================================
``instance-identity`` 2 a chip that its vendor's root names; 97 a simulated root
``hardware``          2 genuine and up to date; 32 the vendor names a lower status; 96 revoked; 97 simulated
``configuration``     2 no debug, and a policy accepts; 3 no debug; 96 debug
``executables``       3 a rule demands a measurement and it is met; 33 it is not met
``runtime-opaque``    2 memory encrypted; 32 isolated only; 96 the host can read it (debug, vTPM of a host, simulated)
all of them           99 cryptography says no
===================== =============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fastness import __version__
from fastness.claims.finding import Outcome
from fastness.errors import Malformed, MissingCollateral, NotGenuine
from fastness.pki import jws
from fastness.pki.signer import Signer
from fastness.result import Result
from fastness.wire import x509

PROFILE = "tag:ietf.org,2026:rats/ear#04"
TYPE = "eat-jwt"
DEVELOPER = "https://fastness.example"
LIFETIME = timedelta(days=1)
LEEWAY = timedelta(minutes=2)
MAX_SUBMODS = 64
AFFIRMING, WARNING, CONTRAINDICATED, NONE = "affirming", "warning", "contraindicated", "none"
STATUSES = (NONE, AFFIRMING, WARNING, CONTRAINDICATED)
"""Better to worse, after "none", which makes no claim."""

ENCRYPTED = frozenset({"snp", "tdx", "sgx", "sev", "cca", "nvgpu"})
ISOLATED = frozenset({"nitro"})
UP_TO_DATE, REVOKED = "UpToDate", "Revoked"


def _identity(result: Result, claims: dict[str, Any]) -> int:
    if claims.get("simulated"):
        return 97
    return 2 if claims.get("hardware_id") else 0


def _hardware(result: Result, claims: dict[str, Any]) -> int:
    if claims.get("simulated"):
        return 97
    status = claims.get("tcb_status", UP_TO_DATE)
    return 2 if status == UP_TO_DATE else 96 if status == REVOKED else 32


def _configuration(result: Result, claims: dict[str, Any]) -> int:
    if claims.get("debug") is None:
        return 0
    return 96 if claims["debug"] else 2 if result.verdict == "accept" else 3


def _executables(result: Result, claims: dict[str, Any]) -> int:
    outcomes = {
        finding.outcome
        for finding in result.findings
        if finding.check.startswith("policy.rule.")
        and any(where.field.startswith("measurements") for where in finding.where)
    }
    if not outcomes:
        return 0
    return 3 if outcomes == {Outcome.HELD} and result.verdict == "accept" else 33


def _opaque(result: Result, claims: dict[str, Any]) -> int:
    tees = {result.tee, *result.within}
    if claims.get("debug") or claims.get("simulated") or tees <= {"tpm", "nil"}:
        return 96
    return 2 if tees & ENCRYPTED else 32 if tees & ISOLATED else 0


VECTOR: dict[str, Callable[[Result, dict[str, Any]], int]] = {
    "instance-identity": _identity,
    "configuration": _configuration,
    "executables": _executables,
    "hardware": _hardware,
    "runtime-opaque": _opaque,
}
BROKEN = 99


def vector(result: Result) -> dict[str, int]:
    """The AR4SI vector of ``result``."""
    if result.genuine is False:
        return dict.fromkeys(VECTOR, BROKEN)
    if result.claims is None:
        return {}
    claims = dict(result.claims)
    return {name: value for name, tell in VECTOR.items() if (value := tell(result, claims))}


def tier(value: int) -> str:
    """The trustworthiness tier of a value (AR4SI section 2.3.2)."""
    if 2 <= value <= 31:
        return AFFIRMING
    return WARNING if 32 <= value <= 95 else CONTRAINDICATED if 96 <= value <= 127 else NONE


def status(result: Result, trust: dict[str, int]) -> str:
    """The overall tier: what the verdict says, lowered to the worst of the vector; "none" where nobody decided."""
    if result.genuine is False or result.verdict == "refuse":
        return CONTRAINDICATED
    if result.verdict is None:
        return NONE
    return max([AFFIRMING, *map(tier, trust.values())], key=STATUSES.index)


def appraisal(result: Result) -> dict[str, Any]:
    """One entry of ``submods``."""
    trust = vector(result)
    whole = result.to_json()
    found: dict[str, Any] = {"ear_status": status(result, trust)}
    if trust:
        found["ear_trustworthiness_vector"] = trust
    if result.policy is not None:
        found["ear_appraisal_policy_ids"] = [f"sha256:{result.policy['sha256']}"]
    if result.claims is not None:
        found["ear_attester_claims"] = whole.pop("claims")
    found["ear_verifier_claims"] = {name: whole[name] for name in SAID if whole.get(name) not in (None, [], "")}
    return found


SAID = (
    "schema",
    "tee",
    "genuine",
    "verdict",
    "decided_by",
    "findings",
    "anchors",
    "within",
    "not_checked",
    "error",
    "at",
)
"""What of ``fastness/verdict/v1`` a token carries besides the claims."""


def make(results: Sequence[Result], key: Signer, *, at: datetime, nonce: bytes | None = None) -> str:
    """The signed token for ``results``, made at the time ``at``."""
    names = [f"{item.tee or 'unknown'}{index or ''}" for index, item in enumerate(results)]
    payload: dict[str, Any] = {
        "eat_profile": PROFILE,
        "iat": int(at.timestamp()),
        "exp": int((at + LIFETIME).timestamp()),
        "ear_verifier_id": {"developer": DEVELOPER, "build": f"fastness {__version__}"},
        "submods": {name: appraisal(item) for name, item in zip(names, results, strict=True)},
    }
    if nonce is not None:
        payload["eat_nonce"] = jws.encode(nonce)
    return jws.sign(payload, key, TYPE)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was verified: its payload, who signed it, the worst status of its appraisals."""

    payload: dict[str, Any]
    signer: str
    status: str


def read(
    token: str, trusted: Iterable[x509.PublicKey], *, at: datetime, nonce: bytes | None = None, where: str = "token"
) -> Token:
    """A token signed by one of ``trusted``, of this profile, within its times, and over ``nonce`` if one is named.

    Raises:
        Malformed: no token, or claims of another form than the profile's.
        NotGenuine: ``ear.signature``, ``ear.nonce``.
        MissingCollateral: ``ear.time``: made later than ``at``, or expired.
    """
    payload, by = jws.verify(token, trusted, where)
    _form(payload, where)
    made = datetime.fromtimestamp(payload["iat"], UTC)
    ends = datetime.fromtimestamp(payload["exp"], UTC) if "exp" in payload else None
    if made > at + LEEWAY or (ends is not None and ends + LEEWAY < at):
        raise MissingCollateral(
            "a result that is valid now", check="ear.time", where=where,
            hint=f"this one holds from {made:%Y-%m-%dT%H:%M:%SZ}"
            + (f" to {ends:%Y-%m-%dT%H:%M:%SZ}" if ends else "") + ": have the evidence verified again",
        )  # fmt: skip
    if nonce is not None and payload.get("eat_nonce") != jws.encode(nonce):
        raise NotGenuine(
            "ear.nonce", "the result is not over the nonce that was named", where=where,
            hint="an old result, or one of another conversation: ask again",
        )  # fmt: skip
    worst = max((item["ear_status"] for item in payload["submods"].values()), key=_weight)
    return Token(payload, by, worst)


def _weight(text: str) -> int:
    """ "None" counts as worse than affirming: nobody said that it may be relied upon."""
    return {AFFIRMING: 0, NONE: 1, WARNING: 2, CONTRAINDICATED: 3}[text]


def _form(payload: dict[str, Any], where: str) -> None:
    def need(holds: bool, what: str) -> None:
        if not holds:
            raise Malformed(f"not an EAR of this profile: {what}", where=where, hint=f"eat_profile {PROFILE}")

    need(payload.get("eat_profile") == PROFILE, "eat_profile")
    for name in ("iat", "exp"):
        value = payload.get(name, 0 if name == "exp" else None)
        need(type(value) is int and 0 <= value < 1 << 33, name)
    identity = payload.get("ear_verifier_id")
    need(isinstance(identity, dict) and all(isinstance(identity.get(key), str) for key in ("developer", "build")),
         "ear_verifier_id")  # fmt: skip
    submods = payload.get("submods")
    need(isinstance(submods, dict) and 1 <= len(submods) <= MAX_SUBMODS, "submods")
    for name, item in payload["submods"].items():
        need(isinstance(item, dict) and item.get("ear_status") in STATUSES, f"{name[:40]}: ear_status")
        trust = item.get("ear_trustworthiness_vector", {})
        sound = isinstance(trust, dict) and all(type(value) is int and -128 <= value <= 127 for value in trust.values())
        need(sound, f"{name[:40]}: ear_trustworthiness_vector")
