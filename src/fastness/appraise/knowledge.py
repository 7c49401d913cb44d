"""What is known of processors and their firmware: dated, sourced rows, no code. Nothing here decides by itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from fastness import packaged

INTEL = ("tdx", "sgx")
AMD = ("snp", "sev")
SILENT = ("nitro", "cca", "tpm", "nvgpu", "nil")
"""TEEs whose evidence names no processor."""


@dataclass(frozen=True, slots=True)
class Processor:
    """One generation. ``models`` are CPUID models in hexadecimal, as ranges."""

    vendor: str
    family: int
    models: str
    generation: str
    product: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Advisory:
    """A published attack: ``path`` must answer ``cured``; ``bad`` is the nearest value that does not.

    ``steppings`` (``"<model in hexadecimal>-<stepping>"``) where the cure differs from one to the next; else empty.
    """

    id: str
    name: str
    cve: str
    tee: str
    generations: tuple[str, ...]
    path: str
    cured: bool | int | str
    bad: bool | int | str
    source: str
    date: str
    steppings: tuple[str, ...] = ()

    @property
    def processors(self) -> tuple[tuple[int, int], ...]:
        """(model, stepping) of ``steppings``."""
        pairs = (item.split("-") for item in self.steppings)
        return tuple((int(model, 16), int(stepping)) for model, stepping in pairs)

    @property
    def on(self) -> str:
        """`` model 0x11 stepping 1`` …, where only some are meant."""
        return " or".join(f" model {model:#04x} stepping {stepping}" for model, stepping in self.processors)


@dataclass(frozen=True, slots=True)
class Revoked:
    """A generation none of whose evidence can be believed any more."""

    tee: str
    generation: str
    why: str
    source: str
    date: str


def _read(name: str) -> dict[str, Any]:
    return packaged.table(__file__, f"data/{name}.toml")


@cache
def processors() -> tuple[Processor, ...]:
    """AMD's from our data, Intel's from the table the FMSPC rule uses."""
    from fastness.tee.dcap import cpu

    rows = [Processor("amd", **row) for row in _read("cpus")["cpu"]]
    for (family, model), row in sorted(cpu.table().items()):
        source, date = str(row.get("source", "Intel PCS, FMSPC list")), str(row.get("date", row.get("since", "")))
        rows.append(Processor("intel", family, f"{model:02x}", row["generation"], row.get("product", ""), source, date))
    return tuple(rows)


@cache
def advisories() -> tuple[Advisory, ...]:
    """The attacks with a cure."""
    return tuple(
        Advisory(**{**row, "generations": tuple(row["generations"]), "steppings": tuple(row.get("steppings", ()))})
        for row in _read("advisories")["advisory"]
    )


@cache
def revoked() -> tuple[Revoked, ...]:
    """The generations without one."""
    return tuple(Revoked(**row) for row in _read("advisories")["revoked"])
