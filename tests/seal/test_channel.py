"""The channel: TLS 1.3 with an exporter, or nothing."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from fastness.errors import ProtocolError
from fastness.seal import hello
from fastness.seal.challenger import client_context, peer_key
from fastness.seal.channel import Channel, identity, server_context
from fastness.wire import x509

NONCE = b"\x09" * 32
ME = identity(ec.generate_private_key(ec.SECP256R1()))


def pair(client: SSL.Context | None = None) -> tuple[Channel, Channel]:
    return Channel(client or client_context(), server=False), Channel(server_context(ME), server=True)


def shake(client: Channel, server: Channel) -> None:
    done = (False, False)
    for _ in range(10):
        done = (client.handshake(), server.handshake())
        server.feed(client.outgoing())
        server.handshake()
        client.feed(server.outgoing())
        if all(done):
            return
    raise AssertionError("no handshake")


def test_both_ends_export_the_same_and_every_session_another() -> None:
    seen = set()
    for _ in range(3):
        client, server = pair()
        shake(client, server)
        assert client.exporter(NONCE) == server.exporter(NONCE)
        assert client.exporter(NONCE) != client.exporter(b"\x08" * 32)
        seen.add(client.exporter(NONCE))
    assert len(seen) == 3


def test_bytes_arrive_and_the_end_is_told() -> None:
    client, server = pair()
    shake(client, server)
    data = bytes(range(256)) * 4096
    client.send(data)
    server.feed(client.outgoing())
    assert server.receive() == data
    client.close()
    server.feed(client.outgoing())
    assert server.receive() == b""
    assert server.closed


def test_the_client_sees_the_key_of_the_keep() -> None:
    client, server = pair()
    shake(client, server)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    expected = ME.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert peer_key(client) == expected
    assert x509.parse_public_key(peer_key(client)).raw == expected


def test_no_exporter_before_the_handshake() -> None:
    client, _ = pair()
    with pytest.raises(ProtocolError, match="before the handshake"):
        client.exporter(NONCE)


@pytest.mark.parametrize("given", [None, b"", bytes(32), b"\x01" * 31])
def test_a_missing_exporter_is_a_failure(given: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = pair()
    shake(client, server)
    monkeypatch.setattr(SSL.Connection, "export_keying_material", lambda *_: given)
    with pytest.raises(ProtocolError, match="no exporter"):
        client.exporter(NONCE)


def test_tls_1_2_is_not_spoken() -> None:
    old = SSL.Context(SSL.TLS_CLIENT_METHOD)
    old.set_max_proto_version(SSL.TLS1_2_VERSION)
    client, server = pair(old)
    with pytest.raises(ProtocolError, match="TLS handshake failed"):
        shake(client, server)


def resuming_client() -> SSL.Connection:
    """A client with a session of its own, from a server that hands out tickets."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    loose = SSL.Context(SSL.TLS_SERVER_METHOD)
    loose.use_certificate(ME.certificate)
    loose.use_privatekey(ME.key)
    client, server = SSL.Connection(context, None), SSL.Connection(loose, None)
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(6):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    server.send(b"!")  # a client reads its ticket with the first byte of data
    client.bio_write(server.bio_read(65536))
    client.recv(1)
    client.shutdown()  # a session that was not closed properly is not resumed
    session = client.get_session()
    again = SSL.Connection(context, None)
    again.set_session(session)
    again.set_connect_state()
    return again


def test_a_resumed_session_is_turned_away() -> None:
    client = resuming_client()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    server = Channel(server_context(ME), server=True)
    with pytest.raises(ProtocolError, match="resumes a session"):
        server.feed(client.bio_read(65536))


def client_hello(*extensions: tuple[int, bytes]) -> bytes:
    listed = b"".join(kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body for kind, body in extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x02" + b"\x01\0" + len(listed).to_bytes(2, "big") + listed
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def test_early_data_is_turned_away() -> None:
    server = Channel(server_context(ME), server=True)
    with pytest.raises(ProtocolError, match="early data"):
        server.feed(client_hello((hello.EARLY_DATA, b"")))


def test_a_plain_hello_passes_in_pieces() -> None:
    data = client_hello((43, b"\x02\x03\x04"))
    hello.inspect(data)
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            hello.inspect(data[:end])


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: keep\r\n\r\n" * 40, b"\x17\x03\x03\0\x01\0", b"\x16\x03\x01\0\x04\x02\0\0\0"]
)
def test_what_is_not_a_client_hello_is_turned_away(data: bytes) -> None:
    server = Channel(server_context(ME), server=True)
    with pytest.raises(ProtocolError, match="not a TLS client hello"):
        for start in range(0, len(data), 7):
            server.feed(data[start : start + 7])
        server.feed(bytes(hello.MAX_HELLO))


def test_an_altered_record_is_refused() -> None:
    client, server = pair()
    shake(client, server)
    client.send(b"word")
    record = bytearray(client.outgoing())
    record[-1] ^= 1
    server.feed(bytes(record))
    with pytest.raises(ProtocolError, match="TLS failed"):
        server.receive()
