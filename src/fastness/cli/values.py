"""What options say: times, and bytes in hexadecimal. Imports nothing that a plain verification does not need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastness.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime


def when(text: str | None, place: str = "--at") -> datetime | None:
    """A time in ISO 8601; without a zone it is Zulu. ``place`` says where it stood."""
    if text is None:
        return None
    from datetime import UTC, datetime

    try:
        value = datetime.fromisoformat(text)
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"not a time: {text[:40]!r}", where=place, hint="2026-11-23T12:00:00Z") from None


MAX_NONCE = 1024
"""Longest nonce and user data of any evidence, in bytes: those of Nitro documents."""


def hexadecimal(option: str, text: str | None, most: int = 64) -> bytes | None:
    """Bytes written in hexadecimal: 1 to ``most`` of them."""
    if text is None:
        return None
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if not 1 <= len(value) <= most:
        raise UsageError(
            f"{option} wants 1 to {most} bytes in hexadecimal", where=option, hint=f"{option} 5f3a…, as drawn"
        )
    return value
