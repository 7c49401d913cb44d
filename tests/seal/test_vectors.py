"""The vectors of the specification: recomputed here from primitives, and the file is what the code gives."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = json.loads((ROOT / "docs" / "spec" / "keep-protocol-v1.vectors.json").read_text())
GIVEN = FILE["inputs"]


def raw(name: str) -> bytes:
    return bytes.fromhex(GIVEN[name])


def lp(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def message(name: str) -> bytes:
    return bytes.fromhex(FILE["messages"][name])


def test_the_file_is_what_the_code_gives() -> None:
    done = subprocess.run([sys.executable, "tools/protocol_vectors.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "python tools/protocol_vectors.py"


def test_report_data() -> None:
    parts = lp(b"fastness/attest/v1") + lp(GIVEN["role"].encode()) + lp(GIVEN["platform"].encode())
    parts += raw("nonce") + raw("exporter") + h(raw("signing_key")) + h(raw("hpke_key")) + bytes(32)
    assert hashlib.sha512(parts).hexdigest() == FILE["report_data"]


def test_register_and_workload() -> None:
    register = bytes(48)
    digests = []
    for kind, digest in GIVEN["log"]:
        digests.append(bytes.fromhex(digest))
        event = hashlib.sha384(lp(kind.encode()) + digests[-1]).digest()
        register = hashlib.sha384(register + event).digest()
    assert register.hex() == FILE["register"]
    assert h(lp(b"fastness/workload/v1") + digests[0] + digests[1]).hex() == FILE["workload"]


def test_transcript_and_info() -> None:
    challenge, statement = h(message("challenge")), h(message("statement"))
    assert (lp(b"fastness/transcript/v1") + challenge + statement).hex() == FILE["signed_transcript"]
    info = lp(b"fastness/release/v1") + challenge + statement + h(raw("signature"))
    assert info.hex() == FILE["release_info"]


def test_a_frame() -> None:
    body = message("challenge")
    assert bytes.fromhex(FILE["frame"]) == b"\x01" + len(body).to_bytes(4, "big") + body
