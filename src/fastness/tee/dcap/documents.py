"""Intel's signed collateral as values: TCB info (versions 2 and 3) and enclave identities (version 2).

The signature is over the exact bytes of the inner object, so they are cut out of the raw response and never made again
from what was parsed (Intel PCS API 4.0, "Get TCB Info" and "Get QE Identity").
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from fastness.errors import MalformedEvidence

if TYPE_CHECKING:
    from json import JSONDecoder

MAX_DOCUMENT = 1 << 20
PLATFORM_STATUSES = frozenset({
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "Revoked",
})  # fmt: skip
MODULE_STATUSES = frozenset({"UpToDate", "OutOfDate", "Revoked"})
QE_STATUSES = MODULE_STATUSES | {"ConfigurationNeeded", "OutOfDateConfigurationNeeded"}

_COMPONENTS_2 = tuple(f"sgxtcbcomp{index:02}svn" for index in range(1, 17))
MAX_ADVISORY = 40
T = TypeVar("T")


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


class Module(NamedTuple):
    """Who may have signed a TDX module: MRSIGNERSEAM 48 bytes, SEAMATTRIBUTES 8 bytes under a mask, and its levels."""

    id: str
    mrsigner: bytes
    attributes: bytes
    mask: bytes
    levels: tuple[Level, ...]


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
    levels: tuple[PlatformLevel, ...]
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
    levels: tuple[Level, ...]


def _bad(field: str, need: object, have: object) -> MalformedEvidence:
    return MalformedEvidence(field, 0, need, repr(have)[:60])


def envelope(data: bytes, name: str) -> tuple[bytes, dict[str, Any], bytes]:
    """(signed bytes, inner object, signature) of ``{"<name>": {…}, "signature": "…"}``, the two in either order."""
    if len(data) > MAX_DOCUMENT:
        raise _bad(name, f"at most {MAX_DOCUMENT} bytes", len(data))
    try:
        found, spans = _members(data.decode("ascii"), 2)
    except (ValueError, IndexError, RecursionError):
        raise _bad(name, "JSON in ASCII", data[:40]) from None
    if set(found) != {name, "signature"}:
        raise _bad(name, f'{{"{name}": …, "signature": …}} and nothing else', sorted(found))
    inner = found[name]
    if not isinstance(inner, dict):
        raise _bad(name, "an object", inner)
    signed = found["signature"] if type(found["signature"]) is str else ""
    return data[slice(*spans[name])], inner, _hex(signed, "signature", 64)


def _members(text: str, count: int) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
    """The ``count`` members of the object that fills ``text``, and where each value stands.

    Raises:
        ValueError, IndexError: something else; a name that comes twice.
    """
    decode = _decoder().raw_decode
    found: dict[str, Any] = {}
    spans = {}
    position = _past(text, 0, "{")
    for index in range(count):
        name, end = decode(text, position)
        start = _past(text, end, ":")
        value, end = decode(text, start)
        if not isinstance(name, str) or name in found:
            raise ValueError("not a name of its own")
        found[name], spans[name] = value, (start, end)
        position = _past(text, end, "}" if index == count - 1 else ",")
    if position != len(text):
        raise ValueError("something follows")
    return found, spans


@cache
def _decoder() -> JSONDecoder:
    from json import JSONDecoder

    return JSONDecoder()


def _past(text: str, position: int, mark: str) -> int:
    """The position after ``mark`` and the white space around it."""
    position = _blank(text, position)
    if text[position] != mark:
        raise ValueError(f"no {mark}")
    return _blank(text, position + 1)


def _blank(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\n", "\r"):
        position += 1
    return position


_Shape: TypeAlias = tuple[tuple[str, type], ...]


def _take(value: Any, shape: _Shape) -> list[Any]:
    """The members of an object that ``shape`` names, each of the very type it names (true is no int)."""
    found = []
    for key, kind in shape:
        item = value.get(key) if type(value) is dict else None
        if type(item) is not kind:
            raise _bad(key, kind.__name__, item)
        found.append(item)
    return found


def _number(value: Any, key: str, limit: int = 65535) -> int:
    return _within(_take(value, ((key, int),))[0], key, limit)


def _within(found: int, key: str, limit: int = 65535) -> int:
    if not 0 <= found <= limit:
        raise _bad(key, f"0 to {limit}", found)
    return found


def _hex(found: str, key: str, size: int) -> bytes:
    try:
        plain = bytes.fromhex(found)
    except ValueError:
        plain = b""
    if len(plain) != size or len(found) != 2 * size:  # fromhex takes white space
        raise _bad(key, f"{size} bytes in hexadecimal", found)
    return plain


def _time(text: str, key: str) -> datetime:
    time = _instant(text) if len(text) == 20 else None
    if time is None:
        raise _bad(key, "a time in Zulu with seconds", text)
    return time


@lru_cache(maxsize=256)
def _instant(text: str) -> datetime | None:
    """2026-01-31T12:00:00Z and no other form of ISO 8601; documents of one issue share their few dates."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.isoformat() == text[:-1] + "+00:00" and text[-1] == "Z" else None


