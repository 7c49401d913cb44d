"""Intel's signed collateral as values: TCB info (versions 2 and 3) and enclave identities (version 2).

The signature is over the exact bytes of the inner object, so they are cut out of the raw response and never made again
from what was parsed (Intel PCS API 4.0, "Get TCB Info" and "Get QE Identity").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from fastness.errors import MalformedEvidence

MAX_DOCUMENT = 1 << 20
PLATFORM_STATUSES = frozenset({
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "Revoked",
})  # fmt: skip
MODULE_STATUSES = frozenset({"UpToDate", "OutOfDate", "Revoked"})
QE_STATUSES = MODULE_STATUSES | {"ConfigurationNeeded", "OutOfDateConfigurationNeeded"}

_OUTER = re.compile(r"\s*\{\s*")
_NAME = re.compile(r'"([A-Za-z]{1,32})"\s*:\s*')
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_TAIL = re.compile(r"\s*([,}])\s*")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_ADVISORY = re.compile(r"[A-Za-z0-9-]{1,40}")
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
    from json import JSONDecoder

    if len(data) > MAX_DOCUMENT:
        raise _bad(name, f"at most {MAX_DOCUMENT} bytes", len(data))
    found: dict[str, tuple[Any, int, int]] = {}
    try:
        text = data.decode("ascii")
        start = _OUTER.match(text)
        position = start.end() if start else len(text)
        while match := _NAME.match(text, position):
            value, end = JSONDecoder().raw_decode(text, match.end())
            if match[1] in found:
                raise _bad(name, "distinct names", match[1])
            found[match[1]] = (value, match.end(), end)
            tail = _TAIL.match(text, end)
            position = tail.end() if tail else -1
            if tail is None or tail[1] == "}":
                break
    except (ValueError, RecursionError):
        raise _bad(name, "JSON in ASCII", data[:40]) from None
    if set(found) != {name, "signature"} or position != len(text):
        raise _bad(name, f'{{"{name}": …, "signature": …}} and nothing else', sorted(found))
    inner, begin, end = found[name]
    if not isinstance(inner, dict):
        raise _bad(name, "an object", inner)
    signature = _hex({"signature": found["signature"][0]}, "signature", 64)
    return data[begin:end], inner, signature


def _get(value: Any, key: str, kind: type[T]) -> T:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise _bad(key, kind.__name__, found)
    return found


def _number(value: Any, key: str, limit: int = 65535) -> int:
    found = _get(value, key, int)
    if not 0 <= found <= limit:
        raise _bad(key, f"0 to {limit}", found)
    return found


def _hex(value: dict[str, Any], key: str, size: int) -> bytes:
    found = _get(value, key, str)
    if len(found) != 2 * size or not _HEX.fullmatch(found):
        raise _bad(key, f"{size} bytes in hexadecimal", found)
    return bytes.fromhex(found)


def _time(value: dict[str, Any], key: str) -> datetime:
    found = _get(value, key, str)
    try:
        if not _TIME.fullmatch(found):
            raise ValueError
        return datetime.fromisoformat(found).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _bad(key, "a time in Zulu with seconds", found) from None


def _list(value: dict[str, Any], key: str, limit: int = 256) -> list[Any]:
    found = _get(value, key, list)
    if len(found) > limit:
        raise _bad(key, f"at most {limit} entries", len(found))
    return found


def _verdict(value: dict[str, Any], statuses: frozenset[str]) -> tuple[str, str, tuple[str, ...]]:
    status = _get(value, "tcbStatus", str)
    if status not in statuses:
        raise _bad("tcbStatus", "a status Intel defines", status)
    _time(value, "tcbDate")
    advisories = _list(value, "advisoryIDs") if "advisoryIDs" in value else []
    if not all(isinstance(item, str) and _ADVISORY.fullmatch(item) for item in advisories):
        raise _bad("advisoryIDs", "names of advisories", advisories)
    return value["tcbDate"], status, tuple(advisories)


def _levels(value: dict[str, Any], statuses: frozenset[str]) -> tuple[Level, ...]:
    rows = []
    for item in _list(value, "tcbLevels"):
        tcb = _get(item, "tcb", dict)
        rows.append(Level(_number(tcb, "isvsvn"), *_verdict(item, statuses)))
    return tuple(rows)


def _components(tcb: dict[str, Any], key: str) -> tuple[int, ...]:
    rows = _list(tcb, key, 16)
    if len(rows) != 16:
        raise _bad(key, "16 components", len(rows))
    return tuple(_number(row, "svn", 255) for row in rows)


def _platform_level(item: dict[str, Any], version: int, tdx: bool) -> PlatformLevel:
    tcb = _get(item, "tcb", dict)
    if version == 2:
        sgx = tuple(_number(tcb, f"sgxtcbcomp{index:02}svn", 255) for index in range(1, 17))
    else:
        sgx = _components(tcb, "sgxtcbcomponents")
    more = _components(tcb, "tdxtcbcomponents") if tdx else ()
    return PlatformLevel(sgx, _number(tcb, "pcesvn"), more, *_verdict(item, PLATFORM_STATUSES))


def _module(value: dict[str, Any], name: str) -> Module:
    levels = _levels(value, MODULE_STATUSES) if name else ()
    return Module(
        name, _hex(value, "mrsigner", 48), _hex(value, "attributes", 8), _hex(value, "attributesMask", 8), levels
    )


def _signed(raw: bytes, inner: dict[str, Any], signature: bytes, name: str, versions: tuple[int, ...]) -> Signed:
    version = _number(inner, "version")
    if version not in versions:
        raise _bad("version", f"one of {versions}", version)
    issued, until = _time(inner, "issueDate"), _time(inner, "nextUpdate")
    return Signed(raw, signature, name, version, issued, until, _number(inner, "tcbEvaluationDataNumber", 1 << 31))


def _tcb_info(data: bytes) -> TcbInfo:
    raw, inner, signature = envelope(data, "tcbInfo")
    name = "SGX" if inner.get("version") == 2 and "id" not in inner else _get(inner, "id", str)
    if name not in ("SGX", "TDX"):
        raise _bad("id", "SGX or TDX", name)
    signed = _signed(raw, inner, signature, name, (3,) if name == "TDX" else (2, 3))
    if _number(inner, "tcbType") != 0:
        raise _bad("tcbType", 0, inner["tcbType"])
    levels = [_platform_level(item, signed.version, name == "TDX") for item in _list(inner, "tcbLevels")]
    modules = _list(inner, "tdxModuleIdentities") if "tdxModuleIdentities" in inner else []
    return TcbInfo(
        signed,
        _hex(inner, "fmspc", 6),
        _hex(inner, "pceId", 2),
        tuple(levels),
        _module(_get(inner, "tdxModule", dict), "") if name == "TDX" else None,
        tuple(_module(item, _get(item, "id", str).upper()) for item in modules),
    )


def _identity(data: bytes) -> Identity:
    raw, inner, signature = envelope(data, "enclaveIdentity")
    return Identity(
        _signed(raw, inner, signature, _get(inner, "id", str), (2,)),
        _hex(inner, "miscselect", 4),
        _hex(inner, "miscselectMask", 4),
        _hex(inner, "attributes", 16),
        _hex(inner, "attributesMask", 16),
        _hex(inner, "mrsigner", 32),
        _number(inner, "isvprodid"),
        _levels(inner, QE_STATUSES),
    )


def _remembered(parse: Callable[[bytes], T]) -> Callable[[bytes], T]:
    return lru_cache(maxsize=32)(parse)


tcb_info = _remembered(_tcb_info)
"""TCB info from the raw response; MalformedEvidence when it does not follow its specification."""
identity = _remembered(_identity)
"""An enclave identity from the raw response; MalformedEvidence when it does not follow its specification."""
