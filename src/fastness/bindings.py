"""What evidence is bound to, beyond its own cryptography: the nonce asked for, and the key of what carried it.

A binding that does not hold is :class:`~fastness.errors.NotGenuine`, exit 4: the evidence may be real, but it is not
evidence of this conversation or key.
"""

from __future__ import annotations

from typing import Any

from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims
from fastness.collateral.gather import Gathered, nonces
from fastness.collateral.heap import Found
from fastness.errors import NotGenuine


def of(
    found: Found, claims: Claims, gathered: Gathered, *, nonce: bytes | None, report_data: bytes | None
) -> list[Finding]:
    """The findings on what ``found`` is bound to.

    Raises:
        NotGenuine: ``binding.nonce``, ``binding.carrier``, ``binding.key``.
    """
    findings = []
    if nonce is not None:
        findings.append(_fresh(nonce, claims, "nonce", *_freshness(claims)))
    if report_data is not None:
        findings.append(_fresh(report_data, claims, "report_data", "report_data", _hex(claims.report_data)))
    if nonce is None and report_data is None:
        findings += _beside_nonce(gathered, claims)
    if found.carrier is not None:
        from fastness.collateral.carriers import bound

        findings += _carried(found, bound(found.carrier, _hex(claims.report_data)))
    return findings


def _hex(text: Any) -> bytes:
    try:
        return bytes.fromhex(text or "")
    except (TypeError, ValueError):
        return b""


def _freshness(claims: Claims) -> tuple[str, bytes]:
    """The field a nonce stands in, and its bytes: the TEE's own where it has one, report_data otherwise."""
    for name in ("nonce", "challenge"):
        own = claims.extra.get(name)
        if own and isinstance(own, str):
            return f"{claims.tee}.{name}", _hex(own)
    return "report_data", _hex(claims.report_data)


def matches(wanted: bytes, have: bytes) -> bool:
    """Whether ``have`` is ``wanted``, padded with zeros; in constant time."""
    import hmac

    return bool(have) and len(wanted) <= len(have) and hmac.compare_digest(wanted.ljust(len(have), b"\0"), have)


_OLD = "old evidence, or evidence of another conversation: ask again, over a nonce you have just drawn"
_SPELT = "the evidence holds its hexadecimal digits as text instead: if it was asked for so, give --nonce those bytes"


def _fresh(wanted: bytes, claims: Claims, field: str, place: str, have: bytes) -> Finding:
    # zeros are what evidence holds that answers nobody: no nonce, though they may be the report_data asked for
    if not matches(wanted, have) or (field == "nonce" and not any(wanted)):
        raise NotGenuine(
            "binding.nonce",
            f"the {field} asked for is not the one in the evidence",
            where=str(claims.spans.get(place, place)),
            hint=_SPELT if matches(wanted.hex().encode(), have.lower()) else _OLD,
        )
    return Finding("binding.nonce", Outcome.HELD, expected=wanted.hex(), actual=have.hex())


def _beside_nonce(gathered: Gathered, claims: Claims) -> list[Finding]:
    _, have = _freshness(claims)
    files = nonces(gathered.collateral)
    held = [item for item in files if any(item.data) and matches(item.data, have)]
    if held or not files:
        return [Finding("binding.nonce", Outcome.HELD, actual=f"the nonce in {item.source}") for item in held[:1]]
    return [
        Finding(
            "binding.nonce",
            Outcome.UNKNOWN,
            expected="a nonce that somebody asked for",
            actual=f"{files[0].source} may be a nonce, and the evidence does not hold it",
            hint="say --nonce to have it decided",
        )
    ]


def _carried(found: Found, holds: bool) -> list[Finding]:
    """(3) for a request or RA-TLS certificate: it is signed by its key, and the evidence speaks for that key."""
    carrier = found.carrier
    if carrier is None:
        return []
    if not carrier.signed:
        raise NotGenuine(
            "binding.carrier",
            f"the {carrier.kind} is not signed by its own key",
            where=found.source,
            hint="it was altered on the way; get it again",
        )
    if not holds:
        raise NotGenuine(
            "binding.key",
            f"the evidence does not speak for the key of the {carrier.kind} it came in",
            where="report_data",
            hint="evidence of another machine or key was put into it: do not trust this key",
        )
    return [
        Finding("binding.carrier", Outcome.HELD, actual=f"{carrier.kind}, extension {carrier.oid}"),
        Finding("binding.key", Outcome.HELD, actual=f"report_data covers the key of the {carrier.kind}"),
    ]
