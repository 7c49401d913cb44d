"""A look at the ClientHello before OpenSSL sees it: a session that resumes or sends early data is turned away.

Evidence is bound to one finished handshake; resumption and early data would put bytes outside it (keep protocol v1,
section 2). OpenSSL would quietly fall back to a full handshake; the protocol demands an end instead.
"""

from __future__ import annotations

from fastness.errors import MalformedEvidence, ProtocolError
from fastness.wire.cursor import Cursor

HANDSHAKE_RECORD, CLIENT_HELLO = 0x16, 0x01
PRE_SHARED_KEY, EARLY_DATA = 41, 42
"""Extension types (RFC 8446 section 4.2)."""

MAX_HELLO = 16 * 1024 + 5
_FORBIDDEN = {PRE_SHARED_KEY: "resumes a session", EARLY_DATA: "sends early data"}


def complete(data: bytes) -> bool:
    """Whether ``data`` holds the first TLS record whole."""
    return len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big")


def inspect(data: bytes) -> None:
    """Refuses a first record that is not a plain ClientHello.

    Raises:
        ProtocolError: not a TLS ClientHello in one record, or one that resumes a session or announces early data.
    """
    try:
        extensions = _extensions(data)
    except MalformedEvidence as error:
        raise ProtocolError(f"not a TLS client hello ({error.what})") from None
    for kind, meaning in _FORBIDDEN.items():
        if kind in extensions:
            raise ProtocolError(f"the TLS client {meaning}", hint="connect anew, without session or early data")


def _extensions(data: bytes) -> set[int]:
    record = Cursor(data)
    if record.take(1, "record type")[0] != HANDSHAKE_RECORD:
        raise MalformedEvidence("record type", 0, "handshake", data[:1].hex())
    record.take(2, "record version")
    hello = Cursor(record.sized(2, "record", limit=MAX_HELLO, order="big"))
    if hello.take(1, "message type")[0] != CLIENT_HELLO:
        raise MalformedEvidence("message type", 5, "client hello", data[5:6].hex())
    body = Cursor(hello.sized(3, "client hello", limit=MAX_HELLO, order="big"))
    body.take(2 + 32, "version and random")
    body.sized(1, "session id", limit=32, order="big")
    body.sized(2, "cipher suites", limit=MAX_HELLO, order="big")
    body.sized(1, "compression methods", limit=255, order="big")
    found: set[int] = set()
    if body.remaining:
        listed = Cursor(body.sized(2, "extensions", limit=MAX_HELLO, order="big"))
        while listed.remaining:
            found.add(listed.big(2, "extension type"))
            listed.sized(2, "extension", limit=MAX_HELLO, order="big")
    return found