def _list(found: list[Any], key: str, limit: int = 256) -> list[Any]:
    if len(found) > limit:
        raise _bad(key, f"at most {limit} entries", len(found))
    return found


_LEVEL: _Shape = ("tcb", dict), ("tcbStatus", str), ("tcbDate", str)


def _level(item: Any, statuses: frozenset[str]) -> tuple[dict[str, Any], str, str, tuple[str, ...]]:
    """The versions a level takes; its date, status and advisories."""
    tcb, status, date = _take(item, _LEVEL)
    if status not in statuses:
        raise _bad("tcbStatus", "a status Intel defines", status)
    _time(date, "tcbDate")
    return tcb, date, status, _advisories(item["advisoryIDs"]) if "advisoryIDs" in item else ()


def _advisories(found: Any) -> tuple[str, ...]:
    """INTEL-SA-00837 …: letters, digits and hyphens."""
    if type(found) is not list or not {*map(type, found)} <= {str} or len(found) > 256:
        raise _bad("advisoryIDs", "at most 256 names", found)
    text = "".join(found).replace("-", "0") or "0"
    if not text.isascii() or not text.isalnum() or not all(found) or max(map(len, found), default=0) > MAX_ADVISORY:
        raise _bad("advisoryIDs", "names of advisories", found)
    return tuple(found)


def _levels(found: list[Any], statuses: frozenset[str]) -> tuple[Level, ...]:
    rows = []
    for item in _list(found, "tcbLevels"):
        tcb, date, status, advisories = _level(item, statuses)
        rows.append(Level(_number(tcb, "isvsvn"), date, status, advisories))
    return tuple(rows)


def _components(rows: list[Any], key: str) -> tuple[int, ...]:
    svns: list[Any] = [row.get("svn") if type(row) is dict else None for row in rows[:17]]
    if len(svns) != 16 or {*map(type, svns)} != {int} or min(svns) < 0 or max(svns) > 255:
        raise _bad(key, "16 components with an svn of 0 to 255", svns)
    return tuple(svns)


_VERSIONS: dict[tuple[int, bool], _Shape] = {
    (2, False): (("pcesvn", int), *((name, int) for name in _COMPONENTS_2)),
    (3, False): (("pcesvn", int), ("sgxtcbcomponents", list)),
    (3, True): (("pcesvn", int), ("sgxtcbcomponents", list), ("tdxtcbcomponents", list)),
}
"""The versions that a TCB level states, by version of the document and whether it is TDX's."""


def _platform_level(item: Any, version: int, tdx: bool) -> PlatformLevel:
    tcb, date, status, advisories = _level(item, PLATFORM_STATUSES)
    pcesvn, *rest = _take(tcb, _VERSIONS[version, tdx])
    if version == 2:
        sgx = tuple([_within(svn, name, 255) for svn, name in zip(rest, _COMPONENTS_2, strict=True)])
    else:
        sgx = _components(rest[0], "sgxtcbcomponents")
    more = _components(rest[1], "tdxtcbcomponents") if tdx else ()
    return PlatformLevel(sgx, _within(pcesvn, "pcesvn"), more, date, status, advisories)


