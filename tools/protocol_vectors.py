"""Writes ``docs/spec/keep-protocol-v1.vectors.json`` from the code, or checks that it is what the code gives.

python tools/protocol_vectors.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.seal import binding, challenger, log, messages
from fastness.seal.frames import Type, frame

PLACE = Path(__file__).resolve().parents[1] / "docs" / "spec" / "keep-protocol-v1.vectors.json"
NONCE, EXPORTER = bytes(range(32)), bytes(range(32, 64))
SIGNING_SECRET = 0x5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A
HPKE_SECRET = b"\x42" * 32
SIGNING = ec.derive_private_key(SIGNING_SECRET, ec.SECP256R1())
HPKE = X25519PrivateKey.from_private_bytes(HPKE_SECRET)
SIGNING_KEY = SIGNING.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
HPKE_KEY = HPKE.public_key().public_bytes_raw()
SEALED = (
    "d7d47528954bb2a37019735bac6ab590f107074378b5e56324ebfcfe0df01a40ecfd0851367be640d8fddbf8350faaad87aa"
    "f60cadac02b09e103f769fe1aa910e6e595d85c4dc21eaf1962312cfc4a8b6d94b1bb01c00675a3814b097ce35d86ed4cd90"
    "5d3f76773e4c0e29399cc9caea5f9df84fabb568"
)
"""The release plaintext, sealed once: sealing draws a key of its own each time, so that only opening is repeatable."""

EVENTS = (log.Event(log.WORKLOAD, b"\x11" * 32), log.Event(log.CONFIGURATION, b"\x22" * 32))


def vectors() -> dict[str, Any]:
    """Every vector, bytes in hexadecimal."""
    challenge = messages.Challenge("tenant", NONCE, ("nil", "snp")).encode()
    statement = messages.Statement(
        "nil", "nil", b"evidence", (("vcek", b"der"),), SIGNING_KEY, HPKE_KEY,
        binding.workload_digest(EVENTS[0].digest, EVENTS[1].digest), EVENTS, 1_700_000_000_000, "host",
    ).encode()  # fmt: skip
    signed = binding.signed_transcript(challenge, statement)
    signature = SIGNING.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    info = binding.release_info(challenge, statement, signature)
    owner = b"\x33" * 32
    shown = {
        "challenge": challenge,
        "statement": statement,
        "evidence": messages.encode_evidence(statement, signature),
        "refusal": messages.Refusal("no", "hint", ("nil",)).encode(),
        "release plaintext": messages.Workload(
            b"\0asm", b"cfg", {"k": b"v"}, {"/a": b"b"}, owner, time_ms=1_700_000_000_000
        ).encode(),
        "measured": messages.Measured(b"\x44" * 32, EVENTS).encode(),
        "attach plaintext": messages.Attach(owner, "logs", follow=True).encode(),
        "credential": challenger.encode_credential(b"\x55" * 4, b"\x66" * 4),
        "credit": messages.credit(1 << 20),
        "ended": messages.Ended("exit", 7).encode(),
        "status": messages.Status("running").encode(),
    }
    report = binding.report_data(
        role="tenant", platform="nil", nonce=NONCE, exporter=EXPORTER, signing_key=SIGNING_KEY, hpke_key=HPKE_KEY,
        workload=binding.ZERO,
    )  # fmt: skip
    return {
        "inputs": {
            "role": "tenant", "platform": "nil", "nonce": NONCE.hex(), "exporter": EXPORTER.hex(),
            "signing_key": SIGNING_KEY.hex(), "hpke_key": HPKE_KEY.hex(),
            "signing_secret": f"{SIGNING_SECRET:064x}", "hpke_secret": HPKE_SECRET.hex(), "signature": signature.hex(),
            "log": [[event.kind, event.digest.hex()] for event in EVENTS],
        },
        "report_data": report.hex(),
        "workload": binding.workload_digest(EVENTS[0].digest, EVENTS[1].digest).hex(),
        "register": challenger.replay(EVENTS).hex(),
        "signed_transcript": signed.hex(),
        "release_info": info.hex(),
        "release_sealed": SEALED,
        "messages": {name: body.hex() for name, body in shown.items()},
        "frames": {
            "challenge": frame(Type.CHALLENGE, challenge).hex(),
            "release": frame(Type.RELEASE, bytes.fromhex(SEALED)).hex(),
            "stdin, end of input": frame(Type.STDIN, b"").hex(),
            "ended": frame(Type.ENDED, shown["ended"]).hex(),
        },
    }  # fmt: skip


def text() -> str:
    """The file's content."""
    return json.dumps(vectors(), indent=1) + "\n"


def main() -> int:
    """Runs the tool."""
    if "--check" not in sys.argv:
        PLACE.write_text(text(), "utf-8")
        return 0
    return 0 if PLACE.read_text("utf-8") == text() else 1


if __name__ == "__main__":
    sys.exit(main())
