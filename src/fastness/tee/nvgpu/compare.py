"""The measurements of a report against the manifests of its driver and its VBIOS.

Manifests are told apart by the version they are for; those for other versions are left aside, for one folder may hold
the manifests of a whole fleet. Switches have no driver. Where several manifests are for one version (boards share
VBIOS versions), any pair that allows every measurement will do: NVIDIA signed each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product

from fastness.claims.finding import Finding, Outcome, Where
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.pki import chain
from fastness.pki.anchors import Anchors
from fastness.tee import Document
from fastness.tee.nvgpu import layout, rim
from fastness.tee.nvgpu.evidence import Evidence
from fastness.wire import x509

MAX_MANIFESTS = 64
MAX_TRIED = 4
"""Most manifests for one version that are tried: bounds the pairs."""

_FETCH = "fetch them (`fastness collateral fetch`), or name a policy and run without --offline"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``findings``, the ids of the manifests used where all of it held, and the chains and certificates of
    those used."""

    findings: tuple[Finding, ...]
    compared: tuple[str, ...] | None
    chains: tuple[chain.Chain, ...]
    certificates: tuple[x509.Certificate, ...]


def compare(evidence: Evidence, chip: str, documents: Iterable[Document], anchors: Anchors, at: datetime) -> Comparison:
    """What the manifests in ``documents`` say of ``evidence``, a report of a ``chip`` (``GH100``).

    Raises:
        NotGenuine: ``nvgpu.rim-signature`` or ``nvgpu.rim-chain``: somebody altered or made up the manifest that is
            wanted, or what may have been it.
    """
    good: list[tuple[rim.Rim, chain.Chain]] = []
    useless: list[str] = []
    read, failures = _manifests(documents)
    wanted = list(_wanted(evidence))
    for item in read:
        try:
            outcome = rim.authenticate(item, anchors, at)
        except NotGenuine as error:
            failures += [error] if item.version in [version for _, version in wanted] else []
            continue
        if isinstance(outcome, str):
            useless.append(f"the one of version {item.version[:40]}: {outcome}")
        else:
            good.append((item, outcome))
    choices = [_of_chip([item for item in good if item[0].version == version], chip) for _, version in wanted]
    missing = [f"{part} {version}" for (part, version), found in zip(wanted, choices, strict=True) if not found]
    if missing and failures:
        raise failures[0]
    present = [found[:MAX_TRIED] for found in choices if found]
    judged = [(_judge(evidence, pair, whole=not missing), pair) for pair in product(*present)]
    best, pair = min(judged, key=lambda one: sum(item.outcome is not Outcome.HELD for item in one[0]))
    chains = tuple(path for _, path in pair)
    certificates = tuple(certificate for item, _ in pair for certificate in item.signed.certificates)
    if missing or not wanted:
        seen = ", ".join(sorted({item.version[:40] for item, _ in good})) or "none"
        actual = "; ".join([f"manifests of {seen}", *useless[:4]])
        need = "manifests of " + (" and ".join(missing) or "a version; the report states none")
        best = (Finding("nvgpu.rim", Outcome.UNKNOWN, need, actual, hint=_FETCH), *best)
        return Comparison(best, None, chains, certificates)
    text = " and ".join(f"{part} {version}" for part, version in wanted)
    held = all(item.outcome is Outcome.HELD for item in best)
    names = tuple(item.identity for item, _ in pair) if held else None
    findings = (Finding("nvgpu.rim", Outcome.HELD, actual=f"manifests of {text}"), *best)
    return Comparison(findings, names, chains, certificates)


def _manifests(documents: Iterable[Document]) -> tuple[list[rim.Rim], list[NotGenuine]]:
    """NVIDIA's manifests, and what is wrong with those that cannot be read."""
    found: list[rim.Rim] = []
    failures: list[NotGenuine] = []
    for item in documents:
        if rim.MARK not in item.data or len(found) + len(failures) >= MAX_MANIFESTS:
            continue
        try:
            found.append(rim.read(item.data))
        except MalformedEvidence as error:
            if rim.MAKER not in item.data:
                continue  # another vendor's manifest
            failures.append(
                NotGenuine(
                    "nvgpu.rim-signature",
                    f"a manifest cannot be read: {error.what}",
                    where=item.source,
                    hint="fetch it again from NVIDIA's RIM service",
                )
            )
    return found, failures


def _wanted(evidence: Evidence) -> Iterable[tuple[str, str]]:
    driver = evidence.text(layout.DRIVER)
    if driver is not None:
        yield "driver", driver.upper()
    if evidence.vbios is not None:
        yield "VBIOS", evidence.vbios.upper()


def _of_chip(found: list[tuple[rim.Rim, chain.Chain]], chip: str) -> list[tuple[rim.Rim, chain.Chain]]:
    """Those for ``chip``; drivers of several chips share a version, and not every manifest spells the chip alike."""
    named = [item for item in found if _plain(item[0].product) == _plain(chip)]
    return named or found


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").upper()


def _judge(evidence: Evidence, pair: Sequence[tuple[rim.Rim, chain.Chain]], *, whole: bool) -> tuple[Finding, ...]:
    """The findings on one choice of manifests; HELD alone when all is well."""
    allowed: dict[int, tuple[bytes, ...]] = {}
    twice: list[int] = []
    for item, _ in pair:
        twice += sorted(allowed.keys() & item.allowed.keys())
        allowed |= item.allowed
    found: list[Finding] = []
    if twice:
        text = f"both give values for {_listed(twice)}"
        found.append(Finding("nvgpu.rim-index", Outcome.FAILED, "each measurement in one manifest", text))
    skipped = {layout.NVDEC0_INDEX} if _nvdec0_off(evidence) else set()
    wrong = [
        index
        for index, values in sorted(allowed.items())
        if index not in skipped and evidence.measurements.get(index) not in values
    ]
    if wrong:
        where = tuple(Where.of(evidence.spans[f"m{index:02d}"]) for index in wrong if index in evidence.measurements)
        found.append(
            Finding(
                "nvgpu.measurements",
                Outcome.FAILED,
                "values that the manifests allow",
                f"{_listed(wrong)} of {len(allowed)} have others, or are missing",
                where[:8],
                hint="the device runs firmware NVIDIA did not release for this version, or is in DevTools mode",
            )
        )
    known = frozenset[int]().union(*(item.listed for item, _ in pair))
    unlisted = sorted(evidence.measurements.keys() - known)
    if whole and unlisted:
        text = f"{_listed(unlisted)} in neither manifest"
        found.append(Finding("nvgpu.indices", Outcome.UNKNOWN, "each measurement listed in a manifest", text))
    if not found and whole and allowed:
        found.append(Finding("nvgpu.measurements", Outcome.HELD, actual=f"{len(allowed)} measurements as released"))
    return tuple(found)


def _nvdec0_off(evidence: Evidence) -> bool:
    """As the signed report itself states it (nvtrust ``verifier.py``): then its microcode is not loaded."""
    return layout.STATUS.get(evidence.opaque.get(layout.NVDEC0, b"")) is False


def _listed(indices: Sequence[int]) -> str:
    return ", ".join(f"m{index:02d}" for index in indices[:8]) + (" …" if len(indices) > 8 else "")
