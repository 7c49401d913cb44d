"""What evidence is bound to: role, platform, nonce, this very TLS session, both keys and the workload.

Keep protocol v1, sections 4 and 5. Evidence made inside a TLS handshake can be relayed (CVE-2026-33697); an exporter of
the finished handshake cannot: a relay has a session of its own with each side, and the exporters differ.
"""

from __future__ import annotations

import hashlib
import hmac

EXPORTER_LABEL = b"EXPORTER-fastness-attest-v1"
EXPORTER_SIZE = 32
NONCE_SIZE = 32
ROLES = ("tenant", "steward")
ZERO = bytes(32)

_REPORT = b"fastness/attest/v1"
_TRANSCRIPT = b"fastness/transcript/v1"
_RELEASE = b"fastness/release/v1"
_WORKLOAD = b"fastness/workload/v1"


def _text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return bytes((len(raw),)) + raw


def sha256(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def report_data(
    *, role: str, platform: str, nonce: bytes, exporter: bytes, signing_key: bytes, hpke_key: bytes, workload: bytes
) -> bytes:
    """The 64 bytes a keep puts into its evidence.

    ``SHA-512(label ‖ role ‖ platform ‖ nonce ‖ exporter ‖ SHA-256(signing key) ‖ SHA-256(HPKE key) ‖ workload)``, where
    label, role and platform are each preceded by their length in one byte, so that no two inputs read the same.

    Args:
        role: who challenges, ``tenant`` or ``steward``.
        platform: name of the platform (``nil`` …).
        nonce: the challenger's 32 bytes.
        exporter: 32 bytes of TLS exporter, context = nonce.
        signing_key: DER SubjectPublicKeyInfo of the keep's signing key.
        hpke_key: 32 bytes, the keep's X25519 public key.
        workload: 32 bytes of :func:`workload_digest`, or :data:`ZERO` before there is one.
    """
    for name, value, size in (("nonce", nonce, NONCE_SIZE), ("exporter", exporter, EXPORTER_SIZE),
                              ("workload", workload, 32)):  # fmt: skip
        if len(value) != size:
            raise ValueError(f"{name} must be {size} bytes, is {len(value)}")
    parts = (_text(_REPORT), _text(role), _text(platform), nonce, exporter, sha256(signing_key), sha256(hpke_key))
    return hashlib.sha512(b"".join(parts) + workload).digest()


def workload_digest(wasm_digest: bytes, configuration_digest: bytes) -> bytes:
    """The identity of a workload: SHA-256(label ‖ SHA-256(wasm) ‖ SHA-256(configuration)), 32 bytes."""
    return sha256(_text(_WORKLOAD) + wasm_digest + configuration_digest)


def signed_transcript(challenge: bytes, statement: bytes) -> bytes:
    """The bytes a keep signs: label ‖ SHA-256(challenge message) ‖ SHA-256(its statement)."""
    return _text(_TRANSCRIPT) + sha256(challenge) + sha256(statement)


def release_info(challenge: bytes, statement: bytes, signature: bytes) -> bytes:
    """The HPKE ``info``: the whole transcript up to the decision, so that nothing sealed opens in another session."""
    return _text(_RELEASE) + sha256(challenge) + sha256(statement) + sha256(signature)


def equal(one: bytes, other: bytes) -> bool:
    """Comparison in constant time."""
    return hmac.compare_digest(one, other)
