"""Files of this package, read by path: ``importlib.resources`` costs 8 ms at start-up for the same."""

from __future__ import annotations

import os
from typing import Any


def text(*place: str) -> str:
    """The text of the file at ``place`` below the package: ``("appraise", "profiles", "strict.toml")``."""
    path = os.path.join(os.path.dirname(__file__), *place)  # noqa: PTH118, PTH120 - no pathlib here
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def table(module: str, name: str) -> dict[str, Any]:
    """The table ``name`` beside the module whose ``__file__`` is ``module``."""
    import tomllib

    with open(os.path.join(os.path.dirname(module), name), "rb") as file:  # noqa: PTH118, PTH120, PTH123 - no pathlib here
        return tomllib.load(file)
