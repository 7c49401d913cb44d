"""A SEV firmware in software: launches guests of bytes, as the secure processor of a host does (AMD 55766, section 6).

The host's side of :mod:`fastness.tee.sev.session`, :mod:`~fastness.tee.sev.launch` and :mod:`~fastness.tee.sev.secret`,
written from the specification's commands, so that a tenant's launch can be tried from its first key to its last secret.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from fastness.errors import FastnessError, MalformedEvidence
from fastness.tee.sev import launch, secret, session
from fastness.tee.sev.evidence import sev_certificate


class Refused(FastnessError):
    """The firmware's answer to a command, by the name of its status code (AMD 55766, section 4.4)."""

    kind = "firmware"


@dataclass(slots=True)
class Guest:
    """A guest context (GCTX) while it is launched: states LUPDATE, then LSECRET, then RUNNING."""

    keys: session.TransportKeys
    policy: int
    state: str = "LUPDATE"
    measurement: bytes = b""
    memory: list[bytes] = field(default_factory=list)
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Firmware:
    """The firmware of one platform: ``pdh`` its Diffie-Hellman key, ``api`` and ``build`` its version.

    ``lax`` is one that launches guests whose policy asks for a newer version.
    """

    pdh: ec.EllipticCurvePrivateKey
    api: tuple[int, int] = (0, 24)
    build: int = 15
    lax: bool = False

    def start(self, godh: bytes, blob: bytes, policy: int) -> Guest:
        """LAUNCH_START: unwraps the tenant's keys.

        Raises:
            Refused: INVALID_CERTIFICATE, INVALID_LENGTH, BAD_MEASUREMENT (the keys, or the policy, are not those the
                tenant wrapped), POLICY_FAILURE.
        """
        try:
            other = sev_certificate(godh, "pdh")
        except MalformedEvidence as error:
            raise Refused(f"INVALID_CERTIFICATE: {error.what}") from None
        if len(blob) != session.SESSION_SIZE:
            raise Refused("INVALID_LENGTH")
        nonce, wrapped, iv, wrap_mac, policy_mac = blob[:16], blob[16:48], blob[48:64], blob[64:96], blob[96:]
        kek, kik = session.wrapping(session.agreement(self.pdh, other), nonce)
        if not hmac.compare_digest(hmac.digest(kik, wrapped, "sha256"), wrap_mac):
            raise Refused("BAD_MEASUREMENT: the transport keys")
        plain = session.counter(kek, iv, wrapped)
        keys = session.TransportKeys(plain[:16], plain[16:])
        if not hmac.compare_digest(hmac.digest(keys.tik, policy.to_bytes(4, "little"), "sha256"), policy_mac):
            raise Refused("BAD_MEASUREMENT: the policy")
        if self.api < launch.least_api(policy) and not self.lax:
            raise Refused("POLICY_FAILURE: the policy asks for newer firmware")
        return Guest(keys, policy)

    def update(self, guest: Guest, data: bytes) -> None:
        """LAUNCH_UPDATE_DATA or LAUNCH_UPDATE_VMSA: memory that is measured and encrypted."""
        _expect(guest, "LUPDATE")
        guest.memory.append(data)

    def measure(self, guest: Guest) -> bytes:
        """LAUNCH_MEASURE: measurement and mnonce, 48 bytes."""
        _expect(guest, "LUPDATE")
        guest.state, mnonce = "LSECRET", os.urandom(16)
        guest.digest = hashlib.sha256(b"".join(guest.memory)).digest()
        guest.measurement = launch.hmac_of(guest.keys.tik, self.api, self.build, guest.policy, guest.digest, mnonce)
        return guest.measurement + mnonce

    def secret(self, guest: Guest, header: bytes, data: bytes) -> bytes:
        """LAUNCH_SECRET: what the guest finds in its memory.

        Raises:
            Refused: INVALID_GUEST_STATE, INVALID_LENGTH, BAD_MEASUREMENT.
        """
        _expect(guest, "LSECRET")
        if len(header) != secret.HEADER_SIZE or not data or len(data) % 16 or len(data) > 16 * 1024:
            raise Refused("INVALID_LENGTH")
        flags, iv, mac = header[:4], header[4:20], header[20:]
        if not hmac.compare_digest(secret.mac(guest.keys.tik, flags, iv, data, guest.measurement), mac):
            raise Refused("BAD_MEASUREMENT: the secret")
        return session.counter(guest.keys.tek, iv, data)

    def finish(self, guest: Guest) -> None:
        """LAUNCH_FINISH: from here on the guest runs and takes no secret."""
        _expect(guest, "LSECRET")
        guest.state = "RUNNING"


def _expect(guest: Guest, state: str) -> None:
    if guest.state != state:
        raise Refused(f"INVALID_GUEST_STATE: {guest.state}, not {state}")
