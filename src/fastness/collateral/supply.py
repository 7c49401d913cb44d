"""Where verification turns when collateral is missing: the cache, then the vendors; and what was seen before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fastness.claims.finding import Finding, Outcome
from fastness.claims.model import Claims
from fastness.errors import RemoteError
from fastness.tee import Collateral

if TYPE_CHECKING:
    from fastness.collateral.http import Client
    from fastness.collateral.wanted import Wanted

RECENT = timedelta(days=1)
"""What is judged at a time further back than this neither counts as seen nor as rolled back."""


class Supply:
    """The cache, and the network unless ``offline``. ``notes`` say what could not be had and why."""

    def __init__(self, *, offline: bool = True, network: Client | None = None) -> None:
        self.offline, self.network = offline, network
        self.notes: list[str] = []

    def of(self, tee: str, evidence: Any, collateral: Collateral, *, at: datetime) -> Collateral | None:
        """What can be had for ``evidence`` beyond ``collateral``; None when nothing can."""
        from urllib.parse import urlsplit

        from fastness.collateral import fetch
        from fastness.collateral.store import store as cache

        if self.network is None and not self.offline:
            self.network = fetch.client(attempts=2, timeout=5.0)
        store, dead = cache(), set[str]()

        def get(wanted: Wanted) -> Collateral | None:
            host = urlsplit(wanted.url).netloc
            try:
                return fetch.obtain(wanted, store, self.network if host not in dead else None, at=at)
            except RemoteError as error:
                if not (wanted.alternative and error.kind == "not-there"):
                    self.notes.append(error.what)
                if error.kind == "unreachable":  # what else it would give is looked for in the cache only
                    dead.add(host)
                return None

        found = fetch.follow(tee, evidence, collateral, get)
        return found if found != Collateral() else None

    def evaluation(self, claims: Claims, root: str, *, at: datetime) -> list[Finding]:
        """The finding ``collateral.evaluation-number`` when collateral is older than what was seen before.

        What was seen under another ``root`` (of a test, named with ``--anchors``) says nothing of Intel's.
        """
        if datetime.now(UTC) - at > RECENT:
            return []
        from fastness.collateral.store import store as cache

        number, fmspc = int(claims.collateral["evaluation_number"]), str(claims.extra.get("fmspc", ""))
        highest = cache().evaluation(f"{claims.tee}/{fmspc}/{root}", number, at)
        if highest is None:
            return []
        return [
            Finding(
                "collateral.evaluation-number",
                Outcome.FAILED,
                expected=f"at least {highest}, seen before for FMSPC {fmspc}",
                actual=str(number),
                hint="fetch collateral again: somebody offers an older judgement of this platform",
            )
        ]
