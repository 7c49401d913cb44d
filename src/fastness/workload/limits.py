"""What a workload may use up: the limits of its manifest, their defaults, and how sizes and durations are written.

A limit is a promise to the tenant as much as to the host: it is measured with the rest of the configuration, and the
keep names the key to raise when one is hit.
"""

from __future__ import annotations

from typing import NamedTuple

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

SIZES = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
DURATIONS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}

MAX_MEMORY = 4 * GIB
"""A 32-bit linear memory cannot be larger (WebAssembly core 2.0, 4.2.8)."""

MAX_TABLE = 10_000_000
MAX_STACK = 64 * MIB
MAX_WALL_CLOCK = 366 * 86_400
MAX_FUEL = (1 << 63) - 1
MAX_GRACE = 3600


class Limits(NamedTuple):
    """Limits of one run.

    Attributes:
        memory: bytes of each linear memory. A module has one; a component may have a few.
        table: elements of each table (8 bytes each).
        stack: bytes of the WebAssembly stack. C and Go keep a second stack in linear memory, which their linker sizes.
        wall_clock: seconds from the first instruction to the last; then the keep is killed by its supervisor.
        fuel: instructions, roughly; None does not count them. Counting costs between nothing and three times the run
            time (tight loops suffer most), so it is off unless the manifest asks for it.
        grace: seconds that a detached workload has to end by itself once its owner wants it gone; it is told by the end
            of its stdin, which stays open until then. 0: it is ended at once, and its stdin is empty from the start.
    """

    memory: int = 512 * MIB
    table: int = 100_000
    stack: int = 1 * MIB
    wall_clock: int = 3600
    fuel: int | None = None
    grace: int = 0


def quantity(value: object, units: dict[str, int]) -> int | None:
    """``value`` in base units: an integer as it stands, or text of an integer and a unit (``"64 MiB"``, ``"90 s"``).

    Returns:
        None when it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    number, _, unit = value.strip().partition(" ")
    if not (number.isascii() and number.isdigit()) or len(number) > 18 or unit not in units:
        return None
    return int(number) * units[unit]
