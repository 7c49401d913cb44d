"""Revocation of a device's chain, and of the chains of the manifests used: OCSP, or the CAs' CRLs.

The leaf is made by the device itself and the root is pinned; of those between, each needs a word (nvtrust asks for the
same). Responses on a leaf count too, where there are any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from fastness.claims.finding import Finding, Outcome
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.pki import chain, crl, ocsp
from fastness.tee import Collateral, Document
from fastness.wire import x509

MAX_RESPONSES = 1024


def look_up(chains: Iterable[chain.Chain], collateral: Collateral, at: datetime) -> Finding:
    """The finding ``nvgpu.revocation`` on ``chains``, the device's first: held, or not checked.

    Raises:
        NotGenuine: ``nvgpu.revocation``: a certificate is revoked or on hold, or somebody made up a response.
    """
    responses = tuple(_responses(collateral.of("ocsp")))
    unknown: list[str] = []
    count = 0
    for number, path in enumerate(chains):
        # the root's own certificate is no matter of revocation
        for depth, (child, issuer) in enumerate(path.links(collateral.certificates)):
            why = f"no certificate of {child.issuer_cn!r}, so no word of it could be checked"
            if issuer is not None:
                why = _ask(child, issuer, responses, collateral.crls, at)
            # the device makes its own leaf; a manifest's signer is NVIDIA's
            if depth or number:
                count += 1
                if why:
                    unknown.append(why)
    if count and not unknown:
        return Finding("nvgpu.revocation", Outcome.HELD, actual=f"{count} certificates are good")
    return Finding(
        "nvgpu.revocation",
        Outcome.UNKNOWN,
        expected="a current OCSP response on each certificate between leaf and root",
        actual="; ".join(unknown[:4]) + (f"; and {len(unknown) - 4} more" if len(unknown) > 4 else ""),
        hint="fetch NVIDIA's OCSP responses (`fastness collateral fetch`), or waive nvgpu.revocation",
    )


def _ask(
    child: x509.Certificate,
    issuer: x509.Certificate,
    responses: tuple[ocsp.Response, ...],
    lists: tuple[x509.Crl, ...],
    at: datetime,
) -> str:
    """Empty when ``child`` is good, otherwise why that cannot be told."""
    try:
        told = ocsp.look_up(child, issuer, responses, "nvgpu", at=at)
        listed = crl.look_up(child, issuer, lists, "nvgpu", at=at)
    except MalformedEvidence as error:
        raise NotGenuine("nvgpu.revocation", f"a certificate or its status is unusable: {error.what}") from None
    return "" if told.checked or listed.checked else told.why


def _responses(documents: Iterable[Document]) -> Iterator[ocsp.Response]:
    for _, item in zip(range(MAX_RESPONSES), documents, strict=False):
        try:
            yield ocsp.read(item.data)
        except MalformedEvidence:  # tryLater and the like are unsigned: such an answer is none
            continue
