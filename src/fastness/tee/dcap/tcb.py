"""TCB evaluation (Intel SGX and TDX DCAP Quote Verification Library 2026-07, sections 4.1.2.5.1 and 4.1.2.5.2).

1. Platform: the first level, in the order listed, of which 16 SGX components, PCESVN and (TDX) TDX components are
   all reached. With a versioned TDX module (``tee_tcb_svn[1]`` > 0) components 0 and 1 are the module's.
2. TDX module: identity ``TDX_<version in upper hexadecimal>``, the first level whose ISVSVN is reached.
3. Quoting enclave: the first level whose ISVSVN is reached.
4. Convergence of 1 with 2 and 3; the earliest date; the union of the advisories.
5. TD relaunch (reports with ``tee_tcb_svn2``): 1 to 4 again for the TCB now running. Where that is current and the one
   at launch is not, the host was patched under a TD that runs on (section 4.1.2.5.20).
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import ge
from typing import NamedTuple

from fastness.tee.dcap.documents import Identity, Level, Module, PlatformLevel, TcbInfo

_CURRENT = frozenset({"UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"})
_WITH_OUT_OF_DATE = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}


class Evaluation(NamedTuple):
    """What Intel says of a TCB. ``status`` is None when no level matches (``why`` says which part): not supported.

    ``platform``, ``qe`` and ``module`` are the statuses it converged from, ``now`` that of what runs now (TD 1.5).
    """

    status: str | None
    date: str | None = None
    advisories: tuple[str, ...] = ()
    platform: str | None = None
    qe: str | None = None
    module: str | None = None
    now: str | None = None
    why: str = ""


def reaches(have: Iterable[int], need: Iterable[int]) -> bool:
    """Whether every component of ``have`` is at least that of ``need``."""
    return all(map(ge, have, need))


def level_of(levels: Iterable[Level], isvsvn: int) -> Level | None:
    """The first level that ``isvsvn`` reaches."""
    return next((item for item in levels if isvsvn >= item.isvsvn), None)


def module_of(info: TcbInfo, version: int) -> Module | None:
    """The identity of TDX module ``version``; ids are compared in upper case."""
    wanted = f"TDX_{version:02X}"
    return next((item for item in info.modules if item.id == wanted), None)


def converge(platform: str, component: str) -> str:
    """The status of a platform one of whose components (QE, TDX module) has a status of its own.

    Any that is neither current nor revoked counts as out of date (QVL, ``EnclaveReportVerifier.cpp``).
    """
    if component == "Revoked":
        return "Revoked"
    return platform if component == "UpToDate" else _WITH_OUT_OF_DATE.get(platform, platform)


def match(info: TcbInfo, components: tuple[int, ...], pcesvn: int, svn: bytes = b"") -> PlatformLevel | None:
    """The first level that the SGX side, PCESVN and (TDX) the TDX side all reach."""
    skip = 2 if svn and svn[1] > 0 else 0
    for item in info.levels:
        if pcesvn >= item.pcesvn and reaches(components, item.sgx) and reaches(svn[skip:], item.tdx[skip:]):
            return item
    return None


def evaluate(
    info: TcbInfo,
    identity: Identity,
    components: tuple[int, ...],
    pcesvn: int,
    *,
    qe_isvsvn: int,
    tee_tcb_svn: bytes = b"",
    tee_tcb_svn2: bytes = b"",
) -> Evaluation:
    """The whole algorithm; TDX when ``tee_tcb_svn`` (16 bytes) is given, relaunch when ``tee_tcb_svn2`` is."""
    launch = _evaluate(info, identity, components, pcesvn, qe_isvsvn, tee_tcb_svn)
    if launch.status is None or not tee_tcb_svn2:
        return launch
    # (5) TD relaunch
    now = _evaluate(info, identity, components, pcesvn, qe_isvsvn, tee_tcb_svn2)
    if now.status is None:
        return Evaluation(None, platform=launch.platform, why=f"of the TCB now running (tee_tcb_svn2): {now.why}")
    return launch._replace(status=relaunch(launch.status, now.status), now=now.status)


def relaunch(launch: str, now: str) -> str:
    """The status of a TD whose TCB at launch has status ``launch`` while that now running has ``now``."""
    if launch not in ("OutOfDate", "OutOfDateConfigurationNeeded") or now not in _CURRENT:
        return launch
    needed = "Configuration" in launch + now
    return "TDRelaunchAdvisedConfigurationNeeded" if needed else "TDRelaunchAdvised"


def _evaluate(
    info: TcbInfo, identity: Identity, components: tuple[int, ...], pcesvn: int, qe_isvsvn: int, svn: bytes
) -> Evaluation:
    # (1) platform
    level = match(info, components, pcesvn, svn)
    if level is None:
        return Evaluation(None, why="no TCB level is reached by this platform")
    parts: list[Level] = []
    status, module = level.status, None
    # (2) TDX module
    if svn and svn[1] > 0:
        known = module_of(info, svn[1])
        module = level_of(known.levels, svn[0]) if known else None
        if module is None:
            return Evaluation(None, platform=level.status, why=f"TDX module {svn[1]}.{svn[0]} has no level")
        parts.append(module)
        status = converge(status, module.status)
    # (3) quoting enclave
    qe = level_of(identity.levels, qe_isvsvn)
    if qe is None:
        return Evaluation(None, platform=level.status, why=f"QE with ISVSVN {qe_isvsvn} has no level")
    parts.append(qe)
    # (4) convergence
    status = converge(status, qe.status)
    advisories = set(level.advisories).union(*(part.advisories for part in parts))
    return Evaluation(
        status,
        min(level.date, *(part.date for part in parts)),
        tuple(sorted(advisories)),
        level.status,
        qe.status,
        module.status if module else None,
    )
