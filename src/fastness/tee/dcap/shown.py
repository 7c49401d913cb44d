"""What the bytes of a quote's fields stand for, for ``evidence show``: numbers, flags by name, the PCK's facts."""

from __future__ import annotations

from collections.abc import Iterable

from fastness.errors import MalformedEvidence
from fastness.tee.dcap import layout, pck
from fastness.tee.dcap.quote import Quote

Row = tuple[str, int, int, str]
_WORDS = ("miscselect", "seam_attributes", "init_servtd_attr", "cur_servtd_attr", "tee_type")
"""Fields that are read bit by bit."""


def decoded(quote: Quote, raw: bytes, rows: Iterable[Row], flags: dict[str, dict[str, int]]) -> list[Row]:
    """``rows`` of the quote in ``raw``, each with its value behind its meaning; ``flags`` names the bits of a field."""
    return [
        (name, at, size, meaning + _value(quote, name, raw[at : at + size], flags)) for name, at, size, meaning in rows
    ]


def _value(quote: Quote, name: str, data: bytes, flags: dict[str, dict[str, int]]) -> str:
    plain = name.removeprefix("qe.")
    if plain == "attributes":
        enclave = _set(data[:8], layout.SGX_FLAGS)
        return f" = {enclave}; XFRM {_set(data[8:], layout.XFRM_BITS)}"
    if plain in flags:
        return f" = {_set(data, flags[plain])}"
    if name == "certification":
        return _pck(quote)
    if len(data) > 8:
        return ""
    number = int.from_bytes(data, "little")
    return f" = {number:#x}" if plain in _WORDS else f" = {number}"


def _set(data: bytes, names: dict[str, int]) -> str:
    word = int.from_bytes(data, "little")
    bits = layout.bits(word, names)
    found = [name for name, on in bits.items() if on is True]
    found += [f"unknown {bits['unknown']}"] if "unknown" in bits else []
    return f"{word:#x} ({', '.join(found) or 'none'})"


def _pck(quote: Quote) -> str:
    leaf = quote.certification.leaf
    if leaf is None:
        return ""
    try:
        facts = pck.read(leaf)
    except MalformedEvidence as error:
        return f"; PCK unreadable: {error}"
    svns = ".".join(map(str, facts.components))
    return (
        f"; PCK of FMSPC {facts.fmspc.hex()}, PCEID {facts.pceid.hex()}, PPID {facts.ppid.hex()}, "
        f"components {svns}, PCESVN {facts.pcesvn}, {facts.sgx_type}"
    )
