"""The vectors of the specification: recomputed here from primitives, and the file is what the code gives."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

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


def test_the_keys_are_those_of_the_secrets() -> None:
    signing = ec.derive_private_key(int(GIVEN["signing_secret"], 16), ec.SECP256R1()).public_key()
    assert signing.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == raw("signing_key")
    assert X25519PrivateKey.from_private_bytes(raw("hpke_secret")).public_key().public_bytes_raw() == raw("hpke_key")


def test_the_signature_holds_over_the_transcript() -> None:
    key = load_der_public_key(raw("signing_key"))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(raw("signature"), bytes.fromhex(FILE["signed_transcript"]), ec.ECDSA(hashes.SHA256()))


def test_the_sealed_release_opens() -> None:
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    key = X25519PrivateKey.from_private_bytes(raw("hpke_secret"))
    opened = suite.decrypt(bytes.fromhex(FILE["release_sealed"]), key, info=bytes.fromhex(FILE["release_info"]))
    assert opened == message("release plaintext")


def test_messages_are_the_maps_of_the_specification() -> None:
    """Decoded by another decoder, with the keys that section 3 to 8 give."""
    owner, log = b"\x33" * 32, [[kind, bytes.fromhex(digest)] for kind, digest in GIVEN["log"]]
    expected = {
        "challenge": {1: 1, 2: "tenant", 3: raw("nonce"), 4: ["nil", "snp"]},
        "evidence": [message("statement"), raw("signature")],
        "refusal": {1: "no", 2: "hint", 3: ["nil"]},
        "release plaintext": {1: b"\0asm", 2: b"cfg", 3: {"k": b"v"}, 4: {"/a": b"b"}, 5: owner, 6: True,
                              7: 1_700_000_000_000},
        "credential": [b"\x55" * 4, b"\x66" * 4],
        "measured": {1: b"\x44" * 32, 2: log},
        "attach plaintext": {1: owner, 2: "logs", 3: True},
        "ended": {1: "exit", 2: 7, 3: "", 4: "", 5: ""},
        "status": {1: "running", 2: b""},
        "statement": {
            1: 1, 2: "nil", 3: ["application/vnd.fastness.evidence.nil", b"evidence"], 4: [["vcek", b"der"]],
            5: raw("signing_key"), 6: raw("hpke_key"), 7: bytes.fromhex(FILE["workload"]), 8: log,
            9: 1_700_000_000_000, 10: "host",
        },
    }  # fmt: skip
    assert {name: cbor2.loads(message(name)) for name in expected} == expected
    assert message("credit") == (1 << 20).to_bytes(4, "big")
    assert set(FILE["messages"]) == {*expected, "credit"}


def test_frames() -> None:
    bodies = {
        "challenge": (1, message("challenge")), "release": (4, bytes.fromhex(FILE["release_sealed"])),
        "stdin, end of input": (7, b""), "ended": (0x0C, message("ended")),
    }  # fmt: skip
    for name, (code, body) in bodies.items():
        assert bytes.fromhex(FILE["frames"][name]) == bytes((code,)) + len(body).to_bytes(4, "big") + body
    assert set(FILE["frames"]) == set(bodies)
