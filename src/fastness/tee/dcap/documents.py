"""Intel's signed collateral as values: TCB info (versions 2 and 3) and enclave identities (version 2).

The signature is over the exact bytes of the inner object, so they are cut out of the raw response and never made again
from what was parsed (Intel PCS API 4.0, "Get TCB Info" and "Get QE Identity").
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

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
    return data[slice(*spans[name])], inner, _hex(found, "signature", 64)


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
    try:
        plain = bytes.fromhex(found)
    except ValueError:
        plain = b""
    if len(plain) != size or len(found) != 2 * size:  # fromhex takes white space
        raise _bad(key, f"{size} bytes in hexadecimal", found)
    return plain


def _time(value: dict[str, Any], key: str) -> datetime:
    found = _get(value, key, str)
    time = _instant(found) if len(found) == 20 else None
    if time is None:
        raise _bad(key, "a time in Zulu with seconds", found)
    return time


@lru_cache(maxsize=256)
def _instant(text: str) -> datetime | None:
    """2026-01-31T12:00:00Z and no other form of ISO 8601; documents of one issue share their few dates."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.isoformat() == text[:-1] + "+00:00" and text[-1] == "Z" else None


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
    if not all(_is_advisory(item) for item in advisories):
        raise _bad("advisoryIDs", "names of advisories", advisories)
    return value["tcbDate"], status, tuple(advisories)


def _is_advisory(name: Any) -> bool:
    """INTEL-SA-00837: letters, digits and hyphens."""
    return isinstance(name, str) and name.isascii() and name.replace("-", "0").isalnum() and len(name) <= MAX_ADVISORY


def _levels(value: dict[str, Any], statuses: frozenset[str]) -> tuple[Level, ...]:
    rows = []
    for item in _list(value, "tcbLevels"):
        tcb = _get(item, "tcb", dict)
        rows.append(Level(_number(tcb, "isvsvn"), *_verdict(item, statuses)))
    return tuple(rows)


def _components(tcb: dict[str, Any], key: str) -> tuple[int, ...]:
    rows = _list(tcb, key, 16)
    svns: list[Any] = [row.get("svn") if isinstance(row, dict) else None for row in rows]
    if len(svns) != 16 or set(map(type, svns)) != {int} or min(svns) < 0 or max(svns) > 255:
        raise _bad(key, "16 components with an svn of 0 to 255", svns)
    return tuple(svns)


def _platform_level(item: dict[str, Any], version: int, tdx: bool) -> PlatformLevel:
    tcb = _get(item, "tcb", dict)
    if version == 2:
        sgx = tuple([_number(tcb, name, 255) for name in _COMPONENTS_2])
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
