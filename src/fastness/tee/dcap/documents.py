"""Intel's signed collateral as values: TCB info (versions 2 and 3) and enclave identities (version 2).

What is needed to choose a document is read before its signature is checked; its TCB levels after that, down to the one
that is reached (Intel PCS API 4.0, "Get TCB Info" and "Get QE Identity").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from fastness.tee.dcap.members import Shape, bad, envelope, listed, octets, one, time, within

PLATFORM_STATUSES = frozenset({
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "Revoked",
})  # fmt: skip
MODULE_STATUSES = frozenset({"UpToDate", "OutOfDate", "Revoked"})
QE_STATUSES = MODULE_STATUSES | {"ConfigurationNeeded", "OutOfDateConfigurationNeeded"}

_COMPONENTS_2 = tuple(f"sgxtcbcomp{index:02}svn" for index in range(1, 17))
MAX_ADVISORY = 40


class Level(NamedTuple):
    """What a component matched: Intel's date, status and advisories; ``isvsvn`` is the least version it takes."""

    isvsvn: int
    date: str
    status: str
    advisories: tuple[str, ...]


class PlatformLevel(NamedTuple):
    """One TCB level of a platform: least SVNs of 16 SGX components, PCESVN, and (TDX) 16 TDX components."""

    sgx: tuple[int, ...]
    pcesvn: int
    tdx: tuple[int, ...]
    date: str
    status: str
    advisories: tuple[str, ...]


L = TypeVar("L", Level, PlatformLevel)


class Levels(Generic[L]):
    """TCB levels in the order listed, each read when it is come to: whoever wants the first that is reached reads no
    further.

    Raises:
        MalformedEvidence: on iteration, at the level that does not follow its specification.
    """

    __slots__ = ("_read", "_rows")
    _rows: list[Any]
    _read: Callable[[Any], L]

    def __init__(self, rows: list[Any], read: Callable[[Any], L]) -> None:
        self._rows, self._read = rows, read

    def __iter__(self) -> Iterator[L]:
        return map(self._read, self._rows)


class Module(NamedTuple):
    """Who may have signed a TDX module: MRSIGNERSEAM 48 bytes, SEAMATTRIBUTES 8 bytes under a mask, and its levels."""

    id: str
    mrsigner: bytes
    attributes: bytes
    mask: bytes
    levels: Levels[Level]


class Signed(NamedTuple):
    """The envelope: ``raw`` are the signed bytes, ``signature`` 64 bytes r ‖ s, the rest what every document states."""

    raw: bytes
    signature: bytes
    id: str
    version: int
    issued: datetime
    next_update: datetime
    evaluation: int


class TcbInfo(NamedTuple):
    """TCB levels of one FMSPC (6 bytes) and PCE (2 bytes), newest first."""

    signed: Signed
    fmspc: bytes
    pceid: bytes
    levels: Levels[PlatformLevel]
    module: Module | None
    modules: tuple[Module, ...]


class Identity(NamedTuple):
    """Identity of a quoting enclave: masked MISCSELECT (4 bytes) and ATTRIBUTES (16), MRSIGNER 32, ISVPRODID."""

    signed: Signed
    miscselect: bytes
    miscselect_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isv_prod_id: int
    levels: Levels[Level]


_LEVEL = Shape(("tcb", dict), ("tcbStatus", str), ("tcbDate", str))


def _level(item: Any, statuses: frozenset[str]) -> tuple[dict[str, Any], str, str, tuple[str, ...]]:
    """The versions a level takes; its date, status and advisories."""
    tcb, status, date = _LEVEL.take(item)
    if status not in statuses:
        raise bad("tcbStatus", "a status Intel defines", status)
    time(date, "tcbDate")
    return tcb, date, status, _advisories(item["advisoryIDs"]) if "advisoryIDs" in item else ()


def _advisories(found: Any) -> tuple[str, ...]:
    """Names of advisories: INTEL-SA-00837 …, letters, digits and hyphens."""
    if type(found) is not list or len(found) > 256 or not {*map(type, found)} <= {str}:
        raise bad("advisoryIDs", "at most 256 names", found)
    text = "".join(found).replace("-", "0")
    if found and not (text.isascii() and text.isalnum() and "" not in found and max(map(len, found)) <= MAX_ADVISORY):
        raise bad("advisoryIDs", "names of advisories", found)
    return tuple(found)


def _read_level(item: Any, statuses: frozenset[str]) -> Level:
    tcb, date, status, advisories = _level(item, statuses)
    return Level(within(one(tcb, "isvsvn", int), "isvsvn"), date, status, advisories)


def _levels(found: list[Any], statuses: frozenset[str]) -> Levels[Level]:
    return Levels(listed(found, "tcbLevels"), lambda item: _read_level(item, statuses))


_svn = itemgetter("svn")


def _components(rows: list[Any], key: str) -> tuple[int, ...]:
    try:
        svns = [*map(_svn, rows)] if len(rows) == 16 else []
        plain = bytes(svns)  # refuses what is no number of 0 to 255
    except (TypeError, KeyError, ValueError):
        plain, svns = b"", []
    if len(plain) != 16 or {*map(type, svns)} != {int}:
        raise bad(key, "16 components with an svn of 0 to 255", rows)
    return tuple(plain)


