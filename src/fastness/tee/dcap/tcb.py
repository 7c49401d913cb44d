"""TCB evaluation (Intel SGX and TDX DCAP Quote Verification Library 2026-07, sections 4.1.2.5.1 and 4.1.2.5.2).

1. Platform: the first level, in the order listed, of which 16 SGX components, PCESVN and (TDX) TDX components are
   all reached. With a versioned TDX module (``tee_tcb_svn[1]`` > 0) components 0 and 1 are the module's.
2. TDX module: identity ``TDX_<version in upper hexadecimal>``, the first level whose ISVSVN is reached.
3. Quoting enclave: the first level whose ISVSVN is reached.
4. Convergence of 1 with 2 and 3; the earliest date; the union of the advisories.
5. TD relaunch (reports with ``tee_tcb_svn2``): the host was patched under a TD that runs on.
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
    """What Intel says of a TCB. ``status`` is None when no level matches (``why`` says which part): not supported."""

    status: str | None
    date: str | None = None
    advisories: tuple[str, ...] = ()
    platform: str | None = None
    qe: str | None = None
    module: str | None = None
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
    """The status of a platform one of whose components (QE, TDX module) has a status of its own."""
    if component == "Revoked":
        return "Revoked"
    return _WITH_OUT_OF_DATE.get(platform, platform) if component == "OutOfDate" else platform


def match(
    info: TcbInfo, components: tuple[int, ...], pcesvn: int, tee_tcb_svn: bytes = b""
) -> tuple[PlatformLevel | None, PlatformLevel | None]:
    """(first level the SGX side reaches, first level the whole reaches); for SGX both are the same."""
    skip = 2 if tee_tcb_svn and tee_tcb_svn[1] > 0 else 0
    sgx: PlatformLevel | None = None
    for item in info.levels:
        if pcesvn < item.pcesvn or not reaches(components, item.sgx):
            continue
        sgx = sgx or item
        if not tee_tcb_svn or reaches(tee_tcb_svn[skip:], item.tdx[skip:]):
            return sgx, item
    return sgx, None


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
    # (1) platform
    sgx, level = match(info, components, pcesvn, tee_tcb_svn)
    if sgx is None or level is None:
        return Evaluation(None, why="no TCB level is reached by this platform")
    parts: list[Level] = []
    status, module = level.status, None
    # (2) TDX module
    if tee_tcb_svn and tee_tcb_svn[1] > 0:
        known = module_of(info, tee_tcb_svn[1])
        module = level_of(known.levels, tee_tcb_svn[0]) if known else None
        if module is None:
            why = f"TDX module {tee_tcb_svn[1]}.{tee_tcb_svn[0]} has no level"
            return Evaluation(None, platform=level.status, why=why)
        parts.append(module)
        status = converge(status, module.status)
    # (3) quoting enclave
    qe = level_of(identity.levels, qe_isvsvn)
    if qe is None:
        return Evaluation(None, platform=level.status, why=f"QE with ISVSVN {qe_isvsvn} has no level")
    parts.append(qe)
    # (5) before (4): a QE that is out of date rules it out
    if tee_tcb_svn2 and module and _relaunch(info, (sgx.status, status, module.status, qe.status), tee_tcb_svn2):
        needed = "Configuration" in sgx.status or "Configuration" in status
        status = "TDRelaunchAdvisedConfigurationNeeded" if needed else "TDRelaunchAdvised"
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


def _relaunch(info: TcbInfo, statuses: tuple[str, str, str, str], now: bytes) -> bool:
    """Whether the TCB now running (``now``) is the newest while the one at launch is out of date.

    ``statuses`` are those of the SGX side, the TDX side with its module, the module, the quoting enclave.
    """
    sgx, tdx, module, qe = statuses
    if qe in ("OutOfDate", "Revoked") or sgx not in _CURRENT or module != "OutOfDate":
        return False
    if tdx not in ("OutOfDate", "OutOfDateConfigurationNeeded"):
        return False
    newest = info.levels[0].tdx
    if now[1] == 0:
        least = newest[0]
    else:
        known = module_of(info, now[1])
        if known is None or not known.levels:
            return False
        least = known.levels[0].isvsvn
    return now[0] >= least and now[2] >= newest[2]
