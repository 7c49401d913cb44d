"""Writes ``docs/spec/keep-protocol-v1.vectors.json`` from the code, or checks that it is what the code gives.

python tools/protocol_vectors.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastness.seal import binding, log, messages
from fastness.seal.frames import Type, frame

PLACE = Path(__file__).resolve().parents[1] / "docs" / "spec" / "keep-protocol-v1.vectors.json"
NONCE, EXPORTER = bytes(range(32)), bytes(range(32, 64))
SIGNING_KEY, HPKE_KEY = b"signing key (a DER SubjectPublicKeyInfo in truth)", bytes(range(64, 96))
EVENTS = (log.Event(log.WORKLOAD, b"\x11" * 32), log.Event(log.CONFIGURATION, b"\x22" * 32))


def vectors() -> dict[str, Any]:
    """Every vector, bytes in hexadecimal."""
    challenge = messages.Challenge("tenant", NONCE, ("nil", "snp")).encode()
    statement = messages.Statement(
        "nil", "nil", b"evidence", (("vcek", b"der"),), SIGNING_KEY, HPKE_KEY,
        binding.workload_digest(EVENTS[0].digest, EVENTS[1].digest), EVENTS, 1_700_000_000_000, "host",
    ).encode()  # fmt: skip
    signature = b"\x30\x06\x02\x01\x01\x02\x01\x01"
    owner = b"\x33" * 32
    shown = {
        "challenge": challenge,
        "statement": statement,
        "evidence": messages.encode_evidence(statement, signature),
        "refusal": messages.Refusal("no", "hint", ("nil",)).encode(),
        "release plaintext": messages.Workload(b"\0asm", b"cfg", {"k": b"v"}, {"/a": b"b"}, owner).encode(),
        "measured": messages.Measured(b"\x44" * 32, EVENTS).encode(),
        "attach plaintext": messages.Attach(owner, "logs", follow=True).encode(),
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
            "signing_key": SIGNING_KEY.hex(), "hpke_key": HPKE_KEY.hex(), "signature": signature.hex(),
            "log": [[event.kind, event.digest.hex()] for event in EVENTS],
        },
        "report_data": report.hex(),
        "workload": binding.workload_digest(EVENTS[0].digest, EVENTS[1].digest).hex(),
        "register": log.replay(EVENTS).hex(),
        "signed_transcript": binding.signed_transcript(challenge, statement).hex(),
        "release_info": binding.release_info(challenge, statement, signature).hex(),
        "messages": {name: body.hex() for name, body in shown.items()},
        "frame": frame(Type.CHALLENGE, challenge).hex(),
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
