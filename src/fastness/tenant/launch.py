"""The launch of a SEV guest as its tenant attends it: session, measurement, secret.

1. The platform's certificates are genuine, up to a root that was named, and speak of no guest.
2. Keys for one launch are made, that only this platform's firmware can unwrap.
3. The host starts a guest with them, and says what the firmware measured, and what it should be.
4. The firmware's word on it is checked: the guest is what the host says. Whether that will do is the policy's to say.
5. A fresh key is injected, which that guest alone can read; by it the keep proves later that it is that guest.

Until the policy has accepted the keep, nothing of the workload's leaves; the key is worth nothing without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastness.collateral.gather import gather
from fastness.errors import MissingCollateral, RemoteError, UsageError
from fastness.pki.anchors import Anchor, Anchors, Secret
from fastness.tenant.remote import Host
from fastness.wire import injected

LEAST_POLICY = 0x7
"""No debugging, no key sharing, SEV-ES (AMD 55766, chapter 3)."""

MAX_CHAIN = 32 * 1024


@dataclass(frozen=True, slots=True)
class Launched:
    """A guest that was given its secret: what the host showed of it, and what its tenant keeps."""

    sources: tuple[bytes, ...]
    record: bytes = field(repr=False)

    def anchors(self) -> Anchors:
        """The tenant's own record of the launch, as what its evidence leads to."""
        pdh = str(json.loads(self.record)["pdh"])
        return Anchors((Anchor("sev", "launch keys of this keep", pdh, secret=Secret(self.record)),))

    def encode(self) -> str:
        """As text, for the tenant's own files: it is secret."""
        return json.dumps({"sources": [base64.b64encode(item).decode() for item in self.sources],
                           "record": self.record.decode()})  # fmt: skip


def decode(text: str) -> Launched:
    """What :meth:`Launched.encode` made.

    Raises:
        ValueError: it is something else.
    """
    try:
        body = json.loads(text)
        sources = tuple(base64.b64decode(item, validate=True) for item in body["sources"])
        return Launched(sources, str(body["record"]).encode())
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


async def launch(
    host: Host, anchors: Anchors, *, at: datetime, kept: Callable[[str], None] = lambda _: None
) -> tuple[str, Launched]:
    """(id, what is known) of a new keep on ``host``, whose launch was attended.

    Args:
        host: runs SEV.
        anchors: roots that the platform's certificates may lead to.
        at: the time to judge at.
        kept: told the keep's id as soon as there is one, so that it is ended whatever happens.

    Raises:
        NotGenuine, MissingCollateral, MalformedEvidence: platform or measurement do not hold.
        RemoteError, KeepFailed: the host does not do its part.
    """
    from fastness.tee.sev import launch as launches
    from fastness.tee.sev import secret, session

    told = await host.platform()
    chain, policy = _chain(told), _policy(told)
    made = session.start(_platform(chain, anchors, at), policy)
    answer = await host.attend(made.godh, made.blob)
    kept(answer.keep)
    measured = launches.measurement(answer.measurement)
    key = os.urandom(injected.KEY_SIZE)
    pdh = hashlib.sha256(made.pdh).digest()
    record = launches.Record(pdh, policy, made.keys.tek, made.keys.tik, (answer.digest,), key)
    await host.inject(answer.keep, *secret.packet(record, measured, {injected.KEEP: key}))
    return answer.keep, Launched((*chain, answer.measurement), record.encode())


def _chain(told: dict[str, Any]) -> tuple[bytes, ...]:
    """The platform's certificates, one by one."""
    from fastness.tee.sev.evidence import split

    try:
        data = base64.b64decode(str(told.get("certificates", ""))[: 2 * MAX_CHAIN], validate=True)
    except ValueError:
        data = b""
    runs = str(told.get("platform"))[:16]
    if runs != "sev":
        raise RemoteError(f"this host runs {runs!r}, not 'sev'", hint="deploy to a host that runs it")
    found = split(data)
    if not found or {"report", "launch", "proof"} & {kind for kind, _ in found}:
        raise RemoteError(
            "the host shows no certificates of a SEV platform", hint="its operator names them with --chain"
        )
    return tuple(item for _, item in found)


def _policy(told: dict[str, Any]) -> int:
    """The policy that the host launches guests with, if it will do."""
    policy = told.get("policy")
    if type(policy) is not int or policy & LEAST_POLICY != LEAST_POLICY:
        raise UsageError(
            f"the host launches guests with the policy {policy!r:.20}, which lets it read them",
            hint=f"policy 0x{LEAST_POLICY:x}: no debugging, no key sharing, SEV-ES",
        )
    return policy


def _platform(chain: tuple[bytes, ...], anchors: Anchors, at: datetime) -> Any:
    """The genuine platform."""
    from fastness.tee import sev

    gathered = gather(chain)
    if gathered.problem is not None:
        raise gathered.problem
    if len(gathered.evidence) != 1:
        raise MissingCollateral("CEK and PEK certificates of the platform", check="sev.cek")
    return sev.verify(sev.parse(gathered.evidence[0].data), gathered.collateral, anchors, at=at)
