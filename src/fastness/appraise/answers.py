"""What a matcher answers: yes, no, or that it cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

Answer = Callable[[Any, datetime, Mapping[str, Any]], bool]
"""(value, time, all claims) → whether it holds; ``TypeError`` or ``ValueError`` where that cannot be told."""
Tell = Callable[[Any, datetime, Mapping[str, Any]], str]


CANNOT_TELL, LIFTED = "cannot tell ", "the refusal is lifted where "
"""How the words of a refusing rule's finding begin where a claim is absent, and where its ``unless`` would help."""


class Told(Enum):
    """What a condition says of claims."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"


class Wrong(ValueError):
    """A matcher that cannot be understood; the policy reader adds file and line."""
