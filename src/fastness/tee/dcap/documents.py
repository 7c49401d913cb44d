"""Intel's signed collateral as values: TCB info (versions 2 and 3) and enclave identities (version 2).

The signature is over the exact bytes of the inner object, so they are cut out of the raw response and never made again
from what was parsed (Intel PCS API 4.0, "Get TCB Info" and "Get QE Identity"). What is needed to choose a document is
read before its signature is checked; its TCB levels after that, down to the one that is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

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


_SPACES = (" ", "\t", "\n", "\r")


def _past(text: str, position: int, mark: str) -> int:
    """The position after ``mark`` and the white space around it, of which Intel writes none."""
    if text[position] != mark:
        position = _blank(text, position)
        if text[position] != mark:
            raise ValueError(f"no {mark}")
    position += 1
    return _blank(text, position) if text[position : position + 1] in _SPACES else position


def _blank(text: str, position: int) -> int:
    while text[position : position + 1] in _SPACES:
        position += 1
    return position


class _Shape:
    """The members that an object must have, each of the very type that is named (true is no int)."""

    __slots__ = ("_get", "_kinds", "_names")

    def __init__(self, *members: tuple[str, type]) -> None:
        self._names, self._kinds = zip(*members, strict=True)
        self._get = itemgetter(*self._names)

    def take(self, value: Any) -> tuple[Any, ...]:
        """The members of ``value``, in the order they are named."""
        if type(value) is dict:
            try:
                found: tuple[Any, ...] = self._get(value)
            except KeyError:
                pass
            else:
                if (*map(type, found),) == self._kinds:
                    return found
        raise self._fault(value)

    def _fault(self, value: Any) -> MalformedEvidence:
        for key, kind in zip(self._names, self._kinds, strict=True):
            item = value.get(key) if type(value) is dict else None
            if type(item) is not kind:
                return _bad(key, kind.__name__, item)
        return _bad("document", "an object", value)


def _one(value: Any, key: str, kind: type[T]) -> T:
    """The member ``key`` of an object, of the very type ``kind``."""
    item = value.get(key) if type(value) is dict else None
    if type(item) is not kind:
        raise _bad(key, kind.__name__, item)
    return item


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
    return found if text[4::3] == "--T::Z" and text[11:13] < "24" else None  # of what else has twenty characters


def _list(found: list[Any], key: str, limit: int = 256) -> list[Any]:
    if len(found) > limit:
        raise _bad(key, f"at most {limit} entries", len(found))
    return found


_LEVEL = _Shape(("tcb", dict), ("tcbStatus", str), ("tcbDate", str))


def _level(item: Any, statuses: frozenset[str]) -> tuple[dict[str, Any], str, str, tuple[str, ...]]:
    """The versions a level takes; its date, status and advisories."""
    tcb, status, date = _LEVEL.take(item)
    if status not in statuses:
        raise _bad("tcbStatus", "a status Intel defines", status)
    _time(date, "tcbDate")
    return tcb, date, status, _advisories(item["advisoryIDs"]) if "advisoryIDs" in item else ()


def _advisories(found: Any) -> tuple[str, ...]:
    """Names of advisories: INTEL-SA-00837 …, letters, digits and hyphens."""
    if type(found) is not list or len(found) > 256 or not {*map(type, found)} <= {str}:
        raise _bad("advisoryIDs", "at most 256 names", found)
    text = "".join(found).replace("-", "0")
    if found and not (text.isascii() and text.isalnum() and "" not in found and max(map(len, found)) <= MAX_ADVISORY):
        raise _bad("advisoryIDs", "names of advisories", found)
    return tuple(found)


def _read_level(item: Any, statuses: frozenset[str]) -> Level:
    tcb, date, status, advisories = _level(item, statuses)
    return Level(_within(_one(tcb, "isvsvn", int), "isvsvn"), date, status, advisories)


def _levels(found: list[Any], statuses: frozenset[str]) -> Levels[Level]:
    return Levels(_list(found, "tcbLevels"), lambda item: _read_level(item, statuses))


_svn = itemgetter("svn")


def _components(rows: list[Any], key: str) -> tuple[int, ...]:
    try:
        svns = [*map(_svn, rows)] if len(rows) == 16 else []
        plain = bytes(svns)  # refuses what is no number of 0 to 255
    except (TypeError, KeyError, ValueError):
        plain, svns = b"", []
    if len(plain) != 16 or {*map(type, svns)} != {int}:
        raise _bad(key, "16 components with an svn of 0 to 255", rows)
    return tuple(plain)


_VERSIONS = {
    (2, False): _Shape(("pcesvn", int), *((name, int) for name in _COMPONENTS_2)),
    (3, False): _Shape(("pcesvn", int), ("sgxtcbcomponents", list)),
    (3, True): _Shape(("pcesvn", int), ("sgxtcbcomponents", list), ("tdxtcbcomponents", list)),
}
"""The versions that a TCB level states, by version of the document and whether it is TDX's."""