_MODULE: _Shape = ("mrsigner", str), ("attributes", str), ("attributesMask", str)
_NAMED: _Shape = *_MODULE, ("id", str), ("tcbLevels", list)


def _module(value: Any, *, named: bool = True) -> Module:
    """The module without a version of its own, or one named by its version, which has levels."""
    mrsigner, attributes, mask, *rest = _take(value, _NAMED if named else _MODULE)
    return Module(
        rest[0].upper() if named else "",
        _hex(mrsigner, "mrsigner", 48),
        _hex(attributes, "attributes", 8),
        _hex(mask, "attributesMask", 8),
        _levels(rest[1], MODULE_STATUSES) if named else (),
    )


_ENVELOPE: _Shape = ("version", int), ("issueDate", str), ("nextUpdate", str), ("tcbEvaluationDataNumber", int)


def _signed(raw: bytes, inner: dict[str, Any], signature: bytes, name: str, versions: tuple[int, ...]) -> Signed:
    version, issued, until, evaluation = _take(inner, _ENVELOPE)
    if version not in versions:
        raise _bad("version", f"one of {versions}", version)
    number = _within(evaluation, "tcbEvaluationDataNumber", 1 << 31)
    return Signed(raw, signature, name, version, _time(issued, "issueDate"), _time(until, "nextUpdate"), number)


_ID: _Shape = (("id", str),)
_INFO: _Shape = ("tcbType", int), ("fmspc", str), ("pceId", str), ("tcbLevels", list)


def _tcb_info(data: bytes) -> TcbInfo:
    raw, inner, signature = envelope(data, "tcbInfo")
    name = "SGX" if inner.get("version") == 2 and "id" not in inner else _take(inner, _ID)[0]
    if name not in ("SGX", "TDX"):
        raise _bad("id", "SGX or TDX", name)
    tdx = name == "TDX"
    signed = _signed(raw, inner, signature, name, (3,) if tdx else (2, 3))
    kind, fmspc, pceid, rows = _take(inner, _INFO)
    if kind != 0:
        raise _bad("tcbType", 0, kind)
    modules = _take(inner, (("tdxModuleIdentities", list),))[0] if "tdxModuleIdentities" in inner else []
    return TcbInfo(
        signed,
        _hex(fmspc, "fmspc", 6),
        _hex(pceid, "pceId", 2),
        tuple([_platform_level(item, signed.version, tdx) for item in _list(rows, "tcbLevels")]),
        _module(inner.get("tdxModule"), named=False) if tdx else None,
        tuple([_module(item) for item in _list(modules, "tdxModuleIdentities")]),
    )


_IDENTITY: _Shape = (
    *_ID, ("miscselect", str), ("miscselectMask", str), ("attributes", str), ("attributesMask", str), ("mrsigner", str),
    ("isvprodid", int), ("tcbLevels", list),
)  # fmt: skip


def _identity(data: bytes) -> Identity:
    raw, inner, signature = envelope(data, "enclaveIdentity")
    name, misc, misc_mask, attributes, mask, mrsigner, product, rows = _take(inner, _IDENTITY)
    return Identity(
        _signed(raw, inner, signature, name, (2,)),
        _hex(misc, "miscselect", 4),
        _hex(misc_mask, "miscselectMask", 4),
        _hex(attributes, "attributes", 16),
        _hex(mask, "attributesMask", 16),
        _hex(mrsigner, "mrsigner", 32),
        _within(product, "isvprodid"),
        _levels(rows, QE_STATUSES),
    )


def _remembered(parse: Callable[[bytes], T]) -> Callable[[bytes], T]:
    return lru_cache(maxsize=32)(parse)


tcb_info = _remembered(_tcb_info)
"""TCB info from the raw response; MalformedEvidence when it does not follow its specification."""
identity = _remembered(_identity)
"""An enclave identity from the raw response; MalformedEvidence when it does not follow its specification."""
