"""The life of a keep, as a table. It takes one workload, once, and never goes back."""

from __future__ import annotations

from enum import Enum

from fastness.errors import ProtocolError

COMPROMISED = 13
"""Exit status of a keep that found its code altered. Whoever started it starts one that can say so and nothing else."""

ABANDONED = 14
"""Exit status of a keep whose last visitor went away and left it no workload."""


class State(Enum):
    """Where a keep stands."""

    WAITING = "waiting"
    LOADING = "loading"
    RUNNING = "running"
    ENDED = "ended"
    POISONED = "poisoned"


NEXT: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.LOADING, State.POISONED}),
    State.LOADING: frozenset({State.RUNNING, State.ENDED, State.POISONED}),
    State.RUNNING: frozenset({State.ENDED, State.POISONED}),
    State.ENDED: frozenset({State.POISONED}),
    State.POISONED: frozenset(),
}


def step(now: State, wanted: State) -> State:
    """``wanted``, if a keep may go there from ``now``.

    Raises:
        ProtocolError: it may not; a second workload, most of the time.
    """
    if wanted not in NEXT[now]:
        raise ProtocolError(
            f"a keep that is {now.value} cannot become {wanted.value}",
            hint="a keep takes one workload in its life; deploy to a new one",
        )
    return wanted
