"""The software root of ``nil``: a P-256 key made on first use, 0600, that signs simulated evidence. SIMULATED.

It stands where a chip's key would. Whoever holds this machine holds it: it vouches for nothing but the flow.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from fastness.collateral.anchors_file import nil_folder
from fastness.errors import UsageError
from fastness.tee.nil.evidence import payload
from fastness.wire import cbor, cose

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of P-256 (FIPS 186-4, D.1.2.3)."""

_SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""DER SubjectPublicKeyInfo of a P-256 key up to its uncompressed point (RFC 5480 section 2)."""


@dataclass(frozen=True, slots=True)
class SoftwareRoot:
    """The key and the 16 bytes that name this installation."""

    key: ec.EllipticCurvePrivateKey
    instance: bytes

    @property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        numbers = self.key.public_key().public_numbers()
        return _SPKI_HEAD + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")

    def sign(self, report_data: bytes, launch: bytes, register: bytes, *, debug: bool) -> bytes:
        """Simulated evidence as COSE_Sign1."""
        body = payload(report_data, launch, register, debug, self.instance)
        message = cose.Sign1(cbor.encode({cose.ALG: cose.ES256}), {}, {}, body, b"", tagged=True)
        der = self.key.sign(message.to_be_signed(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return cose.Sign1(message.protected, {}, {}, body, signature, tagged=True).unparse()


def load(place: Path | None = None) -> SoftwareRoot:
    """The root of this user's installation, made if there is none.

    Files: ``root.key`` (secret scalar 32 bytes ‖ instance 16 bytes, mode 0600), ``root.pub`` (DER
    SubjectPublicKeyInfo).
    """
    place = place or nil_folder()
    secret = place / "root.key"
    try:
        data = secret.read_bytes() if secret.exists() else _make(secret)
        scalar = int.from_bytes(data[:32], "big")
        if len(data) != 48 or not 0 < scalar < ORDER:
            raise UsageError("the simulated root is damaged", where=str(secret), hint="remove it; a new one is made")
        root = SoftwareRoot(ec.derive_private_key(scalar, ec.SECP256R1()), data[32:])
        shown = place / "root.pub"
        if not shown.exists() or shown.read_bytes() != root.public_key:
            _write(shown, root.public_key, 0o644)
    except OSError as error:
        raise UsageError(f"cannot keep the simulated root: {error.strerror}", where=str(place)) from None
    return root


def _make(secret: Path) -> bytes:
    secret.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = (secrets.randbelow(ORDER - 1) + 1).to_bytes(32, "big") + secrets.token_bytes(16)
    try:
        _write(secret, data, 0o600, exclusive=True)
    except FileExistsError:  # somebody else was quicker: theirs counts
        return secret.read_bytes()
    return data


def _write(path: Path, data: bytes, mode: int, *, exclusive: bool = False) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
