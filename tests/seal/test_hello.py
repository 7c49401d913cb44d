"""The first record of a TLS client, field by field."""

from __future__ import annotations

import pytest

from fastness.errors import ProtocolError
from fastness.seal import hello


def record(message: bytes, kind: int = 0x16) -> bytes:
    return bytes((kind, 3, 1)) + len(message).to_bytes(2, "big") + message


def message(kind: int = 1, extensions: bytes = b"\0\0") -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x02" + b"\x01\0" + extensions
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def test_a_plain_hello_passes() -> None:
    hello.inspect(record(message()))
    hello.inspect(record(message(extensions=b"")))


@pytest.mark.parametrize("data", [record(message(), 0x17), record(message(2))])
def test_another_record_or_message_is_none(data: bytes) -> None:
    """All else is as in a client hello."""
    with pytest.raises(ProtocolError, match="not a TLS client hello"):
        hello.inspect(data)


def test_a_record_is_whole_with_its_last_byte() -> None:
    data = record(message())
    for end in range(len(data)):
        assert not hello.complete(data[:end])
    assert hello.complete(data)
    assert hello.complete(data + b"\0")
    assert hello.complete(record(b""))


def test_a_hello_has_a_largest_size() -> None:
    def filled(size: int) -> bytes:
        rest = size - len(message(extensions=b"")) - 6
        return record(
            message(extensions=(rest + 4).to_bytes(2, "big") + b"\0\x15" + rest.to_bytes(2, "big") + bytes(rest))
        )

    assert len(filled(16389)) == 5 + 16389
    hello.inspect(filled(16389))
    with pytest.raises(ProtocolError, match="not a TLS client hello"):
        hello.inspect(filled(16390))