_VERSIONS = {
    (2, False): Shape(("pcesvn", int), *((name, int) for name in _COMPONENTS_2)),
    (3, False): Shape(("pcesvn", int), ("sgxtcbcomponents", list)),
    (3, True): Shape(("pcesvn", int), ("sgxtcbcomponents", list), ("tdxtcbcomponents", list)),
}
"""The versions that a TCB level states, by version of the document and whether it is TDX's."""


def _platform_level(item: Any, version: int, tdx: bool) -> PlatformLevel:
    tcb, date, status, advisories = _level(item, PLATFORM_STATUSES)
    pcesvn, *rest = _VERSIONS[version, tdx].take(tcb)
    if version == 2:
        sgx = tuple([within(svn, name, 255) for svn, name in zip(rest, _COMPONENTS_2, strict=True)])
    else:
        sgx = _components(rest[0], "sgxtcbcomponents")
    more = _components(rest[1], "tdxtcbcomponents") if tdx else ()
    return PlatformLevel(sgx, within(pcesvn, "pcesvn"), more, date, status, advisories)


_PLAIN = ("mrsigner", str), ("attributes", str), ("attributesMask", str)
_MODULE, _NAMED = Shape(*_PLAIN), Shape(*_PLAIN, ("id", str), ("tcbLevels", list))


def _module(value: Any, *, named: bool = True) -> Module:
    """The module without a version of its own, or one named by its version, which has levels."""
    mrsigner, attributes, mask, *rest = (_NAMED if named else _MODULE).take(value)
    return Module(
        rest[0].upper() if named else "",
        octets(mrsigner, "mrsigner", 48),
        octets(attributes, "attributes", 8),
        octets(mask, "attributesMask", 8),
        _levels(rest[1] if named else [], MODULE_STATUSES),
    )


_ENVELOPE = Shape(("version", int), ("issueDate", str), ("nextUpdate", str), ("tcbEvaluationDataNumber", int))


def _signed(raw: bytes, inner: dict[str, Any], signature: bytes, name: str, versions: tuple[int, ...]) -> Signed:
    version, issued, until, evaluation = _ENVELOPE.take(inner)
    if version not in versions:
        raise bad("version", f"one of {versions}", version)
    number = within(evaluation, "tcbEvaluationDataNumber", 1 << 31)
    return Signed(raw, signature, name, version, time(issued, "issueDate"), time(until, "nextUpdate"), number)


_INFO = Shape(("tcbType", int), ("fmspc", str), ("pceId", str), ("tcbLevels", list))


def _tcb_info(data: bytes) -> TcbInfo:
    raw, inner, signature = envelope(data, "tcbInfo")
    name = "SGX" if inner.get("version") == 2 and "id" not in inner else one(inner, "id", str)
    if name not in ("SGX", "TDX"):
        raise bad("id", "SGX or TDX", name)
    tdx = name == "TDX"
    signed = _signed(raw, inner, signature, name, (3,) if tdx else (2, 3))
    kind, fmspc, pceid, rows = _INFO.take(inner)
    if kind != 0:
        raise bad("tcbType", 0, kind)
    modules = one(inner, "tdxModuleIdentities", list) if "tdxModuleIdentities" in inner else []
    return TcbInfo(
        signed,
        octets(fmspc, "fmspc", 6),
        octets(pceid, "pceId", 2),
        Levels(listed(rows, "tcbLevels"), lambda item: _platform_level(item, signed.version, tdx)),
        _module(inner.get("tdxModule"), named=False) if tdx else None,
        tuple([_module(item) for item in listed(modules, "tdxModuleIdentities")]),
    )


_IDENTITY = Shape(
    ("id", str), ("miscselect", str), ("miscselectMask", str), ("attributes", str), ("attributesMask", str),
    ("mrsigner", str), ("isvprodid", int), ("tcbLevels", list),
)  # fmt: skip


def _identity(data: bytes) -> Identity:
    raw, inner, signature = envelope(data, "enclaveIdentity")
    name, misc, misc_mask, attributes, mask, mrsigner, product, rows = _IDENTITY.take(inner)
    return Identity(
        _signed(raw, inner, signature, name, (2,)),
        octets(misc, "miscselect", 4),
        octets(misc_mask, "miscselectMask", 4),
        octets(attributes, "attributes", 16),
        octets(mask, "attributesMask", 16),
        octets(mrsigner, "mrsigner", 32),
        within(product, "isvprodid"),
        _levels(rows, QE_STATUSES),
    )


MAX_REMEMBERED = 64 * 1024
"""Largest document that is remembered, in bytes: Intel's have 5 to 20 KiB, and its levels are held as they came."""
_known_info, _known_identity = lru_cache(maxsize=32)(_tcb_info), lru_cache(maxsize=32)(_identity)


def tcb_info(data: bytes) -> TcbInfo:
    """TCB info from the raw response; MalformedEvidence when it does not follow its specification."""
    return (_known_info if len(data) <= MAX_REMEMBERED else _tcb_info)(data)


def identity(data: bytes) -> Identity:
    """An enclave identity from the raw response; MalformedEvidence when it does not follow its specification."""
    return (_known_identity if len(data) <= MAX_REMEMBERED else _identity)(data)
