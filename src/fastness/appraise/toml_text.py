"""Values as TOML text: what `tomllib` leaves to others. Not beside the reader, which runs inside keeps."""

from __future__ import annotations

import re

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def text(value: str) -> str:
    """``value`` as a TOML basic string (TOML 1.0, "String"): JSON's escapes are among TOML's, but DEL needs one too."""
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    import json

    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    """``name`` as a TOML key, quoted where it must be."""
    return name if _BARE.fullmatch(name) else text(name)