def _platform_level(item: Any, version: int, tdx: bool) -> PlatformLevel:
    tcb, date, status, advisories = _level(item, PLATFORM_STATUSES)
    pcesvn, *rest = _VERSIONS[version, tdx].take(tcb)
    if version == 2:
        sgx = tuple([_within(svn, name, 255) for svn, name in zip(rest, _COMPONENTS_2, strict=True)])
    else:
        sgx = _components(rest[0], "sgxtcbcomponents")
    more = _components(rest[1], "tdxtcbcomponents") if tdx else ()
    return PlatformLevel(sgx, _within(pcesvn, "pcesvn"), more, date, status, advisories)


_PLAIN = ("mrsigner", str), ("attributes", str), ("attributesMask", str)
_MODULE, _NAMED = _Shape(*_PLAIN), _Shape(*_PLAIN, ("id", str), ("tcbLevels", list))


def _module(value: Any, *, named: bool = True) -> Module:
    """The module without a version of its own, or one named by its version, which has levels."""
    mrsigner, attributes, mask, *rest = (_NAMED if named else _MODULE).take(value)
    return Module(
        rest[0].upper() if named else "",
        _hex(mrsigner, "mrsigner", 48),
        _hex(attributes, "attributes", 8),
        _hex(mask, "attributesMask", 8),
        _levels(rest[1] if named else [], MODULE_STATUSES),
    )


_ENVELOPE = _Shape(("version", int), ("issueDate", str), ("nextUpdate", str), ("tcbEvaluationDataNumber", int))


def _signed(raw: bytes, inner: dict[str, Any], signature: bytes, name: str, versions: tuple[int, ...]) -> Signed:
    version, issued, until, evaluation = _ENVELOPE.take(inner)
    if version not in versions:
        raise _bad("version", f"one of {versions}", version)
    number = _within(evaluation, "tcbEvaluationDataNumber", 1 << 31)
    return Signed(raw, signature, name, version, _time(issued, "issueDate"), _time(until, "nextUpdate"), number)


_INFO = _Shape(("tcbType", int), ("fmspc", str), ("pceId", str), ("tcbLevels", list))


def _tcb_info(data: bytes) -> TcbInfo:
    raw, inner, signature = envelope(data, "tcbInfo")
    name = "SGX" if inner.get("version") == 2 and "id" not in inner else _one(inner, "id", str)
    if name not in ("SGX", "TDX"):
        raise _bad("id", "SGX or TDX", name)
    tdx = name == "TDX"
    signed = _signed(raw, inner, signature, name, (3,) if tdx else (2, 3))
    kind, fmspc, pceid, rows = _INFO.take(inner)
    if kind != 0:
        raise _bad("tcbType", 0, kind)
    modules = _one(inner, "tdxModuleIdentities", list) if "tdxModuleIdentities" in inner else []
    return TcbInfo(
        signed,
        _hex(fmspc, "fmspc", 6),
        _hex(pceid, "pceId", 2),
        Levels(_list(rows, "tcbLevels"), lambda item: _platform_level(item, signed.version, tdx)),
        _module(inner.get("tdxModule"), named=False) if tdx else None,
        tuple([_module(item) for item in _list(modules, "tdxModuleIdentities")]),
    )


_IDENTITY = _Shape(
    ("id", str), ("miscselect", str), ("miscselectMask", str), ("attributes", str), ("attributesMask", str),
    ("mrsigner", str), ("isvprodid", int), ("tcbLevels", list),
)  # fmt: skip


def _identity(data: bytes) -> Identity:
    raw, inner, signature = envelope(data, "enclaveIdentity")
    name, misc, misc_mask, attributes, mask, mrsigner, product, rows = _IDENTITY.take(inner)
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
