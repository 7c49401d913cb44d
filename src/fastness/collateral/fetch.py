"""Fetching: from what is wanted to collateral, through the cache, with every answer told apart by its content.

An answer that does not hold what was asked for (an error page, another machine's TCB info) is refused and not cached.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastness import tee as tees
from fastness.collateral import kds, pcs, rim
from fastness.collateral.heap import Heap
from fastness.collateral.sort import Sorter
from fastness.collateral.store import FOREVER, Entry, Store
from fastness.collateral.wanted import KDS, Wanted, base
from fastness.errors import MalformedEvidence, RemoteError, UsageError
from fastness.tee import Collateral
from fastness.wire.der import zulu

if TYPE_CHECKING:
    from fastness.collateral.http import Answer, Client

MAX_ROUNDS = 3
_NEXT_UPDATE = re.compile(rb'"nextUpdate"\s*:\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"')


def client(**options: Any) -> Client:
    """A client that keeps to the vendors' limits."""
    from fastness.collateral.http import Client

    host = urllib.parse.urlsplit(base(KDS)).hostname or ""
    return Client(spacing={host: kds.SPACING} if host == "kdsintf.amd.com" else {}, **options)


def plan(tee: str, evidence: Any, collateral: Collateral) -> list[Wanted]:
    """What the vendors can give for ``evidence``, whether or not it is there already; empty for the other TEEs."""
    if tee in ("sgx", "tdx"):
        return _intel(tee, collateral)
    if tee == "snp":
        report = tees.load("snp").unparse(evidence)[:0x4A0]
        vlek = len(report) > 0x4C and report[0x48] >> 2 & 7 == 1
        names = [item.subject_cn for item in collateral.certificates]
        return kds.of_report(report, vlek=vlek, names=names) if len(report) == 0x4A0 else []
    if tee == "nvgpu":
        return rim.of_report(evidence, collateral.certificates, [item.data for item in collateral.of("rim")])
    return []


def follow(tee: str, evidence: Any, collateral: Collateral, get: Callable[[Wanted], Collateral | None]) -> Collateral:
    """All that ``get`` has of what ``evidence`` wants, and of what that wants in turn.

    A manifest names certificates whose status is wanted: two rounds. More than :data:`MAX_ROUNDS` are not made.
    """
    found, asked = Collateral(), set[str]()
    for _ in range(MAX_ROUNDS):
        todo = [item for item in plan(tee, evidence, collateral + found) if item.key not in asked]
        for wanted in todo:
            asked.add(wanted.key)
            found += get(wanted) or Collateral()
        if not todo:
            break
    return found


def _intel(tee: str, collateral: Collateral) -> list[Wanted]:
    from fastness.tee.dcap import pck

    for leaf in reversed(collateral.certificates):  # what the quote itself carries comes last
        if leaf.extension(pck.EXTENSION) is None:
            continue
        try:
            fmspc = pck.read(leaf).fmspc.hex()
        except MalformedEvidence:  # a stranger's
            continue
        return pcs.of_platform(tee, fmspc, "platform" if "Platform" in leaf.issuer_cn else "processor")
    return []


def obtain(wanted: Wanted, store: Store, network: Client | None, *, at: datetime) -> Collateral | None:
    """``wanted`` from the cache if it holds at ``at``, else from the network; None without either.

    Raises:
        RemoteError: the service cannot be reached, refuses, or answers with something else.
    """
    cached = store.get(wanted.key, at)
    if cached is not None:
        return _sorted(cached.pieces, cached.url).collateral()
    if network is None:
        return None
    answer = network.get(wanted.url, wanted.body or None, wanted.content_type)
    pieces = _pieces(wanted, answer)
    heap = _sorted(pieces, answer.url)
    _right(wanted, heap)
    until = _until(heap)
    store.put(Entry(wanted.key, answer.url, zulu(datetime.now(UTC)), until, pieces))
    return heap.collateral()


def _pieces(wanted: Wanted, answer: Answer) -> tuple[bytes, ...]:
    chains = [urllib.parse.unquote(answer.headers[name]).encode() for name in wanted.headers if name in answer.headers]
    body = answer.body
    if "rim" in wanted.kinds:
        body = _manifest(body, answer.url)
    return (body, *chains)


def _manifest(body: bytes, url: str) -> bytes:
    import base64
    import json

    try:
        document = json.loads(body)
        return base64.b64decode(document["rim"], validate=True)
    except (ValueError, KeyError, TypeError):
        if body.lstrip()[:1] == b"<":
            return body
        raise RemoteError(f"{url} answered with something else than a manifest") from None


def _sorted(pieces: tuple[bytes, ...], source: str) -> Heap:
    heap = Heap()
    sorter = Sorter(heap)
    for piece in pieces:
        try:
            sorter.sort(piece, source)
        except (MalformedEvidence, UsageError) as error:
            raise RemoteError(f"{source} answered with damaged content: {error.what}") from None
    return heap


def _right(wanted: Wanted, heap: Heap) -> None:
    kinds = {kind for kind, _ in heap.documents}
    kinds |= {"certificate"} if heap.certificates else set()
    kinds |= {"crl"} if heap.crls else set()
    if not set(wanted.kinds) <= kinds or heap.evidence:
        raise RemoteError(
            f"{wanted.url} answered with something else than {' and '.join(wanted.kinds)}",
            hint="is the configured address that of the service or a faithful mirror?",
        )
    if "ocsp" in wanted.kinds:
        _answered(wanted, heap)
    if "rim" in wanted.kinds:
        if wanted.holds not in rim.versions(item.data for item in heap.of("rim")):
            raise RemoteError(f"{wanted.url} answered with the manifest of another version")
    elif wanted.holds:
        held = b"".join(data for (kind, data) in heap.documents if kind in wanted.kinds).lower()
        if wanted.holds.lower().encode() not in held:
            raise RemoteError(f"{wanted.url} answered for another platform than {wanted.holds}")


def _answered(wanted: Wanted, heap: Heap) -> None:
    from fastness.pki import ocsp

    try:
        for item in heap.of("ocsp"):
            ocsp.read(item.data)
    except MalformedEvidence as error:  # tryLater and the like, which nobody signs
        raise RemoteError(f"{wanted.url} gave no status: {error.what}", hint="try again later") from None


def _until(heap: Heap) -> str:
    """The earliest end of signed validity in ``heap``, Zulu. A list or document that states none is used once."""
    ends = [zulu(item.not_after) for item in heap.certificates.values()]
    never = "0001-01-01T00:00:00Z"
    ends += [zulu(item.next_update) if item.next_update else never for item in heap.crls.values()]
    for kind, data in heap.documents:
        if kind in ("tcb-info", "qe-identity"):
            found = _NEXT_UPDATE.search(data)
            ends.append(found[1].decode() if found else never)
        elif kind == "ocsp":
            ends += [zulu(end) if end else never for end in _ends(data)]
    return min(ends, default=FOREVER)


def _ends(data: bytes) -> list[datetime | None]:
    from fastness.pki import ocsp

    return [item.next_update for item in ocsp.read(data).singles] or [None]
