"""Evidence whose cryptography holds. Only a verifier makes one, and ``claims`` takes nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from fastness.claims.finding import Finding
from fastness.pki.anchors import Anchor

E = TypeVar("E", covariant=True)
V = TypeVar("V")
_KEY = object()


class _Body(NamedTuple, Generic[E]):
    evidence: E
    anchors: tuple[Anchor, ...]
    findings: tuple[Finding, ...]
    at: datetime
    within: tuple[Genuine[object], ...]


class Genuine(Generic[E]):
    """``evidence`` that was verified at ``at`` up to ``anchors``.

    ``findings`` are what the verifier saw beyond its failures: revocation not checked, padding, provisional firmware.
    ``within`` is other genuine evidence this one rests on (the SNP report around a vTPM).

    There is no public constructor: :func:`vouch` is for ``tee/*/verify.py`` only (an import contract holds that).
    """

    __slots__ = ("_body",)
    _body: _Body[E]

    def __init__(self, key: object, body: _Body[E]) -> None:
        if key is not _KEY:
            raise TypeError("Genuine is made by a verifier, never by hand")
        object.__setattr__(self, "_body", body)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Genuine is immutable")

    @property
    def evidence(self) -> E:
        """The verified evidence."""
        return self._body.evidence

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The roots that vouch for it."""
        return self._body.anchors

    @property
    def simulated(self) -> bool:
        """Whether any root that vouches for it is a simulated one."""
        return any(anchor.simulated for anchor in self.anchors)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the verifier saw besides."""
        return self._body.findings

    @property
    def at(self) -> datetime:
        """The time it was verified at."""
        return self._body.at

    @property
    def within(self) -> tuple[Genuine[object], ...]:
        """Genuine evidence this one rests on."""
        return self._body.within


def vouch(
    evidence: V,
    *,
    anchors: tuple[Anchor, ...],
    findings: tuple[Finding, ...] = (),
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[V]:
    """Says that ``evidence`` is genuine. For the last line of a ``verify`` only."""
    return Genuine(_KEY, _Body(evidence, anchors, findings, at, within))
