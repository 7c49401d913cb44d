"""One TLS 1.3 session over memory buffers: bytes in, bytes out, no sockets (keep protocol v1, section 2).

pyOpenSSL because the standard library's `ssl` has no exporter. The keep shows a self-signed certificate over its
signing key; nobody checks it as a certificate: the challenger demands that its key is the one the evidence speaks for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509 as certificates
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from fastness.errors import ProtocolError
from fastness.seal import hello
from fastness.seal.binding import EXPORTER_LABEL, EXPORTER_SIZE

CHUNK = 256 * 1024
RECORD = 16 * 1024
"""A TLS record holds no more (RFC 8446 section 5.1), and a larger buffer is allocated for each of them in vain."""
_SUITES = b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"


@dataclass(frozen=True, slots=True)
class Identity:
    """The keep's TLS identity: its P-256 signing key and the self-signed certificate that shows it."""

    key: ec.EllipticCurvePrivateKey
    certificate: certificates.Certificate


def identity(key: ec.EllipticCurvePrivateKey, at: datetime | None = None) -> Identity:
    """A certificate for ``key``. Its dates mean nothing: the host's clock is not trusted and nobody reads them."""
    name = certificates.Name([certificates.NameAttribute(certificates.NameOID.COMMON_NAME, "keep")])
    start = at or datetime(2020, 1, 1, tzinfo=UTC)
    builder = (
        certificates.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(os.urandom(16), "big") >> 1 | 1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
    )
    return Identity(key, builder.sign(key, hashes.SHA256()))


PARTIAL_WRITE = 1
"""SSL_MODE_ENABLE_PARTIAL_WRITE (openssl/ssl.h), which pyOpenSSL sets: one call a record. Memory takes everything."""


def context(kind: int) -> SSL.Context:
    """TLS 1.3, and nothing that would outlive a session."""
    made = SSL.Context(kind)
    made.set_min_proto_version(SSL.TLS1_3_VERSION)
    made.set_max_proto_version(SSL.TLS1_3_VERSION)
    made.set_tls13_ciphersuites(_SUITES)
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    made.clear_mode(PARTIAL_WRITE)
    made.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return made


def server_context(me: Identity) -> SSL.Context:
    """A context for the keep's end."""
    made = context(SSL.TLS_SERVER_METHOD)
    made.use_certificate(me.certificate)
    made.use_privatekey(me.key)
    return made


class Channel:
    """One end of one session. ``feed`` what arrived, ``outgoing`` what to send on; never blocks."""

    def __init__(self, context: SSL.Context, *, server: bool) -> None:
        self.connection = SSL.Connection(context, None)
        self._server = server
        self._established = False
        self._hello: bytes | None = b"" if server else None
        self.closed = False
        if server:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()

    def feed(self, data: bytes) -> None:
        """Bytes from the network.

        Raises:
            ProtocolError: the first of them are not a ClientHello this protocol allows (server end).
        """
        if self._hello is not None:
            self._hello += data
            if len(self._hello) > hello.MAX_HELLO and not hello.complete(self._hello):
                raise ProtocolError("not a TLS client hello (too long)")
            if not hello.complete(self._hello):
                return
            data, self._hello = self._hello, None
            hello.inspect(data)
        while data:
            data = data[self.connection.bio_write(data) :]

    def outgoing(self) -> bytes:
        """Bytes for the network, possibly none."""
        parts = []
        while True:
            try:
                parts.append(self.connection.bio_read(CHUNK))
            except SSL.WantReadError:
                break
            if len(parts[-1]) < CHUNK:  # drained: asking once more would only raise
                break
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def handshake(self) -> bool:
        """Advances the handshake; True once it is finished.

        Raises:
            ProtocolError: the peer does not speak TLS 1.3 as this protocol needs it.
        """
        if self._hello is not None:
            return False
        if not self._established:
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                return False
            except SSL.Error as error:
                raise ProtocolError(f"TLS handshake failed: {_reason(error)}") from None
            if self.connection.get_protocol_version_name() != "TLSv1.3":
                raise ProtocolError("the peer does not speak TLS 1.3")
            self._established = True
        return True

    def send(self, data: bytes) -> None:
        """Encrypts ``data``; fetch the records with :meth:`outgoing`."""
        view = memoryview(data)
        while view:  # one record at a time: nothing of the rest is copied
            try:
                view = view[self.connection.send(view) :]
            except SSL.Error as error:
                raise ProtocolError(f"TLS failed: {_reason(error)}") from None

    def receive(self) -> bytes:
        """The :meth:`records` as one; raises the same."""
        return b"".join(self.records())

    def records(self) -> list[bytes]:
        """Everything that can be decrypted by now, as it came; sets ``closed`` at the peer's close_notify.

        Raises:
            ProtocolError: a record does not authenticate.
        """
        parts = []
        while not self.closed:
            try:
                parts.append(self.connection.recv(RECORD))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.closed = True
            except SSL.Error as error:
                raise ProtocolError(f"TLS failed: {_reason(error)}") from None
        return parts

    def close(self) -> None:
        """Queues a close_notify."""
        try:
            self.connection.shutdown()
        except SSL.Error:
            self.closed = True

    def exporter(self, nonce: bytes) -> bytes:
        """32 bytes of RFC 8446 section 7.5 exporter, label of keep protocol v1, context ``nonce``.

        Raises:
            ProtocolError: the handshake is not finished, or the library gives none. Never a downgrade.
        """
        if not self._established:
            raise ProtocolError("no exporter before the handshake is finished")
        value = self.connection.export_keying_material(EXPORTER_LABEL, EXPORTER_SIZE, nonce)
        if len(value or b"") != EXPORTER_SIZE or not any(value):
            raise ProtocolError("the TLS session gives no exporter")
        return value


def _reason(error: SSL.Error) -> str:
    details = error.args[0] if error.args else None
    if isinstance(details, list) and details:
        return str(details[-1][-1])
    return "the connection was cut" if isinstance(error, SSL.SysCallError) else type(error).__name__
